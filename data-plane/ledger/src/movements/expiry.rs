//! A hold is released because its time is over. Posted by the ledger's own sweep under an id derived from the hold's, so
//! that two sweeps have one effect; never by a client.

use tenants::id::TransferId;

use crate::transfer::{Kind, Subject, Transfer, derived_id};

/// Releases a hold whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The hold.
    pub hold: TransferId,
}

impl From<Expiry> for Transfer {
    fn from(expiry: Expiry) -> Transfer {
        super::plain(derived_id(expiry.hold.uuid(), "expiry"), Kind::Expiry, Subject::Hold(expiry.hold))
    }
}
