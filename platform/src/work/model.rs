//! What an item of work is, and what follows from how it went; pure.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tenants::id::WorkId;
use uuid::Uuid;

use crate::{ctx::Scope, db};

/// An item as its handler gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkItem {
    /// What proves that it is ours to handle.
    pub lease: Lease,
    /// The kind, which chose the handler.
    pub kind: String,
    /// Unique among the open items of its scope and kind.
    pub key: String,
    /// What was enqueued.
    pub payload: serde_json::Value,
    /// Where the handler said to go on; `None` at first.
    pub step: Option<String>,
    /// When it was due, in environment time.
    pub run_at: DateTime<Utc>,
    /// How far the environment's clock was ahead of the wall clock when it was taken.
    pub offset: TimeDelta,
}

impl WorkItem {
    /// Where the item lives.
    pub fn scope(&self) -> Scope {
        self.lease.scope
    }

    /// Environment time at the wall clock `wall`.
    pub fn now(&self, wall: DateTime<Utc>) -> DateTime<Utc> {
        wall.checked_add_signed(self.offset).unwrap_or(wall)
    }
}

/// The right to handle one item: of all runners, only the one whose owner and attempt stand in the row has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease {
    /// Where the item lives.
    pub scope: Scope,
    /// The item.
    pub id: WorkId,
    /// One take of one runner.
    pub owner: Uuid,
    /// How often the item was taken since it last succeeded, this time included.
    pub attempt: i32,
    /// How often the item had been enqueued when it was taken; if that has changed, it runs again.
    pub signal: i64,
}

/// How a handler ends well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// Nothing is left to do.
    Finished,
    /// One step is done, the next follows.
    Next {
        /// What [`WorkItem::step`] shall be.
        step: String,
        /// When, in environment time.
        run_at: DateTime<Utc>,
    },
}

/// How a handler fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Why, for operators; no personal data.
    pub reason: String,
    /// What may help.
    pub cure: Cure,
}

/// What may help against a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Another attempt, so many times.
    Attempt,
    /// Nothing: a dead letter at once.
    Nothing,
    /// Time: what the item needs is not there now, which is no fault of the item. It never becomes a dead letter by it.
    Time,
}

/// How long to wait for what is not there now.
const OUTAGE: TimeDelta = TimeDelta::seconds(2);

impl Retry {
    /// Try again later.
    pub fn later(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), cure: Cure::Attempt }
    }

    /// Try again later; it does not count as an attempt.
    pub fn outage(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), cure: Cure::Time }
    }

    /// Never try again.
    pub fn never(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), cure: Cure::Nothing }
    }
}

/// A database that is away or was busy is an outage.
impl<E: std::error::Error + 'static> From<E> for Retry {
    fn from(err: E) -> Self {
        let reason = err.to_string();
        if db::passes(&err) { Self::outage(reason) } else { Self::later(reason) }
    }
}

/// What is written about an item when its handler has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// It went well.
    Done(Done),
    /// It did not.
    Failed(Failed),
}

/// What a failure leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The next try, in environment time; `None`: it is a dead letter.
    pub run_at: Option<DateTime<Utc>>,
    /// Why.
    pub reason: String,
}

