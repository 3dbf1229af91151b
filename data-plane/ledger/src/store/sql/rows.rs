//! Many rows in one statement: `unnest` of arrays on PostgreSQL, `json_each` of one text on SQLite.

use chrono::{DateTime, SecondsFormat, Utc};
use platform::db::Backend;
use sea_orm::{DbBackend, Statement, Value};
use uuid::Uuid;

enum Values {
    Uuid(Vec<Uuid>),
    Integer(Vec<i64>),
    Text(Vec<String>),
    Time(Vec<DateTime<Utc>>),
    Bytes(Vec<Vec<u8>>),
}

/// Columns of rows, in order; every column has the same length. An absent value is [`Uuid::nil`], `-1`, the empty text
/// or the epoch, which [`Rows::or_null`] turns into NULL.
#[derive(Default)]
pub(super) struct Rows {
    columns: Vec<(&'static str, Values)>,
    absent: Vec<&'static str>,
}

impl Rows {
    pub(super) fn uuid(mut self, name: &'static str, values: impl Iterator<Item = Uuid>) -> Self {
        self.columns.push((name, Values::Uuid(values.collect())));
        self
    }

    pub(super) fn integer(mut self, name: &'static str, values: impl Iterator<Item = i64>) -> Self {
        self.columns.push((name, Values::Integer(values.collect())));
        self
    }

    pub(super) fn text(mut self, name: &'static str, values: impl Iterator<Item = String>) -> Self {
        self.columns.push((name, Values::Text(values.collect())));
        self
    }

    pub(super) fn time(mut self, name: &'static str, values: impl Iterator<Item = DateTime<Utc>>) -> Self {
        self.columns.push((name, Values::Time(values.collect())));
        self
    }

    pub(super) fn bytes(mut self, name: &'static str, values: impl Iterator<Item = Vec<u8>>) -> Self {
        self.columns.push((name, Values::Bytes(values.collect())));
        self
    }

    /// The last column's absent values become NULL.
    pub(super) fn or_null(mut self) -> Self {
        self.absent.extend(self.columns.last().map(|column| column.0));
        self
    }

    /// The names of the columns, for an INSERT's list.
    pub(super) fn names(&self) -> String {
        self.columns.iter().map(|column| column.0).collect::<Vec<_>>().join(", ")
    }

