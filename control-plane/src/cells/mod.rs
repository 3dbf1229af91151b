//! Cells: which there are, what they prove themselves with, and which environment is in which.
//!
//! **Promise.** A cell stays in its jurisdiction, region and mode for ever. It has never more environments than its
//! capacity, however many are placed at once. It is let in by a join token that is good once, and then known by
//! certificates that live a day; a retired cell is not let in again. Two that have one cell's identity are not both
//! listened to. Rows lie in [`PLATFORM`](crate::PLATFORM), for operators only.
//!
//! A cell's own document (its capacity, whether it drains) is made from its row when the cell asks: see the links.

mod credentials;
pub mod http;
mod model;
mod placement;
mod store;
mod system;

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use platform::{
    ctx::Ctx,
    db::{self, Db, Tx},
    hash::sha256,
    idempotency::{Done, Key, Outcome, begin_in_tx},
    join::Join,
    problem::Problem,
};
use sea_orm::DbErr;
use tenants::{
    id::{CellId, JoinTokenId},
    profile,
};

pub use self::{
    credentials::Certificate,
    http::OUT_OF_BOUNDS,
    model::{
        Attestation, Cell, Change, Enrolled, JOIN_TOKEN_LIVES, JoinToken, Lack, MOST_CAPACITY, New,
        STALE_AFTER, Seen, State, Told, Want, next_revision,
    },
    placement::{NoPlace, kinds_held, place_in_tx, placed_in_tx, release_in_tx, settle_in_tx},
    store::MIGRATION,
    system::{GRACE, LIFE, MOST_SKEW, Refusal, enrol, forget, instance, known, renew, skew},
};
use crate::{PLATFORM, names, regions};

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cell has this id.
    #[error("there is no such cell")]
    NotFound,
    /// Another cell has this name.
    #[error("another cell has this name")]
    NameTaken,
    /// The name is none of a cell.
    #[error("the name is not acceptable")]
    Name,
    /// A number is out of its bounds.
    #[error("{field} is not from {lowest} to {highest}")]
    Bounds {
        /// JSON pointer.
        field: &'static str,
        /// The least.
        lowest: i64,
        /// The most.
        highest: i64,
    },
    /// A text of an attestation is empty, too long or malformed.
    #[error("{0} is not acceptable")]
    Text(&'static str),
    /// No profile is of this jurisdiction.
    #[error("there is no such jurisdiction")]
    Jurisdiction,
    /// There are more environments in it than that.
    #[error("{0} environments are placed in the cell")]
    InUse(i32),
    /// Its state does not allow it.
    #[error("a cell that is {from} does not become {to}")]
    State {
        /// Where the cell is.
        from: State,
        /// Where it was to go.
        to: State,
    },
    /// It is retired: nobody joins it any more.
    #[error("the cell is retired")]
    Retired,
    /// The cell has another version than the caller has seen.
    #[error("the cell was changed meanwhile")]
    Changed,
    /// The region's.
    #[error(transparent)]
    Region(#[from] regions::Error),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The idempotency key's.
    #[error(transparent)]
    Problem(#[from] Problem),
}

fn within(value: i64, field: &'static str, lowest: i64, highest: i64) -> Result<(), Error> {
    if (lowest..=highest).contains(&value) { Ok(()) } else { Err(Error::Bounds { field, lowest, highest }) }
}

fn capacity_fits(capacity: i32) -> Result<(), Error> {
    within(capacity.into(), "/capacity", 1, MOST_CAPACITY.into())
}

/// Declares a cell, once per key. Nobody has enrolled as it yet. A dry run declares none.
///
/// # Errors
/// [`Error::Name`], [`Error::NameTaken`], [`Error::Jurisdiction`], [`Error::Bounds`], the region's, the key's, and the
/// database's.
pub async fn create(db: &Db, ctx: &Ctx, key: &Key, new: &New, dry_run: bool) -> Result<Done<Cell>, Error> {
    if !model::is_name(&new.name) {
        return Err(Error::Name);
    }
    capacity_fits(new.capacity)?;
    profile::profile(&new.jurisdiction).ok_or(Error::Jurisdiction)?;
    regions::get(db, &new.region).await?;
    let now = ctx.wall();
    let revision = next_revision(0, now);
    let cell = Cell {
        id: ctx.new_id(),
        name: new.name.clone(),
        jurisdiction: new.jurisdiction.clone(),
        region: new.region.clone(),
        mode: new.mode,
        state: State::Enrolling,
        dedicated_tenant: new.dedicated_tenant,
        capacity: new.capacity,
        placed: 0,
        enrolled: None,
        seen: Seen::default(),
        revision,
        intent_revision: revision,
        generation: 1,
        version: 1,
        created_at: now,
        updated_at: now,
    };
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        let done = match begin_in_tx(&tx, ctx, key, cell.id.uuid()).await? {
            Outcome::Replay(id) => {
                let first = store::get(&tx, CellId::from_uuid(id)).await?;
                Done { what: first.ok_or(Error::NotFound)?, replayed: true }
            }
            Outcome::New => {
                // The only unique key that a fresh id can meet is that of the name.
                store::insert(&tx, &cell).await.map_err(|error| {
                    if db::is_unique_violation(&error) { Error::NameTaken } else { error.into() }
                })?;
                Done { what: cell.clone(), replayed: false }
            }
        };
        tx.end(dry_run).await?;
        Ok(done)
    })
    .await
}

