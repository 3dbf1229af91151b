//! A control plane inside the test's process: called in process, or served to the program.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{Router, body};
use client::{
    Body, Client, Lost, Transport,
    control::{self, OrganizationNew, RegionPut, TenantNew, TenantStep},
};
use control_plane::{
    PLATFORM,
    app::App,
    config::ControlPlaneConfig,
    operations::{self, State, StepState},
    router::{router, scopes},
};
use futures::StreamExt;
use http::{Request, Response};
use platform::{
    config,
    ctx::{Actor, Clock, Ctx, EnvironmentClock, Scope},
    drain::{self, Drain, DrainConfig},
    pki,
    telemetry::{self, Readiness},
    testing::oauth::token,
};
use tempfile::TempDir;
use tenants::{
    environment::Mode,
    id::{OperationId, OrganizationId, TenantId},
};
use tower::ServiceExt;
use uuid::Uuid;

/// A control plane on SQLite, and an operator.
pub struct Plane {
    app: App,
    router: Router,
    pub operator: String,
    drain: Drain,
    pub folder: TempDir,
}

impl Plane {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        pki::init(folder.path(), Clock::system().now()).unwrap();
        let text = format!(
            "[database]\nurl = \"sqlite://{}\"\n[keys]\nroot_file = \"{}\"\n[pki]\nroot_certificate_file = \"{}\"\n\
             issuing_certificate_file = \"{}\"\nissuing_key_file = \"{}\"\n",
            at("control-plane.db"),
            at("root.key"),
            at("root/root.pem"),
            at("issuing/issuing.pem"),
            at("issuing/issuing.key"),
        );
        let file = folder.path().join("control-plane.toml");
        std::fs::write(&file, text).unwrap();
        let config: ControlPlaneConfig = config::load(Some(&file), []).unwrap();
        let drain = Drain::new();
        let app = App::start(&config, Clock::system(), &drain).await.unwrap();
        let readiness = Readiness::new(drain.clone());
        let router = router(app.clone(), &config.http, readiness, telemetry::metrics().unwrap()).unwrap();
        let operator = token_of(&app, PLATFORM.id).await;
        Self { app, router, operator, drain, folder }
    }

    pub fn way(&self) -> InProcess {
        InProcess { router: self.router.clone(), ..InProcess::default() }
    }

    /// The operator's client.
    pub fn client(&self) -> Client<InProcess> {
        Client::new(self.way(), 1).token(&self.operator).unwrap()
    }

    pub async fn token_of(&self, organization: OrganizationId) -> String {
        token_of(&self.app, organization.uuid()).await
    }

    /// Serves until the test ends.
    pub async fn serve(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (router, drain) = (self.router.clone(), self.drain.clone());
        tokio::spawn(async move {
            drain::serve(listener, router, &drain, &DrainConfig { notice_ms: 0, limit_ms: 0 }).await
        });
        address
    }

    /// Notes a step of an operation, as convergence does.
    pub async fn step(&self, organization: OrganizationId, id: OperationId, name: &str) {
        let ctx = self.ctx(organization);
        let tx = self.app.db.begin(ctx.scope).await.unwrap();
        let operation = operations::get_in_tx(&tx, &ctx, id).await.unwrap().unwrap();
        operations::step_in_tx(&tx, &ctx, &operation, name, StepState::Done, None, true).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Ends an operation, as convergence does.
    pub async fn end(&self, organization: OrganizationId, id: OperationId, state: State) {
        let ctx = self.ctx(organization);
        let tx = self.app.db.begin(ctx.scope).await.unwrap();
        assert!(operations::end_in_tx(&tx, &ctx, id, state, None).await.unwrap());
        tx.commit().await.unwrap();
    }

    fn ctx(&self, organization: OrganizationId) -> Ctx {
        Ctx {
            scope: Scope::new(PLATFORM.shard, organization.uuid()),
            mode: Mode::Sandbox,
            actor: Actor::System("test"),
            request_id: "test".into(),
            clock: EnvironmentClock::new(self.app.clock.clone(), chrono::TimeDelta::zero()),
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.drain.begin();
    }
}

async fn token_of(app: &App, organization: Uuid) -> String {
    let scope = Scope::new(PLATFORM.shard, organization);
    token(&app.issuer, &app.clock, scope, Mode::Sandbox, &scopes()).await
}

/// An organization, and regions in two countries.
pub async fn organization(client: &Client<InProcess>) -> OrganizationId {
    for (code, country) in [("mx-1", "MX"), ("us-1", "US")] {
        let put = RegionPut { country: country.parse().unwrap(), name: code.to_owned() };
        client.read(control::region_put(&code.parse().unwrap(), None, &put)).await.unwrap();
    }
    let new = OrganizationNew {
        external_id: Some("tianguis".to_owned()),
        name: "Tianguis Pagos".to_owned(),
        country: "MX".parse().unwrap(),
    };
    client.read(control::organization_create(&new)).await.unwrap().id
}

pub fn draft(organization: OrganizationId, external_id: &str) -> TenantNew {
    TenantNew {
        organization_id: Some(organization),
        external_id: Some(external_id.to_owned()),
        name: "Tianguis".to_owned(),
        jurisdiction: "mx-cnbv".parse().unwrap(),
        licence: "IFPE".to_owned(),
    }
}

/// A tenant that may have environments.
pub async fn approved(client: &Client<InProcess>, organization: OrganizationId) -> TenantId {
    let tenant = client.read(control::tenant_create(&draft(organization, "tianguis-mx"))).await.unwrap().id;
    let why = TenantStep::new("papers_seen", None);
    client.read(control::tenant_verify(tenant, &why)).await.unwrap();
    client.read(control::tenant_approve(tenant, &why)).await.unwrap();
    tenant
}

/// The router itself as a transport, which loses what it is told to lose.
#[derive(Debug, Clone, Default)]
pub struct InProcess {
    router: Router,
    /// How many answers get lost, after the request had its effect.
    pub answers_to_lose: Arc<AtomicU32>,
    /// How many bodies break off after their first part.
    pub bodies_to_cut: Arc<AtomicU32>,
    /// `Last-Event-ID` of each request.
    pub last_event_ids: Arc<Mutex<Vec<Option<String>>>>,
    /// How many requests there were.
    pub sent: Arc<AtomicU32>,
}

fn one_less(of: &AtomicU32) -> bool {
    of.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl Transport for InProcess {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, Lost> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let last = request.headers().get("last-event-id").map(|id| id.to_str().unwrap().to_owned());
        self.last_event_ids.lock().unwrap().push(last);
        let answer = self.router.clone().oneshot(request.map(body::Body::from)).await.unwrap();
        let (head, body) = answer.into_parts();
        if one_less(&self.answers_to_lose) {
            return Err(Lost::again("the answer was lost"));
        }
        let parts = body.into_data_stream().map(|part| part.map_err(Lost::again));
        let parts: Body = if one_less(&self.bodies_to_cut) {
            let cut = futures::stream::iter([Err(Lost::again("cut off"))]);
            Box::pin(parts.take(1).chain(cut))
        } else {
            Box::pin(parts)
        };
        Ok(Response::from_parts(head, parts))
    }

    async fn pause(&self, _: Duration) {
        tokio::task::yield_now().await;
    }
}
