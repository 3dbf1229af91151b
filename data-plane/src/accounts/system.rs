//! The end of an environment: what is known of its accounts goes. Their books stay, with the ledger.

use platform::{
    ctx::Scope,
    db::{
        Tx,
        forget::{self, Rows},
    },
};
use sea_orm::DbErr;

const TABLES: [Rows; 4] = [
    Rows::of_environment("account_block_release", "hold_id"),
    Rows::of_environment("account_block", "hold_id"),
    Rows::of_environment("account_move", "account_id, number"),
    Rows::of_environment("account", "id"),
];

/// Removes at most `limit` rows of an environment in the worker's transaction; how many.
///
/// # Errors
/// The database's.
pub async fn forget_in_tx(tx: &Tx, scope: Scope, limit: u64) -> Result<u64, DbErr> {
    forget::forget_in_tx(tx, scope, &TABLES, limit).await
}
