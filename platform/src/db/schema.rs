//! Tables as migrations declare them: columns, keys, row-level security and grants in one value.
//!
//! ```
//! use platform::db::Role;
//! use platform::db::schema::{Migration, Privilege, Table};
//! use sea_orm_migration::schema::{string, uuid};
//!
//! let migration = Migration::new("m0001_parties", || {
//!     vec![
//!         Table::of_environment("party")
//!             .column(uuid("id"))
//!             .column(string("state"))
//!             .key(&["id"])
//!             .grant(Role::App, &[Privilege::Select, Privilege::Insert])
//!             .grant_columns(Role::App, Privilege::Update, &["state"]),
//!     ]
//! });
//! ```
//!
//! Every key, index and reference of a scoped table begins with its scope columns; the builder puts them there. On
//! PostgreSQL the table has row-level security ENABLEd: `tambo_app` is held to `app.environment`, the other roles see
//! all rows of the tables granted to them. A role without a grant may do nothing. SQLite has neither; there the
//! builder makes the same tables and keys.

use sea_orm::sea_query::{
    Alias, ColumnDef, Expr, ForeignKey, Index, Table as SeaTable, TableCreateStatement,
};
use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use super::Role;

/// What a role may do with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Read rows; also needed for `RETURNING` and for the condition of an update.
    Select,
    /// Add rows.
    Insert,
    /// Change rows.
    Update,
    /// Remove rows.
    Delete,
}

impl Privilege {
    /// Everything.
    pub const ALL: [Self; 4] = [Self::Select, Self::Insert, Self::Update, Self::Delete];

    const fn sql(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Scoped by `shard_id` and this column.
    Scoped(&'static str),
    /// By `shard_id` only: rows that belong to no single environment.
    Shard,
    /// Small and rarely written: the same in every shard.
    Reference,
}

#[derive(Debug)]
struct Grant {
    role: Role,
    privilege: Privilege,
    columns: Vec<&'static str>,
}

/// A table to be made.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    kind: Kind,
    create: TableCreateStatement,
    indexes: Vec<String>,
    grants: Vec<Grant>,
    fillfactor: Option<u8>,
}

impl Table {
    /// A table of a cell: its keys begin `(shard_id, environment_id, …)`.
    pub fn of_environment(name: &'static str) -> Self {
        Self::new(name, Kind::Scoped("environment_id"))
    }

    /// A table of `platform`, which both planes use: its keys begin `(shard_id, scope_id, …)`.
    pub fn of_scope(name: &'static str) -> Self {
        Self::new(name, Kind::Scoped("scope_id"))
    }

    /// A table whose rows belong to a shard and to no single environment: its keys begin `(shard_id, …)`. Whatever
    /// role has a grant sees all of it, so `tambo_app` should rarely have one.
    pub fn of_shard(name: &'static str) -> Self {
        Self::new(name, Kind::Shard)
    }

    /// A small, rarely written table without a scope, the same for everyone.
    pub fn reference(name: &'static str) -> Self {
        Self::new(name, Kind::Reference)
    }

    fn new(name: &'static str, kind: Kind) -> Self {
        let mut create = SeaTable::create();
        create.table(Alias::new(name));
        if kind != Kind::Reference {
            create.col(ColumnDef::new("shard_id").integer().not_null());
        }
        if let Kind::Scoped(column) = kind {
            create.col(ColumnDef::new(column).uuid().not_null());
        }
        Self { name, kind, create, indexes: Vec::new(), grants: Vec::new(), fillfactor: None }
    }

    /// Adds a column; `sea_orm_migration::schema` has short constructors.
    #[must_use]
    pub fn column(mut self, column: ColumnDef) -> Self {
        self.create.col(column);
        self
    }

