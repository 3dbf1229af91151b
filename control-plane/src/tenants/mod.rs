//! Tenants: the licences of an organization, one jurisdiction each.
//!
//! **Promise.** A tenant's state is moved by [`move_in_tx`] and nothing else: by compare-and-set along the table of
//! [`State`], and with each move the actor and the reason are kept for ever. Of two moves at once one happens. An
//! `external_id` is used once per organization. An operator may act in any organization's tenant; the rows are those of
//! the organization all the same.
//!
//! What is on record about where a tenant's data may lie is in [`residency`].

pub mod http;
mod model;
pub mod residency;
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
    id::{OrganizationId, TenantId},
    tenant::State,
};

pub use self::{
    http::TENANT_NOT_FOUND,
    model::{Change, Fault, New, Reason, Step, Tenant, name_told},
    store::{Filter, MIGRATION, Moved},
};
use crate::{caller, organizations};
use store::Tenants;

/// The work that lets a tenant follow its environments; its key is the tenant. The slice that knows how registers a
/// handler.
pub const CONVERGE: &str = "tenant.converge";

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the caller says is not acceptable.
    #[error("what was said of the tenant is not acceptable")]
    Invalid(Fault),
    /// Another tenant of the organization has this `external_id`.
    #[error("another tenant has this external_id")]
    ExternalIdTaken,
    /// No tenant that this caller may know of has this id.
    #[error("there is no such tenant")]
    NotFound,
    /// The tenant has another version than the caller has seen.
    #[error("the tenant was changed meanwhile")]
    Changed,
    /// The state does not allow it.
    #[error("a tenant that is {from} does not become {to}")]
    State {
        /// Where the tenant is.
        from: State,
        /// Where it was to go.
        to: State,
    },
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

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault)
    }
}

/// The caller's context where this tenant is: an organization's client stays in its own, an operator goes where the
/// tenant is.
///
/// # Errors
/// [`Error::NotFound`] for an operator, if it is nowhere; the database's.
pub async fn acting(db: &Db, ctx: &Ctx, id: TenantId) -> Result<Ctx, Error> {
    organizations::acting(ctx, system::organization_of(db, id)).await?.ok_or(Error::NotFound)
}

/// Makes a tenant as a draft in the organization that `ctx` is in, once per key. A dry run makes none.
///
/// # Errors
/// [`Error::Invalid`], [`Error::ExternalIdTaken`]; the key's and the database's.
pub async fn create(db: &Db, ctx: &Ctx, key: &Key, new: &New, dry_run: bool) -> Result<Done<Tenant>, Error> {
    new.check()?;
    let now = ctx.now();
    let tenant = Tenant {
        id: ctx.new_id(),
        organization: OrganizationId::from_uuid(ctx.scope.id),
        external_id: new.external_id.clone(),
        name: new.name.clone(),
        jurisdiction: new.jurisdiction.clone(),
        licence: new.licence.clone(),
        state: State::Draft,
        reason: None,
        generation: 1,
        // It has no environment that could be behind.
        observed_generation: 1,
        conditions: Vec::new(),
        version: 1,
        created_at: now,
        updated_at: now,
    };
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let tenants = Tenants::new(&tx, ctx.scope);
        let done = match begin_in_tx(&tx, ctx, key, tenant.id.uuid()).await? {
            Outcome::Replay(id) => {
                let first = tenants.get(TenantId::from_uuid(id)).await?;
                Done { what: first.ok_or(Error::NotFound)?, replayed: true }
            }
            Outcome::New => {
                // The only unique key that a fresh id can meet is that of `external_id`.
                tenants.insert(&tenant).await.map_err(|error| {
                    if db::is_unique_violation(&error) { Error::ExternalIdTaken } else { error.into() }
                })?;
                Done { what: tenant.clone(), replayed: false }
            }
        };
        tx.end(dry_run).await?;
        Ok(done)
    })
    .await
}

/// Changes a tenant, once per key, if it still has a version that the caller has seen; what it was and what it is. Its
/// environments hear of another name. A change that changes nothing keeps the version, and a dry run keeps everything.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Changed`], [`Error::Invalid`]; the key's and the database's.
pub async fn update(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    id: TenantId,
    seen: impl Fn(i64) -> bool,
    change: &Change,
    dry_run: bool,
) -> Result<Done<(Tenant, Tenant)>, Error> {
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let tenants = Tenants::new(&tx, ctx.scope);
        let begun = begin_in_tx(&tx, ctx, key, id.uuid()).await?;
        let before = tenants.get(id).await?.ok_or(Error::NotFound)?;
        if let Outcome::Replay(_) = begun {
            return Ok(Done { what: (before.clone(), before), replayed: true });
        }
        if !seen(before.version) {
            return Err(Error::Changed);
        }
        let after = before.with(change, ctx.now())?;
        if after != before {
            tenants.update(&before, &after).await?;
            converge_in_tx(&tx, ctx, id).await?;
        }
        tx.end(dry_run).await?;
        Ok(Done { what: (before, after), replayed: false })
    })
    .await
}

