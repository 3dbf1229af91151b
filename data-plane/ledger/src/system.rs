//! What crosses environments: the checks of a shard's hash chain and totals, the holds whose time is over, whether an
//! environment could post, and the batches that its transfers are in.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use platform::{
    ctx::Scope,
    db::{
        Db, Tx,
        forget::{self, Rows},
    },
    random,
};
use sea_orm::{ConnectionTrait, DbErr, Statement, Value};
use tenants::{
    id::{AccountId, Id, TransferId},
    money::Currency,
};
use uuid::Uuid;

use crate::{
    chain::{self, GENESIS, Hash},
    export::BatchLine,
    hold::HoldState,
    store::{
        Head, Store, StoreError, StoreTx,
        sql::{SqlStore, TRANSFER, posted},
    },
    transfer::{Kind, Posted},
};

/// What a chain that holds consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Number of batches.
    pub batches: i64,
    /// Number of transfers.
    pub transfers: i64,
    /// Hash of the newest batch: keep it elsewhere to notice a chain that was cut short.
    pub head: Hash,
}

/// Why a chain does not hold.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A row of this batch was changed, added, dropped or moved, or the batch is not the next one.
    #[error("the chain breaks at batch {batch}")]
    Broken {
        /// The first batch that does not fit.
        batch: i64,
    },
    /// The head row does not name the newest batch.
    #[error("the head row does not name the newest batch")]
    Head,
    /// A statement failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Reads every batch and transfer of a shard in one snapshot and computes the chain again.
///
/// # Errors
/// [`ChainError`], naming the first batch that does not fit.
pub async fn verify_chain(db: &Db, shard: i32) -> Result<Verified, ChainError> {
    let tx = db.begin_ledger().await?;
    let backend = tx.get_database_backend();
    // The head row's lock keeps writers away, so that all statements see one state.
    let guard = "UPDATE ledger_head SET batch = batch WHERE shard_id = $1 RETURNING batch, seq, hash";
    let head = tx.query_one_raw(Statement::from_sql_and_values(backend, guard, [shard.into()])).await?;
    let (last_batch, last_seq, last_hash): (i64, i64, Vec<u8>) = match &head {
        Some(row) => (row.try_get_by_index(0)?, row.try_get_by_index(1)?, row.try_get_by_index(2)?),
        None => return Err(ChainError::Head),
    };
    let sql = "SELECT batch, first_seq, last_seq, previous_hash, hash FROM ledger_batch WHERE shard_id = $1 \
               ORDER BY batch";
    let batches = tx.query_all_raw(Statement::from_sql_and_values(backend, sql, [shard.into()])).await?;
    let mut verified = Verified { batches: 0, transfers: 0, head: GENESIS };
    for row in batches {
        let batch: i64 = row.try_get_by_index(0)?;
        let (first, last): (i64, i64) = (row.try_get_by_index(1)?, row.try_get_by_index(2)?);
        let (previous, stored): (Vec<u8>, Vec<u8>) = (row.try_get_by_index(3)?, row.try_get_by_index(4)?);
        let sql = format!(
            "SELECT {TRANSFER} FROM ledger_transfer AS t WHERE t.shard_id = $1 AND t.seq BETWEEN $2 AND $3 \
             ORDER BY t.seq"
        );
        let values = [shard.into(), first.into(), last.into()];
        let rows = tx.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        let rows = rows.iter().map(posted).collect::<Result<Vec<_>, _>>()?;
        let hash = chain::hash(&verified.head, shard, batch, &rows);
        let next =
            batch == verified.batches.saturating_add(1) && first == verified.transfers.saturating_add(1);
        let complete =
            i64::try_from(rows.len()).ok() == last.checked_sub(first).and_then(|n| n.checked_add(1));
        if !next || !complete || previous != verified.head || stored != hash {
            return Err(ChainError::Broken { batch });
        }
        verified = Verified { batches: batch, transfers: last, head: hash };
    }
    tx.rollback().await?;
    if (last_batch, last_seq, last_hash.as_slice())
        == (verified.batches, verified.transfers, &verified.head[..])
    {
        Ok(verified)
    } else {
        Err(ChainError::Head)
    }
}

/// What was added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Number of accounts.
    pub accounts: i64,
    /// Number of transfers.
    pub transfers: i64,
}

