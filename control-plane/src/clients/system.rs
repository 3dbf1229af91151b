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
    // What is withdrawn does not wait for what cannot be registered.
    for withdrawn in [false, true] {
        db::retry(|| async {
            let tx = db.begin_system().await?;
            let (store, of) = (issuer.store(), (scope, issuer.mode()));
            store.hold_in_tx(&tx).await?;
            let clients = Clients::new(&tx, scope).living(None).await?;
            let wanted: Vec<ClientIntent> = clients.iter().map(Client::intent).collect();
            if withdrawn {
                store.ensure_clients_in_tx(&tx, of, &wanted, issuer.now()).await?;
            } else {
                store.withdraw_in_tx(&tx, of, &wanted, issuer.now()).await?;
            }
            tx.commit().await.map_err(RegistrationError::from)
        })
        .await?;
    }
    Ok(())
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
