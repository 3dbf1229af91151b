//! The baseline of bulk posting: the writer's own statements in its own order, on several connections, each for batches
//! of its own. No HTTP, no JSON, no rules: amounts are added up and that is all.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use ledger::{
    chain,
    store::{Head, Store, StoreError, StoreTx, sql::SqlStore},
    transfer::{Kind, Posted},
};
use platform::{
    ctx::Clock,
    db::{DatabaseConfig, Db},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tenants::id::{Id, TransferId};

use super::world::{CLIENT, ENVIRONMENT, SCOPE, account, currency};

/// Transfers of one batch.
pub const BATCH: usize = 1_000;
/// Connections, one batch in flight on each.
pub const CONNECTIONS: usize = 8;

/// What a run gave.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub transfers: u64,
    pub elapsed: Duration,
}

impl Run {
    /// Transfers a second.
    pub fn rate(&self) -> f64 {
        self.transfers as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends batches for `time` on as many connections as the bulk run has.
pub fn run(config: &DatabaseConfig, accounts: u64, time: Duration, seed: u64) -> Result<Run, Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        // The pool of the ledger's role has four connections.
        let pools = [Db::connect(config).await?, Db::connect(config).await?];
        let began = Instant::now();
        let tasks: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let store = SqlStore(pools[number % pools.len()].clone());
                let seed = seed ^ (number as u64) << 32;
                tokio::spawn(async move {
                    let mut random = SmallRng::seed_from_u64(seed);
                    let mut transfers = 0;
                    while began.elapsed() < time {
                        batch(&store, accounts, &mut random).await?;
                        transfers += BATCH as u64;
                    }
                    Ok::<_, StoreError>(transfers)
                })
            })
            .collect();
        let mut transfers = 0;
        for task in tasks {
            transfers += task.await??;
        }
        let elapsed = began.elapsed();
        for pool in pools {
            pool.close().await?;
        }
        Ok(Run { transfers, elapsed })
    })
}

/// One batch, as `ledger::writer` sends it.
async fn batch(store: &SqlStore, among: u64, random: &mut SmallRng) -> Result<(), StoreError> {
    let environment = ENVIRONMENT.uuid();
    let now = Clock::system().now();
    let plan: Vec<(TransferId, u64, u64, i64)> = (0..BATCH)
        .map(|_| {
            let (debit, credit) = two_accounts(among, random);
            (TransferId::from_parts(now, random.random()), debit, credit, random.random_range(1..=100))
        })
        .collect();
    let ids: BTreeSet<_> = plan.iter().map(|one| (environment, one.0)).collect();
    let touched: BTreeSet<_> =
        plan.iter().flat_map(|one| [one.1, one.2]).map(|number| (environment, account(number))).collect();

    let mut tx = store.begin().await?;
    let Some(head) = tx.lock_head(SCOPE.shard).await? else {
        return Err(StoreError::Failed("the shard has no head row".into()));
    };
    let found = tx.read(SCOPE.shard, &Vec::from_iter(ids), &Vec::from_iter(touched)).await?;
    let mut limits = found.limits;
    let mut accounts: BTreeMap<_, _> = found.accounts.into_iter().map(|(_, row)| (row.id, row)).collect();
    let mut rows = Vec::with_capacity(BATCH);
    let mut spent = BTreeMap::new();
    for (seq, (id, debit, credit, amount)) in (head.seq + 1..).zip(plan) {
        let (debit, credit) = (account(debit), account(credit));
        let mut balance = |id, debited: i64, credited: i64| {
            let row: &mut ledger::account::Account = accounts.get_mut(&id)?;
            row.debits_posted += debited;
            row.credits_posted += credited;
            row.last_effective_at = now;
            Some(row.credits_posted - row.debits_posted)
        };
        let (Some(debit_balance), Some(credit_balance)) =
            (balance(debit, amount, 0), balance(credit, 0, amount))
        else {
            return Err(StoreError::Failed("an account is missing".into()));
        };
        *spent.entry(debit).or_insert(0) += amount;
        rows.push(Arc::new(Posted {
            environment,
            id,
            seq,
            kind: Kind::Transfer,
            debit,
            credit,
            amount,
            currency: currency(),
            hold: None,
            reverses: None,
            chain: None,
            imported: false,
            debit_balance,
            credit_balance,
            effective_at: now,
            booked_at: now,
            content: [7; 16],
            actor: CLIENT.to_string().into(),
            client: Some(CLIENT),
            request_id: "0190000000007000800000000000bench".into(),
            key: None,
            reference: None,
        }));
    }
    tx.insert_transfers(SCOPE.shard, &rows).await?;
    let accounts: Vec<_> = accounts.into_values().map(|row| (environment, row)).collect();
    tx.update_accounts(SCOPE.shard, &accounts).await?;
    limits.retain_mut(|(_, limit)| {
        let used = spent.get(&limit.account).copied().unwrap_or_default();
        limit.used += used;
        used > 0
    });
    tx.update_limits(SCOPE.shard, &limits).await?;
    let after = Head {
        batch: head.batch + 1,
        seq: head.seq + BATCH as i64,
        hash: chain::hash(&head.hash, SCOPE.shard, head.batch + 1, rows.iter().map(Arc::as_ref)),
        booked_at: now.max(head.booked_at),
    };
    tx.append_batch(SCOPE.shard, head, after).await?;
    tx.commit().await
}

/// Two different accounts, uniformly.
pub fn two_accounts(among: u64, random: &mut SmallRng) -> (u64, u64) {
    let debit = random.random_range(1..=among);
    let credit = 1 + (debit - 1 + random.random_range(1..among)) % among;
    (debit, credit)
}
