//! Money moves between two accounts of the ledger; the journal entry of everything that has no name of its own.

use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};

use crate::transfer::{Kind, Subject, Transfer};

/// Money moves between two accounts of the ledger; the journal entry of everything that has no name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlainTransfer {
    /// The transfer's id.
    pub id: TransferId,
    /// The account that is debited.
    pub debit: AccountId,
    /// The account that is credited.
    pub credit: AccountId,
    /// How much.
    pub money: Money,
}

impl From<PlainTransfer> for Transfer {
    fn from(movement: PlainTransfer) -> Transfer {
        let subject = Subject::Accounts { debit: movement.debit, credit: movement.credit };
        Transfer {
            amount: Some(movement.money.amount),
            currency: Some(movement.money.currency),
            ..super::plain(movement.id, Kind::Transfer, subject)
        }
    }
}
