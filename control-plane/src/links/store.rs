//! The tables `link_document`, `link_observed` and `control_plane`.

use chrono::{DateTime, Utc};
use platform::db::{
    Role, Tx,
    schema::{Migration, Privilege, Table},
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};
use sea_orm_migration::schema::{big_integer, integer, json_binary, string, timestamp_with_time_zone, uuid};
use tenants::{
    contract::{Body, Document, EnvironmentObserved},
    environment::Phase,
    id::{CellId, EnvironmentId, OrganizationId},
};
use uuid::Uuid;

use crate::{
    PLATFORM,
    stored::{json, to_json, wrong},
};

/// Makes the tables.
pub const MIGRATION: Migration = Migration::new("m0140_links", || {
    vec![
        Table::of_scope("link_document")
            .column(uuid("cell_id"))
            .column(string("subject"))
            .column(uuid("organization_id"))
            .column(big_integer("generation"))
            .column(big_integer("revision"))
            .column(json_binary("body"))
            .column(string("sha256"))
            .key(&["cell_id", "subject"])
            .unique(&["cell_id", "revision"])
            .foreign(&["cell_id"], "cell", &["id"])
            .grant(Role::App, &Privilege::ALL)
            .grant(Role::Worker, &Privilege::ALL),
        Table::of_scope("link_observed")
            .column(uuid("cell_id"))
            .column(uuid("environment_id"))
            .column(uuid("organization_id"))
            .column(big_integer("generation"))
            .column(string("phase"))
            .column(json_binary("body"))
            .column(timestamp_with_time_zone("received_at"))
            .key(&["cell_id", "environment_id"])
            .foreign(&["cell_id"], "cell", &["id"])
            .grant(Role::App, &[Privilege::Select])
            .grant(Role::Worker, &Privilege::ALL),
        Table::reference("control_plane")
            .column(integer("one"))
            .column(uuid("lineage"))
            .column(timestamp_with_time_zone("made_at"))
            .key(&["one"])
            .check("one = 1")
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant(Role::Worker, &[Privilege::Select]),
    ]
});

mod document {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "link_document")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub cell_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub subject: String,
        pub organization_id: Uuid,
        pub generation: i64,
        pub revision: i64,
        pub body: Json,
        pub sha256: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod observed {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "link_observed")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub cell_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        pub organization_id: Uuid,
        pub generation: i64,
        pub phase: String,
        pub body: Json,
        pub received_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod control_plane {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "control_plane")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub one: i32,
        pub lineage: Uuid,
        pub made_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use document::Column as Field;
use observed::Column as Seen;

fn number(count: i64) -> Result<u64, DbErr> {
    u64::try_from(count).map_err(wrong)
}

/// A number of a message, for a column.
pub fn column(count: u64) -> Result<i64, DbErr> {
    i64::try_from(count).map_err(wrong)
}

/// What names this database.
pub async fn lineage(tx: &Tx) -> Result<Option<Uuid>, DbErr> {
    Ok(control_plane::Entity::find().one(&**tx).await?.map(|row| row.lineage))
}

/// Gives the database a name, unless it has one.
pub async fn name(tx: &Tx, lineage: Uuid, now: DateTime<Utc>) -> Result<(), DbErr> {
    let row = control_plane::ActiveModel { one: Set(1), lineage: Set(lineage), made_at: Set(now) };
    let once = OnConflict::column(control_plane::Column::One).do_nothing().to_owned();
    control_plane::Entity::insert(row).on_conflict(once).exec_without_returning(&**tx).await.map(drop)
}

fn documents(cell: CellId) -> sea_orm::Select<document::Entity> {
    document::Entity::find()
        .filter(Field::ShardId.eq(PLATFORM.shard))
        .filter(Field::ScopeId.eq(PLATFORM.id))
        .filter(Field::CellId.eq(cell.uuid()))
}

/// Generation and hash of what is published.
pub async fn published(tx: &Tx, cell: CellId, subject: &str) -> Result<Option<(u64, String)>, DbErr> {
    let row = documents(cell).filter(Field::Subject.eq(subject)).one(&**tx).await?;
    row.map(|row| Ok((number(row.generation)?, row.sha256))).transpose()
}

/// Writes a document over the one that is there.
pub async fn publish(
    tx: &Tx,
    cell: CellId,
    organization: OrganizationId,
    document: &Document,
    revision: i64,
    sha256: String,
) -> Result<(), DbErr> {
    let row = document::ActiveModel {
        shard_id: Set(PLATFORM.shard),
        scope_id: Set(PLATFORM.id),
        cell_id: Set(cell.uuid()),
        subject: Set(document.subject.clone()),
        organization_id: Set(organization.uuid()),
        generation: Set(column(document.generation)?),
        revision: Set(revision),
        body: Set(to_json(&document.body)?),
        sha256: Set(sha256),
    };
    let again = OnConflict::columns([Field::ShardId, Field::ScopeId, Field::CellId, Field::Subject])
        .update_columns([
            Field::OrganizationId,
            Field::Generation,
            Field::Revision,
            Field::Body,
            Field::Sha256,
        ])
        .to_owned();
    document::Entity::insert(row).on_conflict(again).exec_without_returning(&**tx).await.map(drop)
}

/// Removes a document.
pub async fn unpublish(tx: &Tx, cell: CellId, subject: &str) -> Result<(), DbErr> {
    document::Entity::delete_many()
        .filter(Field::ShardId.eq(PLATFORM.shard))
        .filter(Field::ScopeId.eq(PLATFORM.id))
        .filter(Field::CellId.eq(cell.uuid()))
        .filter(Field::Subject.eq(subject))
        .exec(&**tx)
        .await
        .map(drop)
}

