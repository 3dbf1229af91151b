//! Money arrives from outside: an asset grows, and so does what is owed to a customer.

use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};

use crate::{
    account::Class,
    transfer::{Kind, Subject, Transfer},
};

/// Money arrives from outside: an asset grows, and so does what is owed to a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deposit {
    /// The transfer's id.
    pub id: TransferId,
    /// Where the money is: a settlement or cash account.
    pub debit: AccountId,
    /// Whose money it is.
    pub credit: AccountId,
    /// How much.
    pub money: Money,
}

impl From<Deposit> for Transfer {
    fn from(movement: Deposit) -> Transfer {
        let subject = Subject::Accounts { debit: movement.debit, credit: movement.credit };
        Transfer {
            amount: Some(movement.money.amount),
            currency: Some(movement.money.currency),
            ..super::plain(movement.id, Kind::Deposit, subject)
        }
    }
}

pub(super) fn leads(debit: Class, credit: Class) -> bool {
    debit == Class::Asset && credit == Class::Liability
}
