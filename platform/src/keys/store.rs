//! The table `data_key`: a row per environment, and one of the plane itself.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sea_orm_migration::schema::{big_integer, binary, timestamp_with_time_zone};
use uuid::Uuid;

use super::root::RootId;
use crate::ctx::Scope;
use crate::db::schema::{Migration, Privilege, Table};
use crate::db::{Role, Tx};

/// Makes the table. Who serves requests may read the key of its environment, and change none.
pub const MIGRATION: Migration = Migration::new("m0005_platform_keys", || {
    vec![
        Table::of_scope("data_key")
            .column(big_integer("root_id"))
            .column(binary("wrapped"))
            .column(timestamp_with_time_zone("made_at"))
            .key(&[])
            .grant(Role::App, &[Privilege::Select])
            .grant(Role::Worker, &Privilege::ALL),
    ]
});

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "data_key")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        pub root_id: i64,
        pub wrapped: Vec<u8>,
        pub made_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub use row::Model;
use row::{ActiveModel, Column, Entity};

impl Model {
    /// By what it is wrapped.
    pub fn root(&self) -> RootId {
        // The column holds 32 bits; whatever else somebody wrote there names no root.
        RootId(u32::try_from(self.root_id).unwrap_or_default())
    }
}

fn of(scope: Scope) -> impl sea_orm::sea_query::IntoCondition {
    Column::ShardId.eq(scope.shard).and(Column::ScopeId.eq(scope.id))
}

/// The row of an environment.
pub async fn get(tx: &Tx, scope: Scope) -> Result<Option<Model>, DbErr> {
    Entity::find().filter(of(scope)).one(&**tx).await
}

/// Adds a row if there is none; whether it was added.
pub async fn add(
    tx: &Tx,
    scope: Scope,
    (root, wrapped): (RootId, Vec<u8>),
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let row = ActiveModel {
        shard_id: Set(scope.shard),
        scope_id: Set(scope.id),
        root_id: Set(i64::from(root.0)),
        wrapped: Set(wrapped),
        made_at: Set(now),
    };
    let there = OnConflict::columns([Column::ShardId, Column::ScopeId]).do_nothing().to_owned();
    let added = Entity::insert(row).on_conflict(there).try_insert().exec_without_returning(&**tx).await?;
    Ok(matches!(added, sea_orm::TryInsertResult::Inserted(1)))
}

/// Removes a row; whether there was one.
pub async fn remove(tx: &Tx, scope: Scope) -> Result<bool, DbErr> {
    Ok(Entity::delete_many().filter(of(scope)).exec(&**tx).await?.rows_affected > 0)
}

/// The roots that the keys of a shard are wrapped by.
pub async fn roots(tx: &Tx, shard: i32) -> Result<Vec<RootId>, DbErr> {
    let ids: Vec<i64> = Entity::find()
        .select_only()
        .column(Column::RootId)
        .distinct()
        .filter(Column::ShardId.eq(shard))
        .into_tuple()
        .all(&**tx)
        .await?;
    Ok(ids.into_iter().map(|id| RootId(u32::try_from(id).unwrap_or_default())).collect())
}

/// The keys of a shard that another root wraps, after `after`.
pub async fn of_other_roots(
    tx: &Tx,
    shard: i32,
    root: RootId,
    after: Option<Uuid>,
    limit: u64,
) -> Result<Vec<Model>, DbErr> {
    let mut query = Entity::find()
        .filter(Column::ShardId.eq(shard))
        .filter(Column::RootId.ne(i64::from(root.0)))
        .order_by_asc(Column::ScopeId)
        .limit(limit);
    if let Some(after) = after {
        query = query.filter(Column::ScopeId.gt(after));
    }
    query.all(&**tx).await
}

/// Wraps a key otherwise, if nobody else has; whether it was done.
pub async fn swap(tx: &Tx, before: &Model, root: RootId, wrapped: Vec<u8>) -> Result<bool, DbErr> {
    let changed = Entity::update_many()
        .col_expr(Column::RootId, Expr::val(i64::from(root.0)))
        .col_expr(Column::Wrapped, Expr::val(wrapped))
        .filter(of(Scope::new(before.shard_id, before.scope_id)))
        .filter(Column::Wrapped.eq(before.wrapped.clone()))
        .exec(&**tx)
        .await?;
    Ok(changed.rows_affected == 1)
}
