//! Group commit: many callers' transfers in one database transaction.
//!
//! One task per shard takes all that has come while the batch before was committing; nobody waits on purpose. The
//! database is the only truth: the task keeps nothing between batches, so any number of processes may write one shard.
//! The head row decides who goes first.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tenants::id::AccountId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use uuid::Uuid;

use crate::{
    MAX_BATCH,
    chain::{self, Hash},
    outcome::Outcome,
    rules::{Book, Call, TransferKey},
    store::{Head, Store, StoreError, StoreTx},
    transfer::Subject,
};

/// The ledger cannot answer now. Nothing is lost: the same call with the same ids gives the answer later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Nothing was posted.
    #[error("the ledger is not available; nothing was posted")]
    NotPosted,
    /// The database broke off in the middle of the commit.
    #[error("the ledger is not available; whether the transfers were posted is not known yet")]
    Unknown,
    /// More is waiting than the ledger may queue.
    #[error("the ledger has too much to do; nothing was posted")]
    Overloaded,
    /// The database has no room left.
    #[error("the ledger's database is full; nothing was posted")]
    Full,
}

/// A call on its way to the writer.
pub struct Command {
    /// What to post.
    pub call: Call,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Vec<Outcome>, Unavailable>>,
    /// Its room among what waits; given back when the writer takes it.
    pub room: Option<OwnedSemaphorePermit>,
}

/// How often a batch is tried again before its callers are told.
const ATTEMPTS: u32 = 4;

/// Writes one shard until every sender of `commands` is gone. `clock` is the wall clock.
pub async fn run<S: Store>(
    store: Arc<S>,
    shard: i32,
    mut commands: mpsc::Receiver<Command>,
    clock: impl Fn() -> DateTime<Utc> + Send,
) {
    let mut waiting: Option<Command> = None;
    while let Some(first) = match waiting.take() {
        Some(command) => Some(command),
        None => commands.recv().await,
    } {
        let mut size = first.call.transfers.len();
        let mut batch = vec![first];
        while let Ok(command) = commands.try_recv() {
            // Who has gone away needs no answer, and does not know of any: nothing is posted for him.
            if command.reply.is_closed() {
                continue;
            }
            size = size.saturating_add(command.call.transfers.len());
            if size > MAX_BATCH {
                waiting = Some(command);
                break;
            }
            batch.push(command);
        }
        let (calls, replies): (Vec<Call>, Vec<_>) =
            batch.into_iter().map(|command| (command.call, command.reply)).unzip();
        match post(store.as_ref(), shard, &calls, &clock).await {
            Ok(outcomes) => {
                for (reply, outcomes) in replies.into_iter().zip(outcomes) {
                    // A caller that has gone asks again with the same ids.
                    let _ = reply.send(Ok(outcomes));
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error));
                }
            }
        }
    }
}

/// Posts the calls in one transaction, again after failures that allow it. One list of outcomes per call.
pub async fn post<S: Store>(
    store: &S,
    shard: i32,
    calls: &[Call],
    clock: impl Fn() -> DateTime<Utc>,
) -> Result<Vec<Vec<Outcome>>, Unavailable> {
    let mut answer = Unavailable::NotPosted;
    // What an attempt without an answer would have committed.
    let mut sent: Option<Sent> = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            backoff(attempt).await;
        }
        if let Some(Sent { batch, hash, outcomes }) = sent.take() {
            match store.batch_hash(shard, batch).await {
                Ok(found) if found == Some(hash) => return Ok(outcomes),
                Ok(_) => answer = Unavailable::NotPosted,
                Err(error) => {
                    report(shard, attempt, &error);
                    sent = Some(Sent { batch, hash, outcomes });
                    continue;
                }
            }
        }
        match attempt_once(store, shard, calls, clock()).await {
            Ok(outcomes) => return Ok(outcomes),
            Err(Failure { error, sent: unanswered }) => {
                report(shard, attempt, &error);
                if let Some(unanswered) = unanswered {
                    answer = Unavailable::Unknown;
                    sent = Some(unanswered);
                }
                match error {
                    StoreError::Full(_) => return Err(Unavailable::Full),
                    StoreError::Failed(_) => break,
                    StoreError::Retry(_) | StoreError::Unknown(_) => {}
                }
            }
        }
    }
    Err(answer)
}

/// A batch whose commit got no answer.
struct Sent {
    batch: i64,
    hash: Hash,
    outcomes: Vec<Vec<Outcome>>,
}

