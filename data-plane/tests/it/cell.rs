//! A cell inside the test's process.

use std::ops::Deref;

use data_plane::{
    app::{App, tokens},
    config::CellConfig,
    migrations::migrations,
    router::{document, router, scopes},
};
use platform::{
    config,
    ctx::Clock,
    drain::Drain,
    telemetry::{self, Readiness},
    testing::{TestDb, http::Api},
    token::{Claims, Scopes},
};
use tempfile::TempDir;
use tenants::id::{ClientId, EnvironmentId};
use utoipa::openapi::OpenApi;
use uuid::Uuid;

/// The environments of a test's cell; tokens are for the first unless a test says otherwise.
pub const ENVIRONMENTS: [u128; 2] = [1, 2];

/// A cell of Mexico on a database of its own, and a client that may do everything.
pub struct Cell {
    pub app: App,
    pub api: Api,
    pub document: OpenApi,
    /// Of the first environment, with every scope.
    pub token: String,
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
        let file = self.kept.1.path().join("cell.toml");
        let mut config: CellConfig = config::load(Some(&file), []).unwrap();
        config.database = self.kept.0.config().clone();
        App::start(&config, Clock::system()).await.unwrap()
    }

    async fn on(db: TestDb) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cell.toml");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let environments: String = ENVIRONMENTS
            .iter()
            .map(|&number| format!("[[environments]]\nid = \"{}\"\nshard = 0\n", environment(number)))
            .collect();
        let text = format!(
            "[cell]\nname = \"mx-1\"\njurisdiction = \"mx-cnbv\"\n[database]\nurl = \"\"\n[keys]\n\
             sealing_file = \"{}\"\ntoken_file = \"{}\"\n{environments}",
            at("sealing.key"),
            at("token.key"),
        );
        std::fs::write(&file, text).unwrap();
        let mut config: CellConfig = config::load(Some(&file), []).unwrap();
        config.database = db.config().clone();
        let app = App::start(&config, Clock::system()).await.unwrap();
        let readiness = Readiness::new(Drain::new());
        let router = router(app.clone(), &config.http, readiness, telemetry::metrics().unwrap()).unwrap();
        let document = document().unwrap();
        let api = Api::new(router, &document);
        let token = token(&config, 1, scopes().into_iter().collect());
        Self { app, api, document, token, kept: (db, folder) }
    }

    /// A connection that sees every row, to look behind the cell.
    pub async fn root(&self) -> sea_orm::DatabaseConnection {
        self.kept.0.root().await
    }

    /// A token of another environment of the cell, with every scope.
    pub fn token_of(&self, number: u128) -> String {
        self.issue(&claims(number, scopes().into_iter().collect()))
    }

    /// A token of another client of the first environment, with every scope.
    pub fn token_as(&self, client: u128) -> String {
        let sub = ClientId::from_uuid(Uuid::from_u128(client));
        self.issue(&Claims { sub, ..claims(1, scopes().into_iter().collect()) })
    }

    /// A token of the first environment that may do nothing.
    pub fn weak_token(&self) -> String {
        self.issue(&claims(1, Scopes::default()))
    }

    /// A token of the first environment with these scopes.
    pub fn token_with(&self, scopes: &[&str]) -> String {
        self.issue(&claims(1, scopes.iter().copied().collect()))
    }

    /// A token signed by the cell's key for an environment that it does not have.
    pub fn misplaced_token(&self) -> String {
        self.token_of(99)
    }

    fn issue(&self, claims: &Claims) -> String {
        self.app.access.tokens().issue(claims)
    }
}

pub fn claims(number: u128, scope: Scopes) -> Claims {
    Claims {
        sub: ClientId::from_uuid(Uuid::from_u128(7)),
        env: environment(number),
        scope,
        exp: i64::MAX,
        jti: "test".to_owned(),
    }
}

/// A token that the cell of this configuration accepts, from its key file, as the demo makes one.
fn token(config: &CellConfig, number: u128, scope: Scopes) -> String {
    tokens(&config.keys.token_file).unwrap().issue(&claims(number, scope))
}
