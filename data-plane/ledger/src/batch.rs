//! One batch: one transaction under the guard, or right behind the batch that has it.
//!
//! Its rows are read, or remembered; see [`crate::memory`].

use std::{collections::BTreeSet, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};

use crate::{
    chain::{self, Hash},
    memory::{Memory, Recalled},
    outcome::Outcome,
    rules::{AccountKey, Book, Call, Known, TransferKey},
    store::{Found, Head, StoreError, StoreTx},
    transfer::Subject,
};

/// What a batch leaves behind; the next one may build on it before it is there.
pub(crate) struct Written {
    pub(crate) book: Book,
    pub(crate) head: Head,
}

impl Written {
    /// Whether it has posted anything.
    pub(crate) fn posts(&self) -> bool {
        !self.book.posted().is_empty()
    }

    /// Whether it moves the head, if only its time.
    pub(crate) fn moves_head(&self) -> bool {
        self.posts() || !self.book.kept().is_empty()
    }
}

/// A transaction that has begun, and where it begins.
pub(crate) struct Begun<T> {
    tx: T,
    head: Head,
    /// The batch that is not committed yet. What it has changed cannot be read; the head is as it leaves it.
    before: Option<Arc<Written>>,
}

/// A batch that is decided, and neither written nor committed.
pub(crate) struct Decided<T> {
    tx: T,
    pub(crate) head: Head,
    /// Whether nothing under way is before it.
    pub(crate) under_guard: bool,
    /// Whether its rows were remembered, and not all read.
    pub(crate) recalled: bool,
    /// One list per call.
    outcomes: Vec<Vec<Outcome>>,
    /// With the head as it will be.
    pub(crate) written: Arc<Written>,
}

/// A batch whose commit got no answer.
pub(crate) struct Sent {
    pub(crate) batch: i64,
    pub(crate) hash: Hash,
    pub(crate) outcomes: Vec<Vec<Outcome>>,
}

/// Why a batch was not committed, or not known to be.
pub(crate) struct Failure {
    pub(crate) error: StoreError,
    pub(crate) sent: Option<Sent>,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure { error, sent: None }
    }
}

impl<T: StoreTx> Begun<T> {
    /// Under the guard: nobody else writes the shard until the transaction ends.
    pub(crate) async fn under_guard(mut tx: T, shard: i32) -> Result<Self, StoreError> {
        match tx.lock_head(shard).await? {
            Some(head) => Ok(Begun { tx, head, before: None }),
            None => Err(StoreError::Failed(format!("shard {shard} has no head row").into())),
        }
    }

    /// Right behind this batch; to be written once it has ended.
    pub(crate) fn behind(tx: T, before: Arc<Written>) -> Self {
        Begun { tx, head: before.head, before: Some(before) }
    }

    /// What is remembered of the rows that these calls name.
    pub(crate) fn recall(&self, memory: &mut Memory, calls: &[Call]) -> Option<Recalled> {
        memory.recall(self.head, self.before.as_deref().map(|before| &before.book), calls)
    }
}

/// Reads what is not in `recalled`, decides, and prepares what is to be written. `clock` is the wall clock.
///
/// # Errors
/// As the store says. Behind another batch also if there are refusals to keep and nothing to post: nothing in the database
/// would say that the batch before, on which they rest, is there.
pub(crate) async fn decide<T: StoreTx>(
    begun: Begun<T>,
    shard: i32,
    calls: &[Call],
    clock: DateTime<Utc>,
    recalled: Option<Recalled>,
) -> Result<Decided<T>, StoreError> {
    let Begun { mut tx, head, before } = begun;
    let wall = clock.max(head.booked_at);
    let book_before = before.as_deref().map(|before| &before.book);
    let posted = match recalled {
        Some(recalled) => post_recalled(&mut tx, shard, recalled, book_before, calls, wall).await?,
        None => None,
    };
    let recalled = posted.is_some();
    let (book, outcomes) = match posted {
        Some(posted) => posted,
        None => post(load(&mut tx, shard, head, book_before, calls).await?, calls, wall),
    };
    let after = match book.posted().last() {
        Some(last) => {
            let batch = head.batch.saturating_add(1);
            let hash = chain::hash(&head.hash, shard, batch, book.posted().iter().map(Arc::as_ref));
            Head { batch, seq: last.seq, hash, booked_at: wall }
        }
        None if before.is_some() && !book.kept().is_empty() => {
            return Err(StoreError::Retry("the batch before has not ended".into()));
        }
        // Always later: whoever decided before the refusals were kept must find that the head has moved.
        None => {
            let later = head.booked_at.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(wall);
            Head { booked_at: wall.max(later), ..head }
        }
    };
    stage(&mut tx, shard, &book, after.booked_at).await?;
    Ok(Decided {
        tx,
        head,
        under_guard: before.is_none(),
        recalled,
        outcomes,
        written: Arc::new(Written { book, head: after }),
    })
}

