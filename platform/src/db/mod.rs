//! The database: SQLite or PostgreSQL by URL, through sea-orm, with one code path.
//!
//! Promise: a transaction begun for a scope sees that scope's rows only. On PostgreSQL it is
//! `BEGIN; SET LOCAL app.environment = '…'; …; COMMIT`, each its own message, and row-level security does the rest for
//! the role `tambo_app`; on SQLite the stores' own conditions are the only lock.
//!
//! | begin with | role | may see | used by |
//! |---|---|---|---|
//! | [`Db::begin`], [`Db::begin_read`] | `tambo_app` | one scope | every slice |
//! | [`Db::begin_system`] | `tambo_worker` | what its grants name, all scopes | files named `system.rs` |
//! | [`Db::begin_ledger`] | `tambo_ledger` | the ledger's tables, all scopes | the ledger's store and `system.rs` |
//! | [`Db::migrate`] | `tambo_owner` | all | start-up |
//!
//! Cost on PostgreSQL: two round trips to begin, one to commit. On SQLite writers queue for one connection and begin
//! IMMEDIATE; readers have connections of their own that cannot write, and see the last commit (WAL).
//!
//! After an error of `commit` the outcome is unknown: look before acting again.

pub mod cluster;
mod config;
pub mod error;
pub mod forget;
mod migrate;
mod retry;
pub mod schema;

use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::sqlx::Connection as _;
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};

pub use config::{DatabaseConfig, Role};
pub use error::{is_conflict, is_full, is_unavailable, is_unique_violation};
pub use migrate::{Migrations, StartError};
pub use retry::{passes, retry};

use crate::ctx::Scope;
use crate::failpoint::{self, Side, Step};

/// What a superuser runs once in a PostgreSQL database before its first migration: `platform/sql/roles.sql`.
pub const ROLES_SQL: &str = include_str!("../../sql/roles.sql");

/// Pool sizes of the roles that do not serve requests.
const WORKER_CONNECTIONS: u32 = 4;
/// Three per shard at once, of some shards.
const LEDGER_CONNECTIONS: u32 = 16;
const SQLITE_READERS: u32 = 4;
/// How long a unit of work waits for a connection before it fails as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection idle for longer is pinged before use: a restarted server costs one ping, a busy pool nothing.
const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
/// How long a SQLite writer waits for another process's lock.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Which database this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// One file, one process: development and the demonstration.
    Sqlite,
    /// The real thing.
    Postgres,
}

/// A database with one lazily filled pool per role. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    backend: Backend,
    config: DatabaseConfig,
    app: DatabaseConnection,
    /// On SQLite a pool that cannot write; on PostgreSQL the same pool as `app`.
    read: DatabaseConnection,
    worker: DatabaseConnection,
    ledger: DatabaseConnection,
}

