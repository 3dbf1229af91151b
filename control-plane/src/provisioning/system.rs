//! What convergence does outside the organization's scope: places and documents, which lie in [`PLATFORM`], and reports.
//!
//! Each function bears repetition: it looks first, so that a process that dies between it and the organization's
//! transaction does it again to no effect.

use chrono::{DateTime, Utc};
use platform::db::{self, Db};
use sea_orm::DbErr;
use tenants::{
    contract::{Document, EnvironmentObserved},
    id::{CellId, EnvironmentId, OrganizationId},
};

use crate::{
    PLATFORM,
    cells::{self, Cell, NoPlace, Want},
    links,
};

/// Finds an environment its cell, or the one it has: a control plane that was restored from a backup may not know that
/// it has one, and is told by the cell.
pub async fn place(db: &Db, want: &Want, now: DateTime<Utc>) -> Result<CellId, NoPlace> {
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        let cell = match links::system::cell_of(&tx, want.environment).await? {
            Some(cell) => cells::settle_in_tx(&tx, want.environment, want.organization, cell, now).await?,
            None => cells::place_in_tx(&tx, want, now).await?,
        };
        tx.commit().await?;
        Ok(cell)
    })
    .await
}

/// Publishes what is wanted of an environment to its cell.
pub async fn publish(
    db: &Db,
    cell: CellId,
    organization: OrganizationId,
    document: &Document,
    now: DateTime<Utc>,
) -> Result<(), links::Error> {
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        links::publish_in_tx(&tx, cell, organization, document, now).await?;
        tx.commit().await?;
        Ok(())
    })
    .await
}

/// Takes back what was published of an environment that its cell has lost, so that a cell which begins anew does not make
/// an empty one of it.
pub async fn withdraw(db: &Db, cell: Option<CellId>, environment: EnvironmentId) -> Result<(), DbErr> {
    let Some(cell) = cell else { return Ok(()) };
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        links::unpublish_in_tx(&tx, cell, &environment.to_string()).await?;
        tx.commit().await
    })
    .await
}

/// What a cell last reported of an environment.
pub async fn observed(
    db: &Db,
    cell: CellId,
    environment: EnvironmentId,
) -> Result<Option<EnvironmentObserved>, DbErr> {
    let tx = db.begin_system().await?;
    let observed = links::system::observed_of(&tx, cell, environment).await?;
    tx.commit().await?;
    Ok(observed)
}

/// What some cell reported of an environment that is not known here, with what was wanted of it there and where the cell
/// stands. The environment is placed in that cell then.
pub async fn found(
    db: &Db,
    environment: EnvironmentId,
    now: DateTime<Utc>,
) -> Result<Option<(Cell, EnvironmentObserved)>, DbErr> {
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        let Some(cell) = links::system::cell_of(&tx, environment).await? else { return Ok(None) };
        let seen = links::system::observed_of(&tx, cell, environment).await?;
        let Some(seen) = seen.filter(|seen| seen.intent.is_some()) else { return Ok(None) };
        let cell = cells::settle_in_tx(&tx, environment, seen.organization, cell, now).await?;
        let cell = cells::get_in_tx(&tx, cell).await?;
        tx.commit().await?;
        Ok(cell.map(|cell| (cell, seen)))
    })
    .await
}

/// Frees the place of an environment that its cell has nothing of, and forgets what was published and reported.
pub async fn release(db: &Db, environment: EnvironmentId) -> Result<(), DbErr> {
    db::retry(|| async {
        let tx = db.begin_system().await?;
        if let Some(cell) = cells::placed_in_tx(&tx, environment).await? {
            links::unpublish_in_tx(&tx, cell, &environment.to_string()).await?;
            links::system::forget(&tx, cell, environment).await?;
        }
        cells::release_in_tx(&tx, environment).await?;
        tx.commit().await
    })
    .await
}
