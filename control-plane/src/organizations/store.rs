//! The table `organization`.

use platform::db::{
    Role, Tx,
    schema::{Migration, Privilege, Table},
};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use sea_orm_migration::schema::{big_integer, string, string_null, timestamp_with_time_zone, uuid};
use tenants::id::OrganizationId;

use super::Organization;
use crate::PLATFORM;

/// Makes the table.
pub const MIGRATION: Migration = Migration::new("m0100_organizations", || {
    vec![
        Table::of_scope("organization")
            .column(uuid("id"))
            .column(string_null("external_id"))
            .column(string("name"))
            .column(string("country"))
            .column(big_integer("version"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone("updated_at"))
            .key(&["id"])
            .unique(&["external_id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Insert]),
    ]
});

mod organization {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "organization")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub external_id: Option<String>,
        pub name: String,
        pub country: String,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use organization::{Column, Entity};

/// The organizations a list asks for.
#[derive(Debug, Default)]
pub struct Filter {
    /// After this id.
    pub after: Option<OrganizationId>,
    /// With this id of the caller's.
    pub external_id: Option<String>,
}

fn select() -> sea_orm::Select<Entity> {
    Entity::find().filter(Column::ShardId.eq(PLATFORM.shard)).filter(Column::ScopeId.eq(PLATFORM.id))
}

fn read(row: organization::Model) -> Result<Organization, DbErr> {
    Ok(Organization {
        id: OrganizationId::from_uuid(row.id),
        external_id: row.external_id,
        name: row.name,
        country: row.country.parse().map_err(crate::stored::wrong)?,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

pub async fn get(tx: &Tx, id: OrganizationId) -> Result<Option<Organization>, DbErr> {
    select().filter(Column::Id.eq(id.uuid())).one(&**tx).await?.map(read).transpose()
}

pub async fn list(tx: &Tx, filter: &Filter, limit: u64) -> Result<Vec<Organization>, DbErr> {
    let mut query = select();
    if let Some(after) = filter.after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    if let Some(external_id) = &filter.external_id {
        query = query.filter(Column::ExternalId.eq(external_id));
    }
    query.order_by_asc(Column::Id).limit(limit).all(&**tx).await?.into_iter().map(read).collect()
}

pub async fn insert(tx: &Tx, organization: &Organization) -> Result<(), DbErr> {
    let row = organization::ActiveModel {
        shard_id: Set(PLATFORM.shard),
        scope_id: Set(PLATFORM.id),
        id: Set(organization.id.uuid()),
        external_id: Set(organization.external_id.clone()),
        name: Set(organization.name.clone()),
        country: Set(organization.country.to_string()),
        version: Set(organization.version),
        created_at: Set(organization.created_at),
        updated_at: Set(organization.updated_at),
    };
    Entity::insert(row).exec_without_returning(&**tx).await.map(drop)
}
