//! The tables of environments.
//!
//! Whoever changes the environments of a cell has the counter's row until the commit: changes come one after the other,
//! in the order of their numbers, and whoever reads up to a number has missed nothing.

use platform::db::{
    Role, Tx,
    schema::{Migration, Privilege, Table},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait, OnConflict},
};
use sea_orm_migration::schema::{
    big_integer, integer, json_binary, json_binary_null, small_integer, string, string_null,
    timestamp_with_time_zone, uuid, uuid_null,
};
use tenants::{
    environment::{Mode, Phase},
    id::{EnvironmentId, OrganizationId, TenantId},
};
use uuid::Uuid;

use super::model::{Access, Record};

/// Makes the tables. Requests only learn where environments are; what the control plane wants of them, and of whose
/// they are, is for the worker.
pub const MIGRATION: Migration = Migration::new("m0030_environments", || {
    vec![
        Table::reference("environment_counter")
            .column(small_integer("one"))
            .column(big_integer("version"))
            .key(&["one"])
            .check("one = 1")
            .grant(Role::App, &[Privilege::Select])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Insert, Privilege::Update]),
        Table::reference("environment")
            .column(uuid("id"))
            .column(uuid_null("organization_id"))
            .column(uuid_null("tenant_id"))
            .column(string("mode"))
            .column(string("jurisdiction"))
            .column(integer("shard"))
            .column(string("profile_version"))
            .column(string("wanted"))
            .column(big_integer("generation"))
            .column(big_integer("applied_generation"))
            .column(string("phase"))
            .column(string("access"))
            .column(string_null("step"))
            .column(json_binary("conditions"))
            .column(string("schema"))
            .column(json_binary_null("intent"))
            .column(big_integer("observed_version"))
            .column(big_integer("reported_version"))
            .column(timestamp_with_time_zone("made_at"))
            .column(json_binary_null("export"))
            .key(&["id"])
            .unique(&["observed_version"])
            .check("(organization_id IS NULL) = (tenant_id IS NULL)")
            .grant_columns(
                Role::App,
                Privilege::Select,
                &["id", "mode", "jurisdiction", "shard", "access", "observed_version"],
            )
            .grant(Role::Worker, &Privilege::ALL),
    ]
});

mod counter {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "environment_counter")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub one: i16,
        pub version: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod environment {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "environment")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub organization_id: Option<Uuid>,
        pub tenant_id: Option<Uuid>,
        pub mode: String,
        pub jurisdiction: String,
        pub shard: i32,
        pub profile_version: String,
        pub wanted: String,
        pub generation: i64,
        pub applied_generation: i64,
        pub phase: String,
        pub access: String,
        pub step: Option<String>,
        pub conditions: Json,
        pub schema: String,
        pub intent: Option<Json>,
        pub observed_version: i64,
        pub reported_version: i64,
        pub made_at: DateTimeUtc,
        pub export: Option<Json>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use environment::{ActiveModel, Column, Entity};

/// A text in the database that this build did not write.
fn wrong(error: impl std::fmt::Display) -> DbErr {
    DbErr::Type(error.to_string())
}

fn json(value: &impl serde::Serialize) -> Result<serde_json::Value, DbErr> {
    serde_json::to_value(value).map_err(|error| DbErr::Json(error.to_string()))
}

fn read(row: environment::Model) -> Result<Record, DbErr> {
    let owner = row.organization_id.zip(row.tenant_id);
    let owner = owner.map(|(of, tenant)| (OrganizationId::from_uuid(of), TenantId::from_uuid(tenant)));
    Ok(Record {
        id: EnvironmentId::from_uuid(row.id),
        owner,
        mode: row.mode.parse().map_err(wrong)?,
        jurisdiction: row.jurisdiction.parse().map_err(wrong)?,
        shard: row.shard,
        profile_version: row.profile_version,
        // A word of a newer build, read by an older one.
        wanted: row.wanted.parse().unwrap_or(tenants::environment::Desired::Unknown),
        generation: u64::try_from(row.generation).map_err(wrong)?,
        applied_generation: u64::try_from(row.applied_generation).map_err(wrong)?,
        phase: row.phase.parse().map_err(wrong)?,
        access: row.access.parse().map_err(wrong)?,
        step: row.step,
        conditions: serde_json::from_value(row.conditions).map_err(wrong)?,
        schema: row.schema,
        intent: row.intent.map(serde_json::from_value).transpose().map_err(wrong)?,
        observed_version: row.observed_version,
        reported_version: row.reported_version,
        made_at: row.made_at,
        export: row.export.map(serde_json::from_value).transpose().map_err(wrong)?,
    })
}

