//! The table `region`.

use platform::db::{
    Role, Tx,
    schema::{Migration, Privilege, Table},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Expr,
};
use sea_orm_migration::schema::{big_integer, string, timestamp_with_time_zone};
use tenants::region::RegionCode;

use super::Region;
use crate::PLATFORM;

/// Makes the table.
pub const MIGRATION: Migration = Migration::new("m0101_regions", || {
    vec![
        Table::of_scope("region")
            .column(string("code"))
            .column(string("country"))
            .column(string("name"))
            .column(big_integer("version"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone("updated_at"))
            .key(&["code"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(Role::App, Privilege::Update, &["name", "version", "updated_at"])
            .grant(Role::Worker, &[Privilege::Select]),
    ]
});

mod region {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "region")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub code: String,
        pub country: String,
        pub name: String,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use region::{Column, Entity};

fn select() -> sea_orm::Select<Entity> {
    Entity::find().filter(Column::ShardId.eq(PLATFORM.shard)).filter(Column::ScopeId.eq(PLATFORM.id))
}

fn read(row: region::Model) -> Result<Region, DbErr> {
    Ok(Region {
        code: row.code.parse().map_err(crate::stored::wrong)?,
        country: row.country.parse().map_err(crate::stored::wrong)?,
        name: row.name,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

pub async fn get(tx: &Tx, code: &RegionCode) -> Result<Option<Region>, DbErr> {
    select().filter(Column::Code.eq(code.as_str())).one(&**tx).await?.map(read).transpose()
}

/// Like [`get`], for who is about to change it.
pub async fn lock(tx: &Tx, code: &RegionCode) -> Result<Option<Region>, DbErr> {
    let row = select().filter(Column::Code.eq(code.as_str())).lock_exclusive().one(&**tx).await?;
    row.map(read).transpose()
}

pub async fn list(tx: &Tx, after: Option<&RegionCode>, limit: u64) -> Result<Vec<Region>, DbErr> {
    let mut query = select();
    if let Some(after) = after {
        query = query.filter(Column::Code.gt(after.as_str()));
    }
    query.order_by_asc(Column::Code).limit(limit).all(&**tx).await?.into_iter().map(read).collect()
}

pub async fn insert(tx: &Tx, region: &Region) -> Result<(), DbErr> {
    let row = region::ActiveModel {
        shard_id: Set(PLATFORM.shard),
        scope_id: Set(PLATFORM.id),
        code: Set(region.code.to_string()),
        country: Set(region.country.to_string()),
        name: Set(region.name.clone()),
        version: Set(region.version),
        created_at: Set(region.created_at),
        updated_at: Set(region.updated_at),
    };
    Entity::insert(row).exec_without_returning(&**tx).await.map(drop)
}

pub async fn rename(tx: &Tx, region: &Region) -> Result<(), DbErr> {
    let updated = Entity::update_many()
        .col_expr(Column::Name, Expr::val(region.name.as_str()))
        .col_expr(Column::Version, Expr::val(region.version))
        .col_expr(Column::UpdatedAt, Expr::val(region.updated_at))
        .filter(Column::ShardId.eq(PLATFORM.shard))
        .filter(Column::ScopeId.eq(PLATFORM.id))
        .filter(Column::Code.eq(region.code.as_str()))
        .filter(Column::Version.eq(region.version.saturating_sub(1)))
        .exec(&**tx)
        .await?;
    // The row was locked when it was read.
    if updated.rows_affected == 1 { Ok(()) } else { Err(DbErr::RecordNotUpdated) }
}
