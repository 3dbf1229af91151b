//! Bringing a database to the schema of this program, and refusing to serve on one that does not fit.

use sea_orm::{ConnectionTrait, DbErr, EntityTrait, Statement, TransactionTrait};
use sea_orm_migration::{
    IntoSchemaManagerConnection, MigrationTrait, MigratorTraitSelf, SchemaManager, seaql_migrations,
};
use tenants::environment::Mode;

use super::{Backend, Db, Role, error, immediate, postgres};

/// The list of migrations of a program, oldest first.
pub type Migrations = fn() -> Vec<Box<dyn MigrationTrait>>;

/// Why a program does not start on a database.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody answers at the URL, or the login is refused.
    #[error("the database cannot be reached: {0}")]
    Unreachable(#[source] DbErr),
    /// Migrations of this program are missing from the database.
    #[error("the database lacks migrations of this program, or does not show them to this role ({})", .pending.join(", "))]
    Older {
        /// The names of what is missing.
        pending: Vec<String>,
    },
    /// The database holds migrations that this program does not know.
    #[error("the database is newer than this program; start a newer program ({})", .unknown.join(", "))]
    Newer {
        /// The names of what is unknown here.
        unknown: Vec<String>,
    },
    /// Live mode needs PostgreSQL.
    #[error("live mode needs PostgreSQL, not SQLite")]
    SqliteInLive,
    /// Live mode needs every acknowledged commit to survive a power cut.
    #[error("live mode needs the PostgreSQL setting {setting} to be on; it is {value}")]
    NotDurable {
        /// The setting's name.
        setting: &'static str,
        /// What it is set to.
        value: String,
    },
    /// A statement failed.
    #[error("the database refused: {0}")]
    Refused(#[source] DbErr),
}

impl From<DbErr> for StartError {
    fn from(err: DbErr) -> Self {
        let login_refused = error::code(&err).is_some_and(|code| code.starts_with("28") || code == "3D000");
        if login_refused || error::is_unavailable(&err) { Self::Unreachable(err) } else { Self::Refused(err) }
    }
}

struct Migrator(Migrations);

impl MigratorTraitSelf for Migrator {
    fn migrations(&self) -> Vec<Box<dyn MigrationTrait>> {
        (self.0)()
    }
}

impl Db {
    /// Applies what is missing, as the owner of the tables: all of it or nothing, in one transaction. Programs that
    /// start together wait for each other. Returns how many migrations were applied.
    ///
    /// # Errors
    /// The database is not reachable, newer than `migrations`, or refuses a statement.
    pub async fn migrate(&self, migrations: Migrations) -> Result<usize, StartError> {
        let (pool, own) = match self.backend() {
            Backend::Sqlite => (self.0.app.clone(), false),
            Backend::Postgres => (postgres(&self.0.config, Role::Owner, 1).await?, true),
        };
        let migrator = Migrator(migrations);
        let result = async {
            if let Err(err) = migrator.install(&pool).await {
                // Two programs that install at once: IF NOT EXISTS still collides in PostgreSQL's catalogue.
                if !error::is_unique_violation(&err) {
                    return Err(err.into());
                }
            }
            let tx = pool.begin_with_options(immediate()).await?;
            if self.backend() == Backend::Postgres {
                tx.execute_unprepared("LOCK TABLE seaql_migrations IN EXCLUSIVE MODE").await?;
            }
            let state = state(&migrator, &tx).await?;
            if !state.unknown.is_empty() {
                return Err(StartError::Newer { unknown: state.unknown });
            }
            migrator.up(&tx, None).await?;
            if self.backend() == Backend::Postgres {
                tx.execute_unprepared(
                    "GRANT SELECT ON seaql_migrations TO tambo_app, tambo_worker, tambo_ledger",
                )
                .await?;
            }
            tx.commit().await?;
            Ok(state.pending.len())
        }
        .await;
        if own {
            // Nothing is lost if closing fails: the transaction is over.
            let _closed = pool.close().await;
        }
        result
    }

    /// Confirms that the database has exactly the schema of `migrations`, as the serving role sees it.
    ///
    /// # Errors
    /// The database is not reachable, older or newer.
    pub async fn check_schema(&self, migrations: Migrations) -> Result<(), StartError> {
        let state = state(&Migrator(migrations), &self.0.app).await?;
        if !state.unknown.is_empty() {
            return Err(StartError::Newer { unknown: state.unknown });
        }
        if !state.pending.is_empty() {
            return Err(StartError::Older { pending: state.pending });
        }
        Ok(())
    }

    /// Confirms that the database may hold what `mode` puts into it: live mode takes PostgreSQL only, and only with
    /// `fsync`, `full_page_writes` and `synchronous_commit` on for the roles that write.
    ///
    /// # Errors
    /// The database is not reachable or not durable enough.
    pub async fn check_mode(&self, mode: Mode) -> Result<(), StartError> {
        if mode == Mode::Sandbox {
            return Ok(());
        }
        if self.backend() == Backend::Sqlite {
            return Err(StartError::SqliteInLive);
        }
        for pool in [&self.0.app, &self.0.worker, &self.0.ledger] {
            for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
                let row = pool
                    .query_one_raw(Statement::from_sql_and_values(
                        pool.get_database_backend(),
                        "SELECT current_setting($1)",
                        [setting.into()],
                    ))
                    .await?;
                let value: String = match row {
                    Some(row) => row.try_get_by_index(0)?,
                    None => String::new(),
                };
                // `synchronous_commit` has further values, all of which flush locally before the answer.
                if value.is_empty() || value == "off" {
                    return Err(StartError::NotDurable { setting, value });
                }
            }
        }
        Ok(())
    }
}

struct State {
    pending: Vec<String>,
    unknown: Vec<String>,
}

async fn state<'c, C>(migrator: &Migrator, db: &'c C) -> Result<State, DbErr>
where
    C: ConnectionTrait,
    &'c C: IntoSchemaManagerConnection<'c>,
{
    // A role sees a table here only when it was granted; without a grant everything is pending, and that is refused.
    let applied: Vec<String> = if SchemaManager::new(db).has_table("seaql_migrations").await? {
        seaql_migrations::Entity::find().all(db).await?.into_iter().map(|row| row.version).collect()
    } else {
        Vec::new()
    };
    let known: Vec<String> = migrator.migrations().iter().map(|one| one.name().to_owned()).collect();
    Ok(State {
        pending: known.iter().filter(|name| !applied.contains(name)).cloned().collect(),
        unknown: applied.into_iter().filter(|name| !known.contains(name)).collect(),
    })
}
