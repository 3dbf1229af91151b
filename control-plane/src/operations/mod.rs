//! Operations: what takes a while, step by step, to be watched.
//!
//! **Promise.** Of each subject one operation is open at a time; who asks for another is told which one runs. Its steps
//! are kept for ever, in order. An operation ends once. Whoever watches its events sees every step, however often they
//! come back: events are read from the table, and nothing is told that is not in it.
//!
//! Slices above begin, step and end operations in their own transactions.

pub mod http;
mod model;
mod store;
mod system;

use chrono::{DateTime, Utc};
use platform::{
    ctx::Ctx,
    db::{self, Db, Tx},
    idempotency::{Done, Key, Outcome, begin_in_tx as begin_key_in_tx},
    problem::Problem,
    work,
};
use sea_orm::DbErr;
use tenants::id::{OperationId, OrganizationId};

pub use self::{
    http::{OPERATION_NOT_FOUND, OPERATION_RUNNING, Wire},
    model::{Kind, Operation, Progress, Reason, State, Step, StepState},
    store::{Filter, MIGRATION},
};
use crate::{caller, organizations};
use store::Operations;

/// The work that carries a cancellation out; its key is the operation. The slice that knows how registers a handler.
pub const CANCEL: &str = "operation.cancel";

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No operation that this caller may know of has this id.
    #[error("there is no such operation")]
    NotFound,
    /// Another operation about the same thing is open.
    #[error("the operation {0} is running")]
    Running(OperationId),
    /// The operation has ended, or is past the point to which it can be undone.
    #[error("the operation cannot be cancelled")]
    NotCancellable,
    /// The organization's.
    #[error(transparent)]
    Organization(#[from] organizations::Error),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The idempotency key's.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Begins the operation `id` about `subject`, which brings about this generation of it, in the caller's transaction.
///
/// # Errors
/// [`Error::Running`], and the database's.
pub async fn begin_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    id: OperationId,
    kind: Kind,
    subject: &str,
    generation: i64,
) -> Result<Operation, Error> {
    let operations = Operations::new(tx, ctx.scope);
    let operation = Operation {
        id,
        organization: OrganizationId::from_uuid(ctx.scope.id),
        kind,
        subject: subject.to_owned(),
        state: State::Queued,
        reason: None,
        actor: ctx.actor.to_string(),
        generation,
        progress: Progress { done: 0, of: kind.length() },
        cancellable: kind.may_be_cancelled(),
        cancel_asked_at: None,
        created_at: ctx.now(),
        ended_at: None,
    };
    if operations.insert(&operation).await? {
        return Ok(operation);
    }
    match operations.open(subject).await? {
        Some(running) => Err(Error::Running(running.id)),
        // It ended between the two statements: as good as a conflict.
        None => Err(DbErr::RecordNotInserted.into()),
    }
}

/// The operation about `subject` that has not ended.
///
/// # Errors
/// The database's.
pub async fn open_in_tx(tx: &Tx, ctx: &Ctx, subject: &str) -> Result<Option<Operation>, DbErr> {
    Operations::new(tx, ctx.scope).open(subject).await
}

/// The operation of this id in the organization that `ctx` is in.
///
/// # Errors
/// The database's.
pub async fn get_in_tx(tx: &Tx, ctx: &Ctx, id: OperationId) -> Result<Option<Operation>, DbErr> {
    Operations::new(tx, ctx.scope).get(id).await
}