/// Why totals do not stand.
#[derive(Debug, thiserror::Error)]
pub enum TotalsError {
    /// This account's totals are not the sums of its transfers and open holds.
    #[error("account {account} does not hold what its transfers and holds add up to")]
    Wrong {
        /// The first such account.
        account: AccountId,
    },
    /// A statement failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Adds up every transfer and open hold of a shard and compares the sums with its accounts' totals. One statement, so
/// that it sees one state; it reads all rows and locks none.
///
/// # Errors
/// [`TotalsError`], naming the first account that does not fit.
pub async fn verify_totals(db: &Db, shard: i32) -> Result<Counted, TotalsError> {
    let posting: Vec<String> =
        Kind::ALL.iter().filter(|kind| kind.posts()).map(|kind| kind.code().to_string()).collect();
    let posting = posting.join(", ");
    let entries = |column: &str, debits: &str, credits: &str| {
        format!(
            "SELECT environment_id, {column} AS account, {debits} AS debits, {credits} AS credits, 0 AS debits_held, \
             0 AS credits_held FROM ledger_transfer WHERE shard_id = $1 AND kind IN ({posting})"
        )
    };
    let holds = |column: &str, debits: &str, credits: &str| {
        format!(
            "SELECT environment_id, {column} AS account, 0 AS debits, 0 AS credits, {debits} AS debits_held, \
             {credits} AS credits_held FROM ledger_hold WHERE shard_id = $1 AND state IN ({}, {})",
            HoldState::Held.code(),
            HoldState::Blocked.code()
        )
    };
    let sql = format!(
        "WITH sums AS (SELECT environment_id, account, sum(debits) AS debits, sum(credits) AS credits, \
         sum(debits_held) AS debits_held, sum(credits_held) AS credits_held \
         FROM ({} UNION ALL {} UNION ALL {} UNION ALL {}) AS entries GROUP BY environment_id, account), \
         wrong AS (SELECT t.id FROM ledger_account AS t \
         LEFT JOIN sums ON sums.environment_id = t.environment_id AND sums.account = t.id \
         WHERE t.shard_id = $1 AND (t.debits_posted <> coalesce(sums.debits, 0) \
         OR t.credits_posted <> coalesce(sums.credits, 0) OR t.debits_held <> coalesce(sums.debits_held, 0) \
         OR t.credits_held <> coalesce(sums.credits_held, 0))) \
         SELECT (SELECT id FROM wrong ORDER BY id LIMIT 1), \
         (SELECT count(*) FROM ledger_account WHERE shard_id = $1), \
         (SELECT count(*) FROM ledger_transfer WHERE shard_id = $1)",
        entries("debit_account", "amount", "0"),
        entries("credit_account", "0", "amount"),
        holds("debit_account", "amount", "0"),
        holds("credit_account", "0", "amount"),
    );
    let tx = db.begin_ledger().await?;
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, [shard.into()]);
    let row = tx.query_one_raw(statement).await?.ok_or(DbErr::RecordNotFound("the sums".to_owned()))?;
    let counted = Counted { accounts: row.try_get_by_index(1)?, transfers: row.try_get_by_index(2)? };
    let wrong = row.try_get_by_index::<Option<Uuid>>(0)?;
    tx.rollback().await?;
    match wrong {
        Some(account) => Err(TotalsError::Wrong { account: AccountId::from_uuid(account) }),
        None => Ok(counted),
    }
}

/// Holds of one environment whose time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueHolds {
    /// Shard and environment.
    pub scope: Scope,
    /// How far the environment's clock is ahead.
    pub offset: TimeDelta,
    /// The holds, those due longest first; at most [`SWEEP`].
    pub holds: Vec<TransferId>,
}

/// The most holds of one environment that one sweep takes.
const SWEEP: i64 = 1_000;

/// The holds of a shard that are over by their environment's clock at the wall clock `wall`, by environment.
///
/// # Errors
/// As the database says.
pub async fn due_holds(db: &Db, shard: i32, wall: DateTime<Utc>) -> Result<Vec<DueHolds>, DbErr> {
    let tx = db.begin_system().await?;
    let backend = tx.get_database_backend();
    let moved = "SELECT scope_id, offset_ms FROM scope_clock WHERE shard_id = $1 AND offset_ms > 0";
    let moved = tx.query_all_raw(Statement::from_sql_and_values(backend, moved, [shard.into()])).await?;
    let mut offsets = BTreeMap::<Uuid, TimeDelta>::new();
    for row in moved {
        offsets.insert(row.try_get_by_index(0)?, TimeDelta::milliseconds(row.try_get_by_index(1)?));
    }
    // No environment's clock is behind the wall clock: one query serves all that were not moved, and one each the rest.
    let mut due = BTreeMap::<Uuid, DueHolds>::new();
    for clock in std::iter::once(None).chain(offsets.iter().map(Some)) {
        let offset = clock.map_or(TimeDelta::zero(), |(_, offset)| *offset);
        let one = if clock.is_some() { "AND environment_id = $3" } else { "AND environment_id <> $3" };
        let sql = format!(
            "SELECT environment_id, id FROM ledger_hold WHERE shard_id = $1 AND state = 0 AND expires_at <= $2 {one} \
             ORDER BY expires_at LIMIT {SWEEP}"
        );
        let until = wall.checked_add_signed(offset).unwrap_or(wall);
        let environment = clock.map_or(Uuid::nil(), |(environment, _)| *environment);
        let values: [Value; 3] = [shard.into(), until.into(), environment.into()];
        for row in tx.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await? {
            let (environment, id): (Uuid, Uuid) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let new = || DueHolds {
                scope: Scope::new(shard, environment),
                offset: offsets.get(&environment).copied().unwrap_or_default(),
                holds: Vec::new(),
            };
            let id = TransferId::from_uuid(id);
            let holds = &mut due.entry(environment).or_insert_with(new).holds;
            if !holds.contains(&id) {
                holds.push(id);
            }
        }
    }
    tx.rollback().await?;
    Ok(due.into_values().collect())
}