struct Failure {
    error: StoreError,
    sent: Option<Sent>,
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure { error, sent: None }
    }
}

fn report(shard: i32, attempt: u32, error: &StoreError) {
    metrics::counter!("ledger_batch_failures_total").increment(1);
    tracing::warn!(shard, attempt, error = error as &dyn std::error::Error, "a batch failed");
}

/// 20 ms, 80 ms, 320 ms: long enough for a deadlock or a failover of the connection, short enough for a waiting caller.
async fn backoff(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(5_u64.saturating_mul(4_u64.saturating_pow(attempt)))).await;
}

async fn attempt_once<S: Store>(
    store: &S,
    shard: i32,
    calls: &[Call],
    clock: DateTime<Utc>,
) -> Result<Vec<Vec<Outcome>>, Failure> {
    let mut tx = store.begin().await?;
    let Some(head) = tx.lock_head(shard).await? else {
        return Err(StoreError::Failed(format!("shard {shard} has no head row").into()).into());
    };
    let wall = clock.max(head.booked_at);
    let mut book = load(&mut tx, shard, head, calls).await?;
    let outcomes: Vec<Vec<Outcome>> = calls.iter().map(|call| book.post(call, wall)).collect();
    if book.posted().is_empty() && book.kept().is_empty() {
        return Ok(outcomes);
    }
    let after = write(&mut tx, shard, head, wall, &book).await?;
    metrics::histogram!("ledger_batch_size")
        .record(f64::from(u32::try_from(book.posted().len()).unwrap_or(u32::MAX)));
    match (tx.commit().await, after) {
        (Ok(()), _) => Ok(outcomes),
        (Err(error), Some(after)) if matches!(error, StoreError::Unknown(_)) => {
            let sent = Sent { batch: after.batch, hash: after.hash, outcomes };
            Err(Failure { error, sent: Some(sent) })
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Takes every row the calls name, in one order: ids, holds, accounts, limits.
async fn load<T: StoreTx>(tx: &mut T, shard: i32, head: Head, calls: &[Call]) -> Result<Book, StoreError> {
    let mut book = Book::new(head.seq);
    let mut ids = BTreeSet::<TransferKey>::new();
    let mut originals = BTreeSet::<TransferKey>::new();
    let mut holds = BTreeSet::<TransferKey>::new();
    let mut accounts = BTreeSet::<(Uuid, AccountId)>::new();
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
    for (key, known) in tx.find(shard, &ids).await? {
        if let crate::rules::Known::Posted(row) = &known
            && originals.contains(&key)
        {
            accounts.extend([(key.0, row.debit), (key.0, row.credit)]);
        }
        book.add_known(key, known);
    }
    if !originals.is_empty() {
        for (original, by) in tx.find_reversals(shard, &Vec::from_iter(originals)).await? {
            book.add_reversed(original, by);
        }
    }
    if !holds.is_empty() {
        for hold in tx.lock_holds(shard, &Vec::from_iter(holds)).await? {
            accounts.extend([(hold.environment, hold.debit), (hold.environment, hold.credit)]);
            book.add_hold(hold);
        }
    }
    let mut limited = Vec::new();
    for (environment, account) in tx.lock_accounts(shard, &Vec::from_iter(accounts)).await? {
        if account.limited {
            limited.push((environment, account.id));
        }
        book.add_account(environment, account);
    }
    if !limited.is_empty() {
        limited.sort_unstable();
        for (environment, limit) in tx.lock_limits(shard, &limited).await? {
            book.add_limit(environment, limit);
        }
    }
    Ok(book)
}

/// Writes what changed. The head afterwards, or `None` if only refusals were kept.
async fn write<T: StoreTx>(
    tx: &mut T,
    shard: i32,
    head: Head,
    wall: DateTime<Utc>,
    book: &Book,
) -> Result<Option<Head>, StoreError> {
    if !book.kept().is_empty() {
        tx.insert_rejections(shard, book.kept(), wall).await?;
    }
    let rows = book.posted();
    let Some(last) = rows.last() else { return Ok(None) };
    tx.insert_transfers(shard, rows).await?;
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
    let batch = head.batch.saturating_add(1);
    let hash = chain::hash(&head.hash, shard, batch, rows.iter().map(Arc::as_ref));
    let after = Head { batch, seq: last.seq, hash, booked_at: wall };
    tx.append_batch(shard, head, after).await?;
    Ok(Some(after))
}
