//! A cell at the other end of the link, as far as the control plane can tell.

use axum::http::StatusCode;
use chrono::TimeDelta;
use control_plane::{cells, router::link_router};
use platform::{
    drain::DrainConfig,
    egress::{Egress, EgressConfig, Mutual},
    pki::{Identity, KeyAndRequest},
    tls::{self, TlsServer},
};
use serde::Serialize;
use serde_json::{Value, json};
use tenants::{
    contract::{Enrol, Enrolled, EnvironmentObserved, Heartbeat, Issued, Observed, Renewal},
    environment::Mode,
    id::CellId,
};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::plane::{Plane, id};

/// The listener of the links, over TLS.
pub struct Links<'a> {
    pub plane: &'a Plane,
    url: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub contract: String,
    pub body: Value,
}

impl Answer {
    pub fn ok<T: serde::de::DeserializeOwned>(self) -> T {
        assert!(self.status.is_success(), "{self:?}");
        serde_json::from_value(self.body).unwrap()
    }

    /// Refused with this code.
    pub fn is_refused(&self, code: &str) {
        assert!(!self.status.is_success() && self.body["code"] == code, "{code} was expected: {self:?}");
        assert!(self.body["detail"].is_string() && self.body["retryable"].is_boolean(), "{self:?}");
    }
}

impl<'a> Links<'a> {
    pub async fn of(plane: &'a Plane) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let ca = &plane.app.links.ca;
        let identity = ca.server(&["127.0.0.1".to_owned()], plane.app.clock.now()).unwrap();
        let server = TlsServer::new(&identity, ca.root_der(), cells::GRACE, plane.app.clock.clone()).unwrap();
        let router = link_router(plane.app.clone(), &plane.config.http);
        let drain = plane.drain.clone();
        tokio::spawn(
            async move { tls::serve(listener, server, router, &drain, &DrainConfig::default()).await },
        );
        Self { plane, url }
    }

    /// A client with this identity.
    pub fn client(&self, identity: Option<&Identity>) -> Egress {
        let config = EgressConfig {
            allow: vec!["127.0.0.1:*".to_owned()],
            timeout_ms: 60_000,
            ..EgressConfig::default()
        };
        let pem = identity.map(Identity::pem);
        let root_der = self.plane.app.links.ca.root_der();
        Egress::mutual(&config, &Mutual { root_der, identity_pem: pem.as_deref() }).unwrap()
    }

    async fn send(request: reqwest::RequestBuilder, contract: &str) -> Answer {
        let answer = Egress::send(request.header("tambo-contract", contract)).await.unwrap();
        let contract = answer.headers().get("tambo-contract").map_or("", |value| value.to_str().unwrap());
        let (status, contract) = (answer.status(), contract.to_owned());
        Answer { status, contract, body: answer.json().await.unwrap() }
    }

    pub async fn post(&self, client: &Egress, path: &str, body: &impl Serialize) -> Answer {
        self.post_as(client, path, body, "1-1").await
    }

    pub async fn post_as(
        &self,
        client: &Egress,
        path: &str,
        body: &impl Serialize,
        contract: &str,
    ) -> Answer {
        Self::send(client.post(&format!("{}/link/v1/{path}", self.url)).unwrap().json(body), contract).await
    }

    pub async fn get(&self, client: &Egress, path: &str) -> Answer {
        Self::send(client.get(&format!("{}/link/v1/{path}", self.url)).unwrap(), "1-1").await
    }

    /// What the cell `mx-1` of [`declared`] says when it enrols.
    pub fn enrol(&self, token: &str, csr_pem: &str, instance: u128) -> Enrol {
        Enrol {
            token: token.to_owned(),
            csr_pem: csr_pem.to_owned(),
            jurisdiction: "mx-cnbv".parse().unwrap(),
            region: "mx-central-1".parse().unwrap(),
            mode: Mode::Sandbox,
            shards: 1,
            instance: Uuid::from_u128(instance),
            software: "test".to_owned(),
            contract: [1, 1],
            sent_at: self.plane.app.clock.now(),
            url: "https://mx-1.example.com".to_owned(),
        }
    }

