//! A store in memory with transactions and row locks that behaves as PostgreSQL does under READ COMMITTED, as far as the
//! writer goes: a statement sees what is committed, a locked row makes others wait and is read anew once the lock is had,
//! and nothing of a dropped transaction remains. What a transaction itself has written its statements do not see here:
//! the writer reads nothing after it has written. That it behaves so is checked by running the table language on it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard},
};

use chrono::{DateTime, Utc};
use ledger::{
    account::Account,
    chain::{GENESIS, Hash},
    hold::Hold,
    limit::{Direction, Limit, NewLimit, Window},
    rules::{AccountKey, Kept, Known, TransferKey},
    store::{Found, Head, Store, StoreError, StoreTx},
    transfer::Posted,
};
use rand::{Rng, rngs::SmallRng};
use tenants::id::{AccountId, TransferId};
use uuid::Uuid;

use super::scheduler::give_way;

type LimitKey = (Uuid, AccountId, Direction, Window);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Lock {
    Head(i32),
    Account(AccountKey),
    Limit(LimitKey),
}

/// What is committed, or what one transaction has written.
#[derive(Clone, Default)]
pub struct Rows {
    pub heads: BTreeMap<i32, Head>,
    pub batches: BTreeMap<(i32, i64), (i64, i64, Hash, Hash)>,
    pub accounts: BTreeMap<AccountKey, Account>,
    pub holds: BTreeMap<TransferKey, Hold>,
    pub limits: BTreeMap<LimitKey, Limit>,
    pub transfers: BTreeMap<TransferKey, Arc<Posted>>,
    /// What one transfer out of the moved account could be at most, after the position at which that was set.
    pub maxima: Vec<(i64, i64)>,
    /// With the time of the head that they came with.
    pub rejections: BTreeMap<TransferKey, (Known, DateTime<Utc>)>,
}

#[derive(Default)]
struct State {
    committed: Rows,
    locks: HashMap<Lock, u64>,
    next: u64,
    /// Commits that hang, whose clients are gone: of these transactions, and what they have written. They keep their locks.
    hanging: Vec<(u64, Rows)>,
}

impl State {
    fn commit(&mut self, written: Rows) {
        let rows = &mut self.committed;
        rows.heads.extend(written.heads);
        rows.batches.extend(written.batches);
        rows.accounts.extend(written.accounts);
        rows.holds.extend(written.holds);
        rows.limits.extend(written.limits);
        rows.transfers.extend(written.transfers);
        rows.rejections.extend(written.rejections);
    }

    fn release(&mut self, number: u64) {
        self.locks.retain(|_, owner| *owner != number);
    }
}

/// How often what goes wrong, in thousandths of statements or commits.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    pub statement: u32,
    /// The disk has no room for a statement.
    pub full: u32,
    /// The database fails a statement for a reason that trying again does not mend.
    pub failed: u32,
    pub commit_lost: u32,
    /// The commit happens, later than its client is told that nobody knows.
    pub commit_late: u32,
    pub answer_lost: u32,
}

#[derive(Clone)]
pub struct SimStore {
    state: Arc<Mutex<State>>,
    rng: Arc<Mutex<SmallRng>>,
    faults: Faults,
}

pub struct SimTx {
    store: SimStore,
    number: u64,
    written: Rows,
    /// What waits for the batch row.
    staged: Staged,
    /// A unique key was written twice; the database would have said so at the statement.
    dead: bool,
}

#[derive(Default)]
struct Staged {
    unused: Vec<TransferKey>,
    transfers: Vec<Arc<Posted>>,
    holds: Vec<Hold>,
    accounts: Vec<(Uuid, Account)>,
    limits: Vec<(Uuid, Limit)>,
}

fn lost(what: &str) -> StoreError {
    StoreError::Retry(what.to_owned().into())
}

impl SimStore {
    pub fn new(rng: SmallRng, faults: Faults, shards: i32) -> Self {
        let mut state = State::default();
        for shard in 0..shards {
            let head = Head { batch: 0, seq: 0, hash: GENESIS, booked_at: DateTime::UNIX_EPOCH };
            state.committed.heads.insert(shard, head);
        }
        SimStore { state: Arc::new(Mutex::new(state)), rng: Arc::new(Mutex::new(rng)), faults }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Looks at what is committed, or arranges it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Rows) -> T) -> T {
        look(&mut self.state().committed)
    }

    /// What another transaction does to an account, if no batch has written it and not ended yet.
    pub fn move_account(&self, key: AccountKey, change: impl FnOnce(&mut Account)) {
        let mut state = self.state();
        if !state.locks.contains_key(&Lock::Account(key))
            && let Some(account) = state.committed.accounts.get_mut(&key)
        {
            change(account);
        }
    }

    /// What another transaction does to an account's limits, at the same moments: this one alone.
    pub fn set_limit(&self, key: AccountKey, rule: NewLimit) {
        let mut state = self.state();
        if !state.locks.contains_key(&Lock::Account(key))
            && let Some(account) = state.committed.accounts.get_mut(&key)
        {
            account.limits_revision += 1;
            let limit = Limit { account: key.1, rule, used: 0, started_at: DateTime::UNIX_EPOCH };
            let rows = &mut state.committed;
            rows.limits.retain(|at, _| (at.0, at.1) != key);
            rows.limits.insert((key.0, key.1, rule.direction, rule.window), limit);
            let seq = rows.heads.values().map(|head| head.seq).max().unwrap_or_default();
            rows.maxima.push((seq, rule.maximum));
        }
    }

    fn happens(&self, thousandths: u32) -> bool {
        thousandths > 0 && self.rng.lock().unwrap().random_range(0..1_000) < thousandths
    }

    /// Time goes by: now and then a commit that hangs is done.
    fn pass(&self) {
        let mut state = self.state();
        if !state.hanging.is_empty() && self.happens(50) {
            let (number, written) = state.hanging.remove(0);
            state.commit(written);
            state.release(number);
        }
    }

    /// All commits that hang are done.
    pub fn come_to_rest(&self) {
        while !self.state().hanging.is_empty() {
            self.pass();
        }
    }
}

