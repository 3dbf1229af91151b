//! A control plane inside the test's process.

use std::{collections::BTreeMap, ops::Deref};

use chrono::{DateTime, Utc};
use control_plane::{
    PLATFORM,
    app::App,
    config::ControlPlaneConfig,
    migrations::migrations,
    router::{document, router, scopes},
};
use platform::{
    config,
    ctx::{Clock, Scope},
    drain::Drain,
    pki,
    telemetry::{self, Readiness},
    testing::{
        TestDb,
        http::Api,
        oauth::{TestClient, token},
    },
};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tempfile::TempDir;
use tenants::environment::Mode;
use utoipa::openapi::OpenApi;
use uuid::Uuid;

/// A control plane on a database of its own, and an operator who may do everything.
pub struct Plane {
    pub app: App,
    pub api: Api,
    pub document: OpenApi,
    /// An operator's, with every scope.
    pub token: String,
    operator: TestClient,
    pub config: ControlPlaneConfig,
    pub drain: Drain,
    kept: (TestDb, TempDir),
}

impl Deref for Plane {
    type Target = Api;
    fn deref(&self) -> &Api {
        &self.api
    }
}

impl Plane {
    /// One control plane on each database.
    pub async fn both() -> [Self; 2] {
        [Self::on(TestDb::sqlite(migrations).await).await, Self::on(TestDb::postgres(migrations).await).await]
    }

    /// A control plane on SQLite.
    pub async fn sqlite() -> Self {
        Self::on(TestDb::sqlite(migrations).await).await
    }

    /// A control plane on PostgreSQL.
    pub async fn postgres() -> Self {
        Self::on(TestDb::postgres(migrations).await).await
    }

    async fn on(db: TestDb) -> Self {
        Self::at(db, Clock::system()).await
    }

    /// One control plane on each database, whose clocks the test moves.
    pub async fn both_at(start: DateTime<Utc>) -> [Self; 2] {
        [
            Self::at(TestDb::sqlite(migrations).await, Clock::manual(start)).await,
            Self::at(TestDb::postgres(migrations).await, Clock::manual(start)).await,
        ]
    }

    async fn at(db: TestDb, clock: Clock) -> Self {
        Self::with(db, clock, |_| {}).await
    }

    /// One control plane on each database, configured a little otherwise.
    pub async fn both_with(change: impl Fn(&mut ControlPlaneConfig)) -> [Self; 2] {
        let postgres = TestDb::postgres(migrations).await;
        [Self::sqlite_with(&change).await, Self::with(postgres, Clock::system(), &change).await]
    }

    /// A control plane on SQLite, configured a little otherwise.
    pub async fn sqlite_with(change: impl Fn(&mut ControlPlaneConfig)) -> Self {
        Self::with(TestDb::sqlite(migrations).await, Clock::system(), change).await
    }

    async fn with(db: TestDb, clock: Clock, change: impl Fn(&mut ControlPlaneConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("control-plane.toml");
        let at = |name: &str| folder.path().join(name).display().to_string();
        pki::init(folder.path(), clock.now()).unwrap();
        let text = format!(
            "[database]\nurl = \"\"\n[keys]\nroot_file = \"{}\"\n[pki]\nroot_certificate_file = \"{}\"\n\
             issuing_certificate_file = \"{}\"\nissuing_key_file = \"{}\"\n",
            at("root.key"),
            at("root/root.pem"),
            at("issuing/issuing.pem"),
            at("issuing/issuing.key"),
        );
        std::fs::write(&file, text).unwrap();
        let mut config: ControlPlaneConfig = config::load(Some(&file), []).unwrap();
        config.database = db.config().clone();
        change(&mut config);
        let drain = Drain::new();
        let app = App::start(&config, clock, &drain).await.unwrap();
        let readiness = Readiness::new(drain.clone());
        let router = router(app.clone(), &config.http, readiness, telemetry::metrics().unwrap()).unwrap();
        let document = document().unwrap();
        let api = Api::new(router, &document);
        let clock = app.clock.clone();
        let operator = TestClient::register(&app.issuer, &clock, PLATFORM, Mode::Sandbox, &scopes()).await;
        let token = operator.current(&app.issuer).await;
        Self { app, api, document, token, operator, config, drain, kept: (db, folder) }
    }

    /// A connection that sees every row, to look behind the control plane.
    pub async fn root(&self) -> sea_orm::DatabaseConnection {
        self.kept.0.root().await
    }

    /// How many rows every table has.
    pub async fn rows(&self) -> BTreeMap<String, i64> {
        let root = self.root().await;
        let backend = root.get_database_backend();
        let tables = match backend {
            DbBackend::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table'",
            _ => "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'",
        };
        let query =
            async |sql: String| root.query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
        let mut rows = BTreeMap::new();
        for table in query(tables.to_owned()).await {
            let table: String = table.try_get_by_index(0).unwrap();
            let count = query(format!("SELECT count(*) FROM \"{table}\"")).await;
            rows.insert(table, count[0].try_get_by_index(0).unwrap());
        }
        assert!(rows.contains_key("environment"), "{rows:?}");
        rows
    }

    /// An operator's token, where the clock moves.
    pub async fn fresh_token(&self) -> String {
        self.operator.current(&self.app.issuer).await
    }

    /// A token of an organization, with every scope.
    pub async fn token_of(&self, organization: Uuid) -> String {
        self.issue(Scope::new(PLATFORM.shard, organization), &scopes()).await
    }

    /// An operator's token that may do nothing.
    pub async fn weak_token(&self) -> String {
        self.issue(PLATFORM, &[]).await
    }

    async fn issue(&self, scope: Scope, scopes: &[&str]) -> String {
        token(&self.app.issuer, &self.app.clock, scope, Mode::Sandbox, scopes).await
    }
}

/// The `id` of what was answered.
pub fn id(answer: &serde_json::Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
}
