//! The tables `cell` and `cell_attestation`, and those of placement and credentials.

use chrono::{DateTime, Utc};
use platform::db::{
    Role, Tx,
    schema::{Migration, Privilege, Table},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict},
};
use sea_orm_migration::schema::{
    big_integer, boolean, integer, integer_null, json_binary_null, string, string_null, text,
    timestamp_with_time_zone, timestamp_with_time_zone_null, uuid, uuid_null,
};
use tenants::id::{CellId, TenantId};

use super::model::{Attestation, Cell, Enrolled, Seen, State};
use crate::{
    PLATFORM,
    stored::{json, to_json, wrong},
};

/// Makes the tables. What a cell says of itself only the worker writes, and only it reads what is secret.
pub const MIGRATION: Migration = Migration::new("m0120_cells", || {
    vec![
        Table::of_scope("cell")
            .column(uuid("id"))
            .column(string("name"))
            .column(string("jurisdiction"))
            .column(string("region"))
            .column(string("mode"))
            .column(string("state"))
            .column(uuid_null("dedicated_tenant"))
            .column(integer("capacity"))
            .column(integer("placed"))
            .column(uuid_null("instance"))
            .column(integer_null("shards"))
            .column(string_null("software"))
            .column(string_null("url"))
            .column(integer_null("contract_lowest"))
            .column(integer_null("contract_highest"))
            .column(timestamp_with_time_zone_null("seen_at"))
            .column(big_integer("skew_ms"))
            .column(integer_null("spoken"))
            .column(big_integer("report_seq"))
            .column(string_null("report_sha256"))
            .column(string_null("digest"))
            .column(json_binary_null("told"))
            .column(timestamp_with_time_zone_null("forked_at"))
            .column(big_integer("revision"))
            .column(big_integer("intent_revision"))
            .column(big_integer("generation"))
            .column(big_integer("version"))
            .column(timestamp_with_time_zone("created_at"))
            .column(timestamp_with_time_zone("updated_at"))
            .key(&["id"])
            .unique(&["name"])
            .foreign(&["region"], "region", &["code"])
            .check("placed >= 0 AND placed <= capacity")
            .grant(Role::App, &[Privilege::Select, Privilege::Insert])
            .grant_columns(
                Role::App,
                Privilege::Update,
                &[
                    "state",
                    "dedicated_tenant",
                    "capacity",
                    "placed",
                    "revision",
                    "intent_revision",
                    "generation",
                    "version",
                    "updated_at",
                ],
            )
            .grant(Role::Worker, &[Privilege::Select, Privilege::Update]),
        Table::of_scope("cell_attestation")
            .column(uuid("cell_id"))
            .column(string("kind"))
            .column(timestamp_with_time_zone("valid_from"))
            .column(timestamp_with_time_zone("valid_until"))
            .column(string("document_name"))
            .column(string("document_sha256"))
            .key(&["cell_id", "kind"])
            .foreign(&["cell_id"], "cell", &["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert, Privilege::Update])
            .grant(Role::Worker, &[Privilege::Select]),
        Table::of_scope("placement")
            .column(uuid("environment_id"))
            .column(uuid("cell_id"))
            .column(uuid("organization_id"))
            .column(timestamp_with_time_zone("placed_at"))
            .key(&["environment_id"])
            .index(&["cell_id"])
            .foreign(&["cell_id"], "cell", &["id"])
            .grant(Role::App, &[Privilege::Select, Privilege::Insert, Privilege::Delete])
            .grant(Role::Worker, &[Privilege::Select, Privilege::Insert, Privilege::Delete]),
        Table::of_scope("join_token")
            .column(uuid("id"))
            .column(uuid("cell_id"))
            .column(string("secret_sha256"))
            .column(boolean("replace_instance"))
            .column(timestamp_with_time_zone("expires_at"))
            .column(timestamp_with_time_zone_null("used_at"))
            .column(string_null("csr_sha256"))
            .column(string_null("serial"))
            .key(&["id"])
            .foreign(&["cell_id"], "cell", &["id"])
            .grant(Role::App, &[Privilege::Insert])
            .grant_columns(
                Role::App,
                Privilege::Select,
                &["shard_id", "scope_id", "id", "cell_id", "expires_at", "replace_instance"],
            )
            .grant(Role::Worker, &[Privilege::Select, Privilege::Update, Privilege::Delete]),
        Table::of_scope("link_certificate")
            .column(string("serial"))
            .column(uuid("cell_id"))
            .column(string("csr_sha256"))
            .column(text("certificate_pem"))
            .column(text("chain_pem"))
            .column(timestamp_with_time_zone("not_after"))
            .column(timestamp_with_time_zone("issued_at"))
            .column(big_integer("seq"))
            .column(timestamp_with_time_zone_null("revoked_at"))
            .key(&["serial"])
            .unique(&["cell_id", "seq"])
            .index(&["cell_id", "csr_sha256"])
            .foreign(&["cell_id"], "cell", &["id"])
            .grant(Role::App, &[Privilege::Select])
            .grant_columns(Role::App, Privilege::Update, &["revoked_at"])
            .grant(Role::Worker, &Privilege::ALL),
    ]
});

mod cell {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "cell")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub name: String,
        pub jurisdiction: String,
        pub region: String,
        pub mode: String,
        pub state: String,
        pub dedicated_tenant: Option<Uuid>,
        pub capacity: i32,
        pub placed: i32,
        pub instance: Option<Uuid>,
        pub shards: Option<i32>,
        pub software: Option<String>,
        pub url: Option<String>,
        pub contract_lowest: Option<i32>,
        pub contract_highest: Option<i32>,
        pub seen_at: Option<DateTimeUtc>,
        pub skew_ms: i64,
        pub spoken: Option<i32>,
        pub report_seq: i64,
        pub report_sha256: Option<String>,
        pub digest: Option<String>,
        pub forked_at: Option<DateTimeUtc>,
        pub revision: i64,
        pub intent_revision: i64,
        pub generation: i64,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
        pub told: Option<Json>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod attestation {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "cell_attestation")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub cell_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub kind: String,
        pub valid_from: DateTimeUtc,
        pub valid_until: DateTimeUtc,
        pub document_name: String,
        pub document_sha256: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub use cell::{Column, Entity};

/// The cells.
pub fn select() -> sea_orm::Select<Entity> {
    Entity::find().filter(Column::ShardId.eq(PLATFORM.shard)).filter(Column::ScopeId.eq(PLATFORM.id))
}

fn update(id: CellId) -> sea_orm::UpdateMany<Entity> {
    Entity::update_many()
        .filter(Column::ShardId.eq(PLATFORM.shard))
        .filter(Column::ScopeId.eq(PLATFORM.id))
        .filter(Column::Id.eq(id.uuid()))
}

pub fn read(row: cell::Model) -> Result<Cell, DbErr> {
    let version = |number: i32| u16::try_from(number).map_err(wrong);
    let contract = row.contract_lowest.zip(row.contract_highest);
    let enrolled = match (row.instance, row.shards, row.software, row.url, contract) {
        (Some(instance), Some(shards), Some(software), Some(url), Some((lowest, highest))) => {
            Some(Enrolled {
                instance,
                shards,
                software,
                url,
                contract: [version(lowest)?, version(highest)?],
            })
        }
        _ => None,
    };
    Ok(Cell {
        id: CellId::from_uuid(row.id),
        name: row.name,
        jurisdiction: row.jurisdiction.parse().map_err(wrong)?,
        region: row.region.parse().map_err(wrong)?,
        mode: row.mode.parse().map_err(wrong)?,
        state: row.state.parse().map_err(wrong)?,
        dedicated_tenant: row.dedicated_tenant.map(TenantId::from_uuid),
        capacity: row.capacity,
        placed: row.placed,
        enrolled,
        seen: Seen {
            at: row.seen_at,
            skew_ms: row.skew_ms,
            spoken: row.spoken.map(version).transpose()?,
            seq: row.report_seq,
            report_sha256: row.report_sha256,
            digest: row.digest,
            forked_at: row.forked_at,
            told: row.told.map(json).transpose()?,
        },
        revision: row.revision,
        intent_revision: row.intent_revision,
        generation: row.generation,
        version: row.version,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

pub async fn get(tx: &Tx, id: CellId) -> Result<Option<Cell>, DbErr> {
    select().filter(Column::Id.eq(id.uuid())).one(&**tx).await?.map(read).transpose()
}

/// Those of these ids that there are.
pub async fn of_ids(tx: &Tx, ids: &[CellId]) -> Result<Vec<Cell>, DbErr> {
    let query = select().filter(Column::Id.is_in(ids.iter().map(|id| id.uuid())));
    query.all(&**tx).await?.into_iter().map(read).collect()
}

/// Like [`get`], for who is about to change it.
pub async fn lock(tx: &Tx, id: CellId) -> Result<Option<Cell>, DbErr> {
    select().filter(Column::Id.eq(id.uuid())).lock_exclusive().one(&**tx).await?.map(read).transpose()
}

pub async fn list(
    tx: &Tx,
    after: Option<CellId>,
    name: Option<&str>,
    limit: u64,
) -> Result<Vec<Cell>, DbErr> {
    let mut query = select();
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.uuid()));
    }
    if let Some(name) = name {
        query = query.filter(Column::Name.eq(name));
    }
    query.order_by_asc(Column::Id).limit(limit).all(&**tx).await?.into_iter().map(read).collect()
}

/// A cell that nobody has enrolled as.
pub async fn insert(tx: &Tx, new: &Cell) -> Result<(), DbErr> {
    let row = cell::ActiveModel {
        shard_id: Set(PLATFORM.shard),
        scope_id: Set(PLATFORM.id),
        id: Set(new.id.uuid()),
        name: Set(new.name.clone()),
        jurisdiction: Set(new.jurisdiction.to_string()),
        region: Set(new.region.to_string()),
        mode: Set(new.mode.to_string()),
        state: Set(new.state.to_string()),
        dedicated_tenant: Set(new.dedicated_tenant.map(TenantId::uuid)),
        capacity: Set(new.capacity),
        placed: Set(new.placed),
        instance: Set(None),
        shards: Set(None),
        software: Set(None),
        url: Set(None),
        contract_lowest: Set(None),
        contract_highest: Set(None),
        seen_at: Set(None),
        skew_ms: Set(0),
        spoken: Set(None),
        report_seq: Set(0),
        report_sha256: Set(None),
        digest: Set(None),
        forked_at: Set(None),
        revision: Set(new.revision),
        intent_revision: Set(new.intent_revision),
        generation: Set(new.generation),
        version: Set(new.version),
        created_at: Set(new.created_at),
        updated_at: Set(new.updated_at),
        told: Set(None),
    };
    Entity::insert(row).exec_without_returning(&**tx).await.map(drop)
}

/// Writes what operators change, of a row that the caller has locked.
pub async fn write(tx: &Tx, after: &Cell) -> Result<(), DbErr> {
    let updated = update(after.id)
        .col_expr(Column::State, Expr::val(after.state.as_str()))
        .col_expr(Column::DedicatedTenant, Expr::val(after.dedicated_tenant.map(TenantId::uuid)))
        .col_expr(Column::Capacity, Expr::val(after.capacity))
        .col_expr(Column::Revision, Expr::val(after.revision))
        .col_expr(Column::IntentRevision, Expr::val(after.intent_revision))
        .col_expr(Column::Generation, Expr::val(after.generation))
        .col_expr(Column::Version, Expr::val(after.version))
        .col_expr(Column::UpdatedAt, Expr::val(after.updated_at))
        .exec(&**tx)
        .await?;
    if updated.rows_affected == 1 { Ok(()) } else { Err(DbErr::RecordNotUpdated) }
}

/// Writes what a cell said when it enrolled, and that it is ready if it was not; for `system.rs`.
pub async fn write_enrolled(tx: &Tx, after: &Cell) -> Result<(), DbErr> {
    let told = after.enrolled.as_ref();
    let updated = update(after.id)
        .col_expr(Column::State, Expr::val(after.state.as_str()))
        .col_expr(Column::Instance, Expr::val(told.map(|told| told.instance)))
        .col_expr(Column::Shards, Expr::val(told.map(|told| told.shards)))
        .col_expr(Column::Software, Expr::val(told.map(|told| told.software.clone())))
        .col_expr(Column::Url, Expr::val(told.map(|told| told.url.clone())))
        .col_expr(Column::ContractLowest, Expr::val(told.map(|told| i32::from(told.contract[0]))))
        .col_expr(Column::ContractHighest, Expr::val(told.map(|told| i32::from(told.contract[1]))))
        .exec(&**tx)
        .await?;
    if updated.rows_affected != 1 {
        return Err(DbErr::RecordNotUpdated);
    }
    write_seen(tx, after.id, &after.seen).await
}

/// Writes what a cell's reports have said; for `system.rs`.
pub async fn write_seen(tx: &Tx, id: CellId, seen: &Seen) -> Result<(), DbErr> {
    let updated = update(id)
        .col_expr(Column::SeenAt, Expr::val(seen.at))
        .col_expr(Column::SkewMs, Expr::val(seen.skew_ms))
        .col_expr(Column::Spoken, Expr::val(seen.spoken.map(i32::from)))
        .col_expr(Column::ReportSeq, Expr::val(seen.seq))
        .col_expr(Column::ReportSha256, Expr::val(seen.report_sha256.clone()))
        .col_expr(Column::Digest, Expr::val(seen.digest.clone()))
        .col_expr(Column::ForkedAt, Expr::val(seen.forked_at))
        .col_expr(Column::Told, Expr::val(seen.told.as_ref().map(to_json).transpose()?))
        .exec(&**tx)
        .await?;
    if updated.rows_affected == 1 { Ok(()) } else { Err(DbErr::RecordNotUpdated) }
}

/// Counts one environment more in a cell, if it is ready and has room.
pub async fn take_place(tx: &Tx, id: CellId) -> Result<bool, DbErr> {
    let updated = update(id)
        .col_expr(Column::Placed, Expr::col(Column::Placed).add(1))
        .filter(Column::State.eq(State::Ready.as_str()))
        .filter(Expr::col(Column::Placed).lt(Expr::col(Column::Capacity)))
        .exec(&**tx)
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Counts one environment more in a cell that has it, whether there is room or not.
pub async fn add_place(tx: &Tx, id: CellId) -> Result<(), DbErr> {
    update(id).col_expr(Column::Placed, Expr::col(Column::Placed).add(1)).exec(&**tx).await.map(drop)
}

/// Counts one less.
pub async fn give_place(tx: &Tx, id: CellId) -> Result<(), DbErr> {
    update(id).col_expr(Column::Placed, Expr::col(Column::Placed).sub(1)).exec(&**tx).await.map(drop)
}

/// Raises the revision of a cell's documents; the caller's transaction is then alone with it.
pub async fn set_revision(tx: &Tx, id: CellId, revision: i64) -> Result<(), DbErr> {
    update(id).col_expr(Column::Revision, Expr::val(revision)).exec(&**tx).await.map(drop)
}

fn attestations(cell: CellId) -> sea_orm::Select<attestation::Entity> {
    attestation::Entity::find()
        .filter(attestation::Column::ShardId.eq(PLATFORM.shard))
        .filter(attestation::Column::ScopeId.eq(PLATFORM.id))
        .filter(attestation::Column::CellId.eq(cell.uuid()))
}

/// At most `limit` of what a cell was certified for, behind the kind `after`, by kind.
pub async fn list_attestations(
    tx: &Tx,
    cell: CellId,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<Attestation>, DbErr> {
    let mut query = attestations(cell);
    if let Some(after) = after {
        query = query.filter(attestation::Column::Kind.gt(after));
    }
    let rows = query.order_by_asc(attestation::Column::Kind).limit(limit).all(&**tx).await?;
    Ok(rows.into_iter().map(read_attestation).collect())
}

/// What a cell was certified for of this kind.
pub async fn get_attestation(tx: &Tx, cell: CellId, kind: &str) -> Result<Option<Attestation>, DbErr> {
    let query = attestations(cell).filter(attestation::Column::Kind.eq(kind));
    Ok(query.one(&**tx).await?.map(read_attestation))
}

fn read_attestation(row: attestation::Model) -> Attestation {
    Attestation {
        kind: row.kind,
        valid_from: row.valid_from,
        valid_until: row.valid_until,
        document_name: row.document_name,
        document_sha256: row.document_sha256,
    }
}

/// The kinds that hold for a cell at `now`.
pub async fn kinds_held(tx: &Tx, cell: CellId, now: DateTime<Utc>) -> Result<Vec<String>, DbErr> {
    let held = attestations(cell).all(&**tx).await?.into_iter();
    Ok(held.filter(|one| one.valid_from <= now && now < one.valid_until).map(|one| one.kind).collect())
}

pub async fn put_attestation(tx: &Tx, cell: CellId, put: &Attestation) -> Result<(), DbErr> {
    use attestation::Column as Field;
    let row = attestation::ActiveModel {
        shard_id: Set(PLATFORM.shard),
        scope_id: Set(PLATFORM.id),
        cell_id: Set(cell.uuid()),
        kind: Set(put.kind.clone()),
        valid_from: Set(put.valid_from),
        valid_until: Set(put.valid_until),
        document_name: Set(put.document_name.clone()),
        document_sha256: Set(put.document_sha256.clone()),
    };
    let again = OnConflict::columns([Field::ShardId, Field::ScopeId, Field::CellId, Field::Kind])
        .update_columns([Field::ValidFrom, Field::ValidUntil, Field::DocumentName, Field::DocumentSha256])
        .to_owned();
    attestation::Entity::insert(row).on_conflict(again).exec_without_returning(&**tx).await.map(drop)
}