/// A hold that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenHold {
    /// Its id.
    pub id: TransferId,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
}

/// At most a thousand holds of an environment that stand; those of an authority are not ours to end, and not among them.
///
/// # Errors
/// As the database says.
pub async fn open_holds(db: &Db, scope: Scope) -> Result<Vec<OpenHold>, DbErr> {
    let tx = db.begin_system().await?;
    let sql = format!(
        "SELECT id, expires_at FROM ledger_hold WHERE shard_id = $1 AND environment_id = $2 AND state = {} \
         ORDER BY id LIMIT {SWEEP}",
        HoldState::Held.code()
    );
    let values: [Value; 2] = [scope.shard.into(), scope.id.into()];
    let rows =
        tx.query_all_raw(Statement::from_sql_and_values(tx.get_database_backend(), sql, values)).await?;
    tx.rollback().await?;
    let hold = |row: sea_orm::QueryResult| -> Result<OpenHold, DbErr> {
        Ok(OpenHold {
            id: TransferId::from_uuid(row.try_get_by_index(0)?),
            expires_at: row.try_get_by_index(1)?,
        })
    };
    rows.into_iter().map(hold).collect()
}

/// What the ledger has of an environment beside its books.
const BESIDE: [Rows; 2] = [
    Rows::of_environment("ledger_rejection", "id"),
    Rows::of_environment("ledger_limit", "account_id, direction, time_window"),
];

/// Lets nobody know any more what was said in words in an environment that has ended, at most `limit` rows at a time, in
/// the worker's transaction; how many rows were changed or removed. Accounts, transfers and holds stay, as ids, amounts and
/// times: the hash chain of their shard is that of other environments too, and holds as before.
///
/// # Errors
/// As the database says.
pub async fn forget_in_tx(tx: &Tx, scope: Scope, limit: u64) -> Result<u64, DbErr> {
    let backend = tx.get_database_backend();
    let sql = format!(
        "SELECT {TRANSFER} FROM ledger_transfer AS t WHERE t.shard_id = $1 AND t.environment_id = $2 \
         AND t.request_id NOT LIKE '#%' ORDER BY t.id LIMIT $3"
    );
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let values: [Value; 3] = [scope.shard.into(), scope.id.into(), most.into()];
    let rows = tx.query_all_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    for row in &rows {
        let row = posted(row)?;
        let sql = "UPDATE ledger_transfer SET content = $4, request_id = $5, idempotency_key = NULL, reference = NULL \
                   WHERE shard_id = $1 AND environment_id = $2 AND id = $3";
        let values: [Value; 5] = [
            scope.shard.into(),
            scope.id.into(),
            row.id.uuid().into(),
            vec![0_u8; 16].into(),
            chain::forgotten(&chain::words(&row)).into(),
        ];
        tx.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
    }
    let changed = u64::try_from(rows.len()).unwrap_or(limit);
    let left = limit.saturating_sub(changed);
    Ok(changed.saturating_add(forget::forget_in_tx(tx, scope, &BESIDE, left).await?))
}

/// Why a canary did not come through.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// The shard has no head row: no writer was ever started for it.
    #[error("the shard does not exist")]
    NoShard,
    /// The store did not take the batch.
    #[error("the store did not take the batch")]
    Store(#[from] StoreError),
}