/// Notes a step of an operation in the caller's transaction, and whether it may be cancelled from now on. The step that was
/// noted last is not noted again, so that a handler may repeat itself.
///
/// # Errors
/// The database's.
pub async fn step_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    of: &Operation,
    name: &str,
    state: StepState,
    detail: Option<&str>,
    cancellable: bool,
) -> Result<(), DbErr> {
    let (operations, done) = (Operations::new(tx, ctx.scope), of.kind.done_at(name, state));
    if !operations.run(of.id, cancellable, done).await? {
        return Ok(());
    }
    let last = operations.last_step(of.id).await?;
    if last
        .as_ref()
        .is_some_and(|last| last.name == name && last.state == state && last.detail.as_deref() == detail)
    {
        return Ok(());
    }
    let (seq, before) = last.map_or((1, 0), |last| (last.seq.saturating_add(1), last.done));
    let step = Step {
        seq,
        name: name.to_owned(),
        state,
        detail: detail.map(str::to_owned),
        done: done.max(before),
        at: ctx.now(),
    };
    operations.add_step(of.id, &step).await
}

/// Ends an operation in the caller's transaction; whether it was open.
///
/// # Errors
/// The database's.
pub async fn end_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    id: OperationId,
    state: State,
    reason: Option<&Reason>,
) -> Result<bool, DbErr> {
    Operations::new(tx, ctx.scope).end(id, state, reason, ctx.now()).await
}

/// The caller's context where this operation is: an organization's client stays in its own, an operator goes where the
/// operation is.
///
/// # Errors
/// [`Error::NotFound`] for an operator, if it is nowhere; the database's.
pub async fn acting(db: &Db, ctx: &Ctx, id: OperationId) -> Result<Ctx, Error> {
    organizations::acting(ctx, system::organization_of(db, id)).await?.ok_or(Error::NotFound)
}

/// An operation and its steps behind `after`, in the organization that `ctx` is in.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn get(db: &Db, ctx: &Ctx, id: OperationId, after: i64) -> Result<(Operation, Vec<Step>), Error> {
    let tx = db.begin_read(ctx.scope).await?;
    let operations = Operations::new(&tx, ctx.scope);
    // The operation first: one that has ended gets no more steps.
    let operation = operations.get(id).await?.ok_or(Error::NotFound)?;
    let steps = operations.list_steps(id, after).await?;
    tx.commit().await?;
    Ok((operation, steps))
}

/// At most `limit` operations that satisfy `filter`, in the order of their ids: those of the organization `of`, or for
/// an operator who names none, all.
///
/// # Errors
/// The organization's, and the database's.
pub async fn list(
    db: &Db,
    ctx: &Ctx,
    of: Option<OrganizationId>,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Operation>, Error> {
    if caller::is_operator(ctx) && of.is_none() {
        return Ok(system::list(db, filter, limit).await?);
    }
    let ctx = organizations::resolve(db, ctx, of).await?;
    let tx = db.begin_read(ctx.scope).await?;
    let operations = Operations::new(&tx, ctx.scope).list(filter, limit).await?;
    tx.commit().await?;
    Ok(operations)
}

/// Asks to cancel an operation, once per key: it ends as cancelled when what it had begun is undone.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NotCancellable`]; the key's and the database's.
pub async fn cancel(db: &Db, ctx: &Ctx, key: &Key, id: OperationId) -> Result<Done<Operation>, Error> {
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let operations = Operations::new(&tx, ctx.scope);
        let begun = begin_key_in_tx(&tx, ctx, key, id.uuid()).await?;
        let before = operations.get(id).await?.ok_or(Error::NotFound)?;
        if let Outcome::Replay(_) = begun {
            return Ok(Done { what: before, replayed: true });
        }
        let now: DateTime<Utc> = ctx.now();
        if !operations.ask_cancel(id, before.cancel_asked_at.unwrap_or(now)).await? {
            return Err(Error::NotCancellable);
        }
        let (key, wall) = (id.to_string(), ctx.wall());
        let item =
            work::New { scope: ctx.scope, kind: CANCEL, key: &key, payload: ().into(), run_at: wall, wall };
        work::enqueue_in_tx(&tx, item).await?;
        let after = operations.get(id).await?.ok_or(Error::NotFound)?;
        tx.commit().await?;
        Ok(Done { what: after, replayed: false })
    })
    .await
}
