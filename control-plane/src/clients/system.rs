//! Clients across organizations, for operators and for the issuer. Uses the worker role, which may only read them.

use platform::{
    ctx::Scope,
    db::{self, Db},
    oauth::{Issuer, RegistrationError},
};
use sea_orm::DbErr;
use tenants::{
    contract::ClientIntent,
    id::{ClientId, OrganizationId},
};

use super::{
    model::Client,
    store::{self, Clients, Filter},
};

/// Makes the living clients of an organization itself those that the issuer knows. They are read while nobody else may
/// register: else who has read before a revocation could write after it.
pub async fn register(db: &Db, issuer: &Issuer, scope: Scope) -> Result<(), RegistrationError> {
    db::retry(|| async {
        let tx = db.begin_system().await?;
        issuer.store().hold_in_tx(&tx).await?;
        let clients = Clients::new(&tx, scope).living(None).await?;
        let wanted: Vec<ClientIntent> = clients.iter().map(Client::intent).collect();
        issuer.store().ensure_clients_in_tx(&tx, (scope, issuer.mode()), &wanted, issuer.now()).await?;
        tx.commit().await.map_err(Into::into)
    })
    .await
}

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
