//! Accounts: whose they are, what they are called, and what became of them.
//!
//! **Promise.** An account is here exactly if it is in the ledger, under the same id. A customer's account is a liability
//! that never falls below zero. State and balance are the ledger's, read in the same transaction as the rest and copied
//! nowhere; a state moves by compare-and-set together with the record of who moved it and why. Only an empty account
//! closes, and closed is for ever.
//!
//! **Blocks.** See [`block`].
//!
//! **Statements.** See [`statement`].
//!
//! **Cost.** One transaction per request.

pub mod block;
pub mod export;
pub mod http;
mod model;
pub mod statement;
mod store;
pub mod system;

use std::collections::HashMap;

use ledger::{
    account::{Account as Books, NewAccount, State},
    books,
    outcome::Reason as Refusal,
    writer::Unavailable,
};
use platform::{
    ctx::{Ctx, Scope},
    db::{self, Db, Tx},
    idempotency::{Done, Key, Outcome as Begun, begin_in_tx},
    problem::Problem,
};
use sea_orm::DbErr;
use tenants::{
    id::AccountId,
    money::{Currency, Money},
};

use crate::parties;

pub use self::{
    model::{
        Direction, Draft, Flaw, Kind, Metadata, Move, Order, Owner, Reason, ReasonCode, Record, Standing,
    },
    store::{Filter, MIGRATION},
};
use model::state_name;
use store::Accounts;

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields that are not acceptable.
    #[error("{} fields are not acceptable", .0.len())]
    Invalid(Vec<Flaw>),
    /// Another account has this `external_id`.
    #[error("another account has this external_id")]
    ExternalIdTaken,
    /// No party of this environment has this id.
    #[error("there is no such party")]
    UnknownParty,
    /// The account's books, or those it is to be in, are in this currency and not in the one that the field of this JSON
    /// pointer names.
    #[error("the books are in {0}")]
    OtherCurrency(Currency, &'static str),
    /// No account of this environment has this id.
    #[error("there is no such account")]
    NotFound,
    /// The account is in a state that the request does not start from.
    #[error("the account is in state {0:?}")]
    WrongState(State),
    /// An account that is to be closed has a balance or holds.
    #[error("the account is not empty")]
    NotEmpty {
        /// Posted.
        balance: Money,
        /// Set aside, on either side.
        held: Money,
    },
    /// The account is the institution's own, and the caller may not move those.
    #[error("the account is internal, and not the caller's to move")]
    NotAllowed,
    /// The account is the institution's own, which nobody blocks.
    #[error("the account is not a customer's")]
    NotACustomers,
    /// The account that would receive a blocked amount is not one of the institution's own in the same books.
    #[error("the beneficiary is not an internal account")]
    NoBeneficiary,
    /// There is nothing to block.
    #[error("only {0} is available")]
    NothingToBlock(Money),
    /// The block has been released before.
    #[error("the block has ended")]
    BlockEnded,
    /// The ledger refused.
    #[error("the ledger refused: {0:?}")]
    Refused(Refusal),
    /// A statement does not add up; it is not answered.
    #[error("the statement of {0} does not add up")]
    Unbalanced(AccountId),
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(#[from] Unavailable),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The idempotency key's.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// An account as it stands.
#[derive(Debug, Clone)]
pub struct Account {
    /// Whose it is.
    pub record: Record,
    /// What it may do and holds.
    pub books: Books,
    /// Why it is in its state, once that has moved.
    pub reason: Option<Reason>,
}

/// The account of this id in `scope`, whoever owns it.
///
/// # Errors
/// The database's.
pub async fn get_in_tx(tx: &Tx, scope: Scope, id: AccountId) -> Result<Option<Account>, DbErr> {
    let Some(record) = Accounts::new(tx, scope).get(id).await? else { return Ok(None) };
    Ok(complete(tx, scope, vec![record]).await?.pop())
}

/// Adds what the ledger knows, and why the states have moved.
async fn complete(tx: &Tx, scope: Scope, records: Vec<Record>) -> Result<Vec<Account>, DbErr> {
    let ids: Vec<AccountId> = records.iter().map(|record| record.id).collect();
    let mut books: HashMap<AccountId, Books> =
        books::accounts(tx, scope, &ids).await?.into_iter().map(|row| (row.id, row)).collect();
    let mut reasons: HashMap<AccountId, Reason> =
        Accounts::new(tx, scope).reasons(&records).await?.into_iter().collect();
    let complete = records.into_iter().map(|record| {
        let missing = || DbErr::RecordNotFound(format!("the ledger lacks account {}", record.id));
        let books = books.remove(&record.id).ok_or_else(missing)?;
        Ok(Account { reason: reasons.remove(&record.id), books, record })
    });
    complete.collect()
}

/// Opens an account, once per key, in the currency of the environment's books.
///
/// # Errors
/// [`Error::Invalid`], [`Error::OtherCurrency`], [`Error::UnknownParty`], [`Error::ExternalIdTaken`]; the key's and the
/// database's.
pub async fn open(
    db: &Db,
    ctx: &Ctx,
    currency: Currency,
    key: &Key,
    draft: &Draft,
) -> Result<Done<Account>, Error> {
    draft.check().map_err(Error::Invalid)?;
    if draft.currency.is_some_and(|asked| asked != currency) {
        return Err(Error::OtherCurrency(currency, "/currency"));
    }
    let record = Record {
        id: ctx.new_id(),
        owner: draft.owner.clone(),
        external_id: draft.external_id.clone(),
        metadata: draft.metadata.clone(),
        moves: 0,
        opened_at: ctx.now(),
    };
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let begun = begin_in_tx(&tx, ctx, key, record.id.uuid()).await?;
        let id = match begun {
            Begun::Replay(id) => AccountId::from_uuid(id),
            Begun::New => {
                if let Owner::Customer(party) = record.owner
                    && !parties::party_exists_in_tx(&tx, ctx.scope, party).await?
                {
                    return Err(Error::UnknownParty);
                }
                let new = NewAccount {
                    id: record.id,
                    class: draft.class,
                    currency,
                    may_overdraw: draft.may_overdraw,
                    opened_at: record.opened_at,
                };
                books::open_in_tx(&tx, ctx.scope, &new).await?;
                // The only unique key that a fresh id can meet is that of `external_id`.
                Accounts::new(&tx, ctx.scope).insert(&record).await.map_err(taken)?;
                record.id
            }
        };
        let what = get_in_tx(&tx, ctx.scope, id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        Ok(Done { what, replayed: begun != Begun::New })
    })
    .await
}

fn taken(error: DbErr) -> Error {
    if db::is_unique_violation(&error) { Error::ExternalIdTaken } else { error.into() }
}

/// Reads an account.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn get(db: &Db, scope: Scope, id: AccountId) -> Result<Account, Error> {
    let tx = db.begin_read(scope).await?;
    let account = get_in_tx(&tx, scope, id).await?;
    tx.commit().await?;
    account.ok_or(Error::NotFound)
}

