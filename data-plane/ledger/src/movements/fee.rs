//! A customer pays the institution.

use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};

use crate::{
    account::Class,
    transfer::{Kind, Subject, Transfer},
};

/// A customer pays the institution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fee {
    /// The transfer's id.
    pub id: TransferId,
    /// Who pays.
    pub debit: AccountId,
    /// The income account.
    pub credit: AccountId,
    /// How much.
    pub money: Money,
}

impl From<Fee> for Transfer {
    fn from(movement: Fee) -> Transfer {
        let subject = Subject::Accounts { debit: movement.debit, credit: movement.credit };
        Transfer {
            amount: Some(movement.money.amount),
            currency: Some(movement.money.currency),
            ..super::plain(movement.id, Kind::Fee, subject)
        }
    }
}

pub(super) fn leads(debit: Class, credit: Class) -> bool {
    debit == Class::Liability && credit == Class::Income
}
