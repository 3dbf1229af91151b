//! Payments between customers' accounts of one environment: shown first, then committed, then carried out.
//!
//! **Promise.** Nobody pays what was not shown: a payment begins as a [`Preview`] of amount, fee, payee and balance, which
//! is used once, by whom it was shown to, before it expires. A committed payment is settled, rejected or expired in the
//! end, exactly once, whatever dies in between; until then its amount is at most set aside. The final statuses stay.
//!
//! ```text
//! created ──(ledger holds)──▶ authorised ──(ledger captures)──▶ settled
//!    │                            │
//!    └──────────┬─────────────────┤
//!               ▼                 ▼
//!    rejected (the ledger refuses; what was held is released)   expired (the hold's time is over)
//! ```
//!
//! **How.** The commit writes the payment's row and an item of work in one transaction. The work ([`work`]) asks the
//! ledger under ids derived from the payment's and moves the row by compare-and-set. The ledger alone decides; the hold
//! ends when the payment does, so that nothing stays set aside.
//!
//! **Cost.** One transaction for the preview, one for the commit; then two of the ledger's and two of the row's.

pub mod export;
pub mod http;
mod model;
mod store;
pub mod system;
pub mod work;

use ledger::{books, outcome::Rejection};
use platform::{
    ctx::{Actor, Ctx, Scope},
    db::{self, Db, Tx},
    idempotency::{Done, Key, Outcome as Begun, begin_in_tx},
    keys::{DataKey, Keys},
    problem::Problem,
    work::{New, enqueue_in_tx},
};
use sea_orm::DbErr;
use tenants::{
    id::{AccountId, PartyId, PaymentId, PreviewId},
    money::Currency,
};

use crate::{
    accounts::{self, Owner},
    parties,
};

pub use self::{
    model::{Order, PAYMENT_LASTS, PREVIEW_LASTS, Payment, Preview, Refusal, Settlement, Status},
    store::{Filter, MIGRATION},
};
use store::Payments;

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger would refuse.
    #[error("the ledger would refuse: {0:?}")]
    Refused(Rejection, Currency),
    /// An account is the institution's own; which, as a JSON pointer.
    #[error("an account is not a customer's")]
    Internal(&'static str),
    /// Nothing of this id in this environment, or it was shown to somebody else.
    #[error("there is no such preview or payment")]
    NotFound,
    /// The preview's time is over.
    #[error("the preview has expired")]
    Expired,
    /// The preview has become this payment.
    #[error("the preview was used for {0}")]
    Used(PaymentId),
    /// Another payment has this `external_id`.
    #[error("another payment has this external_id")]
    ExternalIdTaken,
    /// The parties slice's: the payee's name cannot be read.
    #[error(transparent)]
    Party(#[from] parties::Error),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The idempotency key's.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// A preview, and the payee as the payer may see him.
pub struct Shown {
    /// The preview.
    pub preview: Preview,
    /// The payee's name; of a natural person the first letters. Personal: not for logs.
    pub payee: String,
}

/// Whose account it is; `field` names it in errors.
async fn holder(tx: &Tx, scope: Scope, id: AccountId, field: &'static str) -> Result<Option<PartyId>, Error> {
    match accounts::get_in_tx(tx, scope, id).await?.map(|account| account.record.owner) {
        None => Ok(None),
        Some(Owner::Customer(party)) => Ok(Some(party)),
        Some(Owner::Internal(_)) => Err(Error::Internal(field)),
    }
}

async fn shown(tx: &Tx, key: &DataKey, scope: Scope, preview: Preview) -> Result<Shown, Error> {
    let payee = match holder(tx, scope, preview.order.credit, "/credit_account_id").await? {
        Some(party) => parties::get_in_tx(tx, key, scope, party).await?,
        None => None,
    };
    let payee = payee.ok_or(Error::NotFound)?.particulars.name.masked();
    Ok(Shown { preview, payee })
}

/// Shows what a payment would be, once per key. Nothing is set aside.
///
/// # Errors
/// [`Error::Refused`] with the reason that the ledger would give, [`Error::Internal`]; the key's and the database's.
pub async fn preview(
    db: &Db,
    keys: &Keys,
    ctx: &Ctx,
    key: &Key,
    order: &Order,
) -> Result<Done<Shown>, Error> {
    let fresh: PreviewId = ctx.new_id();
    let opening = keys.of(ctx.scope).await.map_err(parties::Error::from)?;
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let payments = Payments::new(&tx, ctx.scope);
        let begun = begin_in_tx(&tx, ctx, key, fresh.uuid()).await?;
        let preview = match begun {
            Begun::Replay(id) => payments.preview(PreviewId::from_uuid(id)).await?.ok_or(Error::NotFound)?,
            Begun::New => {
                holder(&tx, ctx.scope, order.debit, "/debit_account_id").await?;
                holder(&tx, ctx.scope, order.credit, "/credit_account_id").await?;
                let debit = books::account(&tx, ctx.scope, order.debit).await?;
                let credit = books::account(&tx, ctx.scope, order.credit).await?;
                let available = model::foresee(order, debit.as_ref(), credit.as_ref())
                    .map_err(|rejection| Error::Refused(rejection, order.money.currency))?;
                let created_at = ctx.now();
                let preview = Preview {
                    id: fresh,
                    order: order.clone(),
                    available,
                    actor: ctx.actor.to_string(),
                    created_at,
                    expires_at: created_at.checked_add_signed(PREVIEW_LASTS).unwrap_or(created_at),
                    payment: None,
                };
                payments.insert_preview(&preview).await?;
                preview
            }
        };
        let what = shown(&tx, &opening, ctx.scope, preview).await?;
        tx.commit().await?;
        Ok(Done { what, replayed: begun != Begun::New })
    })
    .await
}

