//! A posted transfer is undone by a new one with the sides swapped; the original stays as it is.

use tenants::id::TransferId;

use crate::transfer::{Kind, Subject, Transfer};

/// Undoes a posted transfer, whole; needs the money to be there still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reversal {
    /// The transfer's id.
    pub id: TransferId,
    /// The transfer that is undone.
    pub original: TransferId,
}

impl From<Reversal> for Transfer {
    fn from(reversal: Reversal) -> Transfer {
        super::plain(reversal.id, Kind::Reversal, Subject::Original(reversal.original))
    }
}
