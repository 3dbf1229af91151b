//! The end of an environment: its payments go. What they have moved stays in the ledger.

use platform::{
    ctx::Scope,
    db::{
        Tx,
        forget::{self, Rows},
    },
};
use sea_orm::DbErr;

const TABLES: [Rows; 2] =
    [Rows::of_environment("payment", "id"), Rows::of_environment("payment_preview", "id")];

/// Removes at most `limit` rows of an environment in the worker's transaction; how many.
///
/// # Errors
/// The database's.
pub async fn forget_in_tx(tx: &Tx, scope: Scope, limit: u64) -> Result<u64, DbErr> {
    forget::forget_in_tx(tx, scope, &TABLES, limit).await
}