impl SimTx {
    /// Every statement: others may go first, and the connection may break.
    async fn statement(&self) -> Result<(), StoreError> {
        give_way().await;
        self.store.pass();
        let faults = self.store.faults;
        if self.dead || self.store.happens(faults.statement) {
            return Err(lost("the connection broke"));
        }
        if self.store.happens(faults.full) {
            return Err(StoreError::Full("no room".into()));
        }
        if self.store.happens(faults.failed) {
            return Err(StoreError::Failed("the database has a fault".into()));
        }
        Ok(())
    }

    /// A disk takes its time: others do much or little meanwhile.
    async fn sync(&self) {
        let turns = self.store.rng.lock().unwrap().random_range(1..12);
        for _ in 0..turns {
            give_way().await;
        }
    }

    /// Waits for a row's lock and keeps it until the transaction ends.
    async fn lock(&self, lock: Lock) {
        loop {
            {
                let mut state = self.store.state();
                let owner = *state.locks.entry(lock).or_insert(self.number);
                if owner == self.number {
                    return;
                }
            }
            // The owner cannot be waited for by name: look again whenever it is this task's turn.
            tokio::time::sleep(std::time::Duration::from_micros(50)).await;
            self.store.pass();
        }
    }
}

impl SimTx {
    async fn write_staged(&mut self) -> Result<(), StoreError> {
        let Staged { unused, transfers, holds, accounts, limits } = std::mem::take(&mut self.staged);
        self.statement().await?;
        if self.store.with(|rows| unused.iter().any(|key| rows.rejections.contains_key(key))) {
            self.dead = true;
            return Err(StoreError::Retry("an id was refused".into()));
        }
        for row in transfers {
            let key = (row.environment, row.id);
            let taken = self.store.with(|committed| committed.transfers.contains_key(&key));
            if taken || self.written.transfers.insert(key, row).is_some() {
                self.dead = true;
                return Err(StoreError::Retry("duplicate key".into()));
            }
        }
        self.statement().await?;
        self.written.holds.extend(holds.into_iter().map(|row| ((row.environment, row.id), row)));
        self.statement().await?;
        for (environment, row) in accounts {
            let key = (environment, row.id);
            self.lock(Lock::Account(key)).await;
            // An update writes totals only: state and limits are another transaction's columns.
            let before = self.store.with(|committed| committed.accounts.get(&key).cloned());
            let others = |row: &Account| (row.state, row.limits_revision);
            if before.as_ref().map(others) != Some(others(&row)) {
                self.dead = true;
                return Err(StoreError::Retry("a row is not as it was read".into()));
            }
            self.written.accounts.insert(key, row);
        }
        self.statement().await?;
        for (environment, row) in limits {
            let key = (environment, row.account, row.rule.direction, row.rule.window);
            self.lock(Lock::Limit(key)).await;
            self.written.limits.insert(key, row);
        }
        Ok(())
    }
}

impl Drop for SimTx {
    fn drop(&mut self) {
        let mut state = self.store.state();
        if !state.hanging.iter().any(|(number, _)| *number == self.number) {
            state.release(self.number);
        }
    }
}

impl Store for SimStore {
    type Tx = SimTx;

    async fn begin(&self) -> Result<SimTx, StoreError> {
        give_way().await;
        let number = {
            let mut state = self.state();
            state.next += 1;
            state.next
        };
        Ok(SimTx {
            store: self.clone(),
            number,
            written: Rows::default(),
            staged: Staged::default(),
            dead: false,
        })
    }

    async fn batch_hash(&self, shard: i32, batch: i64) -> Result<Option<Hash>, StoreError> {
        let mut tx = self.begin().await?;
        tx.lock_head(shard).await?;
        tx.statement().await?;
        Ok(self.with(|rows| rows.batches.get(&(shard, batch)).map(|row| row.3)))
    }
}

impl StoreTx for SimTx {
    async fn lock_head(&mut self, shard: i32) -> Result<Option<Head>, StoreError> {
        self.statement().await?;
        self.lock(Lock::Head(shard)).await;
        Ok(self.store.state().committed.heads.get(&shard).copied())
    }