/// Writes a batch of one transfer there and one back in `scope`, as the writer would, and undoes it: that it could be
/// written is the answer, and nothing of it stays in anybody's books. The shard's writer waits meanwhile.
///
/// # Errors
/// Why a batch cannot be written.
pub async fn canary(
    db: &Db,
    scope: Scope,
    currency: Currency,
    now: DateTime<Utc>,
) -> Result<(), CanaryError> {
    let mut tx = SqlStore(db.clone()).begin().await?;
    let before = tx.lock_head(scope.shard).await?.ok_or(CanaryError::NoShard)?;
    let seq = |number| before.seq.saturating_add(number);
    let accounts = [AccountId::from_parts(now, random::bits()), AccountId::from_parts(now, random::bits())];
    let [debit, credit] = accounts;
    let rows: Vec<Arc<Posted>> = [(seq(1), debit, credit), (seq(2), credit, debit)]
        .into_iter()
        .map(|(seq, debit, credit)| Arc::new(posting(scope, currency, now, seq, debit, credit)))
        .collect();
    let keys: Vec<_> = rows.iter().map(|row| (scope.id, row.id)).collect();
    tx.read(scope.shard, &keys, &[(scope.id, debit), (scope.id, credit)]).await?;
    tx.insert_transfers(scope.shard, &rows).await?;
    let batch = before.batch.saturating_add(1);
    let hash = chain::hash(&before.hash, scope.shard, batch, rows.iter().map(Arc::as_ref));
    let after = Head { batch, seq: seq(2), hash, booked_at: before.booked_at.max(now) };
    tx.append_batch(scope.shard, before, after).await?;
    Ok(tx.rollback().await?)
}

fn posting(
    scope: Scope,
    currency: Currency,
    now: DateTime<Utc>,
    seq: i64,
    debit: AccountId,
    credit: AccountId,
) -> Posted {
    Posted {
        environment: scope.id,
        id: TransferId::from_parts(now, random::bits()),
        seq,
        kind: Kind::Transfer,
        debit,
        credit,
        amount: 1,
        currency,
        hold: None,
        reverses: None,
        chain: None,
        imported: false,
        debit_balance: 0,
        credit_balance: 0,
        effective_at: now,
        booked_at: now,
        content: [0; 16],
        actor: "system:canary".into(),
        client: None,
        request_id: "canary".into(),
        key: None,
        reference: None,
    }
}

/// Whether an environment has accounts or transfers, and with them books that the law wants kept.
///
/// # Errors
/// As the database says.
pub async fn has_books(db: &Db, scope: Scope) -> Result<bool, DbErr> {
    let tx = db.begin_ledger().await?;
    let rows =
        |table: &str| format!("EXISTS (SELECT 1 FROM {table} WHERE shard_id = $1 AND environment_id = $2)");
    let sql = format!("SELECT {} OR {} AS found", rows("ledger_account"), rows("ledger_transfer"));
    let values: [Value; 2] = [scope.shard.into(), scope.id.into()];
    let row =
        tx.query_one_raw(Statement::from_sql_and_values(tx.get_database_backend(), sql, values)).await?;
    let found = match row {
        Some(row) => row.try_get_by("found")?,
        None => false,
    };
    tx.rollback().await?;
    Ok(found)
}

/// Up to when a shard has booked; the least instant there is, if it has not.
///
/// # Errors
/// As the database says.
pub async fn booked_until(db: &Db, shard: i32) -> Result<DateTime<Utc>, DbErr> {
    let tx = db.begin_ledger().await?;
    let sql = "SELECT booked_at FROM ledger_head WHERE shard_id = $1";
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, [Value::from(shard)]);
    let row = tx.query_one_raw(statement).await?;
    tx.rollback().await?;
    row.map_or(Ok(DateTime::UNIX_EPOCH), |row| row.try_get_by_index(0))
}

/// The batches with transfers of an environment among the `limit` next ones of its shard after a number, and the number to
/// go on after; none after the last.
///
/// Reads every transfer of those batches: the whole costs one pass over the shard.
///
/// # Errors
/// The database's.
pub async fn batches(
    db: &Db,
    scope: Scope,
    after: i64,
    limit: i64,
) -> Result<(Vec<BatchLine>, Option<i64>), DbErr> {
    let sql = "SELECT b.batch, b.first_seq, b.last_seq, b.previous_hash, b.hash, \
               (SELECT count(*) FROM ledger_transfer AS t WHERE t.shard_id = $1 AND t.environment_id = $2 \
               AND t.seq BETWEEN b.first_seq AND b.last_seq) \
               FROM ledger_batch AS b WHERE b.shard_id = $1 AND b.batch > $3 ORDER BY b.batch LIMIT $4";
    let tx = db.begin_ledger().await?;
    let values: [Value; 4] = [scope.shard.into(), scope.id.into(), after.into(), limit.into()];
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    let rows = tx.query_all_raw(statement).await?;
    tx.rollback().await?;
    let mut lines = Vec::new();
    let mut last = None;
    for row in rows {
        let (previous, hash): (Vec<u8>, Vec<u8>) = (row.try_get_by_index(3)?, row.try_get_by_index(4)?);
        let line = BatchLine {
            batch: row.try_get_by_index(0)?,
            shard: scope.shard,
            first_position: row.try_get_by_index(1)?,
            last_position: row.try_get_by_index(2)?,
            own: row.try_get_by_index(5)?,
            previous_hash: hex::encode(previous),
            hash: hex::encode(hash),
        };
        last = Some(line.batch);
        if line.own > 0 {
            lines.push(line);
        }
    }
    Ok((lines, last))
}