/// Reads at most `limit` accounts that satisfy `filter`, in the order of their ids.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, filter: &Filter, limit: u64) -> Result<Vec<Account>, Error> {
    let tx = db.begin_read(scope).await?;
    let records = Accounts::new(&tx, scope).list(filter, limit).await?;
    let accounts = complete(&tx, scope, records).await?;
    tx.commit().await?;
    Ok(accounts)
}

/// Moves an account's state, once per key. `internal_too`: whether the caller may do so with the institution's own.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotAllowed`], [`Error::WrongState`], [`Error::NotEmpty`], [`Error::Invalid`]; the key's and
/// the database's.
pub async fn move_state(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    id: AccountId,
    way: Move,
    reason: &Reason,
    internal_too: bool,
) -> Result<Done<Account>, Error> {
    reason.check().map_err(Error::Invalid)?;
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let accounts = Accounts::new(&tx, ctx.scope);
        let begun = begin_in_tx(&tx, ctx, key, id.uuid()).await?;
        let record = accounts.get(id).await?.ok_or(Error::NotFound)?;
        if matches!(record.owner, Owner::Internal(_)) && !internal_too {
            return Err(Error::NotAllowed);
        }
        if begun == Begun::New {
            let before = books::account(&tx, ctx.scope, id).await?.ok_or(Error::NotFound)?;
            let to = way.to(before.state).ok_or(Error::WrongState(before.state))?;
            if !books::move_state_in_tx(&tx, ctx.scope, id, before.state, to).await? {
                let books = books::account(&tx, ctx.scope, id).await?.ok_or(Error::NotFound)?;
                return Err(unmoved(&books, before.state));
            }
            accounts.moved(ctx, id, state_name(to), reason).await?;
        }
        let what = get_in_tx(&tx, ctx.scope, id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        Ok(Done { what, replayed: begun != Begun::New })
    })
    .await
}

/// Why a state did not move.
fn unmoved(books: &Books, from: State) -> Error {
    if books.state != from {
        return Error::WrongState(books.state);
    }
    let held = books.held().max(books.incoming());
    Error::NotEmpty {
        balance: Money::new(books.balance().unwrap_or_default(), books.currency),
        held: Money::new(held, books.currency),
    }
}
