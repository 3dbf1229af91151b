//! The ledger: double entry, group commit, and books that are right.
//!
//! **Promise.** A transfer that was answered `Posted` is durable and is posted once, whatever dies. Debits equal credits
//! in every currency at every commit. An id is used once, for ever: the same request gets the same answer, another one
//! gets `id_reused`. A refused transfer or chain leaves nothing behind but the record of its refusal.
//!
//! **Order.** Transfers of one shard have one order, [`transfer::Posted::seq`], in which the rules saw them.
//!
//! **Cost.** One database transaction per batch of up to [`MAX_BATCH`] transfers of any number of callers: guard, one
//! read of accounts, limits and whether ids are new (another where there are holds or repetitions; none where all accounts
//! are remembered and all is posted), the writes (one statement on PostgreSQL), commit.
//!
//! **What it does not know.** Products, rails, countries, people. Limits are numbers in rows beside an account.
//!
//! | file | what |
//! |---|---|
//! | [`movements`] | every way money moves, a file each |
//! | [`rules`] | the decisions, pure |
//! | [`outcome`] | every answer, in order of precedence |
//! | [`account`], [`hold`], [`limit`], [`transfer`] | the rows |
//! | [`writer`], `batch`, `memory` | group commit: who posts together; one transaction; what need not be read |
//! | [`store`] | what the writer needs of a database |
//! | [`chain`], [`system`] | the hash chain, and its check |
//! | [`http`] | the routes |
//! | [`books`] | opening, freezing and closing accounts, setting limits, reading |
//! | [`export`] | all of an environment, as lines for somebody else |

#![deny(clippy::arithmetic_side_effects)]

pub mod account;
mod batch;
pub mod books;
pub mod chain;
pub mod export;
pub mod hold;
pub mod http;
pub mod limit;
mod memory;
pub mod migrations;
pub mod movements;
pub mod outcome;
pub mod rules;
pub mod store;
pub mod system;
pub mod transfer;
pub mod writer;

use std::sync::Arc;

use platform::{
    ctx::{Actor, Clock, Ctx, EnvironmentClock, Scope},
    db::Db,
};
use sea_orm::DbErr;
use tenants::environment::Mode;
use tokio::sync::{Semaphore, mpsc, mpsc::error::TrySendError, oneshot};

use crate::{
    outcome::{Outcome, Reason},
    rules::Call,
    store::sql::SqlStore,
    transfer::{Provenance, Transfer, derived_id},
    writer::{Command, Unavailable},
};

/// The most transfers of one call, and of one database transaction.
pub const MAX_BATCH: usize = 8_000;
/// The longest reference of a transfer, in characters.
pub const MAX_REFERENCE: usize = 140;
/// Calls that may wait for one shard's writer; more are refused at once.
const MAX_WAITING: usize = 16_384;
/// Transfers of all calls that may wait for one shard's writer: tens of megabytes.
const MAX_TRANSFERS_WAITING: usize = 16 * MAX_BATCH;

/// The way in for money. Cheap to clone; the writers stop when the last clone is gone.
#[derive(Clone)]
pub struct Ledger {
    shards: Arc<[Shard]>,
}

/// The way to one shard's writer.
struct Shard {
    commands: mpsc::Sender<Command>,
    /// A permit per transfer that may wait.
    room: Arc<Semaphore>,
}

impl Ledger {
    /// Makes the head rows that are missing and starts one writer per shard on the current runtime. `clock` is the wall
    /// clock.
    ///
    /// # Errors
    /// The database is not there or has no ledger tables.
    pub async fn start(db: &Db, shards: i32, clock: &Clock) -> Result<Ledger, DbErr> {
        let store = SqlStore(db.clone());
        store.ensure_shards(shards).await?;
        let store = Arc::new(store);
        let shards = (0..shards)
            .map(|shard| {
                let (commands, receiver) = mpsc::channel(MAX_WAITING);
                let clock = clock.clone();
                tokio::spawn(writer::run(store.clone(), shard, receiver, writer::FEW, move || clock.now()));
                Shard { commands, room: Arc::new(Semaphore::new(MAX_TRANSFERS_WAITING)) }
            })
            .collect();
        Ok(Ledger { shards })
    }

