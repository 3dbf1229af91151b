//! The table `environment`.

use chrono::{DateTime, Utc};
use platform::{
    ctx::Scope,
    db::{
        Role, Tx,
        schema::{Migration, Privilege, Table},
    },
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, TryInsertResult,
    sea_query::{Expr, ExprTrait, OnConflict},
};
use sea_orm_migration::schema::{
    big_integer, json_binary, string, timestamp_with_time_zone, uuid, uuid_null,
};
use tenants::{
    environment::EnvironmentState,
    id::{CellId, EnvironmentId, OrganizationId, TenantId},
};

use super::model::Environment;
use crate::{
    PLATFORM,
    stored::{self, json, to_json, wrong},
};

/// Makes the table. A tenant has one environment of each mode at a time.
pub const MIGRATION: Migration = Migration::new("m0130_environments", || {
    vec![
        Table::of_scope("environment")
            .column(uuid("id"))
            .column(uuid("tenant_id"))
            .column(string("mode"))
            .column(string("jurisdiction"))
            .column(string("region"))
            .column(string("profile_version"))
            .column(big_integer("clock_offset_ms"))
            .column(string("desired"))
            .column(string("state"))
            .column(uuid_null("cell_id"))
            .column(big_integer("generation"))
            .column(big_integer("observed_generation"))
            .column(json_binary("conditions"))
            .column(big_integer("version"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone("updated_at"))
            .key(&["id"])
            .foreign(&["tenant_id"], "tenant", &["id"])
            .unique_where(&["tenant_id", "mode"], "state <> 'removed'")
            .shard_unique(&["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(
                Role::App,
                Privilege::Update,
                &[
                    "profile_version",
                    "clock_offset_ms",
                    "desired",
                    "state",
                    "cell_id",
                    "generation",
                    "observed_generation",
                    "conditions",
                    "version",
                    "updated_at",
                ],
            )
            .grant(Role::Worker, &[Privilege::Select]),
    ]
});

mod environment {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "environment")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub tenant_id: Uuid,
        pub mode: String,
        pub jurisdiction: String,
        pub region: String,
        pub profile_version: String,
        pub clock_offset_ms: i64,
        pub desired: String,
        pub state: String,
        pub cell_id: Option<Uuid>,
        pub generation: i64,
        pub observed_generation: i64,
        pub conditions: Json,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use environment::{Column, Entity};

/// The environments a list asks for.
#[derive(Debug, Default)]
pub struct Filter {
    /// After this id.
    pub after: Option<EnvironmentId>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// In this state.
    pub state: Option<EnvironmentState>,
}

/// The store of one organization's environments, inside one transaction.
pub struct Environments<'a> {
    tx: &'a Tx,
    scope: Scope,
}

fn read(row: environment::Model) -> Result<Environment, DbErr> {
    Ok(Environment {
        id: EnvironmentId::from_uuid(row.id),
        organization: OrganizationId::from_uuid(row.scope_id),
        tenant: TenantId::from_uuid(row.tenant_id),
        mode: row.mode.parse().map_err(wrong)?,
        jurisdiction: row.jurisdiction.parse().map_err(wrong)?,
        region: row.region.parse().map_err(wrong)?,
        profile_version: row.profile_version,
        clock_offset_ms: row.clock_offset_ms,
        desired: row.desired.parse().map_err(wrong)?,
        state: row.state.parse().map_err(wrong)?,
        cell: row.cell_id.map(CellId::from_uuid),
        generation: row.generation,
        observed_generation: row.observed_generation,
        conditions: json(row.conditions)?,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

/// The environments of all organizations, for `system.rs` only.
pub async fn list_all(tx: &Tx, filter: &Filter, limit: u64) -> Result<Vec<Environment>, DbErr> {
    page(Entity::find().filter(Column::ShardId.eq(PLATFORM.shard)), tx, filter, limit).await
}

/// Whose environment this is, for `system.rs` only.
pub async fn organization_of(tx: &Tx, id: EnvironmentId) -> Result<Option<OrganizationId>, DbErr> {
    let columns = [Column::ShardId, Column::ScopeId, Column::Id];
    stored::organization_of::<Entity>(tx, columns, id.uuid()).await
}

async fn page(
    mut query: sea_orm::Select<Entity>,
    tx: &Tx,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Environment>, DbErr> {
    if let Some(after) = filter.after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    if let Some(tenant) = filter.tenant {
        query = query.filter(Column::TenantId.eq(tenant.uuid()));
    }
    if let Some(state) = filter.state {
        query = query.filter(Column::State.eq(state.as_str()));
    }
    query.order_by_asc(Column::Id).limit(limit).all(&**tx).await?.into_iter().map(read).collect()
}

impl<'a> Environments<'a> {
    /// Of `scope`, in the caller's transaction.
    pub const fn new(tx: &'a Tx, scope: Scope) -> Self {
        Self { tx, scope }
    }

    fn select(&self) -> sea_orm::Select<Entity> {
        Entity::find().filter(Column::ShardId.eq(self.scope.shard)).filter(Column::ScopeId.eq(self.scope.id))
    }

    pub async fn get(&self, id: EnvironmentId) -> Result<Option<Environment>, DbErr> {
        self.select().filter(Column::Id.eq(id.uuid())).one(&**self.tx).await?.map(read).transpose()
    }

    pub async fn list(&self, filter: &Filter, limit: u64) -> Result<Vec<Environment>, DbErr> {
        page(self.select(), self.tx, filter, limit).await
    }

    /// Those of a tenant that are not gone.
    pub async fn of_tenant(&self, tenant: TenantId) -> Result<Vec<Environment>, DbErr> {
        let query = self.select().filter(Column::TenantId.eq(tenant.uuid()));
        let query = query.filter(Column::State.ne(EnvironmentState::Removed.as_str()));
        query.order_by_asc(Column::Id).all(&**self.tx).await?.into_iter().map(read).collect()
    }

    /// Whether the tenant had none of this mode; it has one now.
    pub async fn insert(&self, environment: &Environment) -> Result<bool, DbErr> {
        let row = environment::ActiveModel {
            shard_id: Set(self.scope.shard),
            scope_id: Set(self.scope.id),
            id: Set(environment.id.uuid()),
            tenant_id: Set(environment.tenant.uuid()),
            mode: Set(environment.mode.to_string()),
            jurisdiction: Set(environment.jurisdiction.to_string()),
            region: Set(environment.region.to_string()),
            profile_version: Set(environment.profile_version.clone()),
            clock_offset_ms: Set(environment.clock_offset_ms),
            desired: Set(environment.desired.to_string()),
            state: Set(environment.state.to_string()),
            cell_id: Set(environment.cell.map(CellId::uuid)),
            generation: Set(environment.generation),
            observed_generation: Set(environment.observed_generation),
            conditions: Set(to_json(&environment.conditions)?),
            version: Set(environment.version),
            created_at: Set(environment.created_at),
            updated_at: Set(environment.updated_at),
        };
        // A violation would end the caller's transaction on PostgreSQL; a row that is not written does not.
        let any = OnConflict::new().do_nothing().to_owned();
        let inserted =
            Entity::insert(row).on_conflict(any).try_insert().exec_without_returning(&**self.tx).await?;
        Ok(matches!(inserted, TryInsertResult::Inserted(rows) if rows > 0))
    }

    /// Counts one more generation and one more change.
    pub async fn raise(&self, id: EnvironmentId, now: DateTime<Utc>) -> Result<(), DbErr> {
        Entity::update_many()
            .col_expr(Column::Generation, Expr::col(Column::Generation).add(1))
            .col_expr(Column::Version, Expr::col(Column::Version).add(1))
            .col_expr(Column::UpdatedAt, Expr::val(now))
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::ScopeId.eq(self.scope.id))
            .filter(Column::Id.eq(id.uuid()))
            .exec(&**self.tx)
            .await
            .map(drop)
    }

    /// Writes all that may change of `after`, if the row still has the version of `before`.
    pub async fn update(&self, before: &Environment, after: &Environment) -> Result<bool, DbErr> {
        let updated = Entity::update_many()
            .col_expr(Column::ProfileVersion, Expr::val(after.profile_version.as_str()))
            .col_expr(Column::ClockOffsetMs, Expr::val(after.clock_offset_ms))
            .col_expr(Column::Desired, Expr::val(after.desired.as_str()))
            .col_expr(Column::State, Expr::val(after.state.as_str()))
            .col_expr(Column::CellId, Expr::val(after.cell.map(CellId::uuid)))
            .col_expr(Column::Generation, Expr::val(after.generation))
            .col_expr(Column::ObservedGeneration, Expr::val(after.observed_generation))
            .col_expr(Column::Conditions, Expr::val(to_json(&after.conditions)?))
            .col_expr(Column::Version, Expr::val(after.version))
            .col_expr(Column::UpdatedAt, Expr::val(after.updated_at))
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::ScopeId.eq(self.scope.id))
            .filter(Column::Id.eq(before.id.uuid()))
            .filter(Column::Version.eq(before.version))
            .exec(&**self.tx)
            .await?;
        Ok(updated.rows_affected == 1)
    }
}
