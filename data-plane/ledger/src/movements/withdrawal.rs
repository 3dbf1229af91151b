//! Money leaves: the reverse of a deposit.

use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};

use crate::{
    account::Class,
    transfer::{Kind, Subject, Transfer},
};

/// Money leaves: the reverse of a deposit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawal {
    /// The transfer's id.
    pub id: TransferId,
    /// Whose money it was.
    pub debit: AccountId,
    /// Where the money was: a settlement or cash account.
    pub credit: AccountId,
    /// How much.
    pub money: Money,
}

impl From<Withdrawal> for Transfer {
    fn from(movement: Withdrawal) -> Transfer {
        let subject = Subject::Accounts { debit: movement.debit, credit: movement.credit };
        Transfer {
            amount: Some(movement.money.amount),
            currency: Some(movement.money.currency),
            ..super::plain(movement.id, Kind::Withdrawal, subject)
        }
    }
}

pub(super) fn leads(debit: Class, credit: Class) -> bool {
    debit == Class::Liability && credit == Class::Asset
}
