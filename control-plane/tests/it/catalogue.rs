//! The tables of the control plane as PostgreSQL knows them.

use control_plane::migrations::migrations;
use platform::testing::{TestDb, catalogue::faults};

/// The same in every shard.
const REFERENCES: [&str; 1] = ["control_plane"];

#[tokio::test]
async fn every_table_is_held_to_its_scope_by_keys_policies_and_grants() {
    let db = TestDb::postgres(migrations).await;
    let (found, tables) = faults(&db.root().await, &REFERENCES).await;
    assert_eq!(found, Vec::<String>::new());
    assert!(tables > 20, "{tables} tables were looked at");
}
