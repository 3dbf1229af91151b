//! Removing what a scope has in tables, a bounded number of rows at a time.

use sea_orm::{ConnectionTrait, DbErr, Statement, Value};

use super::Tx;
use crate::ctx::Scope;

/// The rows of one scope in a table.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    table: &'static str,
    owner: &'static str,
    key: &'static str,
}

impl Rows {
    /// Of a table made by `Table::of_environment`; `key` are its key columns behind the scope's, by commas.
    #[must_use]
    pub const fn of_environment(table: &'static str, key: &'static str) -> Self {
        Self { table, owner: "environment_id", key }
    }

    /// Of a table made by `Table::of_scope`.
    #[must_use]
    pub const fn of_scope(table: &'static str, key: &'static str) -> Self {
        Self { table, owner: "scope_id", key }
    }

    fn sql(&self) -> String {
        let Self { table, owner, key } = self;
        let rows = format!("shard_id = $1 AND {owner} = $2");
        format!(
            "DELETE FROM {table} WHERE {rows} AND ({key}) IN (SELECT {key} FROM {table} WHERE {rows} LIMIT $3)"
        )
    }
}

/// Removes at most `limit` rows of a scope in the worker's transaction, table by table in this order, those that point at
/// others first; how many. The role needs SELECT and DELETE on each.
///
/// # Errors
/// The database's.
pub async fn forget_in_tx(tx: &Tx, scope: Scope, tables: &[Rows], limit: u64) -> Result<u64, DbErr> {
    let mut gone = 0_u64;
    for rows in tables {
        let left = limit.saturating_sub(gone);
        if left == 0 {
            break;
        }
        let most = i64::try_from(left).unwrap_or(i64::MAX);
        let values: [Value; 3] = [scope.shard.into(), scope.id.into(), most.into()];
        let statement = Statement::from_sql_and_values(tx.get_database_backend(), rows.sql(), values);
        gone = gone.saturating_add(tx.execute_raw(statement).await?.rows_affected());
    }
    Ok(gone)
}
