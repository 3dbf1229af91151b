//! Who asks, for which environment, when: the first argument of every use case.
//!
//! Two clocks exist. The *wall clock* is the machine's; tokens, certificates and leases use it. *Environment time* is
//! the wall clock plus the environment's stored offset, which is zero in live mode; whatever a customer can see
//! (booking times, holds, due dates) uses it. Both are truncated to microseconds, which is what the database keeps, so
//! that a value read back equals the value written.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use tenants::environment::Mode;
use tenants::id::{ClientId, EnvironmentId, Id};
use uuid::Uuid;

use crate::random;

/// Where rows live: the shard and the environment (in the control plane: shard 0 and the organization).
///
/// One value, so that nobody types the pair twice; every key of every table begins with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The ledger shard; never changes for a row.
    pub shard: i32,
    /// The environment's (or organization's) 128 bits.
    pub id: Uuid,
}

impl Scope {
    /// The scope of `id` on `shard`.
    pub const fn new(shard: i32, id: Uuid) -> Self {
        Self { shard, id }
    }

    /// The environment this scope names; only meaningful in a cell.
    pub const fn environment(self) -> EnvironmentId {
        EnvironmentId::from_uuid(self.id)
    }
}

/// Who acts. Nothing runs unattributed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// An OAuth client of the environment.
    Client(ClientId),
    /// A part of Tambo itself, named for the audit trail.
    System(&'static str),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(id) => write!(f, "{id}"),
            Self::System(name) => write!(f, "system:{name}"),
        }
    }
}

/// The context of one request or one item of work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ctx {
    /// Where the rows of this unit of work live.
    pub scope: Scope,
    /// Sandbox or live.
    pub mode: Mode,
    /// Who acts.
    pub actor: Actor,
    /// Follows the request through logs and rows.
    pub request_id: Arc<str>,
    /// The environment's clock.
    pub clock: EnvironmentClock,
}

impl Ctx {
    /// Environment time, in whole microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The wall clock, in whole microseconds: for leases and tokens, never for what a customer sees.
    pub fn wall(&self) -> DateTime<Utc> {
        self.clock.wall()
    }

    /// A fresh id. Its order is the wall clock's, so that moving a sandbox's clock cannot make ids repeat an instant.
    pub fn new_id<I: Id>(&self) -> I {
        I::from_parts(self.wall(), random::bits())
    }
}

/// The wall clock, or one that a test moves by hand. Clones of a manual clock move together.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start` until it is moved.
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.timestamp_micros()))))
    }

    /// The time in whole microseconds.
    #[expect(clippy::disallowed_methods, reason = "the clock that everybody else is given")]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::System => Utc::now().trunc_subsecs(6),
            Source::Manual(micros) => {
                DateTime::from_timestamp_micros(micros.load(Ordering::SeqCst)).unwrap_or_default()
            }
        }
    }

    /// Sets a manual clock, forwards or backwards.
    ///
    /// # Panics
    /// On the system clock, which nobody may move.
    pub fn set(&self, at: DateTime<Utc>) {
        match &self.0 {
            Source::System => panic!("the system clock cannot be set"),
            Source::Manual(micros) => micros.store(at.timestamp_micros(), Ordering::SeqCst),
        }
    }

    /// Moves a manual clock by `by`.
    ///
    /// # Panics
    /// On the system clock, which nobody may move.
    pub fn advance(&self, by: TimeDelta) {
        match &self.0 {
            Source::System => panic!("the system clock cannot be moved"),
            Source::Manual(micros) => {
                micros.fetch_add(by.num_microseconds().unwrap_or(i64::MAX), Ordering::SeqCst);
            }
        }
    }
}

/// The clock of one environment: the wall clock and the environment's offset from it.
#[derive(Debug, Clone)]
pub struct EnvironmentClock {
    /// The wall clock beneath.
    pub clock: Clock,
    /// How far environment time is ahead; zero in live mode.
    pub offset: TimeDelta,
}

impl EnvironmentClock {
    /// A clock `offset` ahead of `clock`.
    pub const fn new(clock: Clock, offset: TimeDelta) -> Self {
        Self { clock, offset }
    }

    /// Environment time in whole microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        let wall = self.wall();
        wall.checked_add_signed(self.offset).unwrap_or(wall).trunc_subsecs(6)
    }

    /// The wall clock in whole microseconds.
    pub fn wall(&self) -> DateTime<Utc> {
        self.clock.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenants::id::AccountId;

    fn ctx(clock: &Clock, offset: TimeDelta) -> Ctx {
        Ctx {
            scope: Scope::new(3, Uuid::from_u128(9)),
            mode: Mode::Sandbox,
            actor: Actor::System("test"),
            request_id: "r".into(),
            clock: EnvironmentClock::new(clock.clone(), offset),
        }
    }

    #[test]
    fn environment_time_is_the_wall_clock_plus_the_offset() {
        let start = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
        let clock = Clock::manual(start);
        let ctx = ctx(&clock, TimeDelta::days(2));
        assert_eq!(ctx.wall(), start);
        assert_eq!(ctx.now(), start + TimeDelta::days(2));
        clock.advance(TimeDelta::seconds(5));
        assert_eq!(ctx.now(), start + TimeDelta::days(2) + TimeDelta::seconds(5));
        clock.set(start);
        assert_eq!(ctx.wall(), start);
    }

    #[test]
    fn system_time_has_whole_microseconds() {
        assert_eq!(Clock::system().now().timestamp_subsec_nanos() % 1_000, 0);
    }

    #[test]
    fn ids_are_ordered_by_the_wall_clock() {
        let clock = Clock::manual(DateTime::from_timestamp_millis(1_700_000_000_000).unwrap());
        let ahead = ctx(&clock, TimeDelta::days(400)).new_id::<AccountId>();
        clock.advance(TimeDelta::milliseconds(1));
        let later = ctx(&clock, TimeDelta::zero()).new_id::<AccountId>();
        assert!(ahead < later);
    }
}
