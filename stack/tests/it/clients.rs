//! Clients that are made in one plane and get their tokens in the other.

use platform::oauth::Credential;
use serde_json::{Value, json};
use tenants::id::ClientId;
use uuid::Uuid;

use crate::planes::{Home, id, now, settled, until};

#[tokio::test]
async fn a_client_is_known_to_its_environments_cell_and_gone_from_there_when_it_is_revoked() {
    for home in Home::both(now()).await {
        let (plane, _kept, cell, _) = settled(&home).await;
        let (tenant, own) = plane.tenant("tianguis").await;
        let environment = plane.declare_environment(&tenant, &own).await;
        let key = Credential::make(ClientId::from_uuid(Uuid::from_u128(1))).unwrap();
        let public = key.public();
        let body = json!({"name": "core", "method": "private_key_jwt", "scopes": ["accounts:read"],
            "keys": [{"kty": "EC", "crv": "P-256", "x": public.x, "y": public.y}]});
        let made = plane.post_ok(&format!("/v1/environments/{environment}/clients"), body, 201).await;
        let client = key.of(id(&made).parse().unwrap());
        plane.app.waker.notify_one();
        plane.environment_comes_to(&environment, "ready").await;
        let knows = async || cell.app.issuer.store().registration(client.id()).await.unwrap().is_some();
        until("the cell knows the client", knows).await;
        let shown: Value = plane.read(&format!("/v1/environments/{environment}")).await;
        assert_eq!(shown["observed_generation"], shown["generation"]);

        let revoke = format!("/v1/clients/{}/revocations", client.id());
        plane.post_ok(&revoke, json!({}), 200).await;
        plane.app.waker.notify_one();
        let ended = async || {
            let known = cell.app.issuer.store().registration(client.id()).await.unwrap();
            known.is_some_and(|known| known.client.revoked)
        };
        until("the cell knows that the client is revoked", ended).await;
        plane.environment_comes_to(&environment, "ready").await;
        cell.stop().await;
        plane.stop().await;
    }
}
