//! A cell inside the test's process.

use std::ops::Deref;

use data_plane::{
    CellError,
    app::App,
    config::CellConfig,
    migrations::migrations,
    router::{document, router, scopes},
};
use platform::{
    config,
    ctx::{Clock, Scope},
    drain::Drain,
    oauth::Credential,
    telemetry::{self, Readiness},
    testing::{TestDb, http::Api, oauth::token_as, objects::TestStore},
};
use tempfile::TempDir;
use tenants::{
    environment::Mode,
    id::{ClientId, EnvironmentId},
};
use utoipa::openapi::OpenApi;
use uuid::Uuid;

/// The environments of a test's cell; tokens are for the first unless a test says otherwise.
pub const ENVIRONMENTS: [u128; 2] = [1, 2];
/// How many ledger shards it has; its first environment is on the second of them.
pub const SHARDS: i32 = 2;

/// A cell of Mexico on a database of its own, and a client that may do everything.
pub struct Cell {
    pub app: App,
    pub api: Api,
    pub document: OpenApi,
    /// Of the first environment, with every scope.
    pub token: String,
    /// Of the client that its configuration names.
    pub credential: Credential,
    /// Its object store.
    pub store: TestStore,
    kept: (TestDb, TempDir),
}

impl Deref for Cell {
    type Target = Api;
    fn deref(&self) -> &Api {
        &self.api
    }
}

pub fn environment(number: u128) -> EnvironmentId {
    EnvironmentId::from_uuid(Uuid::from_u128(number))
}

/// An environment with its shard, which is the one that a cell would choose: even numbers are on 0, odd ones on 1.
pub fn scope(number: u128) -> Scope {
    Scope::new(i32::try_from(number % SHARDS.unsigned_abs() as u128).unwrap(), environment(number).uuid())
}

impl Cell {
    /// One cell on each database.
    pub async fn both() -> [Self; 2] {
        [Self::on(TestDb::sqlite(migrations).await).await, Self::on(TestDb::postgres(migrations).await).await]
    }

    /// A cell on SQLite.
    pub async fn sqlite() -> Self {
        Self::on(TestDb::sqlite(migrations).await).await
    }

    /// A cell on PostgreSQL.
    pub async fn postgres() -> Self {
        Self::on(TestDb::postgres(migrations).await).await
    }

    /// Another process of the same cell.
    pub async fn restarted(&self) -> App {
        self.restart().await.unwrap()
    }

    /// [`Cell::restarted`], if it starts.
    pub async fn restart(&self) -> Result<App, CellError> {
        let file = self.kept.1.path().join("cell.toml");
        let mut config: CellConfig = config::load(Some(&file), []).unwrap();
        config.database = self.kept.0.config().clone();
        config.objects = self.store.config();
        App::start(&config, Clock::system()).await
    }

    async fn on(db: TestDb) -> Self {
        Self::with(db, |_| {}).await
    }

    /// A cell on this database whose configuration was changed.
    pub async fn with(db: TestDb, change: impl FnOnce(&mut CellConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cell.toml");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let credential = Credential::make(ClientId::from_uuid(Uuid::from_u128(7))).unwrap();
        let key = credential.public();
        let client = format!(
            "[[environments.clients]]\nid = \"{}\"\nname = \"test\"\nkeys = [{{ kid = \"{}\", x = \"{}\", y = \"{}\" }}]\n",
            credential.id(),
            key.kid,
            key.x,
            key.y,
        );
        let environments: String = ENVIRONMENTS
            .iter()
            .map(|&number| {
                let shard = scope(number).shard;
                format!("[[environments]]\nid = \"{}\"\nshard = {shard}\n", environment(number))
            })
            .rev()
            .collect();
        let text = format!(
            "[cell]\nname = \"mx-1\"\njurisdiction = \"mx-cnbv\"\nshards = {SHARDS}\n[database]\nurl = \"\"\n[keys]\n\
             root_file = \"{}\"\n[objects]\nfolder = \"none\"\n\
             [egress]\nallow = [\"127.0.0.1:*\"]\n{environments}{client}",
            at("root.key"),
        );
        std::fs::write(&file, text).unwrap();
        let mut config: CellConfig = config::load(Some(&file), []).unwrap();
        config.database = db.config().clone();
        let store = TestStore::start().await;
        config.objects = store.config();
        change(&mut config);
        let mode = config.cell.mode;
        let app = App::start(&config, Clock::system()).await.unwrap();
        let readiness = Readiness::new(Drain::new());
        let router = router(app.clone(), &config.http, readiness, telemetry::metrics().unwrap()).unwrap();
        let document = document().unwrap();
        let api = Api::new(router, &document);
        let mut cell =
            Self { app, api, document, token: String::new(), credential, store, kept: (db, folder) };
        if mode == Mode::Sandbox {
            // In live mode none is good without its key.
            cell.token = cell.token_of(1).await;
        }
        cell
    }

    /// A connection that sees every row, to look behind the cell.
    pub async fn root(&self) -> sea_orm::DatabaseConnection {
        self.kept.0.root().await
    }

    /// A token of another environment of the cell, with every scope.
    pub async fn token_of(&self, number: u128) -> String {
        self.issue(number, number, &scopes()).await
    }

    /// A token of another client of the first environment, with every scope.
    pub async fn token_as(&self, client: u128) -> String {
        self.issue((1_u128 << 64) | client, 1, &scopes()).await
    }

    /// A token of the first environment that may do nothing.
    pub async fn weak_token(&self) -> String {
        self.token_with(&[]).await
    }

    /// A token of a client of the first environment with these scopes.
    pub async fn token_with(&self, scopes: &[&str]) -> String {
        self.issue(2_u128 << 64, 1, scopes).await
    }

    /// A token issued by the cell for an environment that it does not have.
    pub async fn misplaced_token(&self) -> String {
        self.token_of(99).await
    }

    async fn issue(&self, client: u128, number: u128, scopes: &[&str]) -> String {
        let App { issuer, clock, .. } = &self.app;
        let id = ClientId::from_uuid(Uuid::from_u128(client));
        token_as(issuer, clock, id, (scope(number), Mode::Sandbox), scopes).await
    }
}
