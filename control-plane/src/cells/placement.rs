//! Which environment is in which cell.

use chrono::{DateTime, Utc};
use platform::db::{Db, Tx};
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, ExprTrait, QueryFilter, QueryOrder};
use tenants::{
    environment::Mode,
    id::{CellId, EnvironmentId, OrganizationId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
};

use super::{
    model::{Cell, Lack, State, Want},
    store,
};
use crate::PLATFORM;

mod row {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "placement")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub shard_id: i32,
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub environment_id: Uuid,
        pub cell_id: Uuid,
        pub organization_id: Uuid,
        pub placed_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

use row::{Column, Entity};

/// Why an environment has no place.
#[derive(Debug, thiserror::Error)]
pub enum NoPlace {
    /// There is none.
    #[error("there is no place: {}", .0.as_str())]
    Lack(Lack),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

fn select(environment: EnvironmentId) -> sea_orm::Select<Entity> {
    Entity::find()
        .filter(Column::ShardId.eq(PLATFORM.shard))
        .filter(Column::ScopeId.eq(PLATFORM.id))
        .filter(Column::EnvironmentId.eq(environment.uuid()))
}

/// Places an environment in a cell that takes it, in the caller's transaction in [`PLATFORM`]: where it is already, or
/// in its tenant's own cell, or in the one with the most room. Never more than a cell's capacity, however many ask at
/// once.
///
/// # Errors
/// [`NoPlace::Lack`], and the database's.
pub async fn place_in_tx(tx: &Tx, want: &Want, now: DateTime<Utc>) -> Result<CellId, NoPlace> {
    if let Some(row) = select(want.environment).one(&**tx).await? {
        return Ok(CellId::from_uuid(row.cell_id));
    }
    for cell in candidates(tx, want, now).await? {
        if store::take_place(tx, cell).await? {
            insert(tx, want.environment, cell, want.organization, now).await?;
            return Ok(cell);
        }
    }
    // Others took the last places meanwhile.
    Err(NoPlace::Lack(Lack::Full))
}

/// The cells that have room for it, the best first.
async fn candidates(tx: &Tx, want: &Want, now: DateTime<Utc>) -> Result<Vec<CellId>, NoPlace> {
    let mut cells = open_to(tx, want.tenant, &want.jurisdiction, &want.region, want.mode).await?;
    let none_left = |empty: bool, lack| if empty { Err(NoPlace::Lack(lack)) } else { Ok(()) };
    none_left(cells.is_empty(), Lack::NoCell)?;
    cells.retain(|cell| cell.state == State::Ready);
    none_left(cells.is_empty(), Lack::NoneReady)?;
    let mut certified = Vec::new();
    for cell in cells {
        let held = if want.attestations.is_empty() {
            Vec::new()
        } else {
            store::kinds_held(tx, cell.id, now).await?
        };
        if want.attestations.iter().all(|kind| held.contains(kind)) {
            certified.push(cell);
        }
    }
    none_left(certified.is_empty(), Lack::Attestations)?;
    certified.retain(|cell| cell.placed < cell.capacity);
    none_left(certified.is_empty(), Lack::Full)?;
    certified.sort_by_key(|cell| {
        let room = cell.capacity.saturating_sub(cell.placed);
        (cell.dedicated_tenant.is_none(), std::cmp::Reverse(room), cell.id)
    });
    Ok(certified.into_iter().map(|cell| cell.id).collect())
}

/// The cells of a jurisdiction, region and mode that are there for a tenant, whatever their state.
async fn open_to(
    tx: &Tx,
    tenant: TenantId,
    jurisdiction: &JurisdictionId,
    region: &RegionCode,
    mode: Mode,
) -> Result<Vec<Cell>, DbErr> {
    use store::Column as Field;
    let query = store::select()
        .filter(Field::Jurisdiction.eq(jurisdiction.as_str()))
        .filter(Field::Region.eq(region.as_str()))
        .filter(Field::Mode.eq(mode.as_str()))
        .filter(Field::DedicatedTenant.is_null().or(Field::DedicatedTenant.eq(tenant.uuid())))
        .order_by_asc(Field::Id);
    query.all(&**tx).await?.into_iter().map(store::read).collect()
}

/// What each ready cell that is there for a tenant was certified for and holds at `now`: the kinds, per cell. A cell that
/// is full counts.
///
/// # Errors
/// The database's.
pub async fn kinds_held(
    db: &Db,
    tenant: TenantId,
    jurisdiction: &JurisdictionId,
    region: &RegionCode,
    mode: Mode,
    now: DateTime<Utc>,
) -> Result<Vec<Vec<String>>, DbErr> {
    let tx = db.begin_read(PLATFORM).await?;
    let mut held = Vec::new();
    for cell in open_to(&tx, tenant, jurisdiction, region, mode).await? {
        if cell.state == State::Ready {
            held.push(store::kinds_held(&tx, cell.id, now).await?);
        }
    }
    tx.commit().await?;
    Ok(held)
}

async fn insert(
    tx: &Tx,
    environment: EnvironmentId,
    cell: CellId,
    organization: OrganizationId,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let row = row::ActiveModel {
        shard_id: Set(PLATFORM.shard),
        scope_id: Set(PLATFORM.id),
        environment_id: Set(environment.uuid()),
        cell_id: Set(cell.uuid()),
        organization_id: Set(organization.uuid()),
        placed_at: Set(now),
    };
    Entity::insert(row).exec_without_returning(&**tx).await.map(drop)
}

/// Places an environment in the cell that has it already, in the caller's transaction in [`PLATFORM`], unless it is
/// placed; where it is then.
///
/// # Errors
/// The database's.
pub async fn settle_in_tx(
    tx: &Tx,
    environment: EnvironmentId,
    organization: OrganizationId,
    cell: CellId,
    now: DateTime<Utc>,
) -> Result<CellId, DbErr> {
    if let Some(row) = select(environment).one(&**tx).await? {
        return Ok(CellId::from_uuid(row.cell_id));
    }
    store::add_place(tx, cell).await?;
    insert(tx, environment, cell, organization, now).await?;
    Ok(cell)
}

/// Frees the place of an environment, if it has one, in the caller's transaction in [`PLATFORM`].
///
/// # Errors
/// The database's.
pub async fn release_in_tx(tx: &Tx, environment: EnvironmentId) -> Result<(), DbErr> {
    let Some(row) = select(environment).one(&**tx).await? else { return Ok(()) };
    let deleted = Entity::delete_many()
        .filter(Column::ShardId.eq(PLATFORM.shard))
        .filter(Column::ScopeId.eq(PLATFORM.id))
        .filter(Column::EnvironmentId.eq(environment.uuid()))
        .exec(&**tx)
        .await?;
    // Of two who free it at once only the one that removed the row counts.
    if deleted.rows_affected == 1 {
        store::give_place(tx, CellId::from_uuid(row.cell_id)).await?;
    }
    Ok(())
}

/// Where an environment is placed.
///
/// # Errors
/// The database's.
pub async fn placed_in_tx(tx: &Tx, environment: EnvironmentId) -> Result<Option<CellId>, DbErr> {
    Ok(select(environment).one(&**tx).await?.map(|row| CellId::from_uuid(row.cell_id)))
}