    async fn find(&mut self, _: i32, ids: &[TransferKey]) -> Result<Vec<(TransferKey, Known)>, StoreError> {
        self.statement().await?;
        let state = self.store.state();
        let known = |key: &TransferKey| {
            let posted = state.committed.transfers.get(key).map(|row| Known::Posted(row.clone()));
            Some((*key, posted.or_else(|| state.committed.rejections.get(key).map(|kept| kept.0.clone()))?))
        };
        Ok(ids.iter().filter_map(known).collect())
    }

    async fn find_reversals(
        &mut self,
        _: i32,
        originals: &[TransferKey],
    ) -> Result<Vec<(TransferKey, TransferId)>, StoreError> {
        self.statement().await?;
        let state = self.store.state();
        let reversals = state.committed.transfers.values().filter_map(|row| {
            let key = (row.environment, row.reverses?);
            originals.contains(&key).then_some((key, row.id))
        });
        Ok(reversals.collect())
    }

    async fn read_holds(&mut self, _: i32, ids: &[TransferKey]) -> Result<Vec<Hold>, StoreError> {
        self.statement().await?;
        Ok(self.store.with(|rows| ids.iter().filter_map(|key| rows.holds.get(key).cloned()).collect()))
    }

    async fn read(
        &mut self,
        _: i32,
        ids: &[TransferKey],
        accounts: &[AccountKey],
    ) -> Result<Found, StoreError> {
        self.statement().await?;
        Ok(self.store.with(|rows| Found {
            used: ids.iter().any(|key| rows.transfers.contains_key(key) || rows.rejections.contains_key(key)),
            accounts: accounts
                .iter()
                .filter_map(|key| rows.accounts.get(key).map(|row| (key.0, row.clone())))
                .collect(),
            limits: rows
                .limits
                .iter()
                .filter(|(key, _)| accounts.contains(&(key.0, key.1)))
                .map(|(key, row)| (key.0, *row))
                .collect(),
        }))
    }

    async fn ensure_unused(&mut self, _: i32, ids: &[TransferKey]) -> Result<(), StoreError> {
        self.staged.unused.extend_from_slice(ids);
        Ok(())
    }

    async fn insert_transfers(&mut self, _: i32, rows: &[Arc<Posted>]) -> Result<(), StoreError> {
        self.staged.transfers.extend_from_slice(rows);
        Ok(())
    }

    async fn insert_holds(&mut self, _: i32, rows: &[Hold]) -> Result<(), StoreError> {
        self.staged.holds.extend_from_slice(rows);
        Ok(())
    }

    async fn update_holds(&mut self, _: i32, rows: &[Hold]) -> Result<(), StoreError> {
        self.staged.holds.extend_from_slice(rows);
        Ok(())
    }

    async fn update_accounts(&mut self, _: i32, rows: &[(Uuid, Account)]) -> Result<(), StoreError> {
        self.staged.accounts.extend_from_slice(rows);
        Ok(())
    }

    async fn update_limits(&mut self, _: i32, rows: &[(Uuid, Limit)]) -> Result<(), StoreError> {
        self.staged.limits.extend_from_slice(rows);
        Ok(())
    }

    async fn insert_rejections(
        &mut self,
        _: i32,
        rows: &[Kept],
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        self.statement().await?;
        for row in rows {
            let mut rejection = row.rejection;
            rejection.replayed = true;
            let known = Known::Rejected { content: row.content, rejection };
            self.written.rejections.insert((row.environment, row.id), (known, at));
        }
        Ok(())
    }

    async fn append_batch(&mut self, shard: i32, before: Head, after: Head) -> Result<(), StoreError> {
        self.statement().await?;
        self.lock(Lock::Head(shard)).await;
        let head = self.store.with(|rows| rows.heads.get(&shard).copied());
        if head != Some(before) {
            self.dead = true;
            return Err(StoreError::Retry("the head moved".into()));
        }
        let batch = (before.seq + 1, after.seq, before.hash, after.hash);
        self.written.batches.insert((shard, after.batch), batch);
        self.written.heads.insert(shard, after);
        self.write_staged().await
    }

    async fn move_head(&mut self, shard: i32, after: Head) -> Result<(), StoreError> {
        self.statement().await?;
        self.lock(Lock::Head(shard)).await;
        let head = self.store.with(|rows| rows.heads[&shard]);
        self.written.heads.insert(shard, Head { booked_at: after.booked_at, ..head });
        Ok(())
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        self.sync().await;
        if self.store.happens(self.store.faults.commit_lost) {
            return Err(StoreError::Unknown("the connection broke before the commit".into()));
        }
        let written = std::mem::take(&mut self.written);
        if self.store.happens(self.store.faults.commit_late) {
            self.store.state().hanging.push((self.number, written));
            return Err(StoreError::Unknown("the connection broke and the commit hangs".into()));
        }
        self.store.state().commit(written);
        self.sync().await;
        if self.store.happens(self.store.faults.answer_lost) {
            return Err(StoreError::Unknown("the connection broke after the commit".into()));
        }
        Ok(())
    }
}
