//! Documents across organizations, for operators. Uses the worker role, which may only read them.

use platform::db::Db;
use sea_orm::DbErr;
use tenants::id::{DocumentId, OrganizationId};

use super::store;

/// Whose document this is.
pub async fn organization_of(db: &Db, id: DocumentId) -> Result<Option<OrganizationId>, DbErr> {
    let tx = db.begin_system().await?;
    let found = store::organization_of(&tx, id).await?;
    tx.commit().await?;
    Ok(found)
}
