//! Both planes inside the test's process, with a line between them that the test may cut.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::Request,
    http::{HeaderValue, Method},
    middleware::map_request,
};
use chrono::{DateTime, TimeDelta, Utc};
use control_plane::{PLATFORM, cells, config::ControlPlaneConfig, router as plane_router};
use data_plane::{
    config::CellConfig,
    link::{Link, Pace},
};
use platform::{
    config,
    ctx::{Clock, Scope},
    db::DatabaseConfig,
    drain::{Drain, DrainConfig},
    pki,
    telemetry::{self, Readiness},
    testing::{TestDb, http::Api, oauth::TestClient, objects::TestStore},
    tls::{self, TlsServer},
    upkeep::every,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tenants::{
    environment::Mode,
    id::{CellId, EnvironmentId, OrganizationId},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};
use uuid::Uuid;

/// Far longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let look = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("it never came to this: {what}"));
}

/// A cell in a hurry.
pub fn pace() -> Pace {
    Pace {
        wait: Duration::from_secs(2),
        heartbeat: Duration::from_millis(100),
        debounce: Duration::from_millis(5),
        refused: Duration::from_millis(50),
        first: Duration::from_millis(10),
        longest: Duration::from_millis(50),
        lease: Duration::from_millis(300),
    }
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// What a cell asks and tells.
    Up,
    /// What it is answered.
    Down,
}

/// The line that cells reach the control plane by. It stays where it is while control planes come and go.
#[derive(Clone)]
pub struct Line(Arc<Wiring>);

struct Wiring {
    port: u16,
    /// Where the control plane listens; nowhere while it is stopped.
    to: watch::Sender<Option<u16>>,
    /// After how many more bytes on each way the line is cut, once.
    cut_after: [Mutex<Option<usize>>; 2],
    cuts: AtomicUsize,
}

