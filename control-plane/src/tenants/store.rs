//! The tables `tenant` and `tenant_move`.

use chrono::{DateTime, Utc};
use platform::{
    ctx::Scope,
    db::{
        Role, Tx,
        schema::{Migration, Privilege, Table},
    },
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use sea_orm_migration::schema::{
    big_integer, json_binary, string, string_null, text_null, timestamp_with_time_zone, uuid,
};
use tenants::{
    id::{OrganizationId, TenantId},
    tenant::State,
};

use super::model::{Reason, Tenant};
use crate::{
    PLATFORM,
    stored::{self, json, to_json, wrong},
};

/// Makes the tables. Only convergence writes what was observed.
pub const MIGRATION: Migration = Migration::new("m0110_tenants", || {
    vec![
        Table::of_scope("tenant")
            .column(uuid("id"))
            .column(string_null("external_id"))
            .column(string("name"))
            .column(string("jurisdiction"))
            .column(string("licence"))
            .column(string("state"))
            .column(string_null("reason_code"))
            .column(text_null("reason_detail"))
            .column(big_integer("generation"))
            .column(big_integer("observed_generation"))
            .column(json_binary("conditions"))
            .column(big_integer("version"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone("updated_at"))
            .key(&["id"])
            .unique(&["external_id"])
            .shard_unique(&["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(
                Role::App,
                Privilege::Update,
                &[
                    "name",
                    "licence",
                    "state",
                    "reason_code",
                    "reason_detail",
                    "generation",
                    "observed_generation",
                    "conditions",
                    "version",
                    "updated_at",
                ],
            )
            .grant(Role::Worker, &[Privilege::Select]),
        Table::of_scope("tenant_move")
            .column(uuid("tenant_id"))
            .column(big_integer("seq"))
            .column(string("from"))
            .column(string("to"))
            .column(string("actor"))
            .column(string("reason_code"))
            .column(text_null("reason_detail"))
            .column(timestamp_with_time_zone("at"))
            .key(&["tenant_id", "seq"])
            .foreign(&["tenant_id"], "tenant", &["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert]),
    ]
});

mod tenant {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tenant")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub external_id: Option<String>,
        pub name: String,
        pub jurisdiction: String,
        pub licence: String,
        pub state: String,
        pub reason_code: Option<String>,
        pub reason_detail: Option<String>,
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

mod tenant_move {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "tenant_move")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub tenant_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub seq: i64,
        pub from: String,
        pub to: String,
        pub actor: String,
        pub reason_code: String,
        pub reason_detail: Option<String>,
        pub at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use tenant::{Column, Entity};

/// The tenants a list asks for.
#[derive(Debug, Default)]
pub struct Filter {
    /// After this id.
    pub after: Option<TenantId>,
    /// With this id of the caller's.
    pub external_id: Option<String>,
    /// In this state.
    pub state: Option<State>,
}

/// One move of a tenant's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The tenant's version after it.
    pub seq: i64,
    /// The state that was left.
    pub from: State,
    /// The state that followed.
    pub to: State,
    /// Who moved it.
    pub actor: String,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: DateTime<Utc>,
}

/// The store of one organization's tenants, inside one transaction.
pub struct Tenants<'a> {
    tx: &'a Tx,
    scope: Scope,
}

fn read(row: tenant::Model) -> Result<Tenant, DbErr> {
    Ok(Tenant {
        id: TenantId::from_uuid(row.id),
        organization: OrganizationId::from_uuid(row.scope_id),
        external_id: row.external_id,
        name: row.name,
        jurisdiction: row.jurisdiction.parse().map_err(wrong)?,
        licence: row.licence,
        state: row.state.parse().map_err(wrong)?,
        reason: row.reason_code.map(|code| Reason { code, detail: row.reason_detail }),
        generation: row.generation,
        observed_generation: row.observed_generation,
        conditions: json(row.conditions)?,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

/// The tenants of all organizations, for `system.rs` only.
pub async fn list_all(tx: &Tx, filter: &Filter, limit: u64) -> Result<Vec<Tenant>, DbErr> {
    page(Entity::find().filter(Column::ShardId.eq(PLATFORM.shard)), tx, filter, limit).await
}

/// Whose tenant this is, for `system.rs` only.
pub async fn organization_of(tx: &Tx, id: TenantId) -> Result<Option<OrganizationId>, DbErr> {
    let columns = [Column::ShardId, Column::ScopeId, Column::Id];
    stored::organization_of::<Entity>(tx, columns, id.uuid()).await
}

async fn page(
    mut query: sea_orm::Select<Entity>,
    tx: &Tx,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Tenant>, DbErr> {
    if let Some(after) = filter.after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    if let Some(external_id) = &filter.external_id {
        query = query.filter(Column::ExternalId.eq(external_id));
    }
    if let Some(state) = filter.state {
        query = query.filter(Column::State.eq(state.as_str()));
    }
    query.order_by_asc(Column::Id).limit(limit).all(&**tx).await?.into_iter().map(read).collect()
}

impl<'a> Tenants<'a> {
    /// Of `scope`, in the caller's transaction.
    pub const fn new(tx: &'a Tx, scope: Scope) -> Self {
        Self { tx, scope }
    }

    fn select(&self) -> sea_orm::Select<Entity> {
        Entity::find().filter(Column::ShardId.eq(self.scope.shard)).filter(Column::ScopeId.eq(self.scope.id))
    }

    pub async fn get(&self, id: TenantId) -> Result<Option<Tenant>, DbErr> {
        self.select().filter(Column::Id.eq(id.uuid())).one(&**self.tx).await?.map(read).transpose()
    }

    pub async fn list(&self, filter: &Filter, limit: u64) -> Result<Vec<Tenant>, DbErr> {
        page(self.select(), self.tx, filter, limit).await
    }

    pub async fn insert(&self, tenant: &Tenant) -> Result<(), DbErr> {
        let row = tenant::ActiveModel {
            shard_id: Set(self.scope.shard),
            scope_id: Set(self.scope.id),
            id: Set(tenant.id.uuid()),
            external_id: Set(tenant.external_id.clone()),
            name: Set(tenant.name.clone()),
            jurisdiction: Set(tenant.jurisdiction.to_string()),
            licence: Set(tenant.licence.clone()),
            state: Set(tenant.state.to_string()),
            reason_code: Set(tenant.reason.as_ref().map(|reason| reason.code.clone())),
            reason_detail: Set(tenant.reason.as_ref().and_then(|reason| reason.detail.clone())),
            generation: Set(tenant.generation),
            observed_generation: Set(tenant.observed_generation),
            conditions: Set(to_json(&tenant.conditions)?),
            version: Set(tenant.version),
            created_at: Set(tenant.created_at),
            updated_at: Set(tenant.updated_at),
        };
        Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    /// Writes all that may change of `after`, if the row is still as `before` says.
    pub async fn update(&self, before: &Tenant, after: &Tenant) -> Result<(), DbErr> {
        let reason = after.reason.as_ref();
        let updated = Entity::update_many()
            .col_expr(Column::Name, Expr::val(after.name.as_str()))
            .col_expr(Column::Licence, Expr::val(after.licence.as_str()))
            .col_expr(Column::State, Expr::val(after.state.as_str()))
            .col_expr(Column::ReasonCode, Expr::val(reason.map(|reason| reason.code.clone())))
            .col_expr(Column::ReasonDetail, Expr::val(reason.and_then(|reason| reason.detail.clone())))
            .col_expr(Column::Generation, Expr::val(after.generation))
            .col_expr(Column::ObservedGeneration, Expr::val(after.observed_generation))
            .col_expr(Column::Conditions, Expr::val(to_json(&after.conditions)?))
            .col_expr(Column::Version, Expr::val(after.version))
            .col_expr(Column::UpdatedAt, Expr::val(after.updated_at))
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::ScopeId.eq(self.scope.id))
            .filter(Column::Id.eq(before.id.uuid()))
            .filter(Column::State.eq(before.state.as_str()))
            .filter(Column::Version.eq(before.version))
            .exec(&**self.tx)
            .await?;
        if updated.rows_affected == 1 { Ok(()) } else { Err(DbErr::RecordNotUpdated) }
    }

    fn moves(&self, id: TenantId) -> sea_orm::Select<tenant_move::Entity> {
        tenant_move::Entity::find()
            .filter(tenant_move::Column::ShardId.eq(self.scope.shard))
            .filter(tenant_move::Column::ScopeId.eq(self.scope.id))
            .filter(tenant_move::Column::TenantId.eq(id.uuid()))
    }

    pub async fn add_move(&self, id: TenantId, moved: &Moved) -> Result<(), DbErr> {
        let row = tenant_move::ActiveModel {
            shard_id: Set(self.scope.shard),
            scope_id: Set(self.scope.id),
            tenant_id: Set(id.uuid()),
            seq: Set(moved.seq),
            from: Set(moved.from.to_string()),
            to: Set(moved.to.to_string()),
            actor: Set(moved.actor.clone()),
            reason_code: Set(moved.reason.code.clone()),
            reason_detail: Set(moved.reason.detail.clone()),
            at: Set(moved.at),
        };
        tenant_move::Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    /// The moves behind `after`, oldest first.
    pub async fn list_moves(&self, id: TenantId, after: i64, limit: u64) -> Result<Vec<Moved>, DbErr> {
        let query = self.moves(id).filter(tenant_move::Column::Seq.gt(after));
        let rows = query.order_by_asc(tenant_move::Column::Seq).limit(limit).all(&**self.tx).await?;
        rows.into_iter().map(read_move).collect()
    }

    /// The state that was left when the tenant last came into `to`.
    pub async fn left_for(&self, id: TenantId, to: State) -> Result<Option<State>, DbErr> {
        let query = self.moves(id).filter(tenant_move::Column::To.eq(to.as_str()));
        let row = query.order_by_desc(tenant_move::Column::Seq).one(&**self.tx).await?;
        Ok(row.map(read_move).transpose()?.map(|moved| moved.from))
    }
}

fn read_move(row: tenant_move::Model) -> Result<Moved, DbErr> {
    Ok(Moved {
        seq: row.seq,
        from: row.from.parse().map_err(wrong)?,
        to: row.to.parse().map_err(wrong)?,
        actor: row.actor,
        reason: Reason { code: row.reason_code, detail: row.reason_detail },
        at: row.at,
    })
}
