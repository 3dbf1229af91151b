//! Databases for tests (cargo feature `testing`): one of its own for each test, made in milliseconds.
//!
//! `TestDb::postgres` clones a template that holds the migrated schema. The cluster beneath is shared by all test
//! processes of the machine: the first starts it, it stops itself ten minutes after the last use. If
//! `TEST_POSTGRES_URL` is set (the superuser's URL of a throw-away cluster), that one is used.

pub mod catalogue;
pub mod http;
pub mod oauth;
pub mod objects;
mod shared;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;

use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use tempfile::TempDir;

use crate::db::{Backend, DatabaseConfig, Db, Migrations, ROLES_SQL, Role};

/// A migrated, empty database that goes away with this value. Dereferences to its [`Db`].
#[derive(Debug)]
pub struct TestDb {
    db: Db,
    config: DatabaseConfig,
    home: Home,
}

#[derive(Debug)]
enum Home {
    Sqlite(#[expect(dead_code, reason = "removes the folder when dropped")] TempDir),
    Postgres { server: Server, name: String },
}

/// A PostgreSQL server, all of whose roles share the superuser's password.
#[derive(Debug, Clone)]
struct Server {
    superuser_url: String,
}

impl TestDb {
    /// A database of its own on the shared PostgreSQL.
    ///
    /// # Panics
    /// PostgreSQL is not installed or does not start: a test that needs it has failed then, not passed.
    pub async fn postgres(migrations: Migrations) -> Self {
        let server = Server { superuser_url: shared::superuser_url() };
        let template = server.template(migrations).await;
        let name = format!("tambo_test_{:032x}", crate::random::bits());
        let root = server.connect("postgres").await;
        execute(&root, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        root.close().await.expect("closing an idle pool");
        let config = DatabaseConfig::new(server.url(Some(Role::App), &name));
        let db = Db::connect(&config).await.expect("the URL was made here");
        Self { db, config, home: Home::Postgres { server, name } }
    }

    /// A SQLite file of its own.
    ///
    /// # Panics
    /// The temporary folder cannot be written or a migration fails.
    pub async fn sqlite(migrations: Migrations) -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder can be written");
        let config = DatabaseConfig::new(format!("sqlite://{}", folder.path().join("test.db").display()));
        let db = Db::connect(&config).await.expect("the URL was made here");
        db.migrate(migrations).await.expect("the migrations apply");
        Self { db, config, home: Home::Sqlite(folder) }
    }

    /// One on each database, for tests that hold on both.
    pub async fn both(migrations: Migrations) -> [Self; 2] {
        [Self::sqlite(migrations).await, Self::postgres(migrations).await]
    }

    /// The database.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// How a program under test connects to the same database.
    pub fn config(&self) -> &DatabaseConfig {
        &self.config
    }

    /// A connection that may do anything (the superuser; on SQLite the writer), to arrange and to look.
    ///
    /// # Panics
    /// The database went away.
    pub async fn root(&self) -> DatabaseConnection {
        match &self.home {
            Home::Sqlite(_) => self.db.app().clone(),
            Home::Postgres { server, name } => server.connect(name).await,
        }
    }
}

impl Deref for TestDb {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let Home::Postgres { server, name } = &self.home else { return };
        let (server, name) = (server.clone(), name.clone());
        // A runtime of its own: this may run inside one that is ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(async {
                    let root = server.connect("postgres").await;
                    execute(&root, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
                });
            }
        });
        // A database left behind goes when its cluster stops; a failed drop is no reason to fail the test.
        let _finished = dropped.join();
    }
}

impl Server {
    /// The server's URL with another user and database.
    fn url(&self, role: Option<Role>, database: &str) -> String {
        with_login(&self.superuser_url, role, database)
    }

    #[expect(clippy::disallowed_methods, reason = "makes and drops the databases of tests")]
    async fn connect(&self, database: &str) -> DatabaseConnection {
        let mut options = ConnectOptions::new(self.url(None, database));
        options.max_connections(1).sqlx_logging(false);
        Database::connect(options).await.expect("the test cluster answers")
    }

