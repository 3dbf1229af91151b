//! Work across environments: what the runner takes and settles, and what operators count. Uses the worker role.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::ExprTrait;
use sea_orm::{DbBackend, DbErr, FromQueryResult, Statement, Value};
use tenants::id::WorkId;

use super::model::{Done, Failed, Lease, Settled, WorkItem};
use super::store::{Column, DEAD, DONE, Entity, OPEN};
use crate::clock::offset_in_tx;
use crate::ctx::Scope;
use crate::db::{Backend, Db, retry};

/// The table `work` of a database.
#[derive(Debug, Clone)]
pub struct SeaOrm(Db);

impl SeaOrm {
    /// Keeps work in `db`.
    pub fn new(db: Db) -> Self {
        Self(db)
    }
}

/// A taken row and its environment's offset.
#[derive(FromQueryResult)]
struct Taken {
    scope_id: Uuid,
    id: Uuid,
    kind: String,
    key: String,
    payload: Json,
    step: Option<String>,
    run_at_us: i64,
    attempt: i32,
    signal: i64,
}

impl super::Store for SeaOrm {
    async fn take(
        &self,
        shard: i32,
        kinds: &[&'static str],
        owner: Uuid,
        wall: DateTime<Utc>,
        until: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<WorkItem>, DbErr> {
        if kinds.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let (backend, lock) = match self.0.backend() {
            Backend::Sqlite => (DbBackend::Sqlite, ""),
            Backend::Postgres => (DbBackend::Postgres, "FOR UPDATE OF w SKIP LOCKED"),
        };
        let mut values: Vec<Value> = vec![
            shard.into(),
            wall.timestamp_micros().into(),
            wall.into(),
            owner.into(),
            until.into(),
            i64::from(limit).into(),
        ];
        let mut places = Vec::with_capacity(kinds.len());
        for kind in kinds {
            values.push((*kind).into());
            places.push(format!("${}", values.len()));
        }
        // The first condition on run_at_us bounds the index by the furthest clock of the shard (the wall clock in
        // live mode); the second is exact. Written out because a lock on one side of a join inside a common table
        // expression is beyond the query builder's reach.
        let sql = format!(
            "WITH due AS (
                SELECT w.scope_id, w.id
                FROM work w
                LEFT JOIN scope_clock c ON c.shard_id = w.shard_id AND c.scope_id = w.scope_id AND c.shard_id = $1
                WHERE w.shard_id = $1 AND w.state = 'open'
                  AND w.run_at_us <= $2 + 1000 *
                      (SELECT COALESCE(MAX(f.offset_ms), 0) FROM scope_clock f WHERE f.shard_id = $1)
                  AND w.run_at_us <= $2 + 1000 * COALESCE(c.offset_ms, 0)
                  AND (w.lease_until IS NULL OR w.lease_until <= $3)
                  AND w.kind IN ({kinds})
                ORDER BY w.run_at_us, w.id
                LIMIT $6
                {lock}
            )
            UPDATE work SET lease_owner = $4, lease_until = $5, attempt = work.attempt + 1
            FROM due
            WHERE work.shard_id = $1 AND work.scope_id = due.scope_id AND work.id = due.id
            RETURNING work.scope_id, work.id, work.kind, work.key, work.payload, work.step, work.run_at_us,
                      work.attempt, work.signal",
            kinds = places.join(", "),
        );
        let tx = self.0.begin_system().await?;
        let rows =
            Taken::find_by_statement(Statement::from_sql_and_values(backend, sql, values)).all(&*tx).await?;
        // Apart, because SQLite's RETURNING knows the updated table only.
        let mut offsets = BTreeMap::new();
        for row in &rows {
            if let Entry::Vacant(unknown) = offsets.entry(row.scope_id) {
                unknown.insert(offset_in_tx(&*tx, Scope::new(shard, row.scope_id)).await?);
            }
        }
        tx.commit().await?;
        let offset = |row: &Taken| offsets.get(&row.scope_id).copied().unwrap_or_default();
        let mut items: Vec<WorkItem> = rows
            .into_iter()
            .map(|row| {
                let offset = offset(&row);
                row.into_item(shard, owner, offset)
            })
            .collect();
        items.sort_by_key(|item| (item.run_at, item.lease.id));
        Ok(items)
    }

    async fn renew(&self, lease: &Lease, until: DateTime<Utc>) -> Result<bool, DbErr> {
        retry(|| async {
            let tx = self.0.begin_system().await?;
            let updated =
                held(lease).col_expr(Column::LeaseUntil, Expr::val(until)).exec(&*tx).await?.rows_affected;
            tx.commit().await?;
            Ok(updated == 1)
        })
        .await
    }

    async fn settle(&self, lease: &Lease, settled: &Settled, wall: DateTime<Utc>) -> Result<bool, DbErr> {
        retry(|| async {
            let tx = self.0.begin_system().await?;
            let updated = settle(lease, settled, wall).exec(&*tx).await?.rows_affected;
            tx.commit().await?;
            Ok(updated == 1)
        })
        .await
    }
}

impl Taken {
    fn into_item(self, shard: i32, owner: Uuid, offset: TimeDelta) -> WorkItem {
        WorkItem {
            lease: Lease {
                scope: Scope::new(shard, self.scope_id),
                id: WorkId::from_uuid(self.id),
                owner,
                attempt: self.attempt,
                signal: self.signal,
            },
            kind: self.kind,
            key: self.key,
            payload: self.payload,
            step: self.step,
            run_at: DateTime::from_timestamp_micros(self.run_at_us).unwrap_or_default(),
            offset,
        }
    }
}

/// An update of the row, if the lease still holds.
fn held(lease: &Lease) -> sea_orm::UpdateMany<Entity> {
    Entity::update_many()
        .filter(Column::ShardId.eq(lease.scope.shard))
        .filter(Column::ScopeId.eq(lease.scope.id))
        .filter(Column::Id.eq(lease.id.uuid()))
        .filter(Column::State.eq(OPEN))
        .filter(Column::LeaseOwner.eq(lease.owner))
        .filter(Column::Attempt.eq(lease.attempt))
}

fn settle(lease: &Lease, settled: &Settled, wall: DateTime<Utc>) -> sea_orm::UpdateMany<Entity> {
    let update = held(lease)
        .col_expr(Column::LeaseOwner, Expr::val(None::<Uuid>))
        .col_expr(Column::LeaseUntil, Expr::val(None::<DateTimeUtc>));
    // A key that was enqueued while its item was handled stays open, due at once: `run_at_us` has passed already, or
    // was brought forward.
    let unless_signalled = |then: Expr, otherwise: Expr| -> Expr {
        Expr::case(ExprTrait::eq(Expr::col(Column::Signal), lease.signal), then).finally(otherwise).into()
    };
    match settled {
        Settled::Done(Done::Finished) => update
            .col_expr(Column::State, unless_signalled(Expr::val(DONE), Expr::val(OPEN)))
            .col_expr(Column::Attempt, Expr::val(0))
            .col_expr(Column::Step, Expr::val(None::<String>))
            .col_expr(Column::LastError, Expr::val(None::<String>))
            .col_expr(Column::EndedAt, Expr::val(wall)),
        Settled::Done(Done::Next { step, run_at }) => update
            .col_expr(Column::Attempt, Expr::val(0))
            .col_expr(Column::Step, Expr::val(step.as_str()))
            .col_expr(Column::LastError, Expr::val(None::<String>))
            .col_expr(
                Column::RunAtUs,
                unless_signalled(Expr::val(run_at.timestamp_micros()), Expr::col(Column::RunAtUs)),
            ),
        Settled::Failed(Failed { run_at: Some(run_at), reason }) => update
            .col_expr(Column::LastError, Expr::val(reason.as_str()))
            .col_expr(Column::RunAtUs, Expr::val(run_at.timestamp_micros())),
        Settled::Failed(Failed { run_at: None, reason }) => update
            .col_expr(Column::State, unless_signalled(Expr::val(DEAD), Expr::val(OPEN)))
            .col_expr(Column::LastError, Expr::val(reason.as_str()))
            .col_expr(Column::EndedAt, Expr::val(wall)),
    }
}

/// How much work waits in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Items that are open, due or not.
    pub open: u64,
    /// Dead letters.
    pub dead: u64,
}

