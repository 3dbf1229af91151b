//! Tenants across organizations, for operators. Uses the worker role, which may only read them.

use platform::db::Db;
use sea_orm::DbErr;
use tenants::id::{OrganizationId, TenantId};

use super::{
    model::Tenant,
    store::{self, Filter},
};

/// Whose tenant this is.
pub async fn organization_of(db: &Db, id: TenantId) -> Result<Option<OrganizationId>, DbErr> {
    let tx = db.begin_system().await?;
    let found = store::organization_of(&tx, id).await?;
    tx.commit().await?;
    Ok(found)
}

/// At most `limit` tenants of all organizations, in the order of their ids.
pub async fn list(db: &Db, filter: &Filter, limit: u64) -> Result<Vec<Tenant>, DbErr> {
    let tx = db.begin_system().await?;
    let tenants = store::list_all(&tx, filter, limit).await?;
    tx.commit().await?;
    Ok(tenants)
}
