//! Across environments: keys are forgotten after [`KEPT_DAYS`](super::KEPT_DAYS).

use super::store::{Column, Entity};
use crate::ctx::Scope;
use crate::db::forget::{self, Rows};
use crate::db::{Db, Tx};
use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter};

/// Forgets the keys of one shard that are too old by the wall clock; how many.
///
/// # Errors
/// The database's.
pub async fn forget_old(db: &Db, shard: i32, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let tx = db.begin_system().await?;
    let before = now - TimeDelta::days(super::KEPT_DAYS);
    let old = Entity::delete_many().filter(Column::ShardId.eq(shard)).filter(Column::CreatedAt.lt(before));
    let forgotten = old.exec(&*tx).await?.rows_affected;
    tx.commit().await?;
    Ok(forgotten)
}

/// Forgets at most `limit` keys of an environment in the worker's transaction, whatever their age; how many.
///
/// # Errors
/// The database's.
pub async fn forget_in_tx(tx: &Tx, scope: Scope, limit: u64) -> Result<u64, DbErr> {
    forget::forget_in_tx(tx, scope, &[Rows::of_scope("idempotency", "actor, route, key")], limit).await
}
