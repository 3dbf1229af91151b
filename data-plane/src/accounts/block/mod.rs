//! Blocks: an amount of a customer's account that an authority has ordered to set aside.
//!
//! **Promise.** An authority's block is a hold without expiry of what is available, at most of what was ordered. The order
//! is written first, under the id of the hold that is then asked of the ledger, together with work that asks once more if
//! the request breaks off in between ([`work`]); a repeated request gets the same answer. Nothing but its release ends it, under an id derived from it, after the record of who asked
//! and why, carried out in the same way: the ledger refuses other captures and voids of that hold.
//!
//! **Cost.** Two transactions per order or release, the second one the ledger's; one per list.

pub mod http;
pub mod work;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use ledger::{
    Ledger,
    account::State,
    books, movements,
    outcome::{Detail, Outcome, Reason as Refusal},
    transfer::{Posted, Transfer, derived_id},
};
use platform::{
    ctx::{Ctx, Scope},
    db::{self, Db},
    idempotency::{Done, Key, Outcome as Begun, begin_in_tx},
};
use tenants::{
    id::{AccountId, TransferId},
    money::{Currency, Money},
};

use super::{Error, Order, Owner, Reason, get_in_tx, store::Accounts};

/// An order, and what became of it.
#[derive(Debug, Clone)]
pub struct Ordered {
    /// The id of its hold.
    pub hold: TransferId,
    /// What was ordered.
    pub order: Order,
    /// Of the account and all amounts.
    pub currency: Currency,
    /// When the order was recorded.
    pub ordered_at: DateTime<Utc>,
    /// How much was blocked, minor units, and when; `None` if nothing was.
    pub blocked: Option<(i64, DateTime<Utc>)>,
    /// When the block was released, and why.
    pub released: Option<(DateTime<Utc>, Option<Reason>)>,
}

/// Reads at most `limit` orders to block amounts of an account, oldest first, after the one with this hold.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn list(
    db: &Db,
    scope: Scope,
    id: AccountId,
    after: Option<TransferId>,
    limit: u64,
) -> Result<Vec<Ordered>, Error> {
    let tx = db.begin_read(scope).await?;
    let account = get_in_tx(&tx, scope, id).await?.ok_or(Error::NotFound)?;
    let accounts = Accounts::new(&tx, scope);
    let orders = accounts.orders(id, after, limit).await?;
    let ids: Vec<TransferId> = orders.iter().map(|(hold, ..)| *hold).collect();
    let mut reasons: HashMap<_, _> = accounts.release_reasons(&ids).await?.into_iter().collect();
    let holds: HashMap<_, _> =
        books::holds(&tx, scope, &ids).await?.into_iter().map(|found| (found.0.id, found)).collect();
    tx.commit().await?;
    let listed = orders.into_iter().map(|(hold, order, ordered_at)| {
        let found = holds.get(&hold);
        let ended_at = found.and_then(|(_, ended_at)| *ended_at);
        Ordered {
            hold,
            order,
            currency: account.books.currency,
            ordered_at,
            blocked: found.map(|(placed, _)| (placed.amount, placed.placed_at)),
            released: ended_at.map(|at| (at, reasons.remove(&hold))),
        }
    });
    Ok(listed.collect())
}

