//! Where the database is and with whom we speak to it.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The `[database]` section of a configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://path/to/file.db` or `postgres://tambo_app:password@host:port/name`.
    pub url: SecretString,
    /// PostgreSQL only: how the migrations log in. Default: `url` with the user `tambo_owner`.
    #[serde(default)]
    pub owner_url: Option<SecretString>,
    /// PostgreSQL only: how work and relay log in. Default: `url` with the user `tambo_worker`.
    #[serde(default)]
    pub worker_url: Option<SecretString>,
    /// PostgreSQL only: how the ledger's writer logs in. Default: `url` with the user `tambo_ledger`.
    #[serde(default)]
    pub ledger_url: Option<SecretString>,
    /// Size of the pool that serves requests; the worker's and the ledger's pools are small and fixed.
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
}

const fn default_max_connections() -> u32 {
    16
}

impl DatabaseConfig {
    /// The database at `url`, everything else by default.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            owner_url: None,
            worker_url: None,
            ledger_url: None,
            max_connections: default_max_connections(),
        }
    }

    /// Whether it is a PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        let url = self.url.expose_secret();
        url.starts_with("postgres://") || url.starts_with("postgresql://")
    }

    /// The URL of `role` and, where it was not given, the user name to put in place of the URL's own.
    pub(super) fn login(&self, role: Role) -> (&str, Option<&'static str>) {
        let given = match role {
            Role::App => return (self.url.expose_secret(), None),
            Role::Owner => &self.owner_url,
            Role::Worker => &self.worker_url,
            Role::Ledger => &self.ledger_url,
        };
        match given {
            Some(url) => (url.expose_secret(), None),
            None => (self.url.expose_secret(), Some(role.name())),
        }
    }
}

/// The four ways we log in to PostgreSQL; `platform/sql/roles.sql` makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Owns the tables; logs in to migrate and for nothing else.
    Owner,
    /// Serves requests; row-level security binds it to the environment of its transaction.
    App,
    /// Takes work and relays events across environments.
    Worker,
    /// Appends to and updates the ledger's tables.
    Ledger,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Owner, Self::App, Self::Worker, Self::Ledger];

    /// The name of the role in PostgreSQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "tambo_owner",
            Self::App => "tambo_app",
            Self::Worker => "tambo_worker",
            Self::Ledger => "tambo_ledger",
        }
    }
}
