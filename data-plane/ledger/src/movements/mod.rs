//! Every way money moves, a file each: what it is called with, and between which classes of account it leads.

mod block;
mod capture;
mod deposit;
mod expiry;
mod fee;
mod hold;
mod reversal;
mod transfer;
mod void;
mod withdrawal;

pub use self::{
    block::{Block, Release},
    capture::Capture,
    deposit::Deposit,
    expiry::Expiry,
    fee::Fee,
    hold::Hold,
    reversal::Reversal,
    transfer::PlainTransfer,
    void::Void,
    withdrawal::Withdrawal,
};
use crate::{
    account::Class,
    transfer::{Kind, Subject, Transfer},
};

/// Whether `kind` may lead from an account of class `debit` to one of class `credit`.
pub fn leads(kind: Kind, debit: Class, credit: Class) -> bool {
    match kind {
        Kind::Deposit => deposit::leads(debit, credit),
        Kind::Withdrawal => withdrawal::leads(debit, credit),
        Kind::Fee => fee::leads(debit, credit),
        Kind::Transfer | Kind::Hold | Kind::Capture | Kind::Void | Kind::Expiry | Kind::Reversal => true,
    }
}

/// A transfer of `kind` with nothing special about it.
fn plain(id: tenants::id::TransferId, kind: Kind, subject: Subject) -> Transfer {
    Transfer {
        id,
        kind,
        subject,
        amount: None,
        currency: None,
        balancing: None,
        expires_at: None,
        effective_at: None,
        linked: false,
        reference: None,
        key: None,
        shape: None,
        block: false,
    }
}
