//! A ledger on a database of its own, under a clock that the test moves.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{
    account::{Account, Class, NewAccount},
    books,
    outcome::Outcome,
    rules::Call,
    store::sql::SqlStore,
    transfer::{Provenance, Transfer},
    writer,
};
use platform::{ctx::Scope, testing::TestDb};
use sea_orm_migration::MigrationTrait;
use tenants::{
    id::{AccountId, TransferId},
    money::Currency,
};
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

pub struct World {
    pub db: TestDb,
    pub store: SqlStore,
    pub scope: Scope,
    pub now: DateTime<Utc>,
}

impl World {
    pub async fn on(db: TestDb) -> World {
        let store = SqlStore(db.db().clone());
        store.ensure_shards(2).await.unwrap();
        World {
            db,
            store,
            scope: Scope::new(1, Uuid::from_u128(0xe)),
            now: "2026-03-01T12:00:00Z".parse().unwrap(),
        }
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

    pub async fn post(&self, transfers: Vec<Transfer>) -> Vec<Outcome> {
        let calls = [self.call(transfers)];
        writer::post(&self.store, self.scope.shard, &calls, || self.now).await.unwrap().remove(0)
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