    /// Posts transfers in order, at most [`MAX_BATCH`]; one outcome each. Never joins the caller's transaction.
    ///
    /// # Errors
    /// [`Unavailable`]: ask again with the same ids.
    ///
    /// # Panics
    /// More than [`MAX_BATCH`] transfers, or a shard that this cell does not have.
    pub async fn post(&self, ctx: &Ctx, transfers: Vec<Transfer>) -> Result<Vec<Outcome>, Unavailable> {
        assert!(transfers.len() <= MAX_BATCH, "a call has at most {MAX_BATCH} transfers");
        if transfers.is_empty() {
            return Ok(Vec::new());
        }
        let shard = &self.shards[usize::try_from(ctx.scope.shard).unwrap_or(usize::MAX)];
        let count = u32::try_from(transfers.len()).unwrap_or(u32::MAX);
        let room = shard.room.clone().try_acquire_many_owned(count).map_err(|_| Unavailable::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let call = Call { environment: ctx.scope.id, provenance: provenance(ctx), transfers };
        shard.commands.try_send(Command { call, reply, room: Some(room) }).map_err(|error| match error {
            TrySendError::Full(_) => Unavailable::Overloaded,
            TrySendError::Closed(_) => Unavailable::NotPosted,
        })?;
        answer.await.unwrap_or(Err(Unavailable::Unknown))
    }

    /// Whether every shard has its writer; without one it has died, and only a new process has another.
    pub fn is_whole(&self) -> bool {
        self.shards.iter().all(|shard| !shard.commands.is_closed())
    }

    /// Posts one transfer.
    ///
    /// # Errors
    /// As [`Ledger::post`].
    pub async fn post_one(&self, ctx: &Ctx, transfer: impl Into<Transfer>) -> Result<Outcome, Unavailable> {
        let mut outcomes = self.post(ctx, vec![transfer.into()]).await?;
        outcomes.pop().ok_or(Unavailable::NotPosted)
    }
}

impl Ledger {
    /// Posts the expiry of every hold whose time is over, on every shard; how many. Ids are derived from the holds', so
    /// that sweeps may run twice, and at once. A cell calls it again and again; a capture that comes between the end of
    /// a hold and its sweep is refused all the same.
    ///
    /// # Errors
    /// The database or the ledger is not available; the next sweep goes on.
    pub async fn expire_holds(&self, db: &Db, clock: &Clock) -> Result<usize, SweepError> {
        let mut expired: usize = 0;
        let mut failed = Ok(());
        for shard in 0..i32::try_from(self.shards.len()).unwrap_or(i32::MAX) {
            match self.expire_holds_of(db, clock, shard).await {
                Ok(posted) => expired = expired.saturating_add(posted),
                // The other shards' holds are over all the same.
                Err(error) => failed = Err(error),
            }
        }
        failed.map(|()| expired)
    }

    async fn expire_holds_of(&self, db: &Db, clock: &Clock, shard: i32) -> Result<usize, SweepError> {
        let mut expired: usize = 0;
        for due in system::due_holds(db, shard, clock.now()).await? {
            let ctx = Ctx {
                scope: due.scope,
                // The ledger does the same in both; an expiry has no other effect.
                mode: Mode::Live,
                actor: Actor::System("hold_expiry"),
                request_id: "hold_expiry".into(),
                clock: EnvironmentClock::new(clock.clone(), due.offset),
            };
            let expiries = due.holds.into_iter().map(|hold| movements::Expiry { hold }.into()).collect();
            for outcome in self.post(&ctx, expiries).await? {
                match outcome {
                    Outcome::Posted(_) => expired = expired.saturating_add(1),
                    // Another sweep or the holder was quicker, or the clock was moved back: the next sweep sees.
                    Outcome::Replayed(_) => {}
                    Outcome::Rejected(rejection) if has_ended(rejection.reason) => {}
                    Outcome::Rejected(rejection) => {
                        tracing::error!(scope = %due.scope.id, reason = rejection.reason.code(), "a hold cannot expire");
                    }
                }
            }
        }
        Ok(expired)
    }
}

impl Ledger {
    /// Ends holds of an environment that has ended itself: by their expiry those whose time is over, by a void the others.
    /// At most a thousand; how many were found standing, so that 0 says that none is left. Those of an authority stay.
    ///
    /// # Errors
    /// The database or the ledger is not available; call it again.
    pub async fn release_holds(
        &self,
        db: &Db,
        scope: Scope,
        clock: EnvironmentClock,
    ) -> Result<usize, SweepError> {
        let holds = system::open_holds(db, scope).await?;
        let now = clock.now();
        let ctx = Ctx {
            scope,
            // The ledger does the same in both.
            mode: Mode::Live,
            actor: Actor::System("removal"),
            request_id: "removal".into(),
            clock,
        };
        let ending = |hold: &system::OpenHold| -> Transfer {
            match hold.expires_at {
                Some(at) if at <= now => movements::Expiry { hold: hold.id }.into(),
                _ => movements::Void { id: derived_id(hold.id.uuid(), "removal"), hold: hold.id }.into(),
            }
        };
        for outcome in self.post(&ctx, holds.iter().map(ending).collect()).await? {
            match outcome {
                Outcome::Rejected(rejection) if !has_ended(rejection.reason) => {
                    tracing::error!(scope = %scope.id, reason = rejection.reason.code(), "a hold cannot be released");
                }
                _ => {}
            }
        }
        Ok(holds.len())
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ledger({} shards)", self.shards.len())
    }
}

/// Whether an expiry was refused because there is nothing to expire (yet).
fn has_ended(reason: Reason) -> bool {
    use Reason::{HoldAlreadyCaptured, HoldAlreadyVoided, HoldExpired, HoldNotExpired};
    matches!(reason, HoldAlreadyCaptured | HoldAlreadyVoided | HoldExpired | HoldNotExpired)
}

/// Why a sweep stopped.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The holds could not be read.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The expiries could not be posted.
    #[error(transparent)]
    Ledger(#[from] Unavailable),
}

fn provenance(ctx: &Ctx) -> Provenance {
    let client = match ctx.actor {
        Actor::Client(client) => Some(client),
        Actor::System(_) => None,
    };
    Provenance {
        actor: ctx.actor.to_string().into(),
        client,
        request_id: ctx.request_id.clone(),
        clock_offset_ms: ctx.clock.offset.num_milliseconds(),
    }
}
