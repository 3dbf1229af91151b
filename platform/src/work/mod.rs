//! Work that outlives a request: jobs, timers and the relay of what happened, in one table.
//!
//! Promise: an item enqueued in a transaction exists exactly if that transaction commits, and its handler then runs at
//! least once at or after `run_at`, one runner at a time. Handlers must therefore bear repetition: derive ids from
//! the item, move rows by compare-and-set.
//!
//! - **Key.** At most one item is open per scope, kind and key. Enqueuing an open key again does not make a second
//!   one: it brings `run_at` forward and, if the item is just being handled, makes it run once more afterwards. So a
//!   handler that reads the present state misses no change. The payload is the first one's: let it name the thing,
//!   not describe its state.
//! - **Time.** `run_at` is environment time: due when it is ≤ wall clock + the environment's offset, so moving a
//!   sandbox's clock runs its timers. Leases are wall-clock time.
//! - **Lease.** An item is taken for a while by one runner; if that runner dies, another takes it after the lease has
//!   run out. All a runner writes is conditional on its lease (owner and attempt): one that lost it changes nothing.
//! - **Failure.** A failed item runs again after an exponential pause with jitter; after
//!   [`Options::max_attempts`] it becomes a dead letter, which stays until somebody requeues it.
//!
//! Cost: enqueuing is one statement in the caller's transaction; taking and completing are one transaction each per
//! batch and per item.
//!
//! ```ignore
//! work::enqueue_in_tx(&tx, New { scope, kind: "report.send", key: &report.to_string(), payload, run_at, wall: ctx.wall() }).await?;
//! tx.commit().await?;
//! waker.notify_one();
//!
//! let mut runner = Runner::new(SeaOrm::new(db), Options::new(vec![0]), Uuid::from_u128(random::bits()));
//! runner.handle("report.send", move |item| { let app = app.clone(); async move {
//!     app.send(&item).await?;
//!     Ok(Done::Finished)
//! }});
//! tokio::spawn(async move { runner.run(&clock, &drain).await });
//! ```

mod model;
mod runner;
mod store;
mod system;

pub use model::{Backoff, Cure, Done, Failed, Lease, Options, Retry, Settled, WorkItem};
pub use runner::{Runner, Tick};
pub use store::{Dead, MIGRATION, New, dead_in_tx, enqueue_in_tx, requeue_in_tx};
pub use system::{Backlog, SeaOrm, backlog, forget_finished, open_kinds};

use std::future::Future;

use chrono::{DateTime, Utc};
use sea_orm::DbErr;

/// Where work is kept. [`SeaOrm`] is the table; the ledger's simulation has one of its own.
///
/// `settle` and `renew` answer whether the lease still held; if not, nothing was changed.
pub trait Store: Send + Sync {
    /// Leases to `owner`, until `until`, at most `limit` items of `shard` that are of one of `kinds`, due at the wall
    /// clock `wall`, and leased to nobody; the longest due first. Each take counts as an attempt.
    fn take(
        &self,
        shard: i32,
        kinds: &[&'static str],
        owner: uuid::Uuid,
        wall: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<WorkItem>, DbErr>> + Send;

    /// Prolongs a lease.
    fn renew(&self, lease: &Lease, until: DateTime<Utc>) -> impl Future<Output = Result<bool, DbErr>> + Send;

    /// Writes what came of an item at the wall clock `wall`, and gives its lease back. An item whose signal is no
    /// longer the lease's stays open where it would have ended, and due where it would have waited for its next step.
    fn settle(
        &self,
        lease: &Lease,
        settled: &Settled,
        wall: DateTime<Utc>,
    ) -> impl Future<Output = Result<bool, DbErr>> + Send;
}