/// How long to wait after a failure: doubling from `first` up to `longest`, less up to a half at random.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after failed attempt number `attempt` (from 1). `seed` decides the jitter, so that the same item
    /// waits the same time in a repeated simulation.
    pub fn pause(&self, attempt: i32, seed: u128) -> TimeDelta {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(31);
        let bound = self.first.saturating_mul(1_u32 << doublings).min(self.longest);
        let mixed = mix(seed as u64 ^ (seed >> 64) as u64 ^ u64::from(attempt.unsigned_abs()));
        // 53 bits fill the fraction of a double.
        let fraction = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        TimeDelta::from_std(bound.mul_f64(1.0 - fraction / 2.0)).unwrap_or(TimeDelta::days(1))
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of the input moves half of the output's.
const fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// How a runner works.
#[derive(Debug, Clone)]
pub struct Options {
    /// The shards whose work this runner takes.
    pub shards: Vec<i32>,
    /// How many items one tick takes per shard; they are handled concurrently.
    pub batch: u32,
    /// How long a lease lasts; it is renewed after a third of that.
    pub lease: TimeDelta,
    /// How often the table is looked at when nobody wakes the runner.
    pub poll: Duration,
    /// An item that failed this often is a dead letter.
    pub max_attempts: i32,
    /// The pauses in between.
    pub backoff: Backoff,
}

impl Options {
    /// For these shards, everything else as it suits a cell.
    pub fn new(shards: Vec<i32>) -> Self {
        Self {
            shards,
            batch: 32,
            lease: TimeDelta::seconds(30),
            poll: Duration::from_millis(500),
            max_attempts: 12,
            backoff: Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(600) },
        }
    }

    /// What to write about an item whose handler ended like this at the wall clock `wall`.
    pub fn settle(&self, item: &WorkItem, result: Result<Done, Retry>, wall: DateTime<Utc>) -> Settled {
        match result {
            Ok(done) => Settled::Done(done),
            Err(Retry { reason, cure: Cure::Time }) => {
                tracing::warn!(
                    kind = item.kind,
                    key = item.key,
                    reason,
                    "work waits for what is not there now"
                );
                let now = item.now(wall);
                let run_at = now.checked_add_signed(OUTAGE).unwrap_or(now);
                Settled::Done(Done::Next {
                    step: item.step.clone().unwrap_or_else(|| "wait".to_owned()),
                    run_at,
                })
            }
            Err(Retry { reason, cure }) => {
                let dead = cure == Cure::Nothing || item.lease.attempt >= self.max_attempts;
                let pause = self.backoff.pause(item.lease.attempt, item.lease.id.uuid().as_u128());
                let run_at = (!dead).then(|| item.now(wall).checked_add_signed(pause).unwrap_or(wall));
                Settled::Failed(Failed { run_at, reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(attempt: i32) -> WorkItem {
        WorkItem {
            lease: Lease {
                scope: Scope::new(0, Uuid::nil()),
                id: WorkId::from_uuid(Uuid::from_u128(77)),
                owner: Uuid::nil(),
                attempt,
                signal: 0,
            },
            kind: "k".into(),
            key: "1".into(),
            payload: serde_json::Value::Null,
            step: None,
            run_at: DateTime::UNIX_EPOCH,
            offset: TimeDelta::days(3),
        }
    }

    #[test]
    fn pauses_double_to_a_bound_and_lose_at_most_half() {
        let backoff = Options::new(vec![]).backoff;
        for (attempt, bound) in [(1, 1), (2, 2), (5, 16), (10, 512), (11, 600), (1_000, 600)] {
            for seed in 0..200 {
                let pause = backoff.pause(attempt, seed);
                assert!(pause <= TimeDelta::seconds(bound), "{attempt} {pause}");
                assert!(pause >= TimeDelta::milliseconds(bound * 500), "{attempt} {pause}");
            }
        }
        assert_eq!(backoff.pause(3, 42), backoff.pause(3, 42));
        assert_ne!(backoff.pause(3, 42), backoff.pause(3, 43));
    }

    #[test]
    fn an_outage_never_makes_a_dead_letter() {
        let options = Options::new(vec![]);
        let wall = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let away = Retry::outage("away");
        let late = WorkItem { step: Some("two".into()), ..item(12) };
        for (item, step) in [(item(500), "wait"), (late, "two")] {
            let run_at = wall + TimeDelta::days(3) + OUTAGE;
            let next = Settled::Done(Done::Next { step: step.to_owned(), run_at });
            assert_eq!(options.settle(&item, Err(away.clone()), wall), next);
        }
    }

    #[test]
    fn a_failure_waits_in_environment_time_until_it_is_dead() {
        let options = Options::new(vec![]);
        let wall = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let Settled::Failed(failed) = options.settle(&item(1), Err(Retry::later("x")), wall) else {
            panic!()
        };
        let pause = failed.run_at.unwrap() - (wall + TimeDelta::days(3));
        assert!(pause > TimeDelta::zero() && pause <= TimeDelta::seconds(1));
        for (attempt, retry) in [(12, Retry::later("x")), (1, Retry::never("x"))] {
            let settled = options.settle(&item(attempt), Err(retry), wall);
            assert_eq!(settled, Settled::Failed(Failed { run_at: None, reason: "x".into() }));
        }
    }
}
