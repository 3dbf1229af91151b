//! What crosses environments: the check of a shard's hash chain, and the holds whose time is over.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use platform::{ctx::Scope, db::Db};
use sea_orm::{ConnectionTrait, DbErr, Statement, Value};
use tenants::id::TransferId;
use uuid::Uuid;

use crate::{
    chain::{self, GENESIS, Hash},
    store::sql::{TRANSFER, posted},
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
