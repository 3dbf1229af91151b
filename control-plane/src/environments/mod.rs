//! Environments: a tenant's sandbox and its live world, as they are wanted.
//!
//! **Promise.** A region is named, never assumed, and an environment is declared only where its data may lie. A tenant
//! has one environment of each mode. Whoever changes what is wanted raises the `generation` and gets an operation to
//! watch; while one runs, another is refused by name, except that a removal ends whatever runs. Nothing here calls a
//! cell: work of the kind [`CONVERGE`] is enqueued in the transaction of every change, and the slice above carries it
//! out.

pub mod http;
mod model;
mod store;
mod system;

use platform::{
    ctx::Ctx,
    db::{self, Db, Tx},
    idempotency::{Done, Key, Outcome, begin_in_tx},
    problem::Problem,
    work,
};
use sea_orm::DbErr;
use tenants::{
    environment::{Condition, Desired, EnvironmentState, observe},
    id::{EnvironmentId, OperationId, OrganizationId, TenantId},
    tenant,
};

pub use self::{
    http::{ENVIRONMENT_NOT_FOUND, ENVIRONMENT_STATE, TENANT_RESTRICTED},
    model::{Ask, Change, ClockFault, Environment, New},
    store::{Filter, MIGRATION},
};
use crate::{
    caller,
    operations::{self, Kind, Operation},
    organizations,
    tenants::{self as slice, residency},
};
use store::Environments;