/// The cell of this id.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn get(db: &Db, id: CellId) -> Result<Cell, Error> {
    let tx = db.begin_read(PLATFORM).await?;
    let cell = store::get(&tx, id).await?;
    tx.commit().await?;
    cell.ok_or(Error::NotFound)
}

/// The cells of these ids, for those who show what is in them.
///
/// # Errors
/// The database's.
pub async fn of_ids(db: &Db, ids: &[CellId]) -> Result<HashMap<CellId, Cell>, DbErr> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let tx = db.begin_read(PLATFORM).await?;
    let cells = store::of_ids(&tx, ids).await?;
    tx.commit().await?;
    Ok(cells.into_iter().map(|cell| (cell.id, cell)).collect())
}

/// The cell of this id, in the caller's transaction in [`PLATFORM`] or the worker's.
///
/// # Errors
/// The database's.
pub async fn get_in_tx(tx: &Tx, id: CellId) -> Result<Option<Cell>, DbErr> {
    store::get(tx, id).await
}

/// Like [`get_in_tx`], for who is about to change it: the transaction is then alone with it.
///
/// # Errors
/// The database's.
pub async fn lock_in_tx(tx: &Tx, id: CellId) -> Result<Option<Cell>, DbErr> {
    store::lock(tx, id).await
}

/// Writes what a cell's reports have said, in the worker's transaction, for the links.
///
/// # Errors
/// The database's.
pub async fn seen_in_tx(tx: &Tx, id: CellId, seen: &Seen) -> Result<(), DbErr> {
    store::write_seen(tx, id, seen).await
}

/// The next revision for a document of a cell, in the caller's transaction in [`PLATFORM`] or the worker's, which is
/// then alone in publishing for this cell; `None` if there is no such cell.
///
/// # Errors
/// The database's.
pub async fn revise_in_tx(tx: &Tx, id: CellId, now: DateTime<Utc>) -> Result<Option<i64>, DbErr> {
    let Some(cell) = store::lock(tx, id).await? else { return Ok(None) };
    let revision = next_revision(cell.revision, now);
    store::set_revision(tx, id, revision).await?;
    Ok(Some(revision))
}

/// At most `limit` cells behind `after`, in the order of their ids; only the one of this name, if one is named.
///
/// # Errors
/// The database's.
pub async fn list(
    db: &Db,
    after: Option<CellId>,
    name: Option<&str>,
    limit: u64,
) -> Result<Vec<Cell>, Error> {
    let tx = db.begin_read(PLATFORM).await?;
    let cells = store::list(&tx, after, name, limit).await?;
    tx.commit().await?;
    Ok(cells)
}

/// Changes a cell, once per key, if it still has a version that the caller has seen; what it was and what it is. A
/// change that changes nothing keeps the version, and a dry run keeps everything.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Changed`], [`Error::Bounds`], [`Error::InUse`]; the key's and the database's.
pub async fn update(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    id: CellId,
    seen: impl Fn(i64) -> bool,
    change: &Change,
    dry_run: bool,
) -> Result<Done<(Cell, Cell)>, Error> {
    if let Some(capacity) = change.capacity {
        capacity_fits(capacity)?;
    }
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        let begun = begin_in_tx(&tx, ctx, key, id.uuid()).await?;
        let before = store::lock(&tx, id).await?.ok_or(Error::NotFound)?;
        if let Outcome::Replay(_) = begun {
            return Ok(Done { what: (before.clone(), before), replayed: true });
        }
        if !seen(before.version) {
            return Err(Error::Changed);
        }
        let mut after = before.clone();
        after.capacity = change.capacity.unwrap_or(before.capacity);
        after.dedicated_tenant = change.dedicated_tenant.unwrap_or(before.dedicated_tenant);
        if after.capacity < before.placed {
            return Err(Error::InUse(before.placed));
        }
        if after != before {
            after = changed(after, ctx.wall());
            store::write(&tx, &after).await?;
        }
        tx.end(dry_run).await?;
        Ok(Done { what: (before, after), replayed: false })
    })
    .await
}

