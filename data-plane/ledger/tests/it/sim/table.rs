//! The simulated store, without faults, as the table language speaks to it.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{
    account::{Account, Class, State},
    limit::{Limit, NewLimit},
    outcome::Outcome,
    rules::Call,
    transfer::{Provenance, Transfer},
    writer,
};
use rand::{SeedableRng, rngs::SmallRng};
use tenants::{id::AccountId, money::Currency};

use super::{
    ENVIRONMENT, SHARD,
    books::chain_of,
    store::{Faults, SimStore},
};
use crate::world::Books;

pub struct World {
    store: SimStore,
    now: DateTime<Utc>,
}

impl World {
    pub fn new() -> Self {
        let store = SimStore::new(SmallRng::seed_from_u64(0), Faults::default(), 1);
        World { store, now: "2026-03-01T12:00:00Z".parse().unwrap() }
    }
}

impl Books for World {
    fn label(&self) -> &'static str {
        "the simulated store"
    }

    fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn tick(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    async fn open(&self, id: AccountId, class: Class, currency: &str, may_overdraw: bool) {
        let account = Account {
            id,
            class,
            currency: Currency::parse(currency).unwrap(),
            state: State::Open,
            may_overdraw,
            limits_revision: 0,
            debits_posted: 0,
            credits_posted: 0,
            debits_held: 0,
            credits_held: 0,
            last_effective_at: DateTime::UNIX_EPOCH,
        };
        self.store.with(|rows| rows.accounts.insert((ENVIRONMENT, id), account));
    }

    async fn move_state(&self, id: AccountId, from: State, to: State) -> bool {
        self.store.with(|rows| {
            let account = rows.accounts.get_mut(&(ENVIRONMENT, id)).unwrap();
            let empty = account.balance() == Some(0) && account.debits_held == 0 && account.credits_held == 0;
            let moves = account.state == from && (to != State::Closed || empty);
            if moves {
                account.state = to;
            }
            moves
        })
    }

    async fn set_limits(&self, id: AccountId, limits: &[NewLimit]) {
        self.store.with(|rows| {
            rows.accounts.get_mut(&(ENVIRONMENT, id)).unwrap().limits_revision += 1;
            let key = |rule: &NewLimit| (ENVIRONMENT, id, rule.direction, rule.window);
            rows.limits.retain(|at, _| at.1 != id || limits.iter().any(|rule| key(rule) == *at));
            for rule in limits {
                let new = Limit { account: id, rule: *rule, used: 0, started_at: DateTime::UNIX_EPOCH };
                rows.limits.entry(key(rule)).or_insert(new).rule = *rule;
            }
        });
    }

    async fn post(&self, transfers: Vec<Transfer>) -> Vec<Outcome> {
        let provenance = Provenance {
            actor: "system:sim".into(),
            client: None,
            request_id: "r".into(),
            clock_offset_ms: 0,
        };
        let calls = [Call { environment: ENVIRONMENT, provenance, transfers }];
        writer::post(&self.store, SHARD, &calls, || self.now).await.unwrap().remove(0)
    }

    async fn account(&self, id: AccountId) -> Account {
        self.store.with(|rows| rows.accounts[&(ENVIRONMENT, id)].clone())
    }

    async fn check(&self) {
        self.store.with(|rows| {
            chain_of(rows);
            let sum = |side: fn(&Account) -> i64| rows.accounts.values().map(side).sum::<i64>();
            assert_eq!(sum(|account| account.debits_posted), sum(|account| account.credits_posted));
        });
    }
}
