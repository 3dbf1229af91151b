//! The end of an environment: its parties go.

use platform::{
    ctx::Scope,
    db::{
        Tx,
        forget::{self, Rows},
    },
};
use sea_orm::DbErr;

const TABLES: [Rows; 2] =
    [Rows::of_environment("party_identifier", "party_id, code"), Rows::of_environment("party", "id")];

/// Removes at most `limit` rows of an environment in the worker's transaction; how many.
///
/// # Errors
/// The database's.
pub async fn forget_in_tx(tx: &Tx, scope: Scope, limit: u64) -> Result<u64, DbErr> {
    forget::forget_in_tx(tx, scope, &TABLES, limit).await
}
