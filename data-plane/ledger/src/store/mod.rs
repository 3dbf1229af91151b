//! What the writer needs of a store: one transaction per batch on one shard.
//!
//! Two implementations: [`sql`] on PostgreSQL and SQLite, and the simulation's, which interleaves writers method by method
//! under a seed. In [`sql`] a method of [`StoreTx`] is not always one statement: [`StoreTx::find`] is two, and on
//! PostgreSQL all writes but refusals wait and go out as one with [`StoreTx::append_batch`], which then reports what any
//! of them met. After any error the transaction is dead.

pub mod sql;

use std::{future::Future, sync::Arc};

use chrono::{DateTime, Utc};
use tenants::id::TransferId;
use uuid::Uuid;

use crate::{
    account::Account,
    chain::Hash,
    hold::Hold,
    limit::Limit,
    rules::{AccountKey, Kept, Known, TransferKey},
    transfer::Posted,
};

/// A shard's head row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of its newest batch; 0 before the first.
    pub batch: i64,
    /// Position of its newest transfer.
    pub seq: i64,
    /// Hash of its newest batch.
    pub hash: Hash,
    /// The writer's clock at its newest batch; the clock of a shard never goes back.
    pub booked_at: DateTime<Utc>,
}

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The transaction was not committed and may be run again: a serialisation failure, a deadlock, a lost connection
    /// before the commit was sent.
    #[error("the store asks to try again")]
    Retry(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No connection was to be had for as long as a unit of work waits for one: nothing was begun, and who waits has waited
    /// long enough.
    #[error("the store is away")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The commit was sent and no answer came: it may have happened.
    #[error("the outcome of the commit is unknown")]
    Unknown(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no room left: the transaction was not committed, and would not be.
    #[error("the store is full")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store refuses, and would again: a missing table, a row that cannot be read.
    #[error("the store failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Where shards are kept.
pub trait Store: Send + Sync + 'static {
    /// A transaction under way; dropping it rolls back.
    type Tx: StoreTx;

    /// Begins a transaction.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx, StoreError>> + Send;

    /// The hash of a committed batch; how a writer learns what became of a commit without an answer.
    fn batch_hash(
        &self,
        shard: i32,
        batch: i64,
    ) -> impl Future<Output = Result<Option<Hash>, StoreError>> + Send;
}

/// What a batch begins with.
#[derive(Debug, Default)]
pub struct Found {
    /// Whether an id may have been used; [`StoreTx::find`] says for what.
    pub used: bool,
    /// The accounts that are there.
    pub accounts: Vec<(Uuid, Account)>,
    /// Their limits.
    pub limits: Vec<(Uuid, Limit)>,
}

/// One batch's transaction. Keys are environment and id, sorted.
///
/// Only the head row is locked by reading. Whoever has it is alone in writing transfers, totals, holds and usage. What
/// others write (an account's state, the revision of its limits) is compared with what was read when the row is written,
/// and a difference is [`StoreError::Retry`]. So a transfer and a closure that overlap come out in one order or the other.
///
/// What is inserted and updated waits, if several may write at once, for [`append_batch`](StoreTx::append_batch): before
/// it no row is touched, so that no other transaction is kept waiting.
pub trait StoreTx: Send {
    /// Takes the shard's head row and holds it until the transaction ends: one writer at a time. `None` if the shard
    /// does not exist.
    fn lock_head(&mut self, shard: i32) -> impl Future<Output = Result<Option<Head>, StoreError>> + Send;

    /// What these ids were used for.
    fn find(
        &mut self,
        shard: i32,
        ids: &[TransferKey],
    ) -> impl Future<Output = Result<Vec<(TransferKey, Known)>, StoreError>> + Send;

    /// Which of these transfers were reversed, and by which.
    fn find_reversals(
        &mut self,
        shard: i32,
        originals: &[TransferKey],
    ) -> impl Future<Output = Result<Vec<(TransferKey, TransferId)>, StoreError>> + Send;

    /// Reads holds.
    fn read_holds(
        &mut self,
        shard: i32,
        ids: &[TransferKey],
    ) -> impl Future<Output = Result<Vec<Hold>, StoreError>> + Send;

    /// Reads accounts with their limits, and whether any of `ids` was used.
    fn read(
        &mut self,
        shard: i32,
        ids: &[TransferKey],
        accounts: &[AccountKey],
    ) -> impl Future<Output = Result<Found, StoreError>> + Send;

    /// Insists that none of these ids was used, for who has not looked; otherwise [`StoreError::Retry`], at the latest when
    /// the batch is appended.
    fn ensure_unused(
        &mut self,
        shard: i32,
        ids: &[TransferKey],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Appends transfers.
    fn insert_transfers(
        &mut self,
        shard: i32,
        rows: &[Arc<Posted>],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Appends holds.
    fn insert_holds(
        &mut self,
        shard: i32,
        rows: &[Hold],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends holds.
    fn update_holds(
        &mut self,
        shard: i32,
        rows: &[Hold],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the totals and the newest effective time of accounts whose state and revision of limits are as read.
    fn update_accounts(
        &mut self,
        shard: i32,
        rows: &[(Uuid, Account)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Writes the usage of limits; their accounts' revision says whether they are as read.
    fn update_limits(
        &mut self,
        shard: i32,
        rows: &[(Uuid, Limit)],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Keeps refusals.
    fn insert_rejections(
        &mut self,
        shard: i32,
        rows: &[Kept],
        at: DateTime<Utc>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Moves the head, appends the batch row and writes all that waits; fails unless the head is `before` and all rows are
    /// as they were read.
    fn append_batch(
        &mut self,
        shard: i32,
        before: Head,
        after: Head,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Under the guard: moves the head's time alone, for a batch of refusals.
    fn move_head(&mut self, shard: i32, after: Head) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes it durable. [`StoreError::Unknown`] if no answer came.
    fn commit(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}