fn post(mut book: Book, calls: &[Call], wall: DateTime<Utc>) -> (Book, Vec<Vec<Outcome>>) {
    let outcomes = calls.iter().map(|call| book.post(call, wall)).collect();
    (book, outcomes)
}

/// Posts from memory. `None` unless every transfer is posted: nothing that is written would say of a refusal whether it
/// rests on accounts as they are, and nobody has looked for what an id was used for.
async fn post_recalled<T: StoreTx>(
    tx: &mut T,
    shard: i32,
    recalled: Recalled,
    before: Option<&Book>,
    calls: &[Call],
    wall: DateTime<Utc>,
) -> Result<Option<(Book, Vec<Vec<Outcome>>)>, StoreError> {
    let Recalled { mut book, missing } = recalled;
    if !missing.is_empty() {
        let found = tx.read(shard, &[], &missing).await?;
        enter(&mut book, before, found);
    }
    let (book, outcomes) = post(book, calls, wall);
    if !outcomes.iter().flatten().all(|outcome| matches!(outcome, Outcome::Posted(_))) {
        return Ok(None);
    }
    let ids: BTreeSet<TransferKey> = book.posted().iter().map(|row| (row.environment, row.id)).collect();
    tx.ensure_unused(shard, &Vec::from_iter(ids)).await?;
    Ok(Some((book, outcomes)))
}

/// Writes what was prepared and makes it durable. Fails unless the batch before is there and nothing came between.
pub(crate) async fn write<T: StoreTx>(decided: Decided<T>, shard: i32) -> Result<Vec<Vec<Outcome>>, Failure> {
    let Decided { mut tx, head, outcomes, written, .. } = decided;
    let after = written.head;
    let size = u32::try_from(written.book.posted().len()).unwrap_or(u32::MAX);
    if size > 0 {
        tx.append_batch(shard, head, after).await?;
        metrics::histogram!("ledger_batch_size").record(f64::from(size));
    } else if written.book.kept().is_empty() {
        return Ok(outcomes);
    } else {
        tx.move_head(shard, after).await?;
    }
    match tx.commit().await {
        Ok(()) => Ok(outcomes),
        // The hash says nothing of refusals: with some, only doing it again tells whether they were kept.
        Err(error @ StoreError::Unknown(_)) if size > 0 && written.book.kept().is_empty() => {
            Err(Failure { error, sent: Some(Sent { batch: after.batch, hash: after.hash, outcomes }) })
        }
        Err(error) => Err(error.into()),
    }
}