impl Line {
    async fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let wiring = Wiring {
            port: listener.local_addr().unwrap().port(),
            to: watch::Sender::new(None),
            cut_after: Default::default(),
            cuts: AtomicUsize::new(0),
        };
        let line = Self(Arc::new(wiring));
        let accepting = line.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let line = accepting.clone();
                tokio::spawn(async move { line.carry(near).await });
            }
        });
        line
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a line that can be cut is no outbound connection of the program"
    )]
    async fn carry(&self, near: TcpStream) {
        let mut to = self.0.to.subscribe();
        let Some(port) = *to.borrow_and_update() else { return };
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let ((mut from_near, mut to_near), (mut from_far, mut to_far)) =
            (near.into_split(), far.into_split());
        tokio::select! {
            () = self.pass(Way::Down, &mut from_far, &mut to_near) => {}
            () = self.pass(Way::Up, &mut from_near, &mut to_far) => {}
            // The control plane was stopped, or is another one.
            _ = to.changed() => {}
        }
    }

    /// Until one end hangs up, or it is cut.
    async fn pass(&self, way: Way, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
        let mut bytes = vec![0; 4096];
        loop {
            let Ok(count @ 1..) = from.read(&mut bytes).await else { return };
            let passed = self.passing(way, count);
            if to.write_all(&bytes[..passed]).await.is_err() {
                return;
            }
            if passed < count {
                self.0.cuts.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }

    /// How many of so many bytes pass.
    fn passing(&self, way: Way, count: usize) -> usize {
        let mut left = self.0.cut_after[way as usize].lock().unwrap();
        match *left {
            Some(limit) if limit < count => {
                *left = None;
                limit
            }
            Some(limit) => {
                *left = Some(limit - count);
                count
            }
            None => count,
        }
    }

    /// Cuts the connection that carries the byte after the next `bytes` of this way.
    pub fn cut_after(&self, way: Way, bytes: usize) {
        *self.0.cut_after[way as usize].lock().unwrap() = Some(bytes);
    }

    /// How often it was cut.
    pub fn cuts(&self) -> usize {
        self.0.cuts.load(Ordering::SeqCst)
    }
}

/// A control plane, and what reaches it.
pub struct Plane {
    pub app: control_plane::app::App,
    pub api: Api,
    /// An operator.
    operator: TestClient,
    drain: Drain,
    line: Line,
    speaks_otherwise: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Deref for Plane {
    type Target = Api;
    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Plane {
    async fn start(config: &ControlPlaneConfig, clock: &Clock, line: &Line) -> Self {
        let drain = Drain::new();
        let app = control_plane::app::App::start(config, clock.clone(), &drain).await.unwrap();
        let router = plane_router::router(
            app.clone(),
            &config.http,
            Readiness::new(drain.clone()),
            telemetry::metrics().unwrap(),
        );
        let api = Api::new(router.unwrap(), &plane_router::document().unwrap());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ca = &app.links.ca;
        // Cells look at the machine's clock for this one.
        let identity = ca.server(&["127.0.0.1".to_owned()], Clock::system().now()).unwrap();
        let server = TlsServer::new(&identity, ca.root_der(), cells::GRACE, clock.clone()).unwrap();
        let speaks_otherwise = Arc::new(AtomicBool::new(false));
        let otherwise = Arc::clone(&speaks_otherwise);
        let links = plane_router::link_router(app.clone(), &config.http).layer(map_request(
            move |mut request: Request| {
                if otherwise.load(Ordering::SeqCst) {
                    // As if it were the cell that speaks other versions.
                    request.headers_mut().insert("tambo-contract", HeaderValue::from_static("3-4"));
                }
                std::future::ready(request)
            },
        ));
        let mut tasks = JoinSet::new();
        let until = drain.clone();
        tasks.spawn(async move {
            let limits = DrainConfig { notice_ms: 0, limit_ms: 1 };
            let _cut_off = tls::serve(listener, server, links, &until, &limits).await;
        });
        let (working, until) = (app.clone(), drain.clone());
        tasks.spawn(async move { working.work.run(&working.clock, &until).await });
        line.0.to.send_replace(Some(port));
        let operator = client_of(&app, PLATFORM.id).await;
        Self { app, api, operator, drain, line: line.clone(), speaks_otherwise, tasks }
    }

    /// Whether it has no version of the contract in common with its cells.
    pub fn speak_something_else(&self, otherwise: bool) {
        self.speaks_otherwise.store(otherwise, Ordering::SeqCst);
    }

    /// Stops it; nobody answers then.
    pub async fn stop(mut self) {
        self.line.0.to.send_replace(None);
        self.drain.begin();
        while self.tasks.join_next().await.is_some() {}
        self.app.db.close().await.unwrap();
    }

    /// An operator's token.
    pub async fn token(&self) -> String {
        self.operator.current(&self.app.issuer).await
    }

    pub async fn post_ok(&self, path: &str, body: Value, status: u16) -> Value {
        let key = Uuid::from_u128(platform::random::bits()).to_string();
        self.post(path, &body).token(&self.token().await).key(&key).send().await.ok(status)
    }

    /// Like [`Plane::post_ok`], where this version was seen.
    pub async fn post_seen(&self, path: &str, body: Value, version: i64) -> Value {
        let key = Uuid::from_u128(platform::random::bits()).to_string();
        let call = self.post(path, &body).token(&self.token().await).key(&key);
        call.header("if-match", &format!("\"{version}\"")).send().await.ok(200)
    }

    pub async fn read(&self, path: &str) -> Value {
        self.get(path).token(&self.token().await).send().await.ok(200)
    }

    /// Like [`Plane::read`], a moment later: what failed is tried again after a pause.
    pub async fn look(&self, path: &str) -> Value {
        self.app.clock.advance(TimeDelta::milliseconds(20));
        self.read(path).await
    }

    /// A region and a cell in it, as an operator declares them.
    pub async fn declare_cell(&self, name: &str) -> CellId {
        let put = self.request(Method::PUT, "/v1/regions/mx-1").token(&self.token().await);
        put.json(&json!({"country": "MX", "name": "Querétaro"})).send().await.ok(200);
        let body = json!({
            "name": name, "jurisdiction": "mx-cnbv", "region": "mx-1", "mode": "sandbox", "capacity": 9,
        });
        id(&self.post_ok("/v1/cells", body, 201).await).parse().unwrap()
    }

    pub async fn join_token(&self, cell: CellId, body: Value) -> String {
        let made = self.post_ok(&format!("/v1/cells/{cell}/join-tokens"), body, 201).await;
        made["token"].as_str().unwrap().to_owned()
    }

    /// An approved tenant of an organization of its own, and a client of that.
    pub async fn tenant(&self, name: &str) -> (String, TestClient) {
        let body = json!({"external_id": name, "name": name, "country": "MX"});
        let organization: OrganizationId =
            id(&self.post_ok("/v1/organizations", body, 201).await).parse().unwrap();
        let own = client_of(&self.app, organization.uuid()).await;
        let token = own.current(&self.app.issuer).await;
        let body = json!({"external_id": name, "name": name, "jurisdiction": "mx-cnbv", "licence": "IFPE"});
        let tenant = id(&self.post("/v1/tenants", &body).token(&token).key(name).send().await.ok(201));
        for step in ["verifications", "approvals"] {
            let body = json!({"reason": {"code": step, "detail": "A test says so"}});
            self.post_ok(&format!("/v1/tenants/{tenant}/{step}"), body, 200).await;
        }
        (tenant, own)
    }

    /// Declares the sandbox of a tenant.
    pub async fn declare_environment(&self, tenant: &str, own: &TestClient) -> String {
        let path = format!("/v1/tenants/{tenant}/environments");
        let body = json!({"mode": "sandbox", "region": "mx-1"});
        let operation = self
            .post(&path, &body)
            .token(&own.current(&self.app.issuer).await)
            .key(tenant)
            .send()
            .await
            .ok(202);
        self.app.waker.notify_one();
        operation["subject_id"].as_str().unwrap().to_owned()
    }

    /// Asks something of an environment.
    pub async fn ask(&self, environment: &str, what: &str) {
        self.post_ok(&format!("/v1/environments/{environment}/{what}"), json!({}), 202).await;
        self.app.waker.notify_one();
    }

    pub async fn environment_comes_to(&self, environment: &str, state: &str) {
        until(&format!("the environment is {state}"), || async {
            let shown = self.look(&format!("/v1/environments/{environment}")).await;
            shown["state"] == state && shown["generation"] == shown["observed_generation"]
        })
        .await;
    }
}

pub fn id(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
}

async fn client_of(app: &control_plane::app::App, organization: Uuid) -> TestClient {
    let scope = Scope::new(PLATFORM.shard, organization);
    TestClient::register(&app.issuer, &app.clock, scope, Mode::Sandbox, &plane_router::scopes()).await
}

/// A place for one control plane, that is started and stopped, and the line to it.
pub struct Home {
    pub config: ControlPlaneConfig,
    pub clock: Clock,
    pub line: Line,
    folder: TempDir,
    _db: Option<TestDb>,
}

impl Home {
    /// On SQLite.
    pub async fn sqlite(start: DateTime<Utc>) -> Self {
        Self::on(None, start).await
    }

    /// On each database.
    pub async fn both(start: DateTime<Utc>) -> [Self; 2] {
        let postgres = TestDb::postgres(control_plane::migrations::migrations).await;
        [Self::on(None, start).await, Self::on(Some(postgres), start).await]
    }

    async fn on(db: Option<TestDb>, start: DateTime<Utc>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        pki::init(folder.path(), start).unwrap();
        let line = Line::new().await;
        let text = format!(
            "[control_plane]\nlink_url = \"https://127.0.0.1:{}\"\n[database]\nurl = \"sqlite://{}\"\n\
             [keys]\nroot_file = \"{}\"\n[pki]\nroot_certificate_file = \"{}\"\n\
             issuing_certificate_file = \"{}\"\nissuing_key_file = \"{}\"\n",
            line.0.port,
            at("plane.db"),
            at("root.key"),
            at("root/root.pem"),
            at("issuing/issuing.pem"),
            at("issuing/issuing.key"),
        );
        let file = folder.path().join("control-plane.toml");
        std::fs::write(&file, text).unwrap();
        let mut config: ControlPlaneConfig = config::load(Some(&file), []).unwrap();
        if let Some(db) = &db {
            config.database = db.config().clone();
        }
        Self { config, clock: Clock::manual(start), line, folder, _db: db }
    }

    pub async fn start(&self) -> Plane {
        Plane::start(&self.config, &self.clock, &self.line).await
    }

    /// The file that the control plane's rows are in, on SQLite, while it is stopped.
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("plane.db")
    }
}

/// A cell's configuration and database.
pub struct CellHome {
    pub config: CellConfig,
    folder: TempDir,
    /// All processes of the cell share it.
    _store: TestStore,
    _db: Option<TestDb>,
}

impl CellHome {
    pub async fn sqlite(token: &str) -> Self {
        Self::on(None, token).await
    }

    /// On the same kind of database as the control plane.
    pub async fn like(home: &Home, token: &str) -> Self {
        match home._db {
            Some(_) => {
                Self::on(Some(TestDb::postgres(data_plane::migrations::migrations).await), token).await
            }
            None => Self::sqlite(token).await,
        }
    }

    async fn on(db: Option<TestDb>, token: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            "[cell]\nname = \"mx-1\"\njurisdiction = \"mx-cnbv\"\npublic_url = \"https://mx-1.example.com\"\n[link]\njoin_token_file = \"{}\"\n\
             region = \"mx-1\"\n[database]\nurl = \"sqlite://{}\"\n\
             [keys]\nroot_file = \"{}\"\n[objects]\nfolder = \"none\"\n[http]\ntimeout_ms = 1000\n[egress]\nallow = [\"127.0.0.1:*\"]\n",
            at("join.token"),
            at("cell.db"),
            at("root.key"),
        );
        let file = folder.path().join("cell.toml");
        std::fs::write(&file, text).unwrap();
        let mut config: CellConfig = config::load(Some(&file), []).unwrap();
        if let Some(db) = &db {
            config.database = db.config().clone();
        }
        let store = TestStore::start().await;
        config.objects = store.config();
        let home = Self { config, folder, _store: store, _db: db };
        home.put_token(token);
        home
    }

    /// Leaves a join token for the cell.
    pub fn put_token(&self, token: &str) {
        std::fs::write(self.folder.path().join("join.token"), token).unwrap();
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A process of the cell, that does nothing by itself yet.
    pub async fn open(&self, clock: &Clock) -> Cell {
        let app = data_plane::app::App::start(&self.config, clock.clone()).await.unwrap();
        let link = app.link(&self.config, pace()).unwrap();
        Cell { app, link, drain: Drain::new(), tasks: JoinSet::new() }
    }

    /// A process of the cell that works.
    pub async fn start(&self, clock: &Clock) -> Cell {
        let mut cell = self.open(clock).await;
        cell.run();
        cell
    }
}

/// A process of a cell.
pub struct Cell {
    pub app: data_plane::app::App,
    pub link: Link,
    drain: Drain,
    tasks: JoinSet<()>,
}

impl Cell {
    pub fn run(&mut self) {
        let (app, drain) = (self.app.clone(), self.drain.clone());
        self.tasks.spawn(async move { app.work.run(&app.clock, &drain).await });
        let (app, drain) = (self.app.clone(), self.drain.clone());
        self.tasks.spawn(every(Duration::from_millis(100), drain, move || {
            let app = app.clone();
            async move { app.environments.reload(&app.db).await.unwrap() }
        }));
        let (link, drain) = (self.link.clone(), self.drain.clone());
        self.tasks.spawn(async move { link.run(&drain).await });
    }

    /// Ends as a process does that is told to.
    pub async fn stop(mut self) {
        self.drain.begin();
        while self.tasks.join_next().await.is_some() {}
        self.app.db.close().await.unwrap();
    }

    /// Ends as a process does that is killed: nothing is given back.
    pub async fn kill(mut self) {
        self.tasks.shutdown().await;
        self.app.db.close().await.unwrap();
    }

    /// Whether an environment serves here.
    pub fn serves(&self, environment: &str) -> bool {
        let id: EnvironmentId = environment.parse().unwrap();
        self.app.environments.get(id.uuid()).is_some()
    }

    pub async fn is_refused(&self, code: &str) {
        until(&format!("the cell is refused: {code}"), || async {
            self.link.status().refused.values().any(|refused| refused == code)
        })
        .await;
    }

    pub async fn is_up(&self) {
        until("the link is up", || async {
            let status = self.link.status();
            status.refused.is_empty() && status.lost.is_empty() && status.contact_at.is_some()
        })
        .await;
    }

    pub async fn stored(&self) -> data_plane::link::State {
        self.link.stored().await.unwrap().unwrap()
    }
}

/// The machine's time, in whole seconds: the TLS library looks at that clock.
pub fn now() -> DateTime<Utc> {
    use chrono::SubsecRound;
    Clock::system().now().trunc_subsecs(0)
}

/// A control plane, a tenant without an environment, and a cell that has enrolled.
pub async fn settled(home: &Home) -> (Plane, CellHome, Cell, CellId) {
    let plane = home.start().await;
    let id = plane.declare_cell("mx-1").await;
    let token = plane.join_token(id, json!({})).await;
    let cell_home = CellHome::like(home, &token).await;
    let cell = cell_home.start(&home.clock).await;
    cell.is_up().await;
    (plane, cell_home, cell, id)
}

/// A copy of a database that nobody has open.
pub fn database_at(file: &Path) -> DatabaseConfig {
    DatabaseConfig::new(format!("sqlite://{}", file.display()))
}