    /// A cell that has enrolled.
    pub async fn enrolled(&self, cell: CellId) -> FakeCell {
        let token = join_token(self.plane, cell, json!({})).await;
        let request = KeyAndRequest::make(cell).unwrap();
        let asked = self.enrol(&token, &request.csr_pem, 1);
        let enrolled: Enrolled = self.post(&self.client(None), "enrolments", &asked).await.ok();
        let identity = Identity {
            key_pem: request.key_pem,
            certificate_pem: enrolled.certificate_pem.clone(),
            chain_pem: enrolled.chain_pem.clone(),
        };
        FakeCell { client: self.client(Some(&identity)), enrolled }
    }

    /// Asks for the next certificate.
    pub async fn renew(&self, client: &Egress, csr_pem: &str, instance: u128) -> Answer {
        let sent_at = self.plane.app.clock.now();
        let renewal = Renewal { csr_pem: csr_pem.to_owned(), instance: Uuid::from_u128(instance), sent_at };
        self.post(client, "renewals", &renewal).await
    }

    /// The identity of a renewal.
    pub fn identity(request: KeyAndRequest, issued: Issued) -> Identity {
        Identity {
            key_pem: request.key_pem,
            certificate_pem: issued.certificate_pem,
            chain_pem: issued.chain_pem,
        }
    }
}

/// A cell that has enrolled, and its client.
pub struct FakeCell {
    pub client: Egress,
    pub enrolled: Enrolled,
}

impl FakeCell {
    pub fn report(&self, links: &Links<'_>, seq: u64, environments: Vec<EnvironmentObserved>) -> Observed {
        let now = links.plane.app.clock.now();
        Observed {
            seq,
            instance: Uuid::from_u128(1),
            lineage: self.enrolled.lineage,
            cursor: 0,
            sent_at: now,
            heartbeat: Heartbeat {
                software: "test".to_owned(),
                contract: 1,
                environments: 0,
                ready: 0,
                capacity: 10,
                backlog: 0,
                dead: 0,
                skew_ms: 0,
                certificate_not_after: now + TimeDelta::hours(1),
                digest: String::new(),
            },
            environments,
            full: false,
            after: None,
        }
    }

    pub async fn poll(&self, links: &Links<'_>, after: u64, wait_ms: u32) -> Answer {
        let lineage = self.enrolled.lineage;
        let path = format!("desired?after={after}&lineage={lineage}&wait_ms={wait_ms}");
        links.get(&self.client, &path).await
    }
}

/// What an operator says of the cell `name`.
pub fn cell_body(name: &str, capacity: i32) -> Value {
    json!({
        "name": name, "jurisdiction": "mx-cnbv", "region": "mx-central-1", "mode": "sandbox",
        "capacity": capacity,
    })
}

/// The region of the tests' cells.
pub async fn region(plane: &Plane) {
    let put =
        plane.request(axum::http::Method::PUT, "/v1/regions/mx-central-1").token(&plane.fresh_token().await);
    put.json(&json!({"country": "MX", "name": "Querétaro"})).send().await.ok(200);
}

/// A cell that was declared.
pub async fn declared(plane: &Plane, name: &str, capacity: i32) -> CellId {
    region(plane).await;
    let call =
        plane.post("/v1/cells", &cell_body(name, capacity)).token(&plane.fresh_token().await).key(name);
    id(&call.send().await.ok(201)).parse().unwrap()
}

/// A join token of a cell.
pub async fn join_token(plane: &Plane, cell: CellId, body: Value) -> String {
    let call = plane.post(&format!("/v1/cells/{cell}/join-tokens"), &body).token(&plane.fresh_token().await);
    let key = Uuid::from_u128(platform::random::bits()).to_string();
    call.key(&key).send().await.ok(201)["token"].as_str().unwrap().to_owned()
}