/// Moves a tenant's state, for this reason, in the caller's transaction.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::State`] if the state does not lead there; [`DbErr::RecordNotUpdated`] if somebody changed
/// the tenant meanwhile; the database's.
pub async fn move_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    id: TenantId,
    to: State,
    reason: &Reason,
) -> Result<Tenant, Error> {
    let tenants = Tenants::new(tx, ctx.scope);
    let before = tenants.get(id).await?.ok_or(Error::NotFound)?;
    if !before.state.may_become(to) {
        return Err(Error::State { from: before.state, to });
    }
    let after = Tenant {
        state: to,
        reason: Some(reason.clone()),
        version: before.version.saturating_add(1),
        generation: before.generation.saturating_add(1),
        updated_at: ctx.now(),
        ..before.clone()
    };
    tenants.update(&before, &after).await?;
    let moved = Moved {
        seq: after.version,
        from: before.state,
        to,
        actor: ctx.actor.to_string(),
        reason: reason.clone(),
        at: after.updated_at,
    };
    tenants.add_move(id, &moved).await?;
    Ok(after)
}

/// Lets the tenant follow its environments, in the caller's transaction.
///
/// # Errors
/// The database's.
pub async fn converge_in_tx(tx: &Tx, ctx: &Ctx, id: TenantId) -> Result<(), DbErr> {
    let (key, wall) = (id.to_string(), ctx.wall());
    let item =
        work::New { scope: ctx.scope, kind: CONVERGE, key: &key, payload: ().into(), run_at: wall, wall };
    work::enqueue_in_tx(tx, item).await
}

/// Writes what convergence has found or done, in the caller's transaction, if nobody changed the tenant meanwhile; else it
/// is to be looked at again. What is wanted is not convergence's to write.
///
/// # Errors
/// The database's.
pub async fn converged_in_tx(tx: &Tx, ctx: &Ctx, before: &Tenant, after: Tenant) -> Result<(), DbErr> {
    if after == *before {
        return Ok(());
    }
    let after = Tenant {
        observed_generation: after.observed_generation,
        conditions: after.conditions,
        version: before.version.saturating_add(1),
        updated_at: ctx.now(),
        ..before.clone()
    };
    Tenants::new(tx, ctx.scope).update(before, &after).await
}

/// Takes a tenant a step further in its life, once per key, if it has a version that the caller admits; what it was and
/// what it is. A dry run takes none.
///
/// # Errors
/// [`Error::Invalid`] for the reason; [`Error::Changed`]; as [`move_in_tx`]; the key's.
pub async fn step(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    id: TenantId,
    seen: impl Fn(i64) -> bool,
    (step, reason): (Step, &Reason),
    dry_run: bool,
) -> Result<Done<(Tenant, Tenant)>, Error> {
    reason.check()?;
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let tenants = Tenants::new(&tx, ctx.scope);
        let begun = begin_in_tx(&tx, ctx, key, id.uuid()).await?;
        let before = tenants.get(id).await?.ok_or(Error::NotFound)?;
        if let Outcome::Replay(_) = begun {
            return Ok(Done { what: (before.clone(), before), replayed: true });
        }
        if !seen(before.version) {
            return Err(Error::Changed);
        }
        let left = tenants.left_for(id, State::Suspended).await?;
        let to = step.target(before.state, left);
        if !step.may_leave(before.state) {
            return Err(Error::State { from: before.state, to });
        }
        let after = move_in_tx(&tx, ctx, id, to, reason).await?;
        converge_in_tx(&tx, ctx, id).await?;
        tx.end(dry_run).await?;
        Ok(Done { what: (before, after), replayed: false })
    })
    .await
}

/// The tenant of this id in the organization that `ctx` is in.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn get(db: &Db, ctx: &Ctx, id: TenantId) -> Result<Tenant, Error> {
    let tx = db.begin_read(ctx.scope).await?;
    let tenant = get_in_tx(&tx, ctx, id).await?;
    tx.commit().await?;
    tenant.ok_or(Error::NotFound)
}

/// The tenant of this id in the organization that `ctx` is in.
///
/// # Errors
/// The database's.
pub async fn get_in_tx(tx: &Tx, ctx: &Ctx, id: TenantId) -> Result<Option<Tenant>, DbErr> {
    Tenants::new(tx, ctx.scope).get(id).await
}

/// At most `limit` tenants that satisfy `filter`, in the order of their ids: those of the organization `of`, or for an
/// operator who names none, all.
///
/// # Errors
/// The organization's, and the database's.
pub async fn list(
    db: &Db,
    ctx: &Ctx,
    of: Option<OrganizationId>,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Tenant>, Error> {
    if caller::is_operator(ctx) && of.is_none() {
        return Ok(system::list(db, filter, limit).await?);
    }
    let ctx = organizations::resolve(db, ctx, of).await?;
    let tx = db.begin_read(ctx.scope).await?;
    let tenants = Tenants::new(&tx, ctx.scope).list(filter, limit).await?;
    tx.commit().await?;
    Ok(tenants)
}

/// At most `limit` moves of a tenant behind the one of number `after`, oldest first.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn moves(db: &Db, ctx: &Ctx, id: TenantId, after: i64, limit: u64) -> Result<Vec<Moved>, Error> {
    let tx = db.begin_read(ctx.scope).await?;
    let tenants = Tenants::new(&tx, ctx.scope);
    tenants.get(id).await?.ok_or(Error::NotFound)?;
    let moves = tenants.list_moves(id, after, limit).await?;
    tx.commit().await?;
    Ok(moves)
}
