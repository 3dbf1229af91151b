//! Clients across organizations, for operators. Uses the worker role, which may only read them.

use platform::db::Db;
use sea_orm::DbErr;
use tenants::id::{ClientId, OrganizationId};

use super::{
    model::Client,
    store::{self, Filter},
};

/// Whose client this is.
pub async fn organization_of(db: &Db, id: ClientId) -> Result<Option<OrganizationId>, DbErr> {
    let tx = db.begin_system().await?;
    let found = store::organization_of(&tx, id).await?;
    tx.commit().await?;
    Ok(found)
}

/// At most `limit` clients of all organizations, in the order of their ids.
pub async fn list(db: &Db, filter: &Filter, limit: u64) -> Result<Vec<Client>, DbErr> {
    let tx = db.begin_system().await?;
    let clients = store::list_all(&tx, filter, limit).await?;
    tx.commit().await?;
    Ok(clients)
}