    /// The values of the alias `u`, for an INSERT's SELECT.
    pub(super) fn selected(&self, backend: Backend) -> String {
        let select = |column: &(&'static str, Values)| self.value(column, backend);
        self.columns.iter().map(select).collect::<Vec<_>>().join(", ")
    }

    /// The last column's value in the alias `u`, for an UPDATE's SET.
    pub(super) fn last(&self, backend: Backend) -> String {
        self.columns.last().map(|column| self.value(column, backend)).unwrap_or_default()
    }

    fn value(&self, (name, values): &(&'static str, Values), backend: Backend) -> String {
        if !self.absent.contains(name) {
            return format!("u.{name}");
        }
        let absent = match (values, backend) {
            (Values::Uuid(_), Backend::Postgres) => "'00000000-0000-0000-0000-000000000000'::uuid",
            (Values::Uuid(_), Backend::Sqlite) => "zeroblob(16)",
            (Values::Integer(_), _) => "-1",
            (Values::Time(_), Backend::Postgres) => "to_timestamp(0)",
            (Values::Time(_), Backend::Sqlite) => "'1970-01-01T00:00:00+00:00'",
            (Values::Text(_) | Values::Bytes(_), _) => "''",
        };
        format!("nullif(u.{name}, {absent})")
    }

    /// PostgreSQL: the text in which `{u}` has become these rows under the alias `u`; their arrays are added to `values`.
    pub(super) fn bind(self, sql: &str, values: &mut Vec<Value>) -> String {
        self.bind_as("u", sql, values)
    }

    fn bind_as(self, alias: &str, sql: &str, values: &mut Vec<Value>) -> String {
        let mut fields = Vec::with_capacity(self.columns.len());
        for (name, column) in self.columns {
            let (value, kind): (Value, _) = match column {
                Values::Uuid(values) => (values.into(), "uuid"),
                Values::Integer(values) => (values.into(), "int8"),
                Values::Text(values) => (values.into(), "text"),
                Values::Time(values) => (values.into(), "timestamptz"),
                Values::Bytes(values) => (values.into(), "bytea"),
            };
            values.push(value);
            fields.push(format!("unnest(${}::{kind}[]) AS {name}", values.len()));
        }
        // Not `FROM unnest(…)`, which writes each array into a temporary table of its own and reads it back.
        sql.replace(&format!("{{{alias}}}"), &format!("(SELECT {}) AS {alias}", fields.join(", ")))
    }

    /// SQLite: the query of these rows from the JSON text of parameter `number`.
    fn query(&self, number: usize) -> String {
        let field = |(index, (name, values)): (usize, &(&'static str, Values))| match values {
            Values::Uuid(_) | Values::Bytes(_) => format!("unhex(value->>{index}) AS {name}"),
            _ => format!("value->>{index} AS {name}"),
        };
        let fields: Vec<String> = self.columns.iter().enumerate().map(field).collect();
        format!("SELECT ?1 AS shard_id, {} FROM json_each(?{number})", fields.join(", "))
    }

    /// The statement in which `{u}` stands for these rows under the alias `u` and `$1` for the shard.
    pub(super) fn statement(self, backend: Backend, shard: i32, sql: &str) -> Statement {
        statement(backend, shard, sql, [self])
    }
}

/// The aliases of rows in a statement, each with that of the table it is joined to.
const ALIASES: [(&str, &str); 2] = [("u", "t"), ("v", "s")];

/// The statement in which `{u}` stands for the first rows, `{v}` for the second ones and `$1` for the shard.
pub(super) fn statement<const N: usize>(
    backend: Backend,
    shard: i32,
    sql: &str,
    rows: [Rows; N],
) -> Statement {
    let mut sql = sql.to_owned();
    let mut values: Vec<Value> = vec![shard.into()];
    match backend {
        Backend::Postgres => {
            for (rows, (alias, _)) in rows.into_iter().zip(ALIASES) {
                sql = rows.bind_as(alias, &sql, &mut values);
            }
            Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
        }
        Backend::Sqlite => {
            let mut queries = Vec::with_capacity(N);
            for (rows, (alias, table)) in rows.iter().zip(ALIASES) {
                values.push(json(&rows.columns).into());
                queries.push(format!("{alias} AS MATERIALIZED ({})", rows.query(values.len())));
                // Without statistics SQLite takes a shard for a few rows and would begin with it, reading all of its rows
                // and the JSON for each. A shard that comes out of the JSON leaves only the other order.
                sql = sql.replace(&format!("{{{alias}}}"), alias).replace(
                    &format!("{table}.shard_id = $1"),
                    &format!("{table}.shard_id = {alias}.shard_id"),
                );
            }
            let sql = format!("WITH {} {}", queries.join(", "), sql.replace("$1", "?1"));
            Statement::from_sql_and_values(DbBackend::Sqlite, sql, values)
        }
    }
}

/// The rows as one JSON text: numbers, texts, times as sea-orm writes them, bytes in hexadecimal.
fn json(columns: &[(&'static str, Values)]) -> String {
    let length = columns.first().map_or(0, |(_, values)| match values {
        Values::Uuid(values) => values.len(),
        Values::Integer(values) => values.len(),
        Values::Text(values) => values.len(),
        Values::Time(values) => values.len(),
        Values::Bytes(values) => values.len(),
    });
    let cell = |values: &Values, row: usize| -> serde_json::Value {
        match values {
            Values::Uuid(values) => hex::encode(values[row].as_bytes()).into(),
            Values::Integer(values) => values[row].into(),
            Values::Text(values) => values[row].as_str().into(),
            Values::Time(values) => values[row].to_rfc3339_opts(SecondsFormat::AutoSi, false).into(),
            Values::Bytes(values) => hex::encode(&values[row]).into(),
        }
    };
    let rows = (0..length)
        .map(|row| serde_json::Value::Array(columns.iter().map(|(_, values)| cell(values, row)).collect()))
        .collect();
    serde_json::Value::Array(rows).to_string()
}

#[cfg(test)]
mod tests {
    use platform::testing::TestDb;
    use sea_orm::ConnectionTrait;
    use sea_orm_migration::MigrationTrait;

    use super::*;

    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all = platform::migrations::migrations();
        all.push(Box::new(crate::migrations::MIGRATION));
        all
    }

    /// A batch costs by its own size, however many rows the tables have.
    #[tokio::test]
    async fn sqlite_finds_rows_by_their_keys() {
        let db = TestDb::sqlite(migrations).await;
        let tx = db.begin_ledger().await.unwrap();
        let keyed = "t.shard_id = $1 AND t.environment_id = u.environment_id AND t.";
        let joined = |table: &str, column: &str| {
            format!("SELECT 1 FROM {{u}} JOIN {table} AS t ON {keyed}{column} = u.id")
        };
        for sql in [
            joined("ledger_account", "id"),
            joined("ledger_transfer", "id"),
            joined("ledger_transfer", "reverses"),
            joined("ledger_hold", "id"),
            joined("ledger_limit", "account_id"),
            joined("ledger_rejection", "id"),
            format!("UPDATE ledger_account AS t SET debits_held = 0 FROM {{u}} WHERE {keyed}id = u.id"),
        ] {
            let rows = Rows::default()
                .uuid("environment_id", std::iter::once(Uuid::nil()))
                .uuid("id", std::iter::once(Uuid::nil()));
            let mut statement = rows.statement(Backend::Sqlite, 0, &sql);
            statement.sql.insert_str(0, "EXPLAIN QUERY PLAN ");
            let plan = tx.query_all_raw(statement).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|row| row.try_get_by("detail").unwrap()).collect();
            let by_key = |step: &String| {
                step.starts_with("SEARCH t ")
                    && step.matches("=?").count() >= 3
                    && !step.contains("AUTOMATIC")
            };
            assert!(steps.iter().any(by_key), "{sql}: {steps:?}");
        }
    }
}