/// Reads a preview that was shown to the caller.
///
/// # Errors
/// [`Error::NotFound`]; the database's.
pub async fn get_preview(db: &Db, keys: &Keys, ctx: &Ctx, id: PreviewId) -> Result<Shown, Error> {
    let opening = keys.of(ctx.scope).await.map_err(parties::Error::from)?;
    let tx = db.begin_read(ctx.scope).await?;
    let preview = Payments::new(&tx, ctx.scope).preview(id).await?;
    let preview = preview.filter(|found| found.actor == ctx.actor.to_string()).ok_or(Error::NotFound)?;
    let shown = shown(&tx, &opening, ctx.scope, preview).await?;
    tx.commit().await?;
    Ok(shown)
}

/// Commits a preview, once per key: writes the payment and the work that carries it on. Wake the runner afterwards.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Used`], [`Error::Expired`], [`Error::ExternalIdTaken`]; the key's and the database's.
pub async fn commit(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    preview: PreviewId,
    external_id: Option<&str>,
) -> Result<Done<Payment>, Error> {
    let fresh: PaymentId = ctx.new_id();
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let payments = Payments::new(&tx, ctx.scope);
        let begun = begin_in_tx(&tx, ctx, key, fresh.uuid()).await?;
        let what = match begun {
            Begun::Replay(id) => payments.get(PaymentId::from_uuid(id)).await?.ok_or(Error::NotFound)?,
            Begun::New => {
                let shown = payments.preview(preview).await?;
                let shown = shown.filter(|it| it.actor == ctx.actor.to_string()).ok_or(Error::NotFound)?;
                if let Some(payment) = shown.payment {
                    return Err(Error::Used(payment));
                }
                let now = ctx.now();
                if now >= shown.expires_at {
                    return Err(Error::Expired);
                }
                if !payments.use_preview(preview, fresh).await? {
                    // Somebody else was quicker, and has committed by now.
                    let used = payments.preview(preview).await?.and_then(|it| it.payment);
                    return Err(used.map_or(Error::NotFound, Error::Used));
                }
                let payment = Payment {
                    id: fresh,
                    preview,
                    external_id: external_id.map(str::to_owned),
                    order: shown.order,
                    status: Status::Created,
                    refusal: None,
                    settlement: None,
                    client: match ctx.actor {
                        Actor::Client(client) => Some(client),
                        Actor::System(_) => None,
                    },
                    request_id: ctx.request_id.to_string(),
                    key: key.text().to_owned(),
                    created_at: now,
                    expires_at: now.checked_add_signed(PAYMENT_LASTS).unwrap_or(now),
                    authorised_at: None,
                    ended_at: None,
                };
                // The preview is ours alone, so the only unique key that this can meet is that of `external_id`.
                payments.insert(&payment).await.map_err(taken)?;
                let item = New {
                    scope: ctx.scope,
                    kind: work::KIND,
                    key: &fresh.to_string(),
                    payload: serde_json::Value::Null,
                    run_at: now,
                    wall: ctx.wall(),
                };
                enqueue_in_tx(&tx, item).await?;
                payment
            }
        };
        tx.commit().await?;
        Ok(Done { what, replayed: begun != Begun::New })
    })
    .await
}

fn taken(error: DbErr) -> Error {
    if db::is_unique_violation(&error) { Error::ExternalIdTaken } else { error.into() }
}

/// Reads a payment.
///
/// # Errors
/// [`Error::NotFound`]; the database's.
pub async fn get(db: &Db, scope: Scope, id: PaymentId) -> Result<Payment, Error> {
    let tx = db.begin_read(scope).await?;
    let payment = Payments::new(&tx, scope).get(id).await?;
    tx.commit().await?;
    payment.ok_or(Error::NotFound)
}

/// Whether a payment of an environment is under way.
///
/// # Errors
/// The database's.
pub async fn any_open(db: &Db, scope: Scope) -> Result<bool, DbErr> {
    let tx = db.begin_read(scope).await?;
    let open = Payments::new(&tx, scope).any_open().await?;
    tx.commit().await?;
    Ok(open)
}

/// Reads at most `limit` payments that satisfy `filter`, oldest first.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, scope: Scope, filter: &Filter, limit: u64) -> Result<Vec<Payment>, Error> {
    let tx = db.begin_read(scope).await?;
    let payments = Payments::new(&tx, scope).list(filter, limit).await?;
    tx.commit().await?;
    Ok(payments)
}