/// A generation as the database keeps it.
fn column(number: u64) -> Result<i64, DbErr> {
    i64::try_from(number).map_err(wrong)
}

fn row(record: &Record) -> Result<ActiveModel, DbErr> {
    Ok(ActiveModel {
        id: Set(record.id.uuid()),
        organization_id: Set(record.owner.map(|(organization, _)| organization.uuid())),
        tenant_id: Set(record.owner.map(|(_, tenant)| tenant.uuid())),
        mode: Set(record.mode.to_string()),
        jurisdiction: Set(record.jurisdiction.to_string()),
        shard: Set(record.shard),
        profile_version: Set(record.profile_version.clone()),
        wanted: Set(record.wanted.to_string()),
        generation: Set(column(record.generation)?),
        applied_generation: Set(column(record.applied_generation)?),
        phase: Set(record.phase.to_string()),
        access: Set(record.access.as_str().to_owned()),
        step: Set(record.step.clone()),
        conditions: Set(json(&record.conditions)?),
        schema: Set(record.schema.clone()),
        intent: Set(record.intent.as_ref().map(json).transpose()?),
        observed_version: Set(record.observed_version),
        reported_version: Set(record.reported_version),
        made_at: Set(record.made_at),
        export: Set(record.export.as_ref().map(json).transpose()?),
    })
}

/// The number of the next change; the caller's transaction is alone in changing environments from here on.
pub async fn count(tx: &Tx) -> Result<i64, DbErr> {
    let first = counter::ActiveModel { one: Set(1), version: Set(1) };
    let next = Expr::col((counter::Entity, counter::Column::Version)).add(1);
    let again = OnConflict::column(counter::Column::One).value(counter::Column::Version, next).to_owned();
    counter::Entity::insert(first).on_conflict(again).exec_without_returning(&**tx).await?;
    version(tx).await
}

/// The number of the newest change; 0 before the first.
pub async fn version(tx: &Tx) -> Result<i64, DbErr> {
    Ok(counter::Entity::find_by_id(1_i16).one(&**tx).await?.map_or(0, |row| row.version))
}

pub async fn get(tx: &Tx, id: EnvironmentId) -> Result<Option<Record>, DbErr> {
    Entity::find_by_id(id.uuid()).one(&**tx).await?.map(read).transpose()
}

/// The number of the last change of a row, which nobody changes until the end of this transaction.
pub async fn hold(tx: &Tx, id: EnvironmentId) -> Result<Option<i64>, DbErr> {
    let row = Entity::find_by_id(id.uuid()).lock_exclusive().one(&**tx).await?;
    Ok(row.map(|row| row.observed_version))
}

/// All of them, after an id, in the order of ids.
pub async fn list(tx: &Tx, after: Option<EnvironmentId>, limit: u32) -> Result<Vec<Record>, DbErr> {
    let mut query = Entity::find();
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    query.order_by_asc(Column::Id).limit(u64::from(limit)).all(&**tx).await?.into_iter().map(read).collect()
}

/// Those of tenants that changed after `after` and since the control plane was told, in the order of the changes.
pub async fn unreported(tx: &Tx, after: i64, limit: u32) -> Result<Vec<Record>, DbErr> {
    let query = Entity::find()
        .filter(Column::OrganizationId.is_not_null())
        .filter(Column::ObservedVersion.gt(after))
        .filter(Expr::col(Column::ObservedVersion).gt(Expr::col(Column::ReportedVersion)))
        .order_by_asc(Column::ObservedVersion)
        .limit(u64::from(limit));
    query.all(&**tx).await?.into_iter().map(read).collect()
}