/// At most `limit` documents of later revisions than `after`, in their order.
pub async fn later(tx: &Tx, cell: CellId, after: i64, limit: u64) -> Result<Vec<Document>, DbErr> {
    let rows = documents(cell)
        .filter(Field::Revision.gt(after))
        .order_by_asc(Field::Revision)
        .limit(limit)
        .all(&**tx)
        .await?;
    let read = |row: document::Model| {
        Ok(Document {
            subject: row.subject,
            generation: number(row.generation)?,
            revision: number(row.revision)?,
            body: json::<Body>(row.body)?,
        })
    };
    rows.into_iter().map(read).collect()
}

fn seen(cell: CellId) -> sea_orm::Select<observed::Entity> {
    observed::Entity::find()
        .filter(Seen::ShardId.eq(PLATFORM.shard))
        .filter(Seen::ScopeId.eq(PLATFORM.id))
        .filter(Seen::CellId.eq(cell.uuid()))
}

/// What was last reported of these environments.
pub async fn observed(
    tx: &Tx,
    cell: CellId,
    ids: &[EnvironmentId],
) -> Result<Vec<EnvironmentObserved>, DbErr> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = seen(cell).filter(Seen::EnvironmentId.is_in(ids)).all(&**tx).await?;
    rows.into_iter().map(|row| json(row.body)).collect()
}

/// What the digest of a cell is taken of: everything that is in it.
pub async fn phases(tx: &Tx, cell: CellId) -> Result<Vec<(EnvironmentId, u64, Phase)>, DbErr> {
    let rows = seen(cell)
        .select_only()
        .columns([Seen::EnvironmentId])
        .column(Seen::Generation)
        .column(Seen::Phase)
        .filter(Seen::Phase.is_not_in([Phase::Absent.as_str(), Phase::Removed.as_str()]))
        .into_tuple::<(Uuid, i64, String)>()
        .all(&**tx)
        .await?;
    rows.into_iter()
        .map(|(id, generation, phase)| {
            let phase = phase.parse().unwrap_or(Phase::Unknown);
            Ok((EnvironmentId::from_uuid(id), number(generation)?, phase))
        })
        .collect()
}

/// Keeps what a cell reports of one environment; for `system.rs`.
pub async fn observe(
    tx: &Tx,
    cell: CellId,
    report: &EnvironmentObserved,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let row = observed::ActiveModel {
        shard_id: Set(PLATFORM.shard),
        scope_id: Set(PLATFORM.id),
        cell_id: Set(cell.uuid()),
        environment_id: Set(report.id.uuid()),
        organization_id: Set(report.organization.uuid()),
        generation: Set(column(report.generation)?),
        phase: Set(report.phase.to_string()),
        body: Set(to_json(report)?),
        received_at: Set(now),
    };
    let again = OnConflict::columns([Seen::ShardId, Seen::ScopeId, Seen::CellId, Seen::EnvironmentId])
        .update_columns([Seen::OrganizationId, Seen::Generation, Seen::Phase, Seen::Body, Seen::ReceivedAt])
        .to_owned();
    observed::Entity::insert(row).on_conflict(again).exec_without_returning(&**tx).await.map(drop)
}

/// Which cell has an environment, by what it reported.
pub async fn cell_of(tx: &Tx, environment: EnvironmentId) -> Result<Option<CellId>, DbErr> {
    let query = observed::Entity::find()
        .filter(Seen::ShardId.eq(PLATFORM.shard))
        .filter(Seen::ScopeId.eq(PLATFORM.id))
        .filter(Seen::EnvironmentId.eq(environment.uuid()))
        .filter(Seen::Phase.is_not_in([Phase::Absent.as_str(), Phase::Removed.as_str()]))
        .order_by_asc(Seen::CellId);
    Ok(query.one(&**tx).await?.map(|row| CellId::from_uuid(row.cell_id)))
}

/// Forgets what was reported of all environments of a cell after one and up to another, or without an end, but for
/// `kept`; those that were forgotten, and whose they are. For `system.rs`.
pub async fn forget_between(
    tx: &Tx,
    cell: CellId,
    after: Option<EnvironmentId>,
    until: Option<EnvironmentId>,
    kept: &[EnvironmentId],
) -> Result<Vec<(EnvironmentId, OrganizationId)>, DbErr> {
    let mut query = seen(cell).filter(Seen::EnvironmentId.is_not_in(kept.iter().map(|id| id.uuid())));
    if let Some(after) = after {
        query = query.filter(Seen::EnvironmentId.gt(after.uuid()));
    }
    if let Some(until) = until {
        query = query.filter(Seen::EnvironmentId.lte(until.uuid()));
    }
    let mut gone = Vec::new();
    for row in query.all(&**tx).await? {
        let id = EnvironmentId::from_uuid(row.environment_id);
        forget(tx, cell, id).await?;
        gone.push((id, OrganizationId::from_uuid(row.organization_id)));
    }
    Ok(gone)
}

/// Forgets what was reported of an environment; for `system.rs`.
pub async fn forget(tx: &Tx, cell: CellId, environment: EnvironmentId) -> Result<(), DbErr> {
    observed::Entity::delete_many()
        .filter(Seen::ShardId.eq(PLATFORM.shard))
        .filter(Seen::ScopeId.eq(PLATFORM.id))
        .filter(Seen::CellId.eq(cell.uuid()))
        .filter(Seen::EnvironmentId.eq(environment.uuid()))
        .exec(&**tx)
        .await
        .map(drop)
}