    /// The primary key, after the scope columns.
    #[must_use]
    pub fn key(mut self, columns: &[&'static str]) -> Self {
        let mut index = Index::create();
        for column in self.scoped(columns) {
            index.col(column);
        }
        self.create.primary_key(&mut index);
        self
    }

    /// A unique key, after the scope columns.
    #[must_use]
    pub fn unique(self, columns: &[&'static str]) -> Self {
        self.make_index("UNIQUE INDEX", columns, None)
    }

    /// A unique key, after the scope columns, among the rows that satisfy the SQL `condition`.
    #[must_use]
    pub fn unique_where(self, columns: &[&'static str], condition: &str) -> Self {
        self.make_index("UNIQUE INDEX", columns, Some(condition))
    }

    /// An index, after the scope columns.
    #[must_use]
    pub fn index(self, columns: &[&'static str]) -> Self {
        self.make_index("INDEX", columns, None)
    }

    /// An index over `shard_id` and `columns` without the environment, for readers across environments, among the
    /// rows that satisfy the SQL `condition`.
    #[must_use]
    pub fn shard_index_where(mut self, columns: &[&'static str], condition: &str) -> Self {
        let list = std::iter::once("shard_id").chain(columns.iter().copied()).collect::<Vec<_>>().join(", ");
        let (table, number) = (self.name, self.indexes.len());
        self.indexes.push(format!("CREATE INDEX {table}_i{number} ON {table} ({list}) WHERE {condition}"));
        self
    }

    /// A unique key over `shard_id` and `columns` without the environment: an order that all environments of a shard
    /// share, and the way to read along it.
    #[must_use]
    pub fn shard_unique(mut self, columns: &[&'static str]) -> Self {
        let list = std::iter::once("shard_id").chain(columns.iter().copied()).collect::<Vec<_>>().join(", ");
        let (table, number) = (self.name, self.indexes.len());
        self.indexes.push(format!("CREATE UNIQUE INDEX {table}_i{number} ON {table} ({list})"));
        self
    }

    /// `columns` name a row of `table` in the same scope.
    #[must_use]
    pub fn foreign(mut self, columns: &[&'static str], table: &'static str, to: &[&'static str]) -> Self {
        let mut key = ForeignKey::create();
        key.from_tbl(Alias::new(self.name)).to_tbl(Alias::new(table));
        for (column, target) in self.scoped(columns).into_iter().zip(self.scoped(to)) {
            key.from_col(column).to_col(target);
        }
        self.create.foreign_key(&mut key);
        self
    }

    /// A condition in SQL that every row satisfies.
    #[must_use]
    pub fn check(mut self, condition: &str) -> Self {
        self.create.check(Expr::cust(condition.to_owned()));
        self
    }

    /// How full PostgreSQL fills a page, in percent, so that rows that change all the time find room beside themselves
    /// and no index has to follow them.
    #[must_use]
    pub fn fillfactor(mut self, percent: u8) -> Self {
        self.fillfactor = Some(percent);
        self
    }

    /// What `role` may do with whole rows.
    #[must_use]
    pub fn grant(mut self, role: Role, privileges: &[Privilege]) -> Self {
        self.grants.extend(privileges.iter().map(|&privilege| Grant {
            role,
            privilege,
            columns: Vec::new(),
        }));
        self
    }

    /// What `role` may do with these columns only.
    #[must_use]
    pub fn grant_columns(mut self, role: Role, privilege: Privilege, columns: &[&'static str]) -> Self {
        self.grants.push(Grant { role, privilege, columns: columns.to_vec() });
        self
    }

    /// Makes the table.
    ///
    /// # Errors
    /// As the database says.
    pub async fn create(&self, manager: &SchemaManager<'_>) -> Result<(), DbErr> {
        manager.create_table(self.create.clone()).await?;
        let db = manager.get_connection();
        for index in &self.indexes {
            db.execute_unprepared(index).await?;
        }
        if db.get_database_backend() == DbBackend::Postgres {
            for statement in self.security() {
                db.execute_unprepared(&statement).await?;
            }
        }
        Ok(())
    }

    fn security(&self) -> Vec<String> {
        let table = self.name;
        let mut statements = Vec::new();
        if let Some(percent) = self.fillfactor {
            statements.push(format!("ALTER TABLE {table} SET (fillfactor = {percent})"));
        }
        if self.kind != Kind::Reference {
            statements.push(format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"));
            for role in Role::ALL {
                if !self.grants.iter().any(|grant| grant.role == role) {
                    continue;
                }
                let name = role.name();
                let rows = match self.kind {
                    // A transaction that set nothing compares with NULL and sees no row.
                    Kind::Scoped(column) if role == Role::App => {
                        format!("{column} = nullif(current_setting('app.environment', true), '')::uuid")
                    }
                    _ => "true".to_owned(),
                };
                statements.push(format!("CREATE POLICY {name} ON {table} TO {name} USING ({rows})"));
            }
        }
        for Grant { role, privilege, columns } in &self.grants {
            let columns =
                if columns.is_empty() { String::new() } else { format!(" ({})", columns.join(", ")) };
            statements.push(format!("GRANT {}{columns} ON {table} TO {}", privilege.sql(), role.name()));
        }
        statements
    }

    fn make_index(mut self, what: &str, columns: &[&'static str], condition: Option<&str>) -> Self {
        let list = self.scoped(columns).join(", ");
        let condition = condition.map(|text| format!(" WHERE {text}")).unwrap_or_default();
        let (table, number) = (self.name, self.indexes.len());
        self.indexes.push(format!("CREATE {what} {table}_i{number} ON {table} ({list}){condition}"));
        self
    }

    fn scoped(&self, columns: &[&'static str]) -> Vec<&'static str> {
        let scope: &[&'static str] = match self.kind {
            Kind::Scoped(column) => &["shard_id", column],
            Kind::Shard => &["shard_id"],
            Kind::Reference => &[],
        };
        scope.iter().chain(columns).copied().collect()
    }
}

/// A migration that makes tables. What changes tables later implements [`MigrationTrait`] itself.
#[derive(Debug)]
pub struct Migration {
    name: &'static str,
    tables: fn() -> Vec<Table>,
}

impl Migration {
    /// The migration `name`, which sorts by age and never changes, making `tables` in order.
    pub const fn new(name: &'static str, tables: fn() -> Vec<Table>) -> Self {
        Self { name, tables }
    }
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        self.name
    }
}

#[sea_orm_migration::async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in (self.tables)() {
            table.create(manager).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_app_is_held_to_its_environment_and_only_the_granted_get_in() {
        let table = Table::of_environment("thing")
            .grant(Role::App, &[Privilege::Select])
            .grant_columns(Role::App, Privilege::Update, &["state", "note"])
            .grant(Role::Worker, &[Privilege::Delete]);
        assert_eq!(
            table.security(),
            [
                "ALTER TABLE thing ENABLE ROW LEVEL SECURITY",
                "CREATE POLICY tambo_app ON thing TO tambo_app USING \
                 (environment_id = nullif(current_setting('app.environment', true), '')::uuid)",
                "CREATE POLICY tambo_worker ON thing TO tambo_worker USING (true)",
                "GRANT SELECT ON thing TO tambo_app",
                "GRANT UPDATE (state, note) ON thing TO tambo_app",
                "GRANT DELETE ON thing TO tambo_worker",
            ]
        );
    }

    #[test]
    fn keys_begin_with_the_scope() {
        let table = Table::of_scope("thing").unique_where(&["kind"], "state = 'open'");
        assert_eq!(
            table.indexes,
            ["CREATE UNIQUE INDEX thing_i0 ON thing (shard_id, scope_id, kind) WHERE state = 'open'"]
        );
    }
}
