//! The store on PostgreSQL and SQLite, through sea-orm's connection.
//!
//! The writer's statements stand here and in [`rows`], raw. Each names `shard_id`; the batch's rows are
//! inserted by a join with the head row, so that a distributed PostgreSQL commits on one node.

mod decode;
mod rows;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use platform::db::{Backend, Db, Tx, is_conflict, is_full, is_unavailable, is_unique_violation};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement};
use tenants::id::TransferId;
use tokio::time::timeout;
use uuid::Uuid;

use self::rows::Rows;
use super::{Found, Head, Store, StoreError, StoreTx};
use crate::{
    account::Account,
    chain::{GENESIS, Hash},
    hold::Hold,
    limit::Limit,
    rules::{AccountKey, Kept, Known, TransferKey},
    transfer::Posted,
};

pub(crate) use self::decode::{ACCOUNT, HOLD, LIMIT, TRANSFER, account, currency, hold, limit, posted};

/// The store of a cell, as the role `tambo_ledger`.
#[derive(Debug, Clone)]
pub struct SqlStore(pub Db);

/// A batch's transaction.
///
/// On PostgreSQL what a batch writes waits for its batch row and goes out with it as one statement: a round trip costs
/// more than a small batch's rows. SQLite has no such statement, no round trips, and one writer.
pub struct SqlTx {
    tx: Tx,
    writes: Vec<Write>,
}

/// A statement that changes, or finds, as many rows as `count` says.
struct Write {
    /// With `{u}` for the rows and `$1` for the shard.
    sql: String,
    rows: Rows,
    count: usize,
}

/// Before the commit is sent nothing is written: whatever may pass is tried again.
fn before_commit(error: DbErr) -> StoreError {
    if matches!(error, DbErr::ConnectionAcquire(_)) {
        StoreError::Away(error.into())
    } else if is_full(&error) {
        StoreError::Full(error.into())
    } else if is_conflict(&error) || is_unavailable(&error) || matches!(error, DbErr::Conn(_)) {
        StoreError::Retry(error.into())
    } else {
        StoreError::Failed(error.into())
    }
}

/// How long one statement may take. A database that has gone without a word would keep the writer for ever.
const PATIENCE: Duration = Duration::from_secs(20);

async fn within<T>(statement: impl Future<Output = T>) -> Result<T, StoreError> {
    timeout(PATIENCE, statement).await.map_err(|late| StoreError::Retry(late.into()))
}

fn unexpected(what: &str) -> StoreError {
    StoreError::Failed(what.to_owned().into())
}

impl SqlStore {
    /// Makes the head rows of shards `0..shards` if there are none yet.
    ///
    /// # Errors
    /// As the database says, or it has another number of shards: whoever lives on one that is missing could not be served.
    pub async fn ensure_shards(&self, shards: i32) -> Result<(), DbErr> {
        let tx = self.0.begin_ledger().await?;
        let sql = "SELECT count(*) FROM ledger_head";
        let count = tx.query_one_raw(Statement::from_string(tx.get_database_backend(), sql)).await?;
        let there: i64 = count.map(|row| row.try_get_by_index(0)).transpose()?.unwrap_or_default();
        if there != 0 && there != i64::from(shards) {
            let other = format!("it was made with {there} shards, not {shards}: set cell.shards to {there}");
            return Err(DbErr::Custom(other));
        }
        for shard in 0..shards {
            let sql = "INSERT INTO ledger_head (shard_id, batch, seq, hash, booked_at) VALUES ($1, 0, 0, $2, $3) \
                       ON CONFLICT DO NOTHING";
            let values = [shard.into(), GENESIS.to_vec().into(), DateTime::<Utc>::UNIX_EPOCH.into()];
            tx.execute_raw(Statement::from_sql_and_values(tx.get_database_backend(), sql, values)).await?;
        }
        tx.commit().await
    }
}

impl Store for SqlStore {
    type Tx = SqlTx;

    async fn begin(&self) -> Result<SqlTx, StoreError> {
        let tx = within(self.0.begin_ledger()).await?.map_err(before_commit)?;
        Ok(SqlTx { tx, writes: Vec::new() })
    }

