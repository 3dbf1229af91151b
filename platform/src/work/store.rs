//! The table `work`, as the slices see it: inside their own transaction and scope.

use chrono::{DateTime, Utc};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::{CaseStatement, ExprTrait, OnConflict};
use sea_orm::{ActiveValue::Set, DbErr, QueryOrder, QuerySelect};
use sea_orm_migration::schema::{
    big_integer, integer, json_binary, string, string_null, text_null, timestamp_with_time_zone,
    timestamp_with_time_zone_null, uuid, uuid_null,
};
use tenants::id::{Id, WorkId};

use crate::ctx::Scope;
use crate::db::schema::{Migration, Privilege, Table};
use crate::db::{Role, Tx};
use crate::random;

pub(super) const OPEN: &str = "open";
pub(super) const DONE: &str = "done";
pub(super) const DEAD: &str = "dead";

/// The table of work.
///
/// `run_at_us` is microseconds since the epoch rather than a timestamp, because it is compared with a sum (the wall
/// clock plus the environment's offset) that both databases must form alike.
pub const MIGRATION: Migration = Migration::new("m0003_platform_work", || {
    vec![
        Table::of_scope("work")
            .column(uuid("id"))
            .column(string("kind"))
            .column(string("key"))
            .column(json_binary("payload"))
            .column(string("state"))
            .column(string_null("step"))
            .column(big_integer("run_at_us"))
            .column(integer("attempt"))
            .column(big_integer("signal"))
            .column(uuid_null("lease_owner"))
            .column(timestamp_with_time_zone_null("lease_until"))
            .column(text_null("last_error"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone_null("ended_at"))
            .key(&["id"])
            .unique_where(&["kind", "key"], "state = 'open'")
            .shard_index_where(&["run_at_us"], "state = 'open'")
            .shard_index_where(&["ended_at"], "state <> 'open'")
            .check("state IN ('open', 'done', 'dead')")
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(
                Role::App,
                Privilege::Update,
                &["run_at_us", "signal", "state", "attempt", "ended_at"],
            )
            .grant(Role::Worker, &Privilege::ALL),
    ]
});

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "work")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub shard_id: i32,
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope_id: Uuid,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    pub kind: String,
    pub key: String,
    pub payload: Json,
    pub state: String,
    pub step: Option<String>,
    pub run_at_us: i64,
    pub attempt: i32,
    pub signal: i64,
    pub lease_owner: Option<Uuid>,
    pub lease_until: Option<DateTimeUtc>,
    pub last_error: Option<String>,
    pub created_at: DateTimeUtc,
    pub ended_at: Option<DateTimeUtc>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Work to be enqueued.
#[derive(Debug, Clone)]
pub struct New<'a> {
    /// Where it lives.
    pub scope: Scope,
    /// Which handler takes it, such as `report.send`.
    pub kind: &'static str,
    /// What it is about; at most one item per kind and key is open.
    pub key: &'a str,
    /// What the handler needs to find the thing. No personal data: it is stored in clear.
    pub payload: serde_json::Value,
    /// When, in environment time; `ctx.now()` for at once.
    pub run_at: DateTime<Utc>,
    /// The wall clock.
    pub wall: DateTime<Utc>,
}

/// Enqueues work in the caller's transaction; see the module for what happens if the key is open already. Wake the
/// runner after the commit, or let it find the item by itself.
///
/// # Errors
/// The database failed.
pub async fn enqueue_in_tx(tx: &Tx, new: New<'_>) -> Result<(), DbErr> {
    let run_at_us = new.run_at.timestamp_micros();
    let row = ActiveModel {
        shard_id: Set(new.scope.shard),
        scope_id: Set(new.scope.id),
        id: Set(WorkId::from_parts(new.wall, random::bits()).uuid()),
        kind: Set(new.kind.to_owned()),
        key: Set(new.key.to_owned()),
        payload: Set(new.payload),
        state: Set(OPEN.to_owned()),
        step: Set(None),
        run_at_us: Set(run_at_us),
        attempt: Set(0),
        signal: Set(0),
        lease_owner: Set(None),
        lease_until: Set(None),
        last_error: Set(None),
        created_at: Set(new.wall),
        ended_at: Set(None),
    };
    let column = |column: Column| Expr::col((Entity, column));
    let earlier = CaseStatement::new()
        .case(column(Column::RunAtUs).gt(run_at_us), run_at_us)
        .finally(column(Column::RunAtUs));
    let signal_again = OnConflict::columns([Column::ShardId, Column::ScopeId, Column::Kind, Column::Key])
        .target_and_where(Expr::cust("state = 'open'"))
        .value(Column::RunAtUs, earlier)
        .value(Column::Signal, column(Column::Signal).add(1))
        .to_owned();
    Entity::insert(row).on_conflict(signal_again).exec_without_returning(&**tx).await?;
    Ok(())
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq)]
pub struct Dead {
    /// The item.
    pub id: WorkId,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// How often it was tried.
    pub attempts: i32,
    /// Why the last attempt failed.
    pub reason: String,
    /// When it was given up, by the wall clock.
    pub ended_at: Option<DateTime<Utc>>,
}

/// The dead letters of `scope` after the id `after`, oldest first, at most `limit`.
///
/// # Errors
/// The database failed.
pub async fn dead_in_tx(
    tx: &Tx,
    scope: Scope,
    after: Option<WorkId>,
    limit: u64,
) -> Result<Vec<Dead>, DbErr> {
    let mut query = of_scope(scope).filter(Column::State.eq(DEAD));
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    let rows = query.order_by_asc(Column::Id).limit(limit).all(&**tx).await?;
    Ok(rows
        .into_iter()
        .map(|row| Dead {
            id: WorkId::from_uuid(row.id),
            kind: row.kind,
            key: row.key,
            attempts: row.attempt,
            reason: row.last_error.unwrap_or_default(),
            ended_at: row.ended_at,
        })
        .collect())
}

/// Opens a dead letter again, due at `run_at` (environment time) with all its attempts. `false`: it is no dead letter.
///
/// # Errors
/// The database failed; a unique violation says that its key was enqueued anew meanwhile, so there is no need.
pub async fn requeue_in_tx(tx: &Tx, scope: Scope, id: WorkId, run_at: DateTime<Utc>) -> Result<bool, DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::State, Expr::val(OPEN))
        .col_expr(Column::Attempt, Expr::val(0))
        .col_expr(Column::RunAtUs, Expr::val(run_at.timestamp_micros()))
        .col_expr(Column::EndedAt, Expr::val(None::<DateTimeUtc>))
        .filter(Column::ShardId.eq(scope.shard))
        .filter(Column::ScopeId.eq(scope.id))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::State.eq(DEAD))
        .exec(&**tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

fn of_scope(scope: Scope) -> Select<Entity> {
    Entity::find().filter(Column::ShardId.eq(scope.shard)).filter(Column::ScopeId.eq(scope.id))
}
