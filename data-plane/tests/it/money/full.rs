//! A full disk.

use platform::db::Backend;
use sea_orm::ConnectionTrait;

use super::*;
use crate::payments::dying::Planted;

#[tokio::test]
async fn a_full_disk_has_a_name_and_passes() {
    for bank in Bank::both().await {
        bank.fund(ANA, 100_000).await;
        let writer = bank.app.db.app();
        // SQLite's file may not grow; what PostgreSQL says of its disk is planted.
        let planted = match bank.app.db.backend() {
            Backend::Sqlite => {
                writer.execute_unprepared("PRAGMA max_page_count = 1").await.unwrap();
                None
            }
            Backend::Postgres => {
                Some(Planted::with(&bank, "ledger_transfer", "INSERT", "amount > 0", "53100").await)
            }
        };
        let post = async |number: usize| {
            bank.send("/v1/transfers", &format!("{number}"), &transfer(ANA, BETO, 1)).await
        };
        let mut posted = 0;
        let refused = loop {
            let answer = post(posted).await;
            if answer.status != 201 {
                break answer;
            }
            posted += 1;
            assert!(posted < 150, "the disk does not fill");
        };
        refused.is_problem("storage_full", "a transfer");
        assert_eq!(refused.header("retry-after"), Some("60"));
        let batch = json!({"transfers": [transfer(ANA, BETO, 1)]});
        if planted.is_some() {
            let answer = bank.send("/v1/transfer-batches", "batch", &batch).await;
            answer.is_problem("storage_full", "a batch");
        }
        assert_eq!(bank.transfers().await, 1 + posted);
        match planted {
            Some(planted) => planted.remove().await,
            None => {
                writer.execute_unprepared("PRAGMA max_page_count = 1000000").await.unwrap();
            }
        }
        let passed = post(posted).await;
        assert_eq!(passed.header("idempotency-replayed"), None);
        passed.ok(201);
        assert_eq!(bank.transfers().await, 2 + posted);
    }
}
