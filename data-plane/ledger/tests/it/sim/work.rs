//! Flows of two steps on the real work runner: place a hold, then capture it, under ids derived from the flow's.
//!
//! The store of work is in memory and fails as the other one does; leases run out when the wall clock jumps or a runner
//! is dead, and then another runner handles the item as well. Each flow must have one effect all the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{
    outcome::Outcome,
    rules::Call,
    transfer::{Kind, Subject, Transfer, derived_id},
};
use platform::{
    ctx::Scope,
    work::{Done, Failed, Lease, Options, Retry, Runner, Settled, Store, WorkItem},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use sea_orm::DbErr;
use tenants::id::WorkId;
use uuid::Uuid;

use super::{Clients, ENVIRONMENT, SHARD, Tasks, attempt, give_way, now, plain};
use crate::world::account_id;

/// The kind of the items.
const FLOW: &str = "flow";

struct Row {
    item: WorkItem,
    open: bool,
    until: Option<DateTime<Utc>>,
}

/// Where the flows are kept.
#[derive(Clone)]
pub struct SimWork {
    rows: Arc<Mutex<BTreeMap<WorkId, Row>>>,
    rng: Arc<Mutex<SmallRng>>,
    lost: u32,
}

impl SimWork {
    /// With `flows` items, due at once. `lost`: how often a statement or its answer is, in thousandths.
    pub fn new(rng: SmallRng, lost: u32, flows: u128, wall: DateTime<Utc>) -> Self {
        let row = |number: u128| {
            let id = WorkId::from_uuid(Uuid::from_u128(number << 64));
            let scope = Scope::new(SHARD, ENVIRONMENT);
            let lease = Lease { scope, id, owner: Uuid::nil(), attempt: 0, signal: 0 };
            let item = WorkItem {
                lease,
                kind: FLOW.to_owned(),
                key: number.to_string(),
                payload: serde_json::Value::Null,
                step: None,
                run_at: wall,
                offset: TimeDelta::zero(),
            };
            (id, Row { item, open: true, until: None })
        };
        let rows = (1..=flows).map(row).collect();
        SimWork { rows: Arc::new(Mutex::new(rows)), rng: Arc::new(Mutex::new(rng)), lost }
    }

    /// The ids of the flows that are not finished.
    pub fn open(&self) -> Vec<WorkId> {
        self.rows().values().filter(|row| row.open).map(|row| row.item.lease.id).collect()
    }

    /// The ids of all flows.
    pub fn all(&self) -> Vec<WorkId> {
        self.rows().keys().copied().collect()
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<WorkId, Row>> {
        self.rows.lock().unwrap()
    }

    async fn maybe_lost(&self) -> Result<(), DbErr> {
        give_way().await;
        let lost = self.rng.lock().unwrap().random_range(0..1_000) < self.lost;
        if lost { Err(DbErr::Custom("the connection broke".to_owned())) } else { Ok(()) }
    }

    /// The row, if the lease still holds.
    fn held(&self, lease: &Lease, change: impl FnOnce(&mut Row)) -> bool {
        let mut rows = self.rows();
        let row = rows.get_mut(&lease.id).unwrap();
        let ours = row.open && row.item.lease == *lease;
        if ours {
            change(row);
        }
        ours
    }
}

impl Store for SimWork {
    async fn take(
        &self,
        _: i32,
        kinds: &[&'static str],
        owner: Uuid,
        wall: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<WorkItem>, DbErr> {
        self.maybe_lost().await?;
        let mut taken = Vec::new();
        for row in self.rows().values_mut() {
            let free = row.until.is_none_or(|until| until <= wall);
            if row.open && free && row.item.run_at <= wall && kinds.contains(&row.item.kind.as_str()) {
                row.until = Some(until);
                row.item.lease.owner = owner;
                row.item.lease.attempt += 1;
                taken.push(row.item.clone());
                if taken.len() == limit as usize {
                    break;
                }
            }
        }
        // The take may have happened without its answer: the items are free again when the lease has run out.
        self.maybe_lost().await?;
        Ok(taken)
    }

    async fn renew(&self, lease: &Lease, until: DateTime<Utc>) -> Result<bool, DbErr> {
        self.maybe_lost().await?;
        Ok(self.held(lease, |row| row.until = Some(until)))
    }

    async fn settle(&self, lease: &Lease, settled: &Settled, _: DateTime<Utc>) -> Result<bool, DbErr> {
        self.maybe_lost().await?;
        let ours = self.held(lease, |row| {
            row.until = None;
            row.item.lease.owner = Uuid::nil();
            match settled {
                Settled::Done(Done::Finished) => row.open = false,
                Settled::Done(Done::Next { step, run_at }) => {
                    row.item.lease.attempt = 0;
                    (row.item.step, row.item.run_at) = (Some(step.clone()), *run_at);
                }
                Settled::Failed(Failed { run_at: Some(run_at), .. }) => row.item.run_at = *run_at,
                Settled::Failed(Failed { run_at: None, reason }) => panic!("a dead letter: {reason}"),
            }
        });
        self.maybe_lost().await?;
        Ok(ours)
    }
}

/// What a flow posts at each of its steps.
pub fn transfers(flow: WorkId) -> [Transfer; 2] {
    let number = flow.uuid().as_u128() >> 64;
    let (debit, credit) = (account_id(2 + number % 3), account_id(3 + (number + 1) % 3));
    let [hold, capture] = ["hold", "capture"].map(|step| derived_id(flow.uuid(), step));
    let amount = Some(10 + i64::try_from(number).unwrap());
    [
        Transfer { amount, ..plain(hold, Kind::Hold, Subject::Accounts { debit, credit }) },
        plain(capture, Kind::Capture, Subject::Hold(hold)),
    ]
}

async fn step(item: WorkItem, clients: Clients, rng: SmallRng, wall: DateTime<Utc>) -> Result<Done, Retry> {
    let [hold, capture] = transfers(item.lease.id);
    let first = item.step.is_none();
    let transfer = if first { hold } else { capture };
    let call = Call { transfers: vec![transfer], ..clients.call.clone() };
    let outcomes = attempt(&clients, &call, rng).await.ok_or_else(|| Retry::later("no answer"))?;
    let posted = matches!(outcomes[0], Outcome::Posted(_) | Outcome::Replayed(_));
    Ok(if first && posted { Done::Next { step: "capture".to_owned(), run_at: wall } } else { Done::Finished })
}

/// Starts a runner, which ticks and renews until it is killed.
pub fn start_runner(tasks: &Tasks, work: &SimWork, clients: &Clients, mut rng: SmallRng) -> u64 {
    let mut options = Options::new(vec![SHARD]);
    (options.batch, options.max_attempts) = (2, i32::MAX);
    let mut runner = Runner::new(work.clone(), options, Uuid::from_u128(rng.random()));
    let (shared, of_handlers) = (clients.clone(), Mutex::new(SmallRng::seed_from_u64(rng.random())));
    runner.handle(FLOW, move |item| {
        let rng = SmallRng::seed_from_u64(of_handlers.lock().unwrap().random());
        let wall = now(&shared.clock);
        step(item, shared.clone(), rng, wall)
    });
    let clock = clients.clock.clone();
    tasks.spawn(false, async move {
        loop {
            // A tick that fails leaves its items leased, as the death of a runner does.
            let _failed = runner.tick(now(&clock)).await;
            if rng.random_bool(0.2) {
                let _failed = runner.renew(now(&clock)).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(rng.random_range(1..5))).await;
        }
    })
}
