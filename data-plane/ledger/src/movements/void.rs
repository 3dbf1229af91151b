//! A hold is released by request.

use tenants::id::TransferId;

use crate::transfer::{Kind, Subject, Transfer};

/// Releases a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Void {
    /// The transfer's id.
    pub id: TransferId,
    /// The hold.
    pub hold: TransferId,
}

impl From<Void> for Transfer {
    fn from(void: Void) -> Transfer {
        super::plain(void.id, Kind::Void, Subject::Hold(void.hold))
    }
}
