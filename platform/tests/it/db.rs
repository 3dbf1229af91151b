//! Isolation, roles, migrations and start-up checks.

use platform::ctx::Scope;
use platform::db::schema::{Migration, Privilege, Table};
use platform::db::{
    Backend, DatabaseConfig, Db, Role, StartError, error, is_unavailable, is_unique_violation, retry,
};
use platform::testing::{TestDb, label};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement};
use sea_orm_migration::MigrationTrait;
use sea_orm_migration::schema::{integer, string, uuid};
use tenants::environment::Mode;
use uuid::Uuid;

pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![Box::new(Migration::new("m0001_thing", || {
        vec![
            Table::of_environment("thing")
                .column(uuid("id"))
                .column(string("note"))
                .key(&["id"])
                .unique(&["note"])
                .check("note <> ''")
                .grant(Role::App, &[Privilege::Select, Privilege::Insert])
                .grant_columns(Role::App, Privilege::Update, &["note"])
                .grant(Role::Worker, &[Privilege::Select]),
            Table::of_environment("part")
                .column(uuid("id"))
                .column(uuid("thing_id"))
                .key(&["id"])
                .foreign(&["thing_id"], "thing", &["id"])
                .grant(Role::App, &[Privilege::Select, Privilege::Insert]),
            Table::of_shard("head")
                .column(integer("sequence"))
                .key(&[])
                .grant(Role::Ledger, &[Privilege::Select, Privilege::Insert, Privilege::Update]),
            Table::reference("currency")
                .column(string("code"))
                .key(&["code"])
                .grant(Role::App, &[Privilege::Select]),
        ]
    }))]
}

fn newer() -> Vec<Box<dyn MigrationTrait>> {
    let mut all = migrations();
    all.push(Box::new(Migration::new("m0002_more", || {
        vec![Table::of_environment("more").column(uuid("id")).key(&["id"])]
    })));
    all
}

pub fn scope(number: u128) -> Scope {
    Scope::new(1, Uuid::from_u128(number))
}

fn statement(db: &Db, sql: &str, values: Vec<sea_orm::Value>) -> Statement {
    let backend = match db.backend() {
        Backend::Sqlite => DbBackend::Sqlite,
        Backend::Postgres => DbBackend::Postgres,
    };
    Statement::from_sql_and_values(backend, sql, values)
}

/// As `scope`'s own transaction, insert a row that claims to be of `row`.
async fn insert_as(db: &Db, scope: Scope, row: Scope, note: &str) -> Result<(), DbErr> {
    let tx = db.begin(scope).await?;
    tx.execute_raw(statement(
        db,
        "INSERT INTO thing (shard_id, environment_id, id, note) VALUES ($1, $2, $3, $4)",
        vec![row.shard.into(), row.id.into(), Uuid::from_u128(platform::random::bits()).into(), note.into()],
    ))
    .await?;
    tx.commit().await
}

pub async fn insert(db: &Db, scope: Scope, note: &str) -> Result<(), DbErr> {
    insert_as(db, scope, scope, note).await
}

/// All notes that a read in `scope` can see, with no condition of its own.
pub async fn notes(db: &Db, scope: Scope) -> Result<Vec<String>, DbErr> {
    let tx = db.begin_read(scope).await?;
    let rows = tx.query_all_raw(statement(db, "SELECT note FROM thing ORDER BY note", vec![])).await?;
    rows.into_iter().map(|row| row.try_get_by_index(0)).collect()
}

#[tokio::test]
async fn a_transaction_sees_its_own_environment_only() {
    let db = TestDb::postgres(migrations).await;
    insert(&db, scope(1), "one").await.unwrap();
    insert(&db, scope(2), "two").await.unwrap();
    assert_eq!(notes(&db, scope(1)).await.unwrap(), ["one"]);
    assert_eq!(notes(&db, scope(2)).await.unwrap(), ["two"]);
    assert!(notes(&db, scope(3)).await.unwrap().is_empty());

    let refused = insert_as(&db, scope(1), scope(2), "smuggled").await.unwrap_err();
    assert_eq!(error::code(&refused).as_deref(), Some("42501"));

    let tx = db.begin(scope(1)).await.unwrap();
    let changed = tx.execute_unprepared("UPDATE thing SET note = note || '!'").await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
    tx.commit().await.unwrap();
    assert_eq!(notes(&db, scope(2)).await.unwrap(), ["two"]);
}

