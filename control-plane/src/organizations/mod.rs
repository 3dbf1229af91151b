//! Organizations: the legal persons that pay.
//!
//! **Promise.** An `external_id` is used once. Operators make organizations and see all of them; an organization sees
//! itself. Their rows lie in [`PLATFORM`], because their ids are what scopes are made of: everything else of an
//! organization lies in the scope of its id.

pub mod http;
mod store;

use chrono::{DateTime, Utc};
use platform::{
    ctx::{Ctx, Scope},
    db::{self, Db},
    idempotency::{Done, Key, Outcome, begin_in_tx},
    problem::Problem,
};
use sea_orm::DbErr;
use tenants::{id::OrganizationId, jurisdiction::Country};

pub use http::ORGANIZATION_NOT_FOUND;
pub use store::{Filter, MIGRATION};

use crate::{PLATFORM, caller, names};

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// The caller's own id.
    pub external_id: Option<String>,
    /// As registered.
    pub name: String,
    /// Where it is registered.
    pub country: Country,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// What a caller says of an organization, unchecked.
#[derive(Debug, Clone)]
pub struct New {
    /// The caller's own id.
    pub external_id: Option<String>,
    /// As registered.
    pub name: String,
    /// Where it is registered.
    pub country: Country,
}

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that is empty, too long, or has control characters.
    #[error("{field} is not acceptable")]
    Text {
        /// JSON pointer.
        field: &'static str,
        /// The most characters.
        limit: usize,
    },
    /// Another organization has this `external_id`.
    #[error("another organization has this external_id")]
    ExternalIdTaken,
    /// No organization that this caller may know of has this id.
    #[error("there is no such organization")]
    NotFound,
    /// An operator has to say which organization is meant.
    #[error("which organization is not said")]
    Unnamed,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The idempotency key's.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Where the rows of an organization lie.
#[must_use]
pub const fn scope(organization: OrganizationId) -> Scope {
    Scope::new(PLATFORM.shard, organization.uuid())
}

/// Makes an organization, once per key. A dry run makes none.
///
/// # Errors
/// [`Error::Text`], [`Error::ExternalIdTaken`]; the key's and the database's.
pub async fn create(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    new: &New,
    dry_run: bool,
) -> Result<Done<Organization>, Error> {
    if !names::is_name(&new.name) {
        return Err(Error::Text { field: "/name", limit: names::LONGEST_NAME });
    }
    if !new.external_id.as_deref().is_none_or(names::is_external_id) {
        return Err(Error::Text { field: "/external_id", limit: names::LONGEST_EXTERNAL_ID });
    }
    let now = ctx.now();
    let organization = Organization {
        id: ctx.new_id(),
        external_id: new.external_id.clone(),
        name: new.name.clone(),
        country: new.country,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        let done = match begin_in_tx(&tx, ctx, key, organization.id.uuid()).await? {
            Outcome::Replay(id) => {
                let first = store::get(&tx, OrganizationId::from_uuid(id)).await?;
                Done { what: first.ok_or(Error::NotFound)?, replayed: true }
            }
            Outcome::New => {
                store::insert(&tx, &organization).await.map_err(taken)?;
                Done { what: organization.clone(), replayed: false }
            }
        };
        tx.end(dry_run).await?;
        Ok(done)
    })
    .await
}

/// The only unique key that a fresh id can meet is that of `external_id`.
fn taken(error: DbErr) -> Error {
    if db::is_unique_violation(&error) { Error::ExternalIdTaken } else { error.into() }
}

/// The organization of this id, if the caller may know of it.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn get(db: &Db, ctx: &Ctx, id: OrganizationId) -> Result<Organization, Error> {
    if !caller::is_operator(ctx) && ctx.scope != scope(id) {
        return Err(Error::NotFound);
    }
    let tx = db.begin_read(PLATFORM).await?;
    let organization = store::get(&tx, id).await?;
    tx.commit().await?;
    organization.ok_or(Error::NotFound)
}

/// At most `limit` organizations that satisfy `filter`, in the order of their ids.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, filter: &Filter, limit: u64) -> Result<Vec<Organization>, Error> {
    let tx = db.begin_read(PLATFORM).await?;
    let organizations = store::list(&tx, filter, limit).await?;
    tx.commit().await?;
    Ok(organizations)
}

/// The caller's context in the organization that is meant: an organization's client is in its own, whatever it says; an
/// operator names one.
///
/// # Errors
/// [`Error::NotFound`] for another's or one that is not there, [`Error::Unnamed`]; the database's.
pub async fn resolve(db: &Db, ctx: &Ctx, named: Option<OrganizationId>) -> Result<Ctx, Error> {
    let meant = match (caller::is_operator(ctx), named) {
        (true, None) => return Err(Error::Unnamed),
        (true, Some(id)) => get(db, ctx, id).await?.id,
        (false, Some(id)) if scope(id) != ctx.scope => return Err(Error::NotFound),
        (false, _) => return Ok(ctx.clone()),
    };
    Ok(Ctx { scope: scope(meant), ..ctx.clone() })
}

/// The caller's context where something is: an organization's client stays in its own, an operator goes to the
/// organization that has it, as `whose` finds it. `None` if nobody has.
///
/// # Errors
/// Those of `whose`.
pub async fn acting(
    ctx: &Ctx,
    whose: impl Future<Output = Result<Option<OrganizationId>, DbErr>>,
) -> Result<Option<Ctx>, DbErr> {
    if !caller::is_operator(ctx) {
        return Ok(Some(ctx.clone()));
    }
    Ok(whose.await?.map(|organization| Ctx { scope: scope(organization), ..ctx.clone() }))
}