    async fn batch_hash(&self, shard: i32, batch: i64) -> Result<Option<Hash>, StoreError> {
        let mut tx = self.begin().await?;
        // A commit that still hangs has the head row: whoever gets it knows that the commit has ended.
        tx.lock_head(shard).await?;
        let sql = "SELECT hash FROM ledger_batch WHERE shard_id = $1 AND batch = $2";
        let read = |row: &QueryResult| row.try_get_by_index::<Vec<u8>>(0);
        let Some(hash) = tx.query(tx.one(sql, [shard.into(), batch.into()]), read).await?.pop() else {
            return Ok(None);
        };
        hash.try_into().map(Some).map_err(|_| unexpected("a hash is not 32 bytes"))
    }
}

impl SqlTx {
    /// Undoes all of it and waits until that is done.
    pub(crate) async fn rollback(self) -> Result<(), StoreError> {
        within(self.tx.rollback()).await?.map_err(before_commit)
    }

    fn backend(&self) -> Backend {
        self.tx.backend()
    }

    async fn execute(&self, statement: Statement) -> Result<u64, StoreError> {
        Ok(within(self.tx.execute_raw(statement)).await?.map_err(before_commit)?.rows_affected())
    }

    async fn query<T>(
        &self,
        statement: Statement,
        read: impl Fn(&QueryResult) -> Result<T, DbErr>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = within(self.tx.query_all_raw(statement)).await?.map_err(before_commit)?;
        rows.iter().map(read).collect::<Result<_, _>>().map_err(before_commit)
    }

    fn one(&self, sql: &str, values: impl IntoIterator<Item = sea_orm::Value>) -> Statement {
        Statement::from_sql_and_values(self.tx.get_database_backend(), sql, values)
    }

    /// How to insert rows; the shard comes from the head row.
    fn insertion(&self, table: &str, rows: &Rows) -> String {
        format!(
            "INSERT INTO {table} (shard_id, {}) SELECT h.shard_id, {} FROM ledger_head AS h, {{u}} \
             WHERE h.shard_id = $1",
            rows.names(),
            rows.selected(self.backend()),
        )
    }

    async fn insert(&mut self, shard: i32, table: &str, count: usize, rows: Rows) -> Result<(), StoreError> {
        let sql = self.insertion(table, &rows);
        self.write(shard, Write { sql, rows, count }).await
    }

    /// Changes rows and insists that each is as it was read; see [`SqlTx`] for when.
    async fn write(&mut self, shard: i32, write: Write) -> Result<(), StoreError> {
        if self.backend() == Backend::Postgres {
            self.writes.push(Write { sql: format!("{} RETURNING 1", write.sql), ..write });
            return Ok(());
        }
        let done = self.execute(write.rows.statement(Backend::Sqlite, shard, &write.sql)).await?;
        if usize::try_from(done) == Ok(write.count) { Ok(()) } else { Err(changed()) }
    }

