//! The table `idempotency`.

use super::Key;
use crate::ctx::{Ctx, Scope};
use crate::db::schema::{Migration, Privilege, Table};
use crate::db::{Role, Tx};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{Set, TryInsertResult};
use sea_orm_migration::schema::{binary, string, timestamp_with_time_zone, uuid};

/// Makes the table. Rows are never changed; the worker forgets the old ones.
pub const MIGRATION: Migration = Migration::new("m0002_platform_idempotency", || {
    vec![
        Table::of_scope("idempotency")
            .column(string("actor"))
            .column(string("route"))
            .column(string("key"))
            .column(binary("body_hash"))
            .column(uuid("resource_id"))
            .column(timestamp_with_time_zone("created_at"))
            .key(&["actor", "route", "key"])
            .shard_index_where(&["created_at"], "created_at IS NOT NULL")
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Delete]),
    ]
});

/// A key that was used, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency")]
pub struct Model {
    /// The scope's shard.
    #[sea_orm(primary_key, auto_increment = false)]
    pub shard_id: i32,
    /// The environment, or the organization in the control plane.
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope_id: Uuid,
    /// Who used it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub actor: String,
    /// Method and path template.
    #[sea_orm(primary_key, auto_increment = false)]
    pub route: String,
    /// The caller's text.
    #[sea_orm(primary_key, auto_increment = false)]
    pub key: String,
    /// SHA-256 of the request.
    pub body_hash: Vec<u8>,
    /// The resource that the first request made.
    pub resource_id: Uuid,
    /// When, by the wall clock.
    pub created_at: DateTimeUtc,
}

/// No relations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

/// Whether the key was free; it is taken now.
pub(super) async fn insert(
    tx: &Tx,
    ctx: &Ctx,
    actor: &str,
    key: &Key,
    resource: Uuid,
) -> Result<bool, DbErr> {
    let row = ActiveModel {
        shard_id: Set(ctx.scope.shard),
        scope_id: Set(ctx.scope.id),
        actor: Set(actor.to_owned()),
        route: Set(key.route.to_string()),
        key: Set(key.text.to_string()),
        body_hash: Set(key.hash.to_vec()),
        resource_id: Set(resource),
        created_at: Set(ctx.wall()),
    };
    let columns = [Column::ShardId, Column::ScopeId, Column::Actor, Column::Route, Column::Key];
    let conflict = OnConflict::columns(columns).do_nothing().to_owned();
    let inserted =
        Entity::insert(row).on_conflict(conflict).try_insert().exec_without_returning(&**tx).await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(rows) if rows > 0))
}

/// The row of a key that was used.
pub(super) async fn find(tx: &Tx, scope: Scope, actor: &str, key: &Key) -> Result<Option<Model>, DbErr> {
    let id = (scope.shard, scope.id, actor.to_owned(), key.route.to_string(), key.text.to_string());
    Entity::find_by_id(id).one(&**tx).await
}