impl Db {
    /// Makes the pools; no connection is opened before it is needed, so this succeeds while the database is down.
    ///
    /// # Errors
    /// The URL is malformed, or names neither `sqlite:` (a file) nor `postgres:`.
    pub async fn connect(config: &DatabaseConfig) -> Result<Self, DbErr> {
        let (url, _) = config.login(Role::App);
        let backend = if url.starts_with("sqlite:") {
            if url.contains(":memory:") || url.contains("mode=memory") {
                return Err(DbErr::Custom("SQLite must be a file: readers and the writer share it".into()));
            }
            Backend::Sqlite
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Backend::Postgres
        } else {
            return Err(DbErr::Custom("database.url must begin with sqlite: or postgres:".into()));
        };
        let inner = match backend {
            Backend::Sqlite => {
                let app = sqlite(url, 1, false).await?;
                Inner {
                    backend,
                    config: config.clone(),
                    read: sqlite(url, SQLITE_READERS, true).await?,
                    worker: app.clone(),
                    ledger: app.clone(),
                    app,
                }
            }
            Backend::Postgres => {
                let app = postgres(config, Role::App, config.max_connections).await?;
                Inner {
                    backend,
                    config: config.clone(),
                    read: app.clone(),
                    worker: postgres(config, Role::Worker, WORKER_CONNECTIONS).await?,
                    ledger: postgres(config, Role::Ledger, LEDGER_CONNECTIONS).await?,
                    app,
                }
            }
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Which database this is.
    pub fn backend(&self) -> Backend {
        self.0.backend
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<(), DbErr> {
        self.0.app.ping().await
    }

    /// The pool of the role `tambo_app`, for tests: what is to be durable goes through [`Tx::commit`]. Outside a
    /// transaction of [`Db::begin`] it sees no scoped row on PostgreSQL.
    #[cfg(feature = "testing")]
    pub fn app(&self) -> &DatabaseConnection {
        &self.0.app
    }

    /// The pool of the role `tambo_worker`, for tests.
    #[cfg(feature = "testing")]
    pub fn worker(&self) -> &DatabaseConnection {
        &self.0.worker
    }

    /// The pool of the role `tambo_ledger`, for tests.
    #[cfg(feature = "testing")]
    pub fn ledger(&self) -> &DatabaseConnection {
        &self.0.ledger
    }

    /// Begins a transaction that sees and writes the rows of `scope` only.
    ///
    /// # Errors
    /// The database is not reachable or busy.
    pub async fn begin(&self, scope: Scope) -> Result<Tx, DbErr> {
        let tx = self.start(&self.0.app).await?;
        self.enter(&tx, scope).await?;
        Tx::new(tx).await
    }

    /// Begins a transaction that reads the rows of `scope` only. On SQLite it neither waits for writers nor can write;
    /// on PostgreSQL it is an ordinary transaction, because READ ONLY would cost a round trip more.
    ///
    /// # Errors
    /// The database is not reachable.
    #[expect(clippy::disallowed_methods, reason = "the one place that makes pools and begins units of work")]
    pub async fn begin_read(&self, scope: Scope) -> Result<Tx, DbErr> {
        let tx = self.0.read.begin().await?;
        self.enter(&tx, scope).await?;
        Tx::new(tx).await
    }

    /// Begins a transaction across scopes as `tambo_worker`. Only files named `system.rs` may call it.
    ///
    /// # Errors
    /// The database is not reachable or busy.
    pub async fn begin_system(&self) -> Result<Tx, DbErr> {
        Tx::new(self.start(&self.0.worker).await?).await
    }

    /// Begins a transaction across scopes as `tambo_ledger`, on the writer's own small pool.
    ///
    /// # Errors
    /// The database is not reachable or busy.
    pub async fn begin_ledger(&self) -> Result<Tx, DbErr> {
        Tx::new(self.start(&self.0.ledger).await?).await
    }

    /// Closes every pool; transactions still open finish first.
    ///
    /// # Errors
    /// As sea-orm reports.
    pub async fn close(&self) -> Result<(), DbErr> {
        for pool in [&self.0.app, &self.0.read, &self.0.worker, &self.0.ledger] {
            pool.close_by_ref().await?;
        }
        Ok(())
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that makes pools and begins units of work")]
    async fn start(&self, pool: &DatabaseConnection) -> Result<DatabaseTransaction, DbErr> {
        match self.0.backend {
            Backend::Sqlite => pool.begin_with_options(immediate()).await,
            Backend::Postgres => pool.begin().await,
        }
    }

    async fn enter(&self, tx: &DatabaseTransaction, scope: Scope) -> Result<(), DbErr> {
        if self.0.backend == Backend::Postgres {
            // SET takes no parameter; a uuid's text holds hexadecimal digits and hyphens only.
            tx.execute_unprepared(&format!("SET LOCAL app.environment = '{}'", scope.id.hyphenated()))
                .await?;
        }
        Ok(())
    }
}

/// A transaction; dropped without [`Tx::commit`] it is rolled back. Pass `&*tx` to sea-orm.
#[derive(Debug)]
pub struct Tx {
    inner: DatabaseTransaction,
    /// What [`Tx::writes`] said when it began.
    writes: i64,
}

impl Tx {
    async fn new(inner: DatabaseTransaction) -> Result<Self, DbErr> {
        let mut tx = Self { inner, writes: 0 };
        if failpoint::is_armed() {
            tx.writes = tx.writes().await?;
        }
        Ok(tx)
    }

    /// Makes the transaction's writes durable.
    ///
    /// # Errors
    /// The outcome is then unknown, unless [`is_conflict`] says that nothing was written.
    #[track_caller]
    pub fn commit(self) -> impl Future<Output = Result<(), DbErr>> + Send {
        self.commit_at(Location::caller())
    }

    /// Makes the transaction's writes durable, or of a dry run undoes them.
    ///
    /// # Errors
    /// As [`Tx::commit`] and [`Tx::rollback`].
    #[track_caller]
    pub fn end(self, dry_run: bool) -> impl Future<Output = Result<(), DbErr>> + Send {
        let line = Location::caller();
        async move { if dry_run { self.rollback().await } else { self.commit_at(line).await } }
    }

    async fn commit_at(self, line: &'static Location<'static>) -> Result<(), DbErr> {
        if !failpoint::is_armed() || self.writes().await? == self.writes {
            return self.inner.commit().await;
        }
        let Some(step) = Step::begin(line) else { return self.inner.commit().await };
        step.reached(Side::Before).await;
        self.inner.commit().await?;
        step.reached(Side::After).await;
        Ok(())
    }

    /// A number that is another one when something was written.
    async fn writes(&self) -> Result<i64, DbErr> {
        let sql = match self.backend() {
            Backend::Sqlite => "SELECT total_changes()",
            Backend::Postgres => "SELECT coalesce(pg_current_xact_id_if_assigned()::text::bigint, 0)",
        };
        let statement = Statement::from_string(self.inner.get_database_backend(), sql);
        let row = self.inner.query_one_raw(statement).await?;
        row.ok_or_else(|| DbErr::RecordNotFound(sql.to_owned()))?.try_get_by_index(0)
    }

    /// Undoes the transaction and waits until that is done.
    ///
    /// # Errors
    /// The connection was lost; the database undoes the transaction all the same.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.inner.rollback().await
    }

    /// Which database this is.
    pub fn backend(&self) -> Backend {
        match self.inner.get_database_backend() {
            DbBackend::Sqlite => Backend::Sqlite,
            _ => Backend::Postgres,
        }
    }
}

impl Deref for Tx {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.inner
    }
}

fn immediate() -> TransactionOptions {
    TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..Default::default()
    }
}

fn options(url: &str, max_connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(max_connections)
        .min_connections(0)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire_if_idle_for(PING_AFTER_IDLE)
        .connect_lazy(true)
        .sqlx_logging(false)
        .record_stmt_in_spans(false);
    options
}

#[expect(clippy::disallowed_methods, reason = "the one place that makes pools and begins units of work")]
async fn sqlite(url: &str, max_connections: u32, read_only: bool) -> Result<DatabaseConnection, DbErr> {
    let mut options = options(url, max_connections);
    options.map_sqlx_sqlite_opts(move |options| {
        let options = options
            .create_if_missing(true)
            .foreign_keys(true)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
            .pragma("journal_mode", "WAL")
            .pragma("synchronous", "FULL")
            // What is deleted is overwritten: a key that was destroyed is not to lie in a free page.
            .pragma("secure_delete", "ON");
        if read_only { options.pragma("query_only", "ON") } else { options }
    });
    options.map_sqlx_sqlite_pool_opts(|pool| {
        pool.after_release(|connection, _| {
            Box::pin(async move {
                // After an I/O error SQLite ends the transaction itself, and sqlx goes on counting it: what begins next
                // would be a savepoint that nothing commits. The ping waits for a rollback on its way.
                connection.ping().await?;
                Ok(!connection.is_in_transaction())
            })
        })
    });
    Database::connect(options).await
}

#[expect(clippy::disallowed_methods, reason = "the one place that makes pools and begins units of work")]
async fn postgres(
    config: &DatabaseConfig,
    role: Role,
    max_connections: u32,
) -> Result<DatabaseConnection, DbErr> {
    let (url, user) = config.login(role);
    let mut options = options(url, max_connections);
    options.set_application_name(role.name());
    if let Some(user) = user {
        options.map_sqlx_postgres_opts(move |options| options.username(user));
    }
    Database::connect(options).await
}