/// The work that makes an environment what is wanted; its key is the environment. The slice that knows how registers a
/// handler.
pub const CONVERGE: &str = "environment.converge";

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No environment that this caller may know of has this id.
    #[error("there is no such environment")]
    NotFound,
    /// The tenant has an environment of this mode.
    #[error("the tenant has an environment of this mode")]
    Exists,
    /// The tenant is not approved, or no longer.
    #[error("a tenant that is {0} has no new environments")]
    NotApproved(tenant::State),
    /// The environment's state does not allow it.
    #[error("an environment that is {0} cannot do this")]
    State(EnvironmentState),
    /// The tenant is restricted, and gets nothing new.
    #[error("the tenant is restricted")]
    TenantRestricted,
    /// Its tenant is suspended.
    #[error("the tenant is suspended")]
    TenantSuspended,
    /// The jurisdiction's profile has no such version; it has this one.
    #[error("the profile has the version {0}")]
    ProfileVersion(String),
    /// The clock cannot be ahead by so much.
    #[error("the clock cannot be ahead by so much: {0:?}")]
    Clock(ClockFault),
    /// The environment has another version than the caller has seen.
    #[error("the environment was changed meanwhile")]
    Changed,
    /// What would change, of a dry run: nothing was changed.
    #[error("a dry run")]
    Planned(Box<(Option<Environment>, Environment)>),
    /// The operation's.
    #[error(transparent)]
    Operation(#[from] operations::Error),
    /// The tenant's.
    #[error(transparent)]
    Tenant(#[from] slice::Error),
    /// Where the data may lie.
    #[error(transparent)]
    Residency(#[from] residency::Error),
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

/// Lets the environment converge, in the caller's transaction.
///
/// # Errors
/// The database's.
pub async fn converge_in_tx(tx: &Tx, ctx: &Ctx, id: EnvironmentId) -> Result<(), DbErr> {
    let (key, wall) = (id.to_string(), ctx.wall());
    let item =
        work::New { scope: ctx.scope, kind: CONVERGE, key: &key, payload: ().into(), run_at: wall, wall };
    work::enqueue_in_tx(tx, item).await
}

/// The caller's context where this environment is: an organization's client stays in its own, an operator goes where the
/// environment is.
///
/// # Errors
/// [`Error::NotFound`] for an operator, if it is nowhere; the database's.
pub async fn acting(db: &Db, ctx: &Ctx, id: EnvironmentId) -> Result<Ctx, Error> {
    organizations::acting(ctx, system::organization_of(db, id)).await?.ok_or(Error::NotFound)
}

/// Declares an environment of a tenant, once per key, and begins the operation that makes it.
///
/// # Errors
/// Conditions of the region that are missing; [`Error::NotApproved`], [`Error::TenantRestricted`], [`Error::Exists`],
/// [`Error::ProfileVersion`], [`Error::Clock`]; [`Error::Planned`] for a dry run; unknown tenants and regions; the key's
/// and the database's.
pub async fn create(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    of: TenantId,
    new: &New,
    dry_run: bool,
) -> Result<Done<Operation>, Error> {
    let verdict = residency::check(db, ctx, of, &new.region, new.mode).await?;
    let jurisdiction = verdict.jurisdiction.clone();
    verdict.require()?;
    let known = tenants::profile::profile(&jurisdiction).map(|profile| profile.version.clone());
    let known = known.unwrap_or_default();
    let profile_version = match &new.profile_version {
        Some(version) if *version != known => return Err(Error::ProfileVersion(known)),
        _ => known,
    };
    let clock_offset_ms = new.clock_offset_ms.unwrap_or(0);
    model::check_clock(new.mode, 0, clock_offset_ms).map_err(Error::Clock)?;
    let (id, now) = (ctx.new_id::<EnvironmentId>(), ctx.now());
    let environment = Environment {
        id,
        organization: OrganizationId::from_uuid(ctx.scope.id),
        tenant: of,
        mode: new.mode,
        jurisdiction,
        region: new.region.clone(),
        profile_version,
        clock_offset_ms,
        desired: Desired::Present,
        state: EnvironmentState::Pending,
        cell: None,
        generation: 1,
        observed_generation: 0,
        conditions: Vec::new(),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    let first = ctx.new_id::<OperationId>();
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        if let Outcome::Replay(id) = begin_in_tx(&tx, ctx, key, first.uuid()).await? {
            let id = OperationId::from_uuid(id);
            let operation = operations::get_in_tx(&tx, ctx, id).await?.ok_or(Error::NotFound)?;
            return Ok(Done { what: operation, replayed: true });
        }
        let tenant = slice::get_in_tx(&tx, ctx, of).await?.ok_or(slice::Error::NotFound)?;
        match tenant.state {
            tenant::State::Restricted => return Err(Error::TenantRestricted),
            state if !state.may_have_environments() => return Err(Error::NotApproved(state)),
            _ => {}
        }
        if !Environments::new(&tx, ctx.scope).insert(&environment).await? {
            return Err(Error::Exists);
        }
        if dry_run {
            tx.rollback().await?;
            return Err(Error::Planned(Box::new((None, environment.clone()))));
        }
        let kind = Kind::EnvironmentProvision;
        let operation = operations::begin_in_tx(&tx, ctx, first, kind, &id.to_string(), 1).await?;
        converge_in_tx(&tx, ctx, id).await?;
        tx.commit().await?;
        Ok(Done { what: operation, replayed: false })
    })
    .await
}

/// Wants something else of an environment, once per key, and begins the operation that brings it about. A removal ends
/// the operation that runs; everything else is refused while one runs.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Changed`], [`Error::State`], [`Error::ProfileVersion`], [`Error::Clock`]; the operation
/// that runs; [`Error::Planned`] for a dry run; the key's and the database's.
pub async fn ask(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    id: EnvironmentId,
    seen: impl Fn(i64) -> bool,
    ask: &Ask,
    dry_run: bool,
) -> Result<Done<Operation>, Error> {
    let first = ctx.new_id::<OperationId>();
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let environments = Environments::new(&tx, ctx.scope);
        if let Outcome::Replay(id) = begin_in_tx(&tx, ctx, key, first.uuid()).await? {
            let id = OperationId::from_uuid(id);
            let operation = operations::get_in_tx(&tx, ctx, id).await?.ok_or(Error::NotFound)?;
            return Ok(Done { what: operation, replayed: true });
        }
        let before = environments.get(id).await?.ok_or(Error::NotFound)?;
        if !seen(before.version) {
            return Err(Error::Changed);
        }
        // Who removes twice is told which operation does it already; who else asks while one runs, too.
        let running = operations::open_in_tx(&tx, ctx, &id.to_string()).await?;
        match &running {
            Some(running) if *ask != Ask::Remove || running.kind == Kind::EnvironmentRemove => {
                return Err(operations::Error::Running(running.id).into());
            }
            _ => {}
        }
        if !ask.suits(before.state) {
            return Err(Error::State(before.state));
        }
        // Of a tenant that answers nobody no environment does.
        let tenant = slice::get_in_tx(&tx, ctx, before.tenant).await?.ok_or(slice::Error::NotFound)?;
        if *ask == Ask::Resume && tenant.state == tenant::State::Suspended {
            return Err(Error::TenantSuspended);
        }
        if let Ask::Change(Change { profile_version: Some(version), .. }) = ask {
            let known = tenants::profile::profile(&before.jurisdiction).map(|one| one.version.as_str());
            if known != Some(version) {
                return Err(Error::ProfileVersion(known.unwrap_or_default().to_owned()));
            }
        }
        if let Ask::Change(Change { clock_offset_ms: Some(offset_ms), .. }) = ask {
            model::check_clock(before.mode, before.clock_offset_ms, *offset_ms).map_err(Error::Clock)?;
        }
        let operation = carry_in_tx(&tx, ctx, first, &before, ask).await?;
        if dry_run {
            tx.rollback().await?;
            let after = before.with(ask, ctx.now());
            return Err(Error::Planned(Box::new((Some(before), after))));
        }
        tx.commit().await?;
        Ok(Done { what: operation, replayed: false })
    })
    .await
}