/// Counts the work of `shard`.
///
/// # Errors
/// The database failed.
pub async fn backlog(db: &Db, shard: i32) -> Result<Backlog, DbErr> {
    use sea_orm::PaginatorTrait;
    let tx = db.begin_system().await?;
    let count = async |state: &str| {
        Entity::find().filter(Column::ShardId.eq(shard)).filter(Column::State.eq(state)).count(&*tx).await
    };
    let counted = Backlog { open: count(OPEN).await?, dead: count(DEAD).await? };
    tx.commit().await?;
    Ok(counted)
}

/// The kinds of the open work of `scope`, but for one kind.
///
/// # Errors
/// The database failed.
pub async fn open_kinds(db: &Db, scope: Scope, except: &str) -> Result<Vec<String>, DbErr> {
    use sea_orm::{QueryOrder, QuerySelect};
    let tx = db.begin_system().await?;
    let kinds = Entity::find()
        .select_only()
        .column(Column::Kind)
        .filter(Column::ShardId.eq(scope.shard))
        .filter(Column::ScopeId.eq(scope.id))
        .filter(Column::State.eq(OPEN))
        .filter(Column::Kind.ne(except))
        .order_by_asc(Column::Kind)
        .distinct()
        .into_tuple()
        .all(&*tx)
        .await?;
    tx.commit().await?;
    Ok(kinds)
}

/// Deletes the work of `shard` that was finished before `before` (wall clock); dead letters stay. Returns how many.
///
/// # Errors
/// The database failed.
pub async fn forget_finished(db: &Db, shard: i32, before: DateTime<Utc>) -> Result<u64, DbErr> {
    let tx = db.begin_system().await?;
    let deleted = Entity::delete_many()
        .filter(Column::ShardId.eq(shard))
        .filter(Column::State.eq(DONE))
        .filter(Column::EndedAt.lt(before))
        .exec(&*tx)
        .await?;
    tx.commit().await?;
    Ok(deleted.rows_affected)
}