/// Those of tenants after an id, in the order of ids.
pub async fn of_tenants(tx: &Tx, after: Option<EnvironmentId>, limit: u32) -> Result<Vec<Record>, DbErr> {
    let mut query = Entity::find().filter(Column::OrganizationId.is_not_null());
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    query.order_by_asc(Column::Id).limit(u64::from(limit)).all(&**tx).await?.into_iter().map(read).collect()
}

/// One of another mode than this that is not closed.
pub async fn open_in_another_mode(tx: &Tx, mode: Mode) -> Result<Option<EnvironmentId>, DbErr> {
    let query = Entity::find()
        .filter(Column::Mode.ne(mode.as_str()))
        .filter(Column::Access.ne(Access::Closed.as_str()));
    Ok(query.one(&**tx).await?.map(|row| EnvironmentId::from_uuid(row.id)))
}

/// Those of no tenant.
pub async fn named(tx: &Tx) -> Result<Vec<Record>, DbErr> {
    let query = Entity::find().filter(Column::OrganizationId.is_null()).order_by_asc(Column::Id);
    query.all(&**tx).await?.into_iter().map(read).collect()
}

/// How far those of tenants are.
pub async fn phases(tx: &Tx) -> Result<Vec<(EnvironmentId, u64, Phase)>, DbErr> {
    let rows: Vec<(Uuid, i64, String)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Generation, Column::Phase])
        .filter(Column::OrganizationId.is_not_null())
        .into_tuple()
        .all(&**tx)
        .await?;
    rows.into_iter()
        .map(|(id, generation, phase)| {
            let generation = u64::try_from(generation).map_err(wrong)?;
            Ok((EnvironmentId::from_uuid(id), generation, phase.parse().map_err(wrong)?))
        })
        .collect()
}

/// What requests need to know of an environment.
pub struct Known {
    pub id: EnvironmentId,
    pub mode: String,
    pub jurisdiction: String,
    pub shard: i32,
    pub access: Access,
}

/// Those that have changed after the change `after`; readable for the role that serves requests.
pub async fn known(tx: &Tx, after: i64) -> Result<Vec<Known>, DbErr> {
    let rows: Vec<(Uuid, String, String, i32, String)> = Entity::find()
        .select_only()
        .columns([Column::Id, Column::Mode, Column::Jurisdiction, Column::Shard, Column::Access])
        .filter(Column::ObservedVersion.gt(after))
        .into_tuple()
        .all(&**tx)
        .await?;
    rows.into_iter()
        .map(|(id, mode, jurisdiction, shard, access)| {
            let access = access.parse().map_err(wrong)?;
            Ok(Known { id: EnvironmentId::from_uuid(id), mode, jurisdiction, shard, access })
        })
        .collect()
}

/// Adds a row. The caller has [`count`]ed.
pub async fn insert(tx: &Tx, record: &Record) -> Result<(), DbErr> {
    Entity::insert(row(record)?).exec_without_returning(&**tx).await.map(drop)
}

/// Writes a row, if it is still as `before`. The caller has [`count`]ed.
pub async fn update(tx: &Tx, before: &Record, after: &Record) -> Result<bool, DbErr> {
    let mut row = row(after)?;
    row.id = sea_orm::ActiveValue::NotSet;
    // Written by whoever reports, without the counter.
    row.reported_version = sea_orm::ActiveValue::NotSet;
    let updated = Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(before.id.uuid()))
        .filter(Column::ObservedVersion.eq(before.observed_version))
        .exec(&**tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Keeps what the control plane wants in other words, which changes nothing that can be observed.
pub async fn reword(tx: &Tx, record: &Record) -> Result<(), DbErr> {
    let intent = record.intent.as_ref().map(json).transpose()?;
    Entity::update_many()
        .col_expr(Column::Intent, Expr::val(intent))
        .filter(Column::Id.eq(record.id.uuid()))
        .filter(Column::ObservedVersion.eq(record.observed_version))
        .exec(&**tx)
        .await
        .map(drop)
}

/// Notes that the control plane was told of a row up to a change.
pub async fn reported(tx: &Tx, id: EnvironmentId, version: i64) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::ReportedVersion, Expr::val(version))
        .filter(Column::Id.eq(id.uuid()))
        .filter(Column::ReportedVersion.lt(version))
        .exec(&**tx)
        .await
        .map(drop)
}
