//! Takes due work, hands it to its handlers and writes what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::join_all;
use sea_orm::DbErr;
use tokio::sync::Notify;
use uuid::Uuid;

use super::Store;
use super::model::{Done, Failed, Lease, Options, Retry, Settled, WorkItem};
use crate::ctx::Clock;
use crate::drain::Drain;

type Handler =
    Box<dyn Fn(WorkItem) -> Pin<Box<dyn Future<Output = Result<Done, Retry>> + Send>> + Send + Sync>;

/// Runs the handlers of one process.
///
/// [`Runner::tick`] and [`Runner::renew`] do everything and have no timer, no spawn and no clock inside, so that a
/// simulation can step them; [`Runner::run`] is the loop around them.
pub struct Runner<S> {
    store: S,
    options: Options,
    handlers: BTreeMap<&'static str, Handler>,
    /// With the number of the take, the owner of its leases: a lease of this runner's past never looks like a present
    /// one.
    id: Uuid,
    takes: AtomicU64,
    held: Mutex<BTreeSet<Lease>>,
    waker: Arc<Notify>,
}

impl<S> fmt::Debug for Runner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner").field("id", &self.id).field("kinds", &self.handlers.keys()).finish()
    }
}

/// What one tick did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// Items taken.
    pub taken: u32,
    /// Items that went well, a step or altogether.
    pub done: u32,
    /// Items that failed and will be tried again.
    pub failed: u32,
    /// Items that became dead letters.
    pub dead: u32,
    /// Items that another runner had taken over when we were done with them.
    pub lost: u32,
}

impl<S: Store> Runner<S> {
    /// A runner called `id`, which no other runner may be called: random, or from the seed of a simulation.
    pub fn new(store: S, options: Options, id: Uuid) -> Self {
        Self {
            store,
            options,
            handlers: BTreeMap::new(),
            id,
            takes: AtomicU64::new(0),
            held: Mutex::default(),
            waker: Arc::default(),
        }
    }

    /// Handles the items of `kind` with `handler`, which must bear repetition.
    ///
    /// # Panics
    /// The kind has a handler already.
    pub fn handle<H, F>(&mut self, kind: &'static str, handler: H)
    where
        H: Fn(WorkItem) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Done, Retry>> + Send + 'static,
    {
        let boxed: Handler = Box::new(move |item| Box::pin(handler(item)));
        assert!(self.handlers.insert(kind, boxed).is_none(), "two handlers for {kind}");
    }

    /// Wakes [`Runner::run`] before its next look at the table: call `notify_one` after a commit that enqueued.
    pub fn waker(&self) -> Arc<Notify> {
        Arc::clone(&self.waker)
    }

    /// Takes and handles at most [`Options::batch`] items per shard that are due at the wall clock `wall`. The items of
    /// a shard are handled concurrently on the task that calls.
    ///
    /// # Errors
    /// The store failed; what was taken and not settled is taken again when its lease has run out.
    pub async fn tick(&self, wall: DateTime<Utc>) -> Result<Tick, DbErr> {
        let kinds: Vec<&'static str> = self.handlers.keys().copied().collect();
        let mut tick = Tick::default();
        for &shard in &self.options.shards {
            let owner = self.next_owner();
            let until = wall.checked_add_signed(self.options.lease).unwrap_or(wall);
            let items = self.store.take(shard, &kinds, owner, wall, until, self.options.batch).await?;
            for item in &items {
                self.held().insert(item.lease);
            }
            let settled = join_all(items.into_iter().map(|item| self.handle_one(item, wall))).await;
            for one in settled {
                tick.add(one?);
            }
        }
        Ok(tick)
    }

    /// Prolongs the leases of all items that are being handled.
    ///
    /// # Errors
    /// The store failed.
    pub async fn renew(&self, wall: DateTime<Utc>) -> Result<(), DbErr> {
        let leases: Vec<Lease> = self.held().iter().copied().collect();
        let until = wall.checked_add_signed(self.options.lease).unwrap_or(wall);
        for lease in leases {
            if !self.store.renew(&lease, until).await? && self.held().remove(&lease) {
                metrics::counter!("work_leases_lost_total").increment(1);
                tracing::warn!(work = %lease.id, attempt = lease.attempt, "the lease of work was lost");
            }
        }
        Ok(())
    }

    /// Ticks whenever woken, at least every [`Options::poll`], until the drain begins; what is being handled then is finished.
    pub async fn run(&self, clock: &Clock, drain: &Drain) {
        while !drain.has_begun() {
            let more = match self.tick_renewing(clock).await {
                Ok(tick) => tick.taken > 0,
                Err(err) => {
                    tracing::warn!(%err, "work cannot be taken or settled");
                    false
                }
            };
            if !more {
                tokio::select! {
                    () = drain.begun() => {}
                    () = self.waker.notified() => {}
                    () = tokio::time::sleep(self.options.poll) => {}
                }
            }
        }
    }

    async fn tick_renewing(&self, clock: &Clock) -> Result<Tick, DbErr> {
        let third = (self.options.lease / 3).to_std().unwrap_or(self.options.poll);
        let mut tick = std::pin::pin!(self.tick(clock.now()));
        loop {
            tokio::select! {
                done = &mut tick => return done,
                () = tokio::time::sleep(third) => {
                    if let Err(err) = self.renew(clock.now()).await {
                        tracing::warn!(%err, "leases cannot be renewed");
                    }
                }
            }
        }
    }

    async fn handle_one(&self, item: WorkItem, wall: DateTime<Utc>) -> Result<(Outcome, String), DbErr> {
        let lease = item.lease;
        let result = match self.handlers.get(item.kind.as_str()) {
            Some(handler) => AssertUnwindSafe(async { handler(item.clone()).await })
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Err(Retry::later("the handler panicked"))),
            None => Err(Retry::later("no handler for this kind")),
        };
        let settled = self.options.settle(&item, result, wall);
        let outcome = match &settled {
            Settled::Done(_) => Outcome::Done,
            Settled::Failed(Failed { run_at: Some(_), reason }) => {
                tracing::warn!(kind = item.kind, work = %lease.id, attempt = lease.attempt, reason, "work failed");
                Outcome::Failed
            }
            Settled::Failed(Failed { run_at: None, reason }) => {
                tracing::error!(kind = item.kind, work = %lease.id, attempt = lease.attempt, reason, "work is a dead letter");
                Outcome::Dead
            }
        };
        let held = self.store.settle(&lease, &settled, wall).await;
        self.held().remove(&lease);
        Ok((if held? { outcome } else { Outcome::Lost }, item.kind))
    }

    fn next_owner(&self) -> Uuid {
        let take = self.takes.fetch_add(1, Ordering::Relaxed);
        Uuid::from_u128(self.id.as_u128().wrapping_add(u128::from(take)))
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeSet<Lease>> {
        // No code that can panic runs under this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Done,
    Failed,
    Dead,
    Lost,
}

impl Tick {
    fn add(&mut self, (outcome, kind): (Outcome, String)) {
        self.taken += 1;
        let (count, name) = match outcome {
            Outcome::Done => (&mut self.done, "done"),
            Outcome::Failed => (&mut self.failed, "failed"),
            Outcome::Dead => (&mut self.dead, "dead"),
            Outcome::Lost => (&mut self.lost, "lost"),
        };
        *count += 1;
        metrics::counter!("work_items_total", "kind" => kind, "outcome" => name).increment(1);
    }
}
