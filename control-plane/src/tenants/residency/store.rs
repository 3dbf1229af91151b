//! The table `residency_record`.

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
    date, string, string_null, timestamp_with_time_zone, timestamp_with_time_zone_null, uuid,
};
use tenants::{
    id::{ResidencyId, TenantId},
    region::RegionCode,
    residency::Recorded,
};

use super::Record;
use crate::stored::wrong;

/// Makes the table. A record is never changed, only withdrawn.
pub const MIGRATION: Migration = Migration::new("m0111_residency", || {
    vec![
        Table::of_scope("residency_record")
            .column(uuid("id"))
            .column(uuid("tenant_id"))
            .column(string("condition"))
            .column(string("region"))
            .column(string("document_name"))
            .column(string("document_sha256"))
            .column(date("dated_on"))
            .column(string("recorded_by"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone_null("withdrawn_at"))
            .column(string_null("withdrawn_by"))
            .key(&["id"])
            .foreign(&["tenant_id"], "tenant", &["id"])
            .unique_where(&["tenant_id", "region", "condition"], "withdrawn_at IS NULL")
            .index(&["tenant_id", "id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(Role::App, Privilege::Update, &["withdrawn_at", "withdrawn_by"]),
    ]
});

mod record {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "residency_record")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub tenant_id: Uuid,
        pub condition: String,
        pub region: String,
        pub document_name: String,
        pub document_sha256: String,
        pub dated_on: Date,
        pub recorded_by: String,
        pub created_at: DateTimeUtc,
        pub withdrawn_at: Option<DateTimeUtc>,
        pub withdrawn_by: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use record::{Column, Entity};

/// The store of one organization's records, inside one transaction.
pub struct Records<'a> {
    tx: &'a Tx,
    scope: Scope,
}

fn read(row: record::Model) -> Result<Record, DbErr> {
    Ok(Record {
        id: ResidencyId::from_uuid(row.id),
        tenant: TenantId::from_uuid(row.tenant_id),
        condition: row.condition.parse().map_err(wrong)?,
        region: row.region.parse().map_err(wrong)?,
        document_name: row.document_name,
        document_sha256: row.document_sha256,
        dated_on: row.dated_on,
        recorded_by: row.recorded_by,
        created_at: row.created_at,
        withdrawn_at: row.withdrawn_at,
        withdrawn_by: row.withdrawn_by,
    })
}

impl<'a> Records<'a> {
    /// Of `scope`, in the caller's transaction.
    pub const fn new(tx: &'a Tx, scope: Scope) -> Self {
        Self { tx, scope }
    }

    fn select(&self, tenant: TenantId) -> sea_orm::Select<Entity> {
        Entity::find()
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::ScopeId.eq(self.scope.id))
            .filter(Column::TenantId.eq(tenant.uuid()))
    }

    pub async fn get(&self, tenant: TenantId, id: ResidencyId) -> Result<Option<Record>, DbErr> {
        self.select(tenant).filter(Column::Id.eq(id.uuid())).one(&**self.tx).await?.map(read).transpose()
    }

    pub async fn list(
        &self,
        tenant: TenantId,
        after: Option<ResidencyId>,
        limit: u64,
    ) -> Result<Vec<Record>, DbErr> {
        let mut query = self.select(tenant);
        if let Some(after) = after {
            query = query.filter(Column::Id.gt(after.uuid()));
        }
        let rows = query.order_by_asc(Column::Id).limit(limit).all(&**self.tx).await?;
        rows.into_iter().map(read).collect()
    }

    /// What counts for a region.
    pub async fn open(&self, tenant: TenantId, region: &RegionCode) -> Result<Vec<Recorded>, DbErr> {
        let query = self.select(tenant).filter(Column::Region.eq(region.as_str()));
        let rows = query.filter(Column::WithdrawnAt.is_null()).all(&**self.tx).await?;
        rows.into_iter()
            .map(|row| {
                Ok(Recorded { condition: row.condition.parse().map_err(wrong)?, dated_on: row.dated_on })
            })
            .collect()
    }

    pub async fn insert(&self, record: &Record) -> Result<(), DbErr> {
        let row = record::ActiveModel {
            shard_id: Set(self.scope.shard),
            scope_id: Set(self.scope.id),
            id: Set(record.id.uuid()),
            tenant_id: Set(record.tenant.uuid()),
            condition: Set(record.condition.to_string()),
            region: Set(record.region.to_string()),
            document_name: Set(record.document_name.clone()),
            document_sha256: Set(record.document_sha256.clone()),
            dated_on: Set(record.dated_on),
            recorded_by: Set(record.recorded_by.clone()),
            created_at: Set(record.created_at),
            withdrawn_at: Set(record.withdrawn_at),
            withdrawn_by: Set(record.withdrawn_by.clone()),
        };
        Entity::insert(row).exec_without_returning(&**self.tx).await.map(drop)
    }

    /// Withdraws a record that is open.
    pub async fn withdraw(
        &self,
        tenant: TenantId,
        id: ResidencyId,
        at: DateTime<Utc>,
        by: &str,
    ) -> Result<(), DbErr> {
        Entity::update_many()
            .col_expr(Column::WithdrawnAt, Expr::val(at))
            .col_expr(Column::WithdrawnBy, Expr::val(by))
            .filter(Column::ShardId.eq(self.scope.shard))
            .filter(Column::ScopeId.eq(self.scope.id))
            .filter(Column::TenantId.eq(tenant.uuid()))
            .filter(Column::Id.eq(id.uuid()))
            .filter(Column::WithdrawnAt.is_null())
            .exec(&**self.tx)
            .await
            .map(drop)
    }
}
