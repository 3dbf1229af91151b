//! The environments of this cell: what is wanted of them, what they are, and their clocks.
//!
//! **Promise.** Whoever asks for an environment gets the profile of its jurisdiction with it, so that nobody has to know
//! which country it is. A sandbox's clock moves forward only, by its own tenant; a live one shows the wall clock.
//!
//! **Convergence.** What is wanted of an environment is a row, written by the cell's link ([`want_in_tx`]) or at start
//! from the cell's configuration. The work [`CONVERGE`] reads the row, looks at what there is, does the first thing that
//! is missing, and begins anew, until there is nothing missing. So it may break off anywhere, and run twice at once. An
//! older generation never takes the place of a later one. While a ready environment is being changed it goes on serving.
//!
//! **Telling.** Every change that can be observed has a number, in the order of commits; [`Environments::news`] wakes who
//! tells the control plane.
//!
//! **Cost.** A request looks at memory only. Each process looks at one number a second for what others have changed.

pub mod export;
pub mod http;
mod model;
mod objects;
mod removal;
mod retention;
mod sealing;
mod store;
mod system;
mod work;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use platform::{
    clock::{self, ClockError, Offsets},
    ctx::{Ctx, Scope},
    db::{self, Db, Tx},
    idempotency::{Key, Outcome, begin_in_tx},
    problem::Problem,
    token::{Place, Places},
};
use sea_orm::DbErr;
use tenants::{
    environment::Mode,
    id::EnvironmentId,
    profile::{self, Profile},
};
use tokio::sync::watch;
use uuid::Uuid;

pub use self::{
    export::{Described, ExportLink, HandoverError, Page, ReadError, Reader, Reading, Source, links},
    model::Home,
    retention::MIGRATION as RETENTION,
    store::MIGRATION,
    system::{Counts, Wanted, counts, mark_reported_in_tx, observed_all, observed_since, want_in_tx},
    work::{CONVERGE, Converger, Outcome as Converged, SeedError},
};
use crate::config::CellConfig;
use model::Access;

/// One environment.
#[derive(Debug, Clone, Copy)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Its home shard.
    pub shard: i32,
    /// Sandbox or live.
    pub mode: Mode,
    /// What its regulator asks for.
    pub profile: &'static Profile,
}

/// All that are made and not being removed, as this process knows them. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct Environments(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    home: Home,
    known: RwLock<Arc<BTreeMap<Uuid, Environment>>>,
    places: Places,
    /// The number of the newest change that this process has seen.
    news: watch::Sender<i64>,
}

impl Environments {
    /// Of a cell of this checked configuration; none before [`Environments::reload`].
    ///
    /// # Errors
    /// There is no profile of this jurisdiction, which the check of the configuration excludes.
    pub fn of(config: &CellConfig) -> Result<Self, SeedError> {
        let section = &config.cell;
        let profile = profile::profile(&section.jurisdiction).ok_or(SeedError::Jurisdiction)?;
        let home = Home { shards: section.shards, mode: section.mode, profile };
        let (known, places) = (RwLock::default(), Places::default());
        Ok(Self(Arc::new(Shared { home, known, places, news: watch::Sender::new(-1) })))
    }

