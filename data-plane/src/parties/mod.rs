//! Parties: the natural and legal persons that a tenant serves.
//!
//! **Promise.** What says who somebody is lies sealed in the database and appears in no log, problem or debug output. It
//! is found by equality only: of identifiers, of electronic mail and telephone through keyed hashes, and of the caller's
//! own `external_id`, which is not personal and must not be made so. An `external_id` is used once per environment.
//!
//! **Imports.** A file of lines becomes parties line by line: a bad line is reported and stops no other. Each line's
//! `external_id` is its idempotency record, so the same file twice imports nothing the second time, and a file whose
//! import broke off is simply sent again.
//!
//! **Cost.** One transaction per request, one per [`import::BATCH`] lines of an import.
//!
//! Which identifiers there are, and their forms, is data of the compliance profile. Check digits are not looked at yet.

pub mod export;
pub mod http;
pub mod import;
mod model;
mod store;
pub mod system;

use chrono::NaiveDate;
use platform::{
    ctx::{Ctx, Scope},
    db::{self, Db, Tx},
    idempotency::{Done, Key, Outcome, begin_in_tx},
    keys::{DataKey, KeyError, Keys, LoadError},
    problem::Problem,
};
use sea_orm::DbErr;
use tenants::{id::PartyId, profile::Profile};

pub use self::{
    model::{Address, ContactChange, Draft, Fault, Flaw, Identifier, Name, Particulars, Party},
    store::{Filter, MIGRATION},
};
use store::Parties;

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields that are not acceptable.
    #[error("{} fields are not acceptable", .0.len())]
    Invalid(Vec<Fault>),
    /// Another party has this `external_id`.
    #[error("another party has this external_id")]
    ExternalIdTaken,
    /// No party of this environment has this id.
    #[error("there is no such party")]
    NotFound,
    /// The party has another version than the caller has seen.
    #[error("the party was changed meanwhile")]
    Changed,
    /// A sealed column cannot be opened or made.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The idempotency key's.
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Key(error) => Self::Keys(error),
            LoadError::Database(error) => Self::Database(error),
        }
    }
}

/// Whether there is a party of this id in `scope`; reads nothing personal.
///
/// # Errors
/// The database's.
pub async fn party_exists_in_tx(tx: &Tx, scope: Scope, id: PartyId) -> Result<bool, DbErr> {
    store::exists(tx, scope, id).await
}

/// The party of this id in `scope`.
///
/// # Errors
/// The database's, or a sealed column that does not open.
pub async fn get_in_tx(tx: &Tx, key: &DataKey, scope: Scope, id: PartyId) -> Result<Option<Party>, Error> {
    Parties::new(tx, key, scope).get(id).await
}

/// Makes a party, once per key.
///
/// # Errors
/// [`Error::Invalid`] with every fault, [`Error::ExternalIdTaken`]; the key's and the database's.
pub async fn create(
    db: &Db,
    keys: &Keys,
    ctx: &Ctx,
    profile: &Profile,
    key: &Key,
    draft: &Draft,
) -> Result<Done<Party>, Error> {
    let particulars = draft.check(profile, today(profile, ctx)).map_err(Error::Invalid)?;
    let now = ctx.now();
    let party = Party { id: ctx.new_id(), particulars, version: 1, created_at: now, updated_at: now };
    let sealing = keys.of(ctx.scope).await?;
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let parties = Parties::new(&tx, &sealing, ctx.scope);
        let done = match begin_in_tx(&tx, ctx, key, party.id.uuid()).await? {
            Outcome::Replay(id) => {
                let first = parties.get(PartyId::from_uuid(id)).await?;
                Done { what: first.ok_or(Error::NotFound)?, replayed: true }
            }
            Outcome::New => {
                // The only unique key that a fresh id can meet is that of `external_id`.
                parties.insert(std::slice::from_ref(&party)).await.map_err(taken)?;
                Done { what: party.clone(), replayed: false }
            }
        };
        tx.commit().await?;
        Ok(done)
    })
    .await
}

fn taken(error: Error) -> Error {
    match error {
        Error::Database(error) if db::is_unique_violation(&error) => Error::ExternalIdTaken,
        error => error,
    }
}

/// Changes a party's contacts, once per key, if it still has the version that the caller has seen. A change that changes
/// nothing keeps the version.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Changed`], [`Error::Invalid`]; the key's and the database's.
pub async fn change_contacts(
    db: &Db,
    keys: &Keys,
    ctx: &Ctx,
    key: &Key,
    id: PartyId,
    seen: impl Fn(i64) -> bool,
    change: &ContactChange,
) -> Result<Done<Party>, Error> {
    let sealing = keys.of(ctx.scope).await?;
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let parties = Parties::new(&tx, &sealing, ctx.scope);
        let begun = begin_in_tx(&tx, ctx, key, id.uuid()).await?;
        let before = parties.get(id).await?.ok_or(Error::NotFound)?;
        if let Outcome::Replay(_) = begun {
            return Ok(Done { what: before, replayed: true });
        }
        if !seen(before.version) {
            return Err(Error::Changed);
        }
        let particulars = before.particulars.with(change).map_err(Error::Invalid)?;
        let party = if particulars == before.particulars {
            before
        } else {
            let version = before.version.saturating_add(1);
            let party = Party { particulars, version, updated_at: ctx.now(), ..before };
            if !parties.update_contacts(&party, before.version).await? {
                return Err(Error::Changed);
            }
            party
        };
        tx.commit().await?;
        Ok(Done { what: party, replayed: false })
    })
    .await
}

/// Reads a party.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn get(db: &Db, keys: &Keys, scope: Scope, id: PartyId) -> Result<Party, Error> {
    let key = keys.of(scope).await?;
    let tx = db.begin_read(scope).await?;
    let party = get_in_tx(&tx, &key, scope, id).await?;
    tx.commit().await?;
    party.ok_or(Error::NotFound)
}

/// Whether an environment has parties.
///
/// # Errors
/// The database's.
pub async fn any(db: &Db, scope: Scope) -> Result<bool, DbErr> {
    let tx = db.begin_read(scope).await?;
    let any = store::any(&tx, scope).await?;
    tx.commit().await?;
    Ok(any)
}

/// Reads at most `limit` parties that satisfy `filter`, in the order of their ids.
///
/// # Errors
/// The database's.
pub async fn list(
    db: &Db,
    keys: &Keys,
    scope: Scope,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Party>, Error> {
    let key = keys.of(scope).await?;
    let tx = db.begin_read(scope).await?;
    let parties = Parties::new(&tx, &key, scope).list(filter, limit).await?;
    tx.commit().await?;
    Ok(parties)
}

/// The business date.
fn today(profile: &Profile, ctx: &Ctx) -> NaiveDate {
    profile.jurisdiction.date_at(ctx.now())
}
