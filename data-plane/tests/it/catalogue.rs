//! The tables of a cell as PostgreSQL knows them.

use data_plane::migrations::migrations;
use platform::testing::{TestDb, catalogue::faults};
use sea_orm::ConnectionTrait;

/// The same in every shard.
const REFERENCES: [&str; 5] =
    ["environment", "environment_counter", "environment_hold", "link_identity", "link_state"];

#[tokio::test]
async fn every_table_is_held_to_its_scope_by_keys_policies_and_grants() {
    let db = TestDb::postgres(migrations).await;
    let root = db.root().await;
    let (found, tables) = faults(&root, &REFERENCES).await;
    assert_eq!(found, Vec::<String>::new());
    assert!(tables > 25, "{tables} tables were looked at");

    // A look that finds nothing would find nothing here either.
    for (planted, named) in [
        ("ALTER TABLE party DISABLE ROW LEVEL SECURITY", "party: not under row-level"),
        ("ALTER TABLE party FORCE ROW LEVEL SECURITY", "party: not the owner's"),
        ("DROP POLICY tambo_worker ON party", "party tambo_worker: not open to each role"),
        ("ALTER POLICY tambo_app ON party USING (true)", "party true: not open to requests"),
        ("CREATE POLICY more ON party TO PUBLIC USING (true)", "party more: not open to each role"),
        ("GRANT SELECT (id) ON party TO PUBLIC", "party PUBLIC: not granted"),
        ("CREATE UNIQUE INDEX short ON party (environment_id, id)", "party short: not without a key"),
        ("CREATE TABLE bare (id int)", "bare no primary key: not without a key"),
    ] {
        root.execute_unprepared("BEGIN").await.unwrap();
        root.execute_unprepared(planted).await.unwrap();
        let (found, _) = faults(&root, &REFERENCES).await;
        assert!(found.iter().any(|fault| fault.starts_with(named)), "{planted}: {found:?}");
        root.execute_unprepared("ROLLBACK").await.unwrap();
    }
}