    /// What the cell itself is.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.0.home
    }

    /// The environment of this id.
    #[must_use]
    pub fn get(&self, id: Uuid) -> Option<Environment> {
        self.all().get(&id).copied()
    }

    /// The environment that a caller's context is in.
    ///
    /// # Errors
    /// An internal problem: tokens of other environments are refused before. One that was removed since answers so too.
    pub fn of_ctx(&self, ctx: &Ctx) -> Result<Environment, Problem> {
        self.get(ctx.scope.id)
            .ok_or_else(|| Problem::internal("a context of an environment that is not here"))
    }

    /// Where each one is, for the check of tokens.
    #[must_use]
    pub fn places(&self) -> Places {
        self.0.places.clone()
    }

    /// Wakes when environments have changed; the value is the number of the newest change that this process has seen.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<i64> {
        self.0.news.subscribe()
    }

    /// Reads what has changed, if anything has: after own changes, and once in a while for those of other processes.
    ///
    /// # Errors
    /// The database's; what was known stays.
    pub async fn reload(&self, db: &Db) -> Result<(), DbErr> {
        // Of no environment: the rows are of the cell.
        let tx = db.begin_read(Scope::new(0, Uuid::nil())).await?;
        // The number first: what is read after it is not older.
        let version = store::version(&tx).await?;
        let seen = *self.0.news.borrow();
        if version <= seen {
            return Ok(());
        }
        let changed = store::known(&tx, seen).await?;
        tx.commit().await?;
        self.0.news.send_if_modified(|seen| {
            // Another reload may have been quicker, with newer rows.
            if version <= *seen {
                return false;
            }
            let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
            let known = Arc::make_mut(&mut known);
            for row in changed {
                let here = Self::serving(&row);
                match here {
                    Some((environment, _)) => known.insert(row.id.uuid(), environment),
                    None => known.remove(&row.id.uuid()),
                };
                self.0.places.put(row.id, here.map(|(_, place)| place));
            }
            *seen = version;
            true
        });
        Ok(())
    }

    /// How an environment is served, unless it is not made yet or being removed.
    fn serving(row: &store::Known) -> Option<(Environment, Place)> {
        let store::Known { id, shard, access, .. } = *row;
        if access == Access::Closed {
            return None;
        }
        let jurisdiction = row.jurisdiction.parse().ok();
        let profile = jurisdiction.and_then(|id| profile::profile(&id));
        let (Some(profile), Ok(mode)) = (profile, row.mode.parse::<Mode>()) else {
            tracing::error!(environment = %id, "an environment of a kind that this build does not know");
            return None;
        };
        let place = Place { shard, mode, suspended: access == Access::Suspended };
        Some((Environment { id, shard, mode, profile }, place))
    }

    fn all(&self) -> Arc<BTreeMap<Uuid, Environment>> {
        Arc::clone(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether something is so of an environment.
pub type Whether = fn(Db, Scope) -> BoxFuture<'static, Result<bool, DbErr>>;

/// Something that a slice keeps of environments, for who removes them.
#[derive(Debug, Clone, Copy)]
pub struct Remains {
    /// What it is, as a stable word: `Ledger`.
    pub name: &'static str,
    /// Whether there is anything that the law may want kept; nothing, if there never is.
    pub is_kept: Option<Whether>,
    /// Whether something is under way that has to end before; nothing, if there never is.
    pub is_open: Option<Whether>,
    /// Removes at most so many rows of this scope in the worker's transaction; how many.
    pub forget: for<'a> fn(&'a Tx, Scope, u64) -> BoxFuture<'a, Result<u64, DbErr>>,
}

/// Why a clock was not moved, or a request not made anew.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The clock's own reason.
    #[error("the clock was not moved")]
    Clock(#[from] ClockError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The key's.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Moves a sandbox's clock forward to an instant, once per key; whether it was done before.
///
/// # Errors
/// Live environments, instants in the past or more than a hundred years ahead; keys used for something else.
pub async fn move_clock(
    db: &Db,
    offsets: &Offsets,
    ctx: &Ctx,
    key: &Key,
    to: DateTime<Utc>,
) -> Result<bool, MoveError> {
    let replayed = db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let replayed = match begin_in_tx(&tx, ctx, key, ctx.scope.id).await? {
            Outcome::Replay(_) => true,
            Outcome::New => {
                clock::advance_in_tx(&tx, ctx.scope, ctx.mode, ctx.wall(), to).await?;
                false
            }
        };
        tx.commit().await?;
        Ok::<_, MoveError>(replayed)
    })
    .await?;
    offsets.forget(ctx.scope).await;
    Ok(replayed)
}