    /// Sends what waits as one statement.
    async fn send(&mut self, shard: i32) -> Result<(), StoreError> {
        let writes = std::mem::take(&mut self.writes);
        if writes.is_empty() {
            return Ok(());
        }
        let mut values = vec![shard.into()];
        let mut parts = Vec::with_capacity(writes.len());
        let mut counts = Vec::with_capacity(writes.len());
        let mut expected = Vec::with_capacity(writes.len());
        for (number, Write { sql, rows, count }) in writes.into_iter().enumerate() {
            let sql = rows.bind(&sql, &mut values);
            parts.push(format!("w{number} AS ({sql})"));
            counts.push(format!("(SELECT count(*) FROM w{number})"));
            expected.push(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let sql = format!("WITH {} SELECT {}", parts.join(", "), counts.join(", "));
        let sent = within(self.tx.query_one_raw(self.one(&sql, values))).await?;
        // Who comes after a batch that it does not know may find its own row taken before it is told that the head moved.
        let row = sent.map_err(|error| match is_unique_violation(&error) {
            true => StoreError::Retry(error.into()),
            false => before_commit(error),
        })?;
        let count = |index| row.as_ref().and_then(|row| row.try_get_by_index::<i64>(index).ok());
        let all = expected.iter().enumerate().all(|(index, expected)| count(index) == Some(*expected));
        if all { Ok(()) } else { Err(changed()) }
    }
}

fn changed() -> StoreError {
    StoreError::Retry("a row is not as it was read".into())
}

/// Keys as rows of two columns.
fn keys(ids: impl Iterator<Item = (Uuid, Uuid)> + Clone) -> Rows {
    Rows::default().uuid("environment_id", ids.clone().map(|key| key.0)).uuid("id", ids.map(|key| key.1))
}

fn transfer_keys(ids: &[TransferKey]) -> Rows {
    keys(ids.iter().map(|(environment, id)| (*environment, id.uuid())))
}

fn account_keys(ids: &[AccountKey]) -> Rows {
    keys(ids.iter().map(|(environment, id)| (*environment, id.uuid())))
}

fn nullable(id: Option<Uuid>) -> Uuid {
    id.unwrap_or(Uuid::nil())
}

impl StoreTx for SqlTx {
    async fn lock_head(&mut self, shard: i32) -> Result<Option<Head>, StoreError> {
        let statement = self.one(
            "UPDATE ledger_head SET batch = batch WHERE shard_id = $1 RETURNING batch, seq, hash, booked_at",
            [shard.into()],
        );
        let mut found = self.query(statement, decode::head).await?;
        Ok(found.pop())
    }

    async fn find(
        &mut self,
        shard: i32,
        ids: &[TransferKey],
    ) -> Result<Vec<(TransferKey, Known)>, StoreError> {
        let sql = format!(
            "SELECT {TRANSFER} FROM {{u}} JOIN ledger_transfer AS t \
             ON t.shard_id = $1 AND t.environment_id = u.environment_id AND t.id = u.id"
        );
        let statement = transfer_keys(ids).statement(self.backend(), shard, &sql);
        let mut known = self
            .query(statement, |row| {
                let posted = posted(row)?;
                Ok(((posted.environment, posted.id), Known::Posted(Arc::new(posted))))
            })
            .await?;
        let sql = "SELECT t.environment_id, t.id, t.content, t.reason, t.detail FROM {u} JOIN ledger_rejection AS t \
                   ON t.shard_id = $1 AND t.environment_id = u.environment_id AND t.id = u.id";
        let statement = transfer_keys(ids).statement(self.backend(), shard, sql);
        known.extend(self.query(statement, decode::rejected).await?);
        Ok(known)
    }

    async fn find_reversals(
        &mut self,
        shard: i32,
        originals: &[TransferKey],
    ) -> Result<Vec<(TransferKey, TransferId)>, StoreError> {
        let sql = "SELECT t.environment_id, t.reverses, t.id FROM {u} JOIN ledger_transfer AS t \
                   ON t.shard_id = $1 AND t.environment_id = u.environment_id AND t.reverses = u.id";
        let statement = transfer_keys(originals).statement(self.backend(), shard, sql);
        self.query(statement, |row| {
            let key = (row.try_get_by_index(0)?, TransferId::from_uuid(row.try_get_by_index(1)?));
            Ok((key, TransferId::from_uuid(row.try_get_by_index(2)?)))
        })
        .await
    }

    async fn read_holds(&mut self, shard: i32, ids: &[TransferKey]) -> Result<Vec<Hold>, StoreError> {
        let sql = format!(
            "SELECT {HOLD} FROM {{u}} JOIN ledger_hold AS t \
             ON t.shard_id = $1 AND t.environment_id = u.environment_id AND t.id = u.id"
        );
        self.query(transfer_keys(ids).statement(self.backend(), shard, &sql), hold).await
    }

    async fn read(
        &mut self,
        shard: i32,
        ids: &[TransferKey],
        accounts: &[AccountKey],
    ) -> Result<Found, StoreError> {
        let used = |table: &str| {
            format!(
                "EXISTS (SELECT 1 FROM {{v}} JOIN {table} AS s \
                 ON s.shard_id = $1 AND s.environment_id = v.environment_id AND s.id = v.id)"
            )
        };
        // The CASE spares who has no limits the search for them.
        let sql = format!(
            "SELECT {ACCOUNT}, {LIMIT}, {} OR {} AS known FROM {{u}} JOIN ledger_account AS t \
             ON t.shard_id = $1 AND t.environment_id = u.environment_id AND t.id = u.id \
             LEFT JOIN ledger_limit AS l ON l.shard_id = t.shard_id AND l.environment_id = t.environment_id \
             AND l.account_id = CASE WHEN t.limits_revision > 0 THEN t.id END",
            used("ledger_transfer"),
            used("ledger_rejection"),
        );
        let statement =
            rows::statement(self.backend(), shard, &sql, [account_keys(accounts), transfer_keys(ids)]);
        // Without any account nobody says that no id was used.
        let mut found = Found { used: true, ..Found::default() };
        let read = |row: &QueryResult| Ok((decode::limited(row)?, row.try_get_by("known")?));
        for ((account, limit), known) in self.query(statement, read).await? {
            found.used = known;
            found.limits.extend(limit.map(|limit| (account.0, limit)));
            if found.accounts.last() != Some(&account) {
                found.accounts.push(account);
            }
        }
        Ok(found)
    }

    async fn ensure_unused(&mut self, shard: i32, ids: &[TransferKey]) -> Result<(), StoreError> {
        let find = |table: &str| {
            format!(
                "SELECT 1 FROM {{u}} JOIN {table} AS t \
                 ON t.shard_id = $1 AND t.environment_id = u.environment_id AND t.id = u.id"
            )
        };
        if self.backend() == Backend::Postgres {
            // Of those that were posted the table's key says it.
            let sql = find("ledger_rejection");
            self.writes.push(Write { sql, rows: transfer_keys(ids), count: 0 });
            return Ok(());
        }
        for table in ["ledger_transfer", "ledger_rejection"] {
            let statement = transfer_keys(ids).statement(self.backend(), shard, &find(table));
            if !self.query(statement, |_| Ok(())).await?.is_empty() {
                return Err(changed());
            }
        }
        Ok(())
    }

    async fn insert_transfers(&mut self, shard: i32, rows: &[Arc<Posted>]) -> Result<(), StoreError> {
        let count = rows.len();
        let text = |text: &Option<Box<str>>| text.as_deref().unwrap_or_default().to_owned();
        let rows = Rows::default()
            .uuid("environment_id", rows.iter().map(|row| row.environment))
            .uuid("id", rows.iter().map(|row| row.id.uuid()))
            .integer("seq", rows.iter().map(|row| row.seq))
            .integer("kind", rows.iter().map(|row| row.kind.code().into()))
            .uuid("debit_account", rows.iter().map(|row| row.debit.uuid()))
            .uuid("credit_account", rows.iter().map(|row| row.credit.uuid()))
            .integer("amount", rows.iter().map(|row| row.amount))
            .text("currency", rows.iter().map(|row| row.currency.code().to_owned()))
            .uuid("hold_id", rows.iter().map(|row| nullable(row.hold.map(TransferId::uuid))))
            .or_null()
            .uuid("reverses", rows.iter().map(|row| nullable(row.reverses.map(TransferId::uuid))))
            .or_null()
            .uuid("chain_id", rows.iter().map(|row| nullable(row.chain.map(TransferId::uuid))))
            .or_null()
            .integer("imported", rows.iter().map(|row| row.imported.into()))
            .integer("debit_balance", rows.iter().map(|row| row.debit_balance))
            .integer("credit_balance", rows.iter().map(|row| row.credit_balance))
            .time("effective_at", rows.iter().map(|row| row.effective_at))
            .time("booked_at", rows.iter().map(|row| row.booked_at))
            .bytes("content", rows.iter().map(|row| row.content.to_vec()))
            .text("actor", rows.iter().map(|row| row.actor.to_string()))
            .uuid("client_id", rows.iter().map(|row| nullable(row.client.map(|client| client.uuid()))))
            .or_null()
            .text("request_id", rows.iter().map(|row| row.request_id.to_string()))
            .text("idempotency_key", rows.iter().map(|row| text(&row.key)))
            .or_null()
            .text("reference", rows.iter().map(|row| text(&row.reference)))
            .or_null();
        self.insert(shard, "ledger_transfer", count, rows).await
    }

    async fn insert_holds(&mut self, shard: i32, rows: &[Hold]) -> Result<(), StoreError> {
        let count = rows.len();
        let rows = Rows::default()
            .uuid("environment_id", rows.iter().map(|row| row.environment))
            .uuid("id", rows.iter().map(|row| row.id.uuid()))
            .uuid("debit_account", rows.iter().map(|row| row.debit.uuid()))
            .uuid("credit_account", rows.iter().map(|row| row.credit.uuid()))
            .integer("amount", rows.iter().map(|row| row.amount))
            .text("currency", rows.iter().map(|row| row.currency.code().to_owned()))
            .integer("state", rows.iter().map(|row| row.state.code().into()))
            .integer("captured", rows.iter().map(|row| row.captured.unwrap_or(-1)))
            .or_null()
            .time("expires_at", rows.iter().map(|row| row.expires_at.unwrap_or_default()))
            .or_null()
            .time("placed_at", rows.iter().map(|row| row.placed_at))
            .uuid("resolved_by", rows.iter().map(|row| nullable(row.resolved_by.map(TransferId::uuid))))
            .or_null();
        self.insert(shard, "ledger_hold", count, rows).await
    }

    async fn update_holds(&mut self, shard: i32, rows: &[Hold]) -> Result<(), StoreError> {
        let count = rows.len();
        let ended = rows.iter().map(|row| nullable(row.resolved_by.map(TransferId::uuid)));
        let columns = keys(rows.iter().map(|row| (row.environment, row.id.uuid())))
            .integer("state", rows.iter().map(|row| row.state.code().into()))
            .integer("captured", rows.iter().map(|row| row.captured.unwrap_or(-1)))
            .uuid("resolved_by", ended)
            .or_null();
        let sql = format!(
            "UPDATE ledger_hold AS t SET state = u.state, captured = nullif(u.captured, -1), resolved_by = {} \
             FROM {{u}} WHERE t.shard_id = $1 AND t.environment_id = u.environment_id AND t.id = u.id \
             AND t.state IN (0, 4)",
            columns.last(self.backend()),
        );
        self.write(shard, Write { sql, rows: columns, count }).await
    }

    async fn update_accounts(&mut self, shard: i32, rows: &[(Uuid, Account)]) -> Result<(), StoreError> {
        let columns = keys(rows.iter().map(|(environment, row)| (*environment, row.id.uuid())))
            .integer("debits_posted", rows.iter().map(|(_, row)| row.debits_posted))
            .integer("credits_posted", rows.iter().map(|(_, row)| row.credits_posted))
            .integer("debits_held", rows.iter().map(|(_, row)| row.debits_held))
            .integer("credits_held", rows.iter().map(|(_, row)| row.credits_held))
            .time("last_effective_at", rows.iter().map(|(_, row)| row.last_effective_at))
            .integer("state", rows.iter().map(|(_, row)| row.state.code().into()))
            .integer("limits_revision", rows.iter().map(|(_, row)| row.limits_revision));
        let sql = "UPDATE ledger_account AS t SET debits_posted = u.debits_posted, \
                   credits_posted = u.credits_posted, debits_held = u.debits_held, credits_held = u.credits_held, \
                   last_effective_at = u.last_effective_at FROM {u} \
                   WHERE t.shard_id = $1 AND t.environment_id = u.environment_id AND t.id = u.id \
                   AND t.state = u.state AND t.limits_revision = u.limits_revision";
        self.write(shard, Write { sql: sql.to_owned(), rows: columns, count: rows.len() }).await
    }

    async fn update_limits(&mut self, shard: i32, rows: &[(Uuid, Limit)]) -> Result<(), StoreError> {
        let columns = keys(rows.iter().map(|(environment, row)| (*environment, row.account.uuid())))
            .integer("direction", rows.iter().map(|(_, row)| row.rule.direction.code().into()))
            .integer("time_window", rows.iter().map(|(_, row)| row.rule.window.code().into()))
            .integer("used", rows.iter().map(|(_, row)| row.used))
            .time("started_at", rows.iter().map(|(_, row)| row.started_at));
        let sql = "UPDATE ledger_limit AS t SET used = u.used, started_at = u.started_at FROM {u} \
                   WHERE t.shard_id = $1 AND t.environment_id = u.environment_id AND t.account_id = u.id \
                   AND t.direction = u.direction AND t.time_window = u.time_window";
        self.write(shard, Write { sql: sql.to_owned(), rows: columns, count: rows.len() }).await
    }

    async fn insert_rejections(
        &mut self,
        shard: i32,
        rows: &[Kept],
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let detail = |row: &Kept| serde_json::to_string(&row.rejection.detail).unwrap_or_default();
        let rows = keys(rows.iter().map(|row| (row.environment, row.id.uuid())))
            .bytes("content", rows.iter().map(|row| row.content.to_vec()))
            .integer("reason", rows.iter().map(|row| row.rejection.reason as i64))
            .text("detail", rows.iter().map(detail))
            .time("rejected_at", rows.iter().map(|_| at));
        // At once: a batch of refusals alone has no batch row.
        let sql = self.insertion("ledger_rejection", &rows);
        self.execute(rows.statement(self.backend(), shard, &sql)).await.map(drop)
    }

    async fn append_batch(&mut self, shard: i32, before: Head, after: Head) -> Result<(), StoreError> {
        let batch = Rows::default()
            .integer("batch", std::iter::once(after.batch))
            .integer("first_seq", std::iter::once(before.seq.saturating_add(1)))
            .integer("last_seq", std::iter::once(after.seq))
            .bytes("previous_hash", std::iter::once(before.hash.to_vec()))
            .bytes("hash", std::iter::once(after.hash.to_vec()))
            .time("booked_at", std::iter::once(after.booked_at));
        self.insert(shard, "ledger_batch", 1, batch).await?;
        let head = Rows::default()
            .integer("batch", std::iter::once(after.batch))
            .integer("seq", std::iter::once(after.seq))
            .bytes("hash", std::iter::once(after.hash.to_vec()))
            .time("booked_at", std::iter::once(after.booked_at))
            .integer("previous", std::iter::once(before.batch))
            .bytes("previous_hash", std::iter::once(before.hash.to_vec()))
            .time("previous_at", std::iter::once(before.booked_at));
        let sql = "UPDATE ledger_head AS t SET batch = u.batch, seq = u.seq, hash = u.hash, booked_at = u.booked_at \
                   FROM {u} WHERE t.shard_id = $1 AND t.batch = u.previous AND t.hash = u.previous_hash \
                   AND t.booked_at = u.previous_at";
        self.write(shard, Write { sql: sql.to_owned(), rows: head, count: 1 }).await?;
        // The head first, as everybody takes it first: two processes' batches wait for each other there, and nowhere in a
        // circle.
        self.writes.reverse();
        self.send(shard).await
    }

    async fn move_head(&mut self, shard: i32, after: Head) -> Result<(), StoreError> {
        let sql = "UPDATE ledger_head SET booked_at = $2 WHERE shard_id = $1";
        self.execute(self.one(sql, [shard.into(), after.booked_at.into()])).await.map(drop)
    }

    async fn commit(self) -> Result<(), StoreError> {
        if !self.writes.is_empty() {
            return Err(unexpected("a batch without its batch row"));
        }
        match timeout(PATIENCE, self.tx.commit()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if is_conflict(&error) => Err(StoreError::Retry(error.into())),
            Ok(Err(error)) if is_full(&error) => Err(StoreError::Full(error.into())),
            Ok(Err(error)) => Err(StoreError::Unknown(error.into())),
            Err(late) => Err(StoreError::Unknown(late.into())),
        }
    }
}

/// Which kind of database a statement is for.
pub(crate) fn dialect(backend: Backend) -> DbBackend {
    match backend {
        Backend::Postgres => DbBackend::Postgres,
        Backend::Sqlite => DbBackend::Sqlite,
    }
}