/// Wants something else of an environment in the caller's transaction, whatever operation runs.
///
/// # Errors
/// [`DbErr::RecordNotUpdated`] if it is not as `before` says any more; the database's.
pub async fn want_in_tx(tx: &Tx, ctx: &Ctx, before: &Environment, ask: &Ask) -> Result<(), DbErr> {
    let after = before.with(ask, ctx.now());
    if after == *before || Environments::new(tx, ctx.scope).update(before, &after).await? {
        Ok(())
    } else {
        Err(DbErr::RecordNotUpdated)
    }
}

/// Raises the generation of an environment in the caller's transaction, whatever else happens to it, because something
/// that its cell is told of it has changed in another slice; and lets it converge.
///
/// # Errors
/// The database's.
pub async fn raise_in_tx(tx: &Tx, ctx: &Ctx, id: EnvironmentId) -> Result<(), DbErr> {
    Environments::new(tx, ctx.scope).raise(id, ctx.now()).await?;
    converge_in_tx(tx, ctx, id).await
}

/// Begins, in the caller's transaction, an operation for an environment that its tenant's state asks for. `seen` says on
/// whose behalf. A suspension waits for nothing, and ends the operation that runs; anything else is left to the end of that
/// one, which looks at the tenant again.
///
/// # Errors
/// [`DbErr::RecordNotUpdated`] if it is not as `before` says any more; the operation's, and the database's.
pub async fn follow_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    before: &Environment,
    ask: &Ask,
    seen: Condition,
) -> Result<(), Error> {
    let subject = before.id.to_string();
    if !ask.suits(before.state) {
        return Ok(());
    }
    if let Some(running) = operations::open_in_tx(tx, ctx, &subject).await? {
        if *ask != Ask::Suspend {
            return Ok(());
        }
        let reason = operations::Reason { code: "tenant_suspended".to_owned(), detail: None };
        operations::end_in_tx(tx, ctx, running.id, operations::State::Cancelled, Some(&reason)).await?;
    }
    let mut after = before.with(ask, ctx.now());
    observe(&mut after.conditions, seen);
    if !Environments::new(tx, ctx.scope).update(before, &after).await? {
        return Err(DbErr::RecordNotUpdated.into());
    }
    let id = ctx.new_id::<OperationId>();
    operations::begin_in_tx(tx, ctx, id, ask.kind(), &subject, after.generation).await?;
    Ok(converge_in_tx(tx, ctx, before.id).await?)
}

/// Begins the removal of an environment in the caller's transaction, and ends the operation that runs.
///
/// # Errors
/// The operation's, and the database's.
pub async fn remove_in_tx(tx: &Tx, ctx: &Ctx, before: &Environment) -> Result<(), Error> {
    let first = ctx.new_id::<OperationId>();
    carry_in_tx(tx, ctx, first, before, &Ask::Remove).await?;
    Ok(())
}

