//! Group commit: many callers' transfers in one database transaction.
//!
//! A shard's writers take all that has come while the batch before was committing; nobody waits on purpose. The
//! database is the only truth: what a writer remembers holds under the head row that it left and no other, so any number of
//! processes may write one shard. The head row, the guard, decides who goes first.

use std::{
    future::poll_fn,
    mem,
    sync::{Arc, PoisonError},
    task::Poll,
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc, oneshot};

use crate::{
    MAX_BATCH,
    batch::{self, Begun, Decided, Failure, Sent, Written},
    memory::Memory,
    outcome::Outcome,
    rules::Call,
    store::{Store, StoreError},
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

type Reply = oneshot::Sender<Result<Vec<Outcome>, Unavailable>>;

/// A call on its way to the writer.
pub struct Command {
    /// What to post.
    pub call: Call,
    /// Where the answer goes.
    pub reply: Reply,
    /// Its room among what waits; given back when the writer takes it.
    pub room: Option<OwnedSemaphorePermit>,
}

/// So many more calls are decided in less time than a transaction costs. Where fewer wait, more may come while the batch
/// before is written; where more wait, they are decided meanwhile.
pub const FEW: usize = 32;

/// How often a batch is tried again before its callers are told.
const ATTEMPTS: u32 = 4;

/// What waits for one shard's writers.
struct Queue {
    commands: mpsc::Receiver<Command>,
    /// Taken out, but too large for the batch before.
    waiting: Option<Command>,
}

impl Queue {
    /// The first command of a batch. `None` when there will be no more.
    async fn first(&mut self) -> Option<Command> {
        match self.waiting.take() {
            Some(command) => Some(command),
            None => self.commands.recv().await,
        }
    }

    /// `first` and all that has come by now.
    fn batch(&mut self, first: Command) -> (Vec<Call>, Vec<Reply>) {
        let mut size = first.call.transfers.len();
        let mut batch = vec![first];
        while let Ok(command) = self.commands.try_recv() {
            // Who has gone away needs no answer, and does not know of any: nothing is posted for him.
            if command.reply.is_closed() {
                continue;
            }
            size = size.saturating_add(command.call.transfers.len());
            if size > MAX_BATCH {
                self.waiting = Some(command);
                break;
            }
            batch.push(command);
        }
        batch.into_iter().map(|command| (command.call, command.reply)).unzip()
    }
}

/// Writes one shard until every sender of `commands` is gone. Fewer than `few` calls, [`FEW`] in a cell, wait for the batch
/// before to be written. `clock` is the wall clock.
///
/// Three take turns, so that the database is never left waiting: while one's batch is written the next is read, decided on
/// top of it and prepared, and the callers of the one before are answered. Batches are written one after the other. That
/// nothing but the batch before stands between is part of what is written; where it is not so, the batch is done again
/// under the guard.
pub async fn run<S: Store>(
    store: Arc<S>,
    shard: i32,
    commands: mpsc::Receiver<Command>,
    few: usize,
    clock: impl Fn() -> DateTime<Utc> + Send,
) {
    let (store, clock) = (store.as_ref(), &clock);
    let queue = Mutex::new(Queue { commands, waiting: None });
    let pen = Mutex::new(());
    let under_way = UnderWay::default();
    let turns = async || {
        loop {
            let mut queue = queue.lock().await;
            let Some(first) = queue.first().await else { return };
            let (mut mine, mut age) = (None, 0);
            let begun = async {
                let tx = store.begin().await?;
                let (before, now) = under_way.get();
                age = now;
                let Some(before) = before else {
                    // Who waits for the guard must not be waited for by who has it.
                    mine = Some(pen.lock().await);
                    return Begun::under_guard(tx, shard).await;
                };
                Ok(Begun::behind(tx, before))
            };
            let begun = begun.await;
            if mine.is_none() && queue.commands.len() < few {
                mine = Some(pen.lock().await);
            }
            let (calls, replies) = queue.batch(first);
            let decided = match begun {
                Ok(begun) => {
                    let recalled = begun.recall(&mut under_way.now().memory, &calls);
                    batch::decide(begun, shard, &calls, clock(), recalled).await
                }
                Err(error) => Err(error),
            };
            let pen = match mine {
                Some(pen) => pen,
                None => pen.lock().await,
            };
            let entered = decided.ok().filter(|decided| under_way.enter(decided, age));
            drop(queue);
            let done = match entered {
                Some(decided) => {
                    let (under_guard, recalled) = (decided.under_guard, decided.recalled);
                    let done = batch::write(decided, shard).await;
                    under_way.leave(done.is_ok(), recalled);
                    // What rested on others or on memory and was not committed says nothing about the store.
                    done.map_err(|failure| {
                        Some(failure).filter(|failure| {
                            (under_guard && !recalled) || matches!(failure.error, StoreError::Unknown(_))
                        })
                    })
                }
                None => Err(None),
            };
            drop(pen);
            // The next batch is sent before this one's callers, who may be hundreds, are woken.
            others_first().await;
            reply(
                replies,
                match done {
                    Ok(outcomes) => Ok(outcomes),
                    Err(failure) => attempts(store, shard, &calls, clock, failure).await,
                },
            );
        }
    };
    // One batch is read and decided, one written and committed, one answered. Each has its own waker: who may write next
    // does so in the same turn of the task, not behind the requests that wait for a worker.
    let mut three: FuturesUnordered<_> = [turns(), turns(), turns()].into_iter().collect();
    while three.next().await.is_some() {}
}

/// Lets those that share the task and can go on do so.
async fn others_first() {
    let mut gone = false;
    poll_fn(|context| {
        if mem::replace(&mut gone, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What a shard's writers share.
#[derive(Default)]
struct UnderWay(std::sync::Mutex<Shared>);

#[derive(Default)]
struct Shared {
    /// The batch that is being written, if it posts.
    batch: Option<Arc<Written>>,
    /// How many have failed.
    failures: u64,
    /// As that batch will leave it.
    memory: Memory,
}

impl UnderWay {
    fn now(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch that is being written, with its age in failures.
    fn get(&self) -> (Option<Arc<Written>>, u64) {
        let now = self.now();
        (now.batch.clone(), now.failures)
    }

    /// For who has the pen. `false` if the batch that `decided` rests on has failed. Who only keeps refusals posts nothing,
    /// so that nobody behind it could tell whether it is there.
    fn enter<T>(&self, decided: &Decided<T>, age: u64) -> bool {
        let mut now = self.now();
        let stands = decided.under_guard || now.failures == age;
        if stands && decided.written.moves_head() {
            now.memory.learn(decided.head, &decided.written);
        }
        if stands && decided.written.posts() {
            now.batch = Some(decided.written.clone());
        }
        stands
    }

    /// Who rests on a batch that has failed is not let in.
    fn leave(&self, committed: bool, recalled: bool) {
        let mut now = self.now();
        now.batch = None;
        if !committed {
            now.failures = now.failures.wrapping_add(1);
            if recalled {
                now.memory.rest();
            }
        }
    }
}

fn reply(replies: Vec<Reply>, answer: Result<Vec<Vec<Outcome>>, Unavailable>) {
    // A caller that has gone asks again with the same ids.
    match answer {
        Ok(outcomes) => {
            for (reply, outcomes) in replies.into_iter().zip(outcomes) {
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

/// Posts the calls in one transaction, again after failures that allow it. One list of outcomes per call.
pub async fn post<S: Store>(
    store: &S,
    shard: i32,
    calls: &[Call],
    clock: impl Fn() -> DateTime<Utc>,
) -> Result<Vec<Vec<Outcome>>, Unavailable> {
    attempts(store, shard, calls, clock, None).await
}

/// [`post`], after a first attempt that may have failed.
async fn attempts<S: Store>(
    store: &S,
    shard: i32,
    calls: &[Call],
    clock: impl Fn() -> DateTime<Utc>,
    mut failed: Option<Failure>,
) -> Result<Vec<Vec<Outcome>>, Unavailable> {
    let mut answer = Unavailable::NotPosted;
    // What an attempt without an answer would have committed, and what was known before it.
    let mut sent: Option<(Sent, Unavailable)> = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            backoff(attempt).await;
        }
        if let Some((Sent { batch, hash, outcomes }, before)) = sent.take() {
            match store.batch_hash(shard, batch).await {
                Ok(found) if found == Some(hash) => return Ok(outcomes),
                Ok(_) => answer = before,
                Err(error) => {
                    report(shard, attempt, &error);
                    if matches!(error, StoreError::Away(_)) {
                        break;
                    }
                    sent = Some((Sent { batch, hash, outcomes }, before));
                    continue;
                }
            }
        }
        let done = match failed.take() {
            Some(failure) => Err(failure),
            None => attempt_once(store, shard, calls, clock()).await,
        };
        match done {
            Ok(outcomes) => return Ok(outcomes),
            Err(Failure { error, sent: unanswered }) => {
                report(shard, attempt, &error);
                if let Some(unanswered) = unanswered {
                    sent = Some((unanswered, answer));
                }
                match error {
                    // No room says nothing of an attempt before that got no answer.
                    StoreError::Full(_) if answer == Unavailable::NotPosted => return Err(Unavailable::Full),
                    // A request has its time, and so have those behind it: nobody waits for a database that is gone.
                    StoreError::Full(_) | StoreError::Failed(_) | StoreError::Away(_) => break,
                    StoreError::Unknown(_) => answer = Unavailable::Unknown,
                    StoreError::Retry(_) => {}
                }
            }
        }
    }
    Err(answer)
}

/// One transaction under the guard.
async fn attempt_once<S: Store>(
    store: &S,
    shard: i32,
    calls: &[Call],
    clock: DateTime<Utc>,
) -> Result<Vec<Vec<Outcome>>, Failure> {
    let begun = Begun::under_guard(store.begin().await?, shard).await?;
    batch::write(batch::decide(begun, shard, calls, clock, None).await?, shard).await
}

fn report(shard: i32, attempt: u32, error: &StoreError) {
    metrics::counter!("ledger_batch_failures_total").increment(1);
    tracing::warn!(shard, attempt, error = error as &dyn std::error::Error, "a batch failed");
}

/// 20 ms, 80 ms, 320 ms: long enough for a deadlock or a failover of the connection, short enough for a waiting caller.
async fn backoff(attempt: u32) {
    tokio::time::sleep(Duration::from_millis(5_u64.saturating_mul(4_u64.saturating_pow(attempt)))).await;
}