/// Reads every row the calls name, as `before` leaves it. Nearly always all ids are new and all accounts are named: then
/// it is one statement.
async fn load<T: StoreTx>(
    tx: &mut T,
    shard: i32,
    head: Head,
    before: Option<&Book>,
    calls: &[Call],
) -> Result<Book, StoreError> {
    let mut book = Book::new(head.seq);
    let mut ids = BTreeSet::<TransferKey>::new();
    let mut originals = BTreeSet::<TransferKey>::new();
    let mut holds = BTreeSet::<TransferKey>::new();
    let mut accounts = BTreeSet::<AccountKey>::new();
    for call in calls {
        for transfer in &call.transfers {
            ids.insert((call.environment, transfer.id));
            match transfer.subject {
                Subject::Accounts { debit, credit } => {
                    accounts.insert((call.environment, debit));
                    accounts.insert((call.environment, credit));
                }
                Subject::Hold(id) => {
                    holds.insert((call.environment, id));
                }
                Subject::Original(id) => {
                    originals.insert((call.environment, id));
                }
            }
        }
    }
    ids.extend(&originals);
    let ids = Vec::from_iter(ids);
    let found = tx.read(shard, &ids, &Vec::from_iter(accounts.iter().copied())).await?;
    let used = if found.used { tx.find(shard, &ids).await? } else { Vec::new() };
    let mut more = BTreeSet::<AccountKey>::new();
    let used_before = ids.iter().filter_map(|key| Some((*key, before?.known(*key)?.clone())));
    for (key, known) in used.into_iter().chain(used_before) {
        if let Known::Posted(row) = &known
            && originals.contains(&key)
        {
            more.extend([(key.0, row.debit), (key.0, row.credit)]);
        }
        book.add_known(key, known);
    }
    enter(&mut book, before, found);
    if !originals.is_empty() {
        let originals = Vec::from_iter(originals);
        let reversed = tx.find_reversals(shard, &originals).await?;
        let reversed_before = originals.iter().filter_map(|key| Some((*key, before?.reversal(*key)?)));
        for (original, by) in reversed.into_iter().chain(reversed_before) {
            book.add_reversed(original, by);
        }
    }
    if !holds.is_empty() {
        let holds = Vec::from_iter(holds);
        let read = tx.read_holds(shard, &holds).await?;
        let changed = holds.iter().filter_map(|key| before?.changed_hold(*key).cloned());
        for hold in read.into_iter().chain(changed) {
            more.extend([(hold.environment, hold.debit), (hold.environment, hold.credit)]);
            book.add_hold(hold);
        }
    }
    let more: Vec<_> = more.difference(&accounts).copied().collect();
    if !more.is_empty() {
        let found = tx.read(shard, &[], &more).await?;
        enter(&mut book, before, found);
    }
    Ok(book)
}

/// What the batch before has changed stands for what was read. Limits in one order, so that of several the same one is
/// named each time.
fn enter(book: &mut Book, before: Option<&Book>, mut found: Found) {
    for (environment, account) in found.accounts {
        let changed = before.and_then(|before| before.changed_account((environment, account.id)));
        book.add_account(environment, changed.cloned().unwrap_or(account));
    }
    found.limits.sort_unstable_by_key(|(_, limit)| (limit.rule.direction, limit.rule.window));
    for (environment, limit) in found.limits {
        let changed = before.and_then(|before| before.changed_limit(environment, &limit));
        book.add_limit(environment, changed.copied().unwrap_or(limit));
    }
}

/// Prepares all that changes but the head.
async fn stage<T: StoreTx>(
    tx: &mut T,
    shard: i32,
    book: &Book,
    booked_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    if !book.kept().is_empty() {
        tx.insert_rejections(shard, book.kept(), booked_at).await?;
    }
    if book.posted().is_empty() {
        return Ok(());
    }
    tx.insert_transfers(shard, book.posted()).await?;
    let holds: Vec<_> = book.new_holds().cloned().collect();
    if !holds.is_empty() {
        tx.insert_holds(shard, &holds).await?;
    }
    let holds: Vec<_> = book.changed_holds().cloned().collect();
    if !holds.is_empty() {
        tx.update_holds(shard, &holds).await?;
    }
    let mut accounts: Vec<_> =
        book.changed_accounts().map(|(environment, account)| (environment, account.clone())).collect();
    accounts.sort_unstable_by_key(|(environment, account)| (*environment, account.id));
    tx.update_accounts(shard, &accounts).await?;
    let limits: Vec<_> = book.changed_limits().map(|(environment, limit)| (environment, *limit)).collect();
    if !limits.is_empty() {
        tx.update_limits(shard, &limits).await?;
    }
    Ok(())
}