/// Wants something else of an environment and begins the operation for it.
async fn carry_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    first: OperationId,
    before: &Environment,
    ask: &Ask,
) -> Result<Operation, Error> {
    want_in_tx(tx, ctx, before, ask).await?;
    let subject = before.id.to_string();
    if let Some(running) = operations::open_in_tx(tx, ctx, &subject).await? {
        let reason = operations::Reason { code: "removed".to_owned(), detail: None };
        let state = operations::State::Cancelled;
        operations::end_in_tx(tx, ctx, running.id, state, Some(&reason)).await?;
    }
    let generation = before.with(ask, ctx.now()).generation;
    let operation = operations::begin_in_tx(tx, ctx, first, ask.kind(), &subject, generation).await?;
    converge_in_tx(tx, ctx, before.id).await?;
    Ok(operation)
}

/// The environment of this id in the organization that `ctx` is in.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn get(db: &Db, ctx: &Ctx, id: EnvironmentId) -> Result<Environment, Error> {
    let tx = db.begin_read(ctx.scope).await?;
    let environment = get_in_tx(&tx, ctx, id).await?;
    tx.commit().await?;
    environment.ok_or(Error::NotFound)
}

/// The environment of this id in the organization that `ctx` is in.
///
/// # Errors
/// The database's.
pub async fn get_in_tx(tx: &Tx, ctx: &Ctx, id: EnvironmentId) -> Result<Option<Environment>, DbErr> {
    Environments::new(tx, ctx.scope).get(id).await
}

/// The environments of a tenant that are not gone.
///
/// # Errors
/// The database's.
pub async fn of_tenant_in_tx(tx: &Tx, ctx: &Ctx, tenant: TenantId) -> Result<Vec<Environment>, DbErr> {
    Environments::new(tx, ctx.scope).of_tenant(tenant).await
}

/// Writes what convergence has found or done, in the caller's transaction, if nobody changed the environment meanwhile;
/// whether that was so. What is wanted is not convergence's to write.
///
/// # Errors
/// The database's.
pub async fn converged_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    before: &Environment,
    after: Environment,
) -> Result<bool, DbErr> {
    if after == *before {
        return Ok(true);
    }
    let after = Environment {
        profile_version: before.profile_version.clone(),
        clock_offset_ms: before.clock_offset_ms,
        desired: before.desired,
        generation: before.generation,
        version: before.version.saturating_add(1),
        updated_at: ctx.now(),
        ..after
    };
    Environments::new(tx, ctx.scope).update(before, &after).await
}

/// Puts an environment that a cell has and this database has lost back into it, in the caller's transaction; whether its
/// tenant has none of its mode.
///
/// # Errors
/// The database's.
pub async fn recover_in_tx(tx: &Tx, ctx: &Ctx, environment: &Environment) -> Result<bool, DbErr> {
    Environments::new(tx, ctx.scope).insert(environment).await
}

/// Wants what is wanted in another generation, in the caller's transaction: the one after what the environment's cell
/// knows, which this database does not. A clock that was to be ahead by `clock_offset_ms` there stays ahead. Nothing, if
/// somebody changed the environment meanwhile.
///
/// # Errors
/// The database's.
pub async fn adopt_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    before: &Environment,
    generation: i64,
    clock_offset_ms: i64,
    seen: Condition,
) -> Result<bool, DbErr> {
    let mut after = Environment {
        generation,
        clock_offset_ms: before.clock_offset_ms.max(clock_offset_ms),
        version: before.version.saturating_add(1),
        updated_at: ctx.now(),
        ..before.clone()
    };
    observe(&mut after.conditions, seen);
    Environments::new(tx, ctx.scope).update(before, &after).await
}

/// At most `limit` environments that satisfy `filter`, in the order of their ids: those of the organization `of`, or for
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
) -> Result<Vec<Environment>, Error> {
    if caller::is_operator(ctx) && of.is_none() {
        return Ok(system::list(db, filter, limit).await?);
    }
    let ctx = organizations::resolve(db, ctx, of).await?;
    let tx = db.begin_read(ctx.scope).await?;
    let environments = Environments::new(&tx, ctx.scope).list(filter, limit).await?;
    tx.commit().await?;
    Ok(environments)
}