/// Blocks what is available of a customer's account, at most what was ordered, once per key.
///
/// # Errors
/// [`Error::Invalid`], [`Error::NotFound`], [`Error::NotACustomers`], [`Error::NoBeneficiary`], [`Error::OtherCurrency`],
/// [`Error::NothingToBlock`], [`Error::WrongState`], [`Error::Refused`]; the key's, the ledger's and the database's.
pub async fn block(
    db: &Db,
    ledger: &Ledger,
    ctx: &Ctx,
    key: &Key,
    id: AccountId,
    currency: Currency,
    order: &Order,
) -> Result<Done<Posted>, Error> {
    order.check().map_err(Error::Invalid)?;
    let fresh: TransferId = ctx.new_id();
    let hold = db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let accounts = Accounts::new(&tx, ctx.scope);
        let begun = begin_in_tx(&tx, ctx, key, fresh.uuid()).await?;
        let account = get_in_tx(&tx, ctx.scope, id).await?.ok_or(Error::NotFound)?;
        let hold = match begun {
            Begun::Replay(hold) => TransferId::from_uuid(hold),
            Begun::New => {
                if account.books.currency != currency {
                    return Err(Error::OtherCurrency(account.books.currency, "/amount/currency"));
                }
                if matches!(account.record.owner, Owner::Internal(_)) {
                    return Err(Error::NotACustomers);
                }
                let beneficiary = accounts.get(order.beneficiary).await?;
                if !beneficiary.is_some_and(|found| matches!(found.owner, Owner::Internal(_))) {
                    return Err(Error::NoBeneficiary);
                }
                accounts.ordered(ctx, fresh, id, order).await?;
                work::follow_up_in_tx(&tx, ctx, work::BLOCK, fresh).await?;
                fresh
            }
        };
        tx.commit().await?;
        Ok::<_, Error>(hold)
    })
    .await?;
    let transfer = Transfer { key: Some(key.text().into()), ..hold_of(hold, id, currency, order) };
    match ledger.post_one(ctx, transfer).await? {
        Outcome::Posted(row) => Ok(Done { what: (*row).clone(), replayed: hold != fresh }),
        Outcome::Replayed(row) => Ok(Done { what: (*row).clone(), replayed: true }),
        Outcome::Rejected(refused) => Err(match (refused.reason, refused.detail) {
            (Refusal::InsufficientFunds, Detail::Available(available)) => {
                Error::NothingToBlock(Money::new(available, currency))
            }
            (Refusal::DebitAccountFrozen, _) => Error::WrongState(State::DebitsFrozen),
            (Refusal::DebitAccountClosed, _) => Error::WrongState(State::Closed),
            (Refusal::CreditAccountClosed | Refusal::CreditAccountFrozen, _) => Error::NoBeneficiary,
            (reason, _) => Error::Refused(reason),
        }),
    }
}

/// Releases a block, once per key.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`], [`Error::BlockEnded`], [`Error::Refused`]; the key's, the ledger's and the
/// database's.
pub async fn release(
    db: &Db,
    ledger: &Ledger,
    ctx: &Ctx,
    key: &Key,
    id: AccountId,
    hold: TransferId,
    reason: &Reason,
) -> Result<Done<Posted>, Error> {
    reason.check().map_err(Error::Invalid)?;
    let (begun, block) = db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let accounts = Accounts::new(&tx, ctx.scope);
        let begun = begin_in_tx(&tx, ctx, key, hold.uuid()).await?;
        let order = accounts.order(hold).await?.filter(|(of, _)| *of == id);
        let (_, order) = order.ok_or(Error::NotFound)?;
        let account = get_in_tx(&tx, ctx.scope, id).await?.ok_or(Error::NotFound)?;
        if begun == Begun::New {
            accounts.releasing(ctx, hold, reason).await?;
            work::follow_up_in_tx(&tx, ctx, work::RELEASE, hold).await?;
        }
        tx.commit().await?;
        Ok::<_, Error>((begun, hold_of(hold, id, account.books.currency, &order)))
    })
    .await?;
    // An order whose request broke off may not have got its hold yet; with the release on record it must not get it later.
    ledger.post_one(ctx, block).await?;
    let replayed = begun != Begun::New;
    let transfer = Transfer { key: Some(key.text().into()), ..release_of(hold) };
    match ledger.post_one(ctx, transfer).await? {
        Outcome::Posted(row) => Ok(Done { what: (*row).clone(), replayed }),
        Outcome::Replayed(row) if replayed => Ok(Done { what: (*row).clone(), replayed }),
        Outcome::Replayed(_) => Err(Error::BlockEnded),
        Outcome::Rejected(refused) => Err(match refused.reason {
            Refusal::HoldAlreadyVoided => Error::BlockEnded,
            reason => Error::Refused(reason),
        }),
    }
}

/// What is asked of the ledger for an order.
fn hold_of(hold: TransferId, id: AccountId, currency: Currency, order: &Order) -> Transfer {
    let money = Money::new(order.amount, currency);
    let movement = movements::Block { id: hold, debit: id, credit: order.beneficiary, money };
    Transfer { reference: Some(format!("{} {}", order.authority, order.reference).into()), ..movement.into() }
}

/// What is asked of the ledger for a release.
fn release_of(hold: TransferId) -> Transfer {
    movements::Release { id: derived_id(hold.uuid(), "release"), hold }.into()
}