    /// The name of the template with the schema of `migrations`, made if it is not there.
    async fn template(&self, migrations: Migrations) -> String {
        let name = template_name(migrations);
        let root = self.connect("postgres").await;
        // One process makes a template, the others wait.
        execute(&root, "SELECT pg_advisory_lock(7421)").await;
        let there = root
            .query_one_raw(Statement::from_sql_and_values(
                DbBackend::Postgres,
                "SELECT 1 FROM pg_database WHERE datname = $1",
                [name.clone().into()],
            ))
            .await
            .expect("the catalogue can be read");
        if there.is_none() {
            let building = format!("{name}_building");
            execute(&root, &format!("DROP DATABASE IF EXISTS {building} WITH (FORCE)")).await;
            execute(&root, &format!("CREATE DATABASE {building}")).await;
            let inside = self.connect(&building).await;
            execute(&inside, ROLES_SQL).await;
            for role in Role::ALL {
                let password = password(&self.superuser_url);
                execute(&inside, &format!("ALTER ROLE {} PASSWORD '{password}'", role.name())).await;
            }
            inside.close().await.expect("closing an idle pool");
            let db = Db::connect(&DatabaseConfig::new(self.url(Some(Role::App), &building)))
                .await
                .expect("the URL was made here");
            db.migrate(migrations).await.expect("the migrations apply");
            db.close().await.expect("closing idle pools");
            execute(&root, &format!("ALTER DATABASE {building} RENAME TO {name}")).await;
            drop_older_templates(&root, &name).await;
        }
        root.close().await.expect("closing an idle pool");
        name
    }
}

/// Drops what earlier builds of the same program left.
async fn drop_older_templates(root: &DatabaseConnection, name: &str) {
    let (family, _) = name.rsplit_once('_').expect("the name was made of parts");
    let older = root
        .query_all_raw(Statement::from_sql_and_values(
            DbBackend::Postgres,
            "SELECT datname::text FROM pg_database WHERE starts_with(datname::text, $1) AND datname <> $2",
            [format!("{family}_").into(), name.into()],
        ))
        .await
        .expect("the catalogue can be read");
    for row in older {
        let older: String = row.try_get_by_index(0).expect("a name is text");
        execute(root, &format!("DROP DATABASE IF EXISTS {older} WITH (FORCE)")).await;
    }
}

async fn execute(db: &DatabaseConnection, sql: &str) {
    if let Err(err) = db.execute_unprepared(sql).await {
        panic!("the test cluster refused {sql:?}: {err}");
    }
}

/// Depends on the names of the migrations and on this very program, because a migration under development changes
/// without changing its name: `tambo_template_<program and migrations>_<build>`.
fn template_name(migrations: Migrations) -> String {
    let (mut what, mut build) = (DefaultHasher::new(), DefaultHasher::new());
    for migration in migrations() {
        migration.name().hash(&mut what);
    }
    if let Ok(program) = std::env::current_exe() {
        program.hash(&mut what);
        if let Ok(metadata) = program.metadata() {
            metadata.len().hash(&mut build);
            metadata.modified().ok().hash(&mut build);
        }
    }
    format!("tambo_template_{:016x}_{:016x}", what.finish(), build.finish())
}

/// `postgres://user:password@host:port/database?…` with another user and database.
fn with_login(url: &str, role: Option<Role>, database: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", url));
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, query)| (rest, query));
    let (login, place) = rest.rsplit_once('@').unwrap_or(("postgres", rest));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let host = place.split_once('/').map_or(place, |(host, _)| host);
    let user = role.map_or(user, |role| role.name());
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("{scheme}://{user}:{password}@{host}/{database}{query}")
}

fn password(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once('@').and_then(|(login, _)| login.split_once(':')).map_or("", |(_, password)| password)
}

/// The name of a backend, for the messages of tests that run on both.
pub fn label(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "SQLite",
        Backend::Postgres => "PostgreSQL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_replaces_user_and_database() {
        let url = "postgres://postgres:secret@127.0.0.1:5433/postgres?sslmode=disable";
        assert_eq!(
            with_login(url, Some(Role::App), "x"),
            "postgres://tambo_app:secret@127.0.0.1:5433/x?sslmode=disable"
        );
        assert_eq!(with_login(url, None, "y"), "postgres://postgres:secret@127.0.0.1:5433/y?sslmode=disable");
        assert_eq!(password(url), "secret");
    }
}