#[tokio::test]
async fn without_an_environment_nothing_is_seen() {
    let db = TestDb::postgres(migrations).await;
    insert(&db, scope(1), "one").await.unwrap();
    // Twice on the connection that has just served scope 1: the setting ended with its transaction.
    for _ in 0..2 {
        let rows = db.app().query_all_raw(statement(&db, "SELECT 1 FROM thing", vec![])).await.unwrap();
        assert!(rows.is_empty());
    }
}

#[tokio::test]
async fn every_role_is_held_to_its_grants() {
    let db = TestDb::postgres(migrations).await;
    insert(&db, scope(1), "one").await.unwrap();
    insert(&db, scope(2), "two").await.unwrap();

    let worker = db.begin_system().await.unwrap();
    let rows = worker.query_all_raw(statement(&db, "SELECT note FROM thing", vec![])).await.unwrap();
    assert_eq!(rows.len(), 2, "the worker sees all environments");
    worker.rollback().await.unwrap();

    let refused = async |pool: &sea_orm::DatabaseConnection, sql: &str| {
        let err = pool.execute_unprepared(sql).await.expect_err(sql);
        assert_eq!(error::code(&err).as_deref(), Some("42501"), "{sql}");
    };
    refused(db.worker(), "UPDATE thing SET note = 'x'").await;
    refused(db.ledger(), "SELECT * FROM thing").await;
    refused(db.app(), "DELETE FROM thing").await;
    refused(db.app(), "UPDATE thing SET id = id").await;
    refused(db.app(), "SELECT * FROM head").await;
    refused(db.app(), "CREATE TABLE mine (id int)").await;
    refused(db.app(), "ALTER TABLE thing DISABLE ROW LEVEL SECURITY").await;
    refused(db.app(), "SET ROLE tambo_owner").await;
    db.ledger().execute_unprepared("INSERT INTO head (shard_id, sequence) VALUES (1, 0)").await.unwrap();
}

#[tokio::test]
async fn keys_hold_within_a_scope() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        insert(&db, scope(1), "same").await.unwrap();
        insert(&db, scope(2), "same").await.unwrap();
        let twice = insert(&db, scope(1), "same").await.unwrap_err();
        assert!(is_unique_violation(&twice), "{on}: {twice}");
        let empty = insert(&db, scope(1), "").await.unwrap_err();
        assert!(!is_unique_violation(&empty) && !is_unavailable(&empty), "{on}: {empty}");
        let tx = db.begin(scope(1)).await.unwrap();
        let orphan = tx
            .execute_raw(statement(
                &db,
                "INSERT INTO part (shard_id, environment_id, id, thing_id) VALUES ($1, $2, $3, $3)",
                vec![1.into(), scope(1).id.into(), Uuid::nil().into()],
            ))
            .await;
        assert!(orphan.is_err(), "{on}: a part of nothing");
    }
}

#[tokio::test]
async fn what_is_not_committed_is_not_there() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let tx = db.begin(scope(1)).await.unwrap();
        tx.execute_raw(statement(
            &db,
            "INSERT INTO thing (shard_id, environment_id, id, note) VALUES (1, $1, $1, 'gone')",
            vec![scope(1).id.into()],
        ))
        .await
        .unwrap();
        // A reader neither waits for the writer nor sees what it has not committed.
        assert!(notes(&db, scope(1)).await.unwrap().is_empty(), "{on}");
        drop(tx);
        insert(&db, scope(1), "kept").await.unwrap();
        assert_eq!(notes(&db, scope(1)).await.unwrap(), ["kept"], "{on}");
    }
}

#[tokio::test]
async fn a_read_on_sqlite_cannot_write() {
    let db = TestDb::sqlite(migrations).await;
    let tx = db.begin_read(scope(1)).await.unwrap();
    assert!(tx.execute_unprepared("DELETE FROM thing").await.is_err());
}

