//! A hold is posted, in part or whole, and ends; what is not captured is released.

use tenants::id::TransferId;

use crate::transfer::{Kind, Subject, Transfer};

/// Posts a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// The transfer's id.
    pub id: TransferId,
    /// The hold.
    pub hold: TransferId,
    /// Minor units of the hold's currency; `None` captures all of it.
    pub amount: Option<i64>,
}

impl From<Capture> for Transfer {
    fn from(capture: Capture) -> Transfer {
        Transfer {
            amount: capture.amount,
            ..super::plain(capture.id, Kind::Capture, Subject::Hold(capture.hold))
        }
    }
}