/// The cell with its next version, and its next document.
fn changed(cell: Cell, now: DateTime<Utc>) -> Cell {
    let version = cell.version.saturating_add(1);
    Cell { version, updated_at: now, ..cell }.republished(now)
}

/// Takes a cell to another state, once per key; what it was and what it is. A retired cell's certificates are revoked. A
/// dry run leaves all as it is.
///
/// # Errors
/// [`Error::NotFound`], [`Error::State`], [`Error::InUse`]; the key's and the database's.
pub async fn step(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    id: CellId,
    to: State,
    dry_run: bool,
) -> Result<Done<(Cell, Cell)>, Error> {
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        let begun = begin_in_tx(&tx, ctx, key, id.uuid()).await?;
        let before = store::lock(&tx, id).await?.ok_or(Error::NotFound)?;
        if let Outcome::Replay(_) = begun {
            return Ok(Done { what: (before.clone(), before), replayed: true });
        }
        // An enrolling cell becomes ready by enrolling, not by resuming.
        if !before.state.may_become(to) {
            return Err(Error::State { from: before.state, to });
        }
        if to == State::Retired {
            if before.placed > 0 {
                return Err(Error::InUse(before.placed));
            }
            credentials::revoke_all(&tx, id, ctx.wall()).await?;
        }
        let after = changed(Cell { state: to, ..before.clone() }, ctx.wall());
        store::write(&tx, &after).await?;
        tx.end(dry_run).await?;
        Ok(Done { what: (before, after), replayed: false })
    })
    .await
}

/// Makes a join token for a cell, once per key, good for `life_s` seconds. The secret is given to the first caller only
/// and kept by nobody.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Retired`], [`Error::Bounds`]; the key's and the database's.
pub async fn join_token(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    cell: CellId,
    life_s: u32,
    replace_instance: bool,
) -> Result<Done<(JoinToken, Option<String>)>, Error> {
    let (least, most, _) = JOIN_TOKEN_LIVES;
    within(life_s.into(), "/expires_in_s", least.into(), most.into())?;
    let expires_at = ctx.wall().checked_add_signed(TimeDelta::seconds(life_s.into())).unwrap_or(ctx.wall());
    let token = JoinToken { id: ctx.new_id(), cell, expires_at, replace_instance };
    let secret = Join::new_secret();
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        let known = store::get(&tx, cell).await?.ok_or(Error::NotFound)?;
        let done = match begin_in_tx(&tx, ctx, key, token.id.uuid()).await? {
            Outcome::Replay(id) => {
                let first = credentials::get_token(&tx, JoinTokenId::from_uuid(id)).await?;
                Done { what: (first.ok_or(Error::NotFound)?, None), replayed: true }
            }
            Outcome::New if known.state == State::Retired => return Err(Error::Retired),
            Outcome::New => {
                credentials::insert_token(&tx, &token, sha256(&secret)).await?;
                Done { what: (token.clone(), Some(secret.clone())), replayed: false }
            }
        };
        tx.commit().await?;
        Ok(done)
    })
    .await
}

/// Puts on record that a cell was certified; what was on record of this kind, which the certificate takes the place of. A
/// dry run leaves all as it is.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Text`], and the database's.
pub async fn attest(
    db: &Db,
    cell: CellId,
    put: &Attestation,
    dry_run: bool,
) -> Result<Option<Attestation>, Error> {
    let sha256 = put.document_sha256.len() == 64
        && put.document_sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    for (fits, field) in [
        (model::is_name(&put.kind), "kind"),
        (names::is_name(&put.document_name), "/document_name"),
        (sha256, "/document_sha256"),
        (put.valid_from < put.valid_until, "/valid_until"),
    ] {
        if !fits {
            return Err(Error::Text(field));
        }
    }
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        // Of two at once the second one sees what the first has put.
        store::lock(&tx, cell).await?.ok_or(Error::NotFound)?;
        let before = store::get_attestation(&tx, cell, &put.kind).await?;
        store::put_attestation(&tx, cell, put).await?;
        tx.end(dry_run).await?;
        Ok(before)
    })
    .await
}

/// At most `limit` of what a cell was certified for, behind the kind `after`, by kind; also what has ended.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn attestations(
    db: &Db,
    cell: CellId,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<Attestation>, Error> {
    let tx = db.begin_read(PLATFORM).await?;
    store::get(&tx, cell).await?.ok_or(Error::NotFound)?;
    let attestations = store::list_attestations(&tx, cell, after, limit).await?;
    tx.commit().await?;
    Ok(attestations)
}