#[tokio::test]
async fn a_deadlock_is_run_again() {
    let db = TestDb::postgres(migrations).await;
    insert(&db, scope(1), "a").await.unwrap();
    insert(&db, scope(1), "b").await.unwrap();
    let barrier = tokio::sync::Barrier::new(2);
    let runs = std::sync::atomic::AtomicU32::new(0);
    let touch = async |first: &str, second: &str| -> Result<(), DbErr> {
        let mut met = false;
        retry(|| {
            let meet = !std::mem::replace(&mut met, true);
            runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let (db, barrier) = (&db, &barrier);
            async move {
                let tx = db.begin(scope(1)).await?;
                let sql = "UPDATE thing SET note = note WHERE shard_id = 1 AND note = $1";
                tx.execute_raw(statement(db, sql, vec![first.into()])).await?;
                if meet {
                    barrier.wait().await;
                }
                tx.execute_raw(statement(db, sql, vec![second.into()])).await?;
                tx.commit().await
            }
        })
        .await
    };
    let (one, two) = tokio::join!(touch("a", "b"), touch("b", "a"));
    one.unwrap();
    two.unwrap();
    assert_eq!(runs.load(std::sync::atomic::Ordering::SeqCst), 3, "one of the two ran twice");
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        insert(&db, scope(1), "kept").await.unwrap();
        assert_eq!(db.migrate(migrations).await.unwrap(), 0, "{on}");
        db.check_schema(migrations).await.unwrap();
        assert_eq!(notes(&db, scope(1)).await.unwrap(), ["kept"], "{on}");
    }
}

#[tokio::test]
async fn an_older_database_is_refused_until_it_is_migrated() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let refused = db.check_schema(newer).await.unwrap_err();
        assert!(
            matches!(&refused, StartError::Older { pending } if pending == &["m0002_more"]),
            "{on}: {refused}"
        );
        assert_eq!(db.migrate(newer).await.unwrap(), 1, "{on}");
        db.check_schema(newer).await.unwrap();
    }
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    for db in TestDb::both(newer).await {
        let on = label(db.backend());
        for refused in
            [db.check_schema(migrations).await.unwrap_err(), db.migrate(migrations).await.unwrap_err()]
        {
            assert!(
                matches!(&refused, StartError::Newer { unknown } if unknown == &["m0002_more"]),
                "{on}: {refused}"
            );
        }
    }
}

#[tokio::test]
async fn an_empty_database_is_older() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("new.db").display());
    let db = Db::connect(&DatabaseConfig::new(url)).await.unwrap();
    assert!(matches!(db.check_schema(migrations).await, Err(StartError::Older { .. })));
}

#[tokio::test]
async fn programs_that_start_together_migrate_once() {
    let db = TestDb::postgres(migrations).await;
    let (one, two) = tokio::join!(db.migrate(newer), db.migrate(newer));
    assert_eq!(one.unwrap() + two.unwrap(), 1);
}

#[tokio::test]
async fn nobody_at_the_url_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("postgres://tambo_app:x@127.0.0.1:{port}/tambo");
    let db = Db::connect(&DatabaseConfig::new(url)).await.unwrap();
    assert!(matches!(db.check_schema(migrations).await, Err(StartError::Unreachable(_))));
}

#[tokio::test]
async fn malformed_urls_are_refused() {
    for url in ["mysql://localhost/x", "sqlite::memory:", "nothing"] {
        assert!(Db::connect(&DatabaseConfig::new(url)).await.is_err(), "{url}");
    }
}

#[tokio::test]
async fn live_mode_refuses_what_could_lose_money() {
    let sqlite = TestDb::sqlite(migrations).await;
    sqlite.check_mode(Mode::Sandbox).await.unwrap();
    assert!(matches!(sqlite.check_mode(Mode::Live).await, Err(StartError::SqliteInLive)));

    let postgres = TestDb::postgres(migrations).await;
    postgres.check_mode(Mode::Sandbox).await.unwrap();
    let refused = postgres.check_mode(Mode::Live).await.unwrap_err();
    assert!(matches!(refused, StartError::NotDurable { setting: "fsync", .. }), "{refused}");
}

/// SQLite rolls back by itself when the disk is full, or breaks. What is acknowledged afterwards is there nevertheless.
#[tokio::test]
async fn a_transaction_that_sqlite_has_ended_takes_no_later_one_with_it() {
    let db = TestDb::sqlite(migrations).await;
    let ended = db.begin(scope(1)).await.unwrap();
    ended.execute_unprepared("ROLLBACK").await.unwrap();
    drop(ended);
    // One that only looked.
    drop(db.begin(scope(1)).await.unwrap());
    insert(&db, scope(1), "acknowledged").await.unwrap();
    assert_eq!(notes(&db, scope(1)).await.unwrap(), ["acknowledged"]);
}
