//! Moving the clock of a sandbox.
//!
//! Promise: environment time only moves forward, and never in live mode. The offset is one row per environment, so
//! that every process of a cell agrees about it; a process may be up to [`Offsets::STALE_AFTER`] behind another one
//! that moved the clock.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue::Set, ConnectionTrait, DbErr, EntityTrait};
use sea_orm_migration::schema::big_integer;
use tenants::environment::Mode;

use crate::cache::Cache;
use crate::ctx::{Clock, EnvironmentClock, Scope};
use crate::db::schema::{Migration, Privilege, Table};
use crate::db::{Db, Role, Tx};

/// The table of offsets.
pub const MIGRATION: Migration = Migration::new("m0001_platform_clock", || {
    vec![
        Table::of_scope("scope_clock")
            .column(big_integer("offset_ms"))
            .key(&[])
            .check("offset_ms >= 0")
            .grant(Role::App, &[Privilege::Select, Privilege::Insert, Privilege::Update])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete])
            .grant(Role::Ledger, &[Privilege::Select]),
    ]
});

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "scope_clock")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        pub offset_ms: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How far ahead of the wall clock a sandbox may be: further, and dates stop fitting where they are kept.
pub const FARTHEST: TimeDelta = TimeDelta::days(36_500);

/// Why a clock was not moved.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// Live environments have the wall clock.
    #[error("the clock of a live environment cannot be moved")]
    Live,
    /// The target is before the environment's present time.
    #[error("the clock moves forward only: {now} is already past the target")]
    Backwards {
        /// What the environment's clock shows.
        now: DateTime<Utc>,
    },
    /// The target is more than a hundred years ahead of the wall clock.
    #[error("the clock can be at most {} days ahead", FARTHEST.num_days())]
    TooFar,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// The offset of `scope`, zero if its clock was never moved.
///
/// # Errors
/// The database failed.
pub async fn offset_in_tx(tx: &impl ConnectionTrait, scope: Scope) -> Result<TimeDelta, DbErr> {
    let row = row::Entity::find_by_id((scope.shard, scope.id)).one(tx).await?;
    Ok(row.map_or(TimeDelta::zero(), |row| TimeDelta::milliseconds(row.offset_ms)))
}

/// Moves the clock of `scope` so that it shows at least `to`, to the millisecond; returns the new offset. `wall` is
/// the wall clock. Of two that move it at once, the one that goes further wins.
///
/// # Errors
/// The environment is live, or the target is in its past or more than a hundred years ahead.
pub async fn advance_in_tx(
    tx: &Tx,
    scope: Scope,
    mode: Mode,
    wall: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<TimeDelta, ClockError> {
    if mode == Mode::Live {
        return Err(ClockError::Live);
    }
    let ahead = to.signed_duration_since(wall);
    if ahead > FARTHEST {
        return Err(ClockError::TooFar);
    }
    // Rounded up, so that the clock does show the target.
    let mut offset_ms = ahead.num_milliseconds();
    if TimeDelta::milliseconds(offset_ms) < ahead {
        offset_ms += 1;
    }
    let target =
        row::ActiveModel { shard_id: Set(scope.shard), scope_id: Set(scope.id), offset_ms: Set(offset_ms) };
    let forward = OnConflict::columns([row::Column::ShardId, row::Column::ScopeId])
        .update_column(row::Column::OffsetMs)
        .action_and_where(Expr::col((row::Entity, row::Column::OffsetMs)).lte(Expr::val(offset_ms)))
        .to_owned();
    let moved = if offset_ms < 0 {
        0
    } else {
        row::Entity::insert(target).on_conflict(forward).exec_without_returning(&**tx).await?
    };
    if moved == 0 {
        let offset = offset_in_tx(&**tx, scope).await?;
        let now = wall.checked_add_signed(offset).unwrap_or(wall);
        return Err(ClockError::Backwards { now });
    }
    Ok(TimeDelta::milliseconds(offset_ms))
}

/// Forgets that the clock of `scope` was moved, in the worker's transaction: of an environment that has ended.
///
/// # Errors
/// The database failed.
pub async fn forget_in_tx(tx: &Tx, scope: Scope) -> Result<(), DbErr> {
    row::Entity::delete_by_id((scope.shard, scope.id)).exec(&**tx).await.map(drop)
}

/// The offsets of the environments that this process serves, read once in a while. Clones share it.
#[derive(Debug, Clone)]
pub struct Offsets {
    db: Db,
    clock: Clock,
    known: Cache<Scope, TimeDelta>,
}

impl Offsets {
    /// How long another process may go on showing the old time after a clock was moved.
    pub const STALE_AFTER: Duration = Duration::from_secs(1);

    /// Reads from `db`, on top of the wall clock `clock`.
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock, known: Cache::new(100_000, Self::STALE_AFTER) }
    }

    /// The clock of `scope`. In live mode it is the wall clock, whatever the table says.
    ///
    /// # Errors
    /// The database failed.
    pub async fn clock(&self, scope: Scope, mode: Mode) -> Result<EnvironmentClock, DbErr> {
        let offset = match mode {
            Mode::Live => TimeDelta::zero(),
            Mode::Sandbox => match self.known.get(&scope).await {
                Some(offset) => offset,
                // Boxed: every request's future would have room for it.
                None => Box::pin(self.load(scope)).await?,
            },
        };
        Ok(EnvironmentClock::new(self.clock.clone(), offset))
    }

    async fn load(&self, scope: Scope) -> Result<TimeDelta, DbErr> {
        let load = async {
            let tx = self.db.begin_read(scope).await?;
            let offset = offset_in_tx(&*tx, scope).await?;
            tx.commit().await?;
            Ok::<_, DbErr>(offset)
        };
        self.known.get_or_load(&scope, load).await.map_err(|error| DbErr::clone(&error))
    }

    /// Forgets the offset of `scope`: call it after the commit that moved its clock.
    pub async fn forget(&self, scope: Scope) {
        self.known.forget(&scope).await;
    }
}
