//! An amount is set aside: no longer available to the payer, not yet the payee's.

use chrono::{DateTime, Utc};
use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};

use crate::transfer::{Kind, Subject, Transfer};

/// An amount is set aside; ended by a [capture](super::Capture), a [void](super::Void) or its [expiry](super::Expiry).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The hold's id.
    pub id: TransferId,
    /// The account that would be debited.
    pub debit: AccountId,
    /// The account that would be credited.
    pub credit: AccountId,
    /// How much.
    pub money: Money,
    /// When it ends by itself; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
}

impl From<Hold> for Transfer {
    fn from(hold: Hold) -> Transfer {
        let subject = Subject::Accounts { debit: hold.debit, credit: hold.credit };
        Transfer {
            amount: Some(hold.money.amount),
            currency: Some(hold.money.currency),
            expires_at: hold.expires_at,
            ..super::plain(hold.id, Kind::Hold, subject)
        }
    }
}
