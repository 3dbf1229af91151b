//! A ledger on a database of its own, under a clock that the test moves.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU32, Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{
    account::{Account, Class, NewAccount, State},
    books,
    limit::NewLimit,
    outcome::Outcome,
    rules::Call,
    store::sql::SqlStore,
    transfer::{Provenance, Transfer},
    writer::{self, Command},
};
use platform::{
    ctx::Scope,
    testing::{TestDb, label},
};
use sea_orm_migration::MigrationTrait;
use tenants::{
    id::{AccountId, TransferId},
    money::Currency,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// The tables that the ledger needs.
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    let mut all = platform::migrations::migrations();
    all.push(Box::new(ledger::migrations::MIGRATION));
    all
}

/// The id with this number.
pub fn transfer_id(number: u128) -> TransferId {
    TransferId::from_uuid(Uuid::from_u128(number))
}

pub fn account_id(number: u128) -> AccountId {
    AccountId::from_uuid(Uuid::from_u128(number))
}

/// What the table language is spoken to: a ledger under a clock that the test moves.
pub trait Books {
    /// What it is on, for reports.
    fn label(&self) -> &'static str;
    fn now(&self) -> DateTime<Utc>;
    fn tick(&mut self, seconds: i64);
    async fn open(&self, id: AccountId, class: Class, currency: &str, may_overdraw: bool);
    /// As [`books::move_state_in_tx`].
    async fn move_state(&self, id: AccountId, from: State, to: State) -> bool;
    async fn set_limits(&self, id: AccountId, limits: &[NewLimit]);
    async fn post(&self, transfers: Vec<Transfer>) -> Vec<Outcome>;
    async fn account(&self, id: AccountId) -> Account;
    /// Debits equal credits, every account's totals follow from its transfers, and the chain holds.
    async fn check(&self);
}

pub struct World {
    pub db: TestDb,
    pub store: SqlStore,
    pub scope: Scope,
    pub now: DateTime<Utc>,
    /// To a writer that runs as long as the world, and remembers what it wrote.
    writer: mpsc::Sender<Command>,
    /// Its clock, in microseconds.
    clock: Arc<AtomicI64>,
    posts: AtomicU32,
}

impl World {
    pub async fn on(db: TestDb) -> World {
        let store = SqlStore(db.db().clone());
        store.ensure_shards(2).await.unwrap();
        let scope = Scope::new(1, Uuid::from_u128(0xe));
        let (writer, commands) = mpsc::channel(1);
        let clock = Arc::new(AtomicI64::new(0));
        let now = clock.clone();
        let now = move || DateTime::from_timestamp_micros(now.load(Ordering::SeqCst)).unwrap();
        tokio::spawn(writer::run(Arc::new(store.clone()), scope.shard, commands, writer::FEW, now));
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        World { db, store, scope, now, writer, clock, posts: AtomicU32::new(0) }
    }

    /// One on each database.
    pub async fn both() -> Vec<World> {
        let mut worlds = Vec::new();
        for db in TestDb::both(migrations).await {
            worlds.push(World::on(db).await);
        }
        worlds
    }

    pub fn tick(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
    }

    pub fn call(&self, transfers: Vec<Transfer>) -> Call {
        let provenance = Provenance {
            actor: "system:test".into(),
            client: None,
            request_id: Arc::from("req"),
            clock_offset_ms: 0,
        };
        Call { environment: self.scope.id, provenance, transfers }
    }

    /// Posts by the writer; every fifth time as another process would, of which it does not know.
    pub async fn post(&self, transfers: Vec<Transfer>) -> Vec<Outcome> {
        let call = self.call(transfers);
        if self.posts.fetch_add(1, Ordering::SeqCst) % 5 == 4 {
            let posted = writer::post(&self.store, self.scope.shard, &[call], || self.now).await;
            return posted.unwrap().remove(0);
        }
        self.clock.store(self.now.timestamp_micros(), Ordering::SeqCst);
        let (reply, answer) = oneshot::channel();
        assert!(self.writer.send(Command { call, reply, room: None }).await.is_ok());
        answer.await.unwrap().unwrap()
    }

    pub async fn open(&self, id: AccountId, class: Class, currency: &str, may_overdraw: bool) {
        let tx = self.db.begin(self.scope).await.unwrap();
        let currency = Currency::parse(currency).unwrap();
        let new = NewAccount { id, class, currency, may_overdraw, opened_at: self.now };
        books::open_in_tx(&tx, self.scope, &new).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn account(&self, id: AccountId) -> Account {
        let tx = self.db.begin_read(self.scope).await.unwrap();
        books::account(&tx, self.scope, id).await.unwrap().unwrap()
    }

    /// Debits equal credits, every account's totals follow from its transfers, and the chain holds.
    pub async fn check_books(&self) {
        let tx = self.db.begin_read(self.scope).await.unwrap();
        for line in books::trial_balance(&tx, self.scope).await.unwrap() {
            assert_eq!(line.debits, line.credits, "{line:?}");
        }
        drop(tx);
        ledger::system::verify_chain(self.db.db(), self.scope.shard).await.unwrap();
        ledger::system::verify_totals(self.db.db(), self.scope.shard).await.unwrap();
    }
}

impl Books for World {
    fn label(&self) -> &'static str {
        label(self.db.backend())
    }

    fn now(&self) -> DateTime<Utc> {
        self.now
    }

    fn tick(&mut self, seconds: i64) {
        World::tick(self, seconds);
    }

    async fn open(&self, id: AccountId, class: Class, currency: &str, may_overdraw: bool) {
        World::open(self, id, class, currency, may_overdraw).await;
    }

    async fn move_state(&self, id: AccountId, from: State, to: State) -> bool {
        let tx = self.db.begin(self.scope).await.unwrap();
        let moved = books::move_state_in_tx(&tx, self.scope, id, from, to).await.unwrap();
        tx.commit().await.unwrap();
        moved
    }

    async fn set_limits(&self, id: AccountId, limits: &[NewLimit]) {
        let tx = self.db.begin(self.scope).await.unwrap();
        books::set_limits_in_tx(&tx, self.scope, id, limits).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn post(&self, transfers: Vec<Transfer>) -> Vec<Outcome> {
        World::post(self, transfers).await
    }

    async fn account(&self, id: AccountId) -> Account {
        World::account(self, id).await
    }

    async fn check(&self) {
        self.check_books().await;
    }
}

/// The code of an outcome, as tables write it.
pub fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Posted(_) => "posted",
        Outcome::Replayed(_) => "replayed",
        Outcome::Rejected(rejection) => rejection.reason.code(),
    }
}
