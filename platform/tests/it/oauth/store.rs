//! The store under the engine's own conformance suite, and what its tables show to who reads them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use oauth_as::client::{Client, ClientAuth, ClientId, SecretHash};
use oauth_as::grant::GrantType;
use oauth_as::scope::ScopeSet;
use oauth_as::storage_conformance::StorageConformance;
use oauth_as::store::{RevocationWindow, Storage};
use platform::keys::{DataKey, HOME};
use platform::migrations::migrations;
use platform::oauth::{Store, forget_ended};
use platform::testing::{TestDb, label};
use sea_orm::{ConnectionTrait, Statement};

fn keys() -> Arc<DataKey> {
    Arc::new(DataKey::fixed(HOME.id, [0xab; 32]))
}

async fn store(db: &TestDb) -> Store {
    Store::open(db.db().clone(), keys()).await.unwrap()
}

/// Empties the tables: the suite wants an empty store for each of its checks.
async fn emptied(db: &TestDb) -> Store {
    let root = db.root().await;
    for table in ["oauth_client", "oauth_record", "oauth_barrier", "oauth_replay"] {
        root.execute_unprepared(&format!("DELETE FROM {table}")).await.unwrap();
    }
    store(db).await
}

async fn conforms(db: TestDb) {
    let violations = StorageConformance::new(|| emptied(&db))
        .with_spawn(|task| {
            tokio::spawn(task);
        })
        .run()
        .await;
    assert!(violations.is_empty(), "{}: {violations:#?}", label(db.backend()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_conforms_on_sqlite() {
    conforms(TestDb::sqlite(migrations).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_conforms_on_postgres() {
    conforms(TestDb::postgres(migrations).await).await;
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn client(id: &str) -> Client {
    let scopes = ScopeSet::parse("accounts:read").unwrap();
    Client {
        client_id: ClientId::new(id),
        auth: ClientAuth::ConfidentialSecretHash { hash: SecretHash::sha256("the-secret-of-the-client") },
        grant_types: vec![GrantType::ClientCredentials],
        redirect_uris: Vec::new(),
        allowed_scopes: scopes.clone(),
        default_scopes: scopes,
        name: Some("the name of the client".to_owned()),
        registration: None,
    }
}

/// Every value of every row of a table, as one text.
async fn dump(db: &TestDb, table: &str) -> String {
    let root = db.root().await;
    let columns: &[&str] = match table {
        "oauth_record" => &["kind", "key", "client_id", "family", "user_code", "body"],
        "oauth_client" => &["client_id", "body", "entry"],
        _ => &["key"],
    };
    let mut text = String::new();
    for column in columns {
        let value = match (root.get_database_backend(), *column) {
            (sea_orm::DbBackend::Postgres, "body") => "encode(body, 'escape')".to_owned(),
            _ => format!("cast({column} AS text)"),
        };
        let sql = format!("SELECT {value} FROM {table}");
        let rows =
            root.query_all_raw(Statement::from_string(root.get_database_backend(), sql)).await.unwrap();
        for row in rows {
            let bytes: Option<String> = row.try_get_by_index(0).unwrap_or_default();
            text.push_str(&bytes.unwrap_or_default());
            text.push('\n');
        }
    }
    text
}

#[tokio::test]
async fn no_credential_is_in_the_database() {
    for db in TestDb::both(migrations).await {
        let store = store(&db).await;
        store.put_client(client("cli_one")).await.unwrap();
        let grant = oauth_as::device::DeviceGrant {
            device_code: "the-device-code".to_owned(),
            user_code: "WDJB-MJHT".to_owned(),
            client_id: ClientId::new("cli_one"),
            scope: ScopeSet::empty(),
            state: oauth_as::device::DeviceGrantState::Pending,
            created_at: at(10),
            expires_at: at(100),
            interval: Duration::from_secs(5),
            last_poll_at: None,
        };
        store.put_device_grant(grant.clone()).await.unwrap();
        assert!(store.claim_replay_id("the-used-identifier", at(100)).await.unwrap());
        let everything = [
            dump(&db, "oauth_client").await,
            dump(&db, "oauth_record").await,
            dump(&db, "oauth_replay").await,
        ]
        .concat();
        assert!(everything.contains("cli_one"), "{}: the dump shows something", label(db.backend()));
        let secrets = ["the-device-code", "WDJB", "the-secret", "the name of", "the-used-identifier"];
        let found: Vec<&str> = secrets.into_iter().filter(|secret| everything.contains(secret)).collect();
        assert!(found.is_empty(), "{}: {found:?}", label(db.backend()));
        assert_eq!(store.get_device_grant("the-device-code").await.unwrap(), Some(grant));
    }
}

#[tokio::test]
async fn a_row_moved_to_another_place_does_not_open() {
    for db in TestDb::both(migrations).await {
        let store = store(&db).await;
        for id in ["cli_one", "cli_two"] {
            store.put_client(client(id)).await.unwrap();
        }
        let root = db.root().await;
        let swap = "UPDATE oauth_client SET body = (SELECT body FROM oauth_client WHERE client_id = 'cli_two') \
                    WHERE client_id = 'cli_one'";
        root.execute_unprepared(swap).await.unwrap();
        assert!(store.get_client(&ClientId::new("cli_two")).await.unwrap().is_some());
        assert!(store.get_client(&ClientId::new("cli_one")).await.is_err(), "{}", label(db.backend()));
    }
}

#[tokio::test]
async fn impossible_names_are_nobodys() {
    for db in TestDb::both(migrations).await {
        let store = store(&db).await;
        for id in ["", "a\0b", "../../etc", &"x".repeat(300), "' OR 1=1 --"] {
            assert_eq!(store.get_client(&ClientId::new(id)).await.unwrap(), None, "{id:?}");
        }
    }
}

#[tokio::test]
async fn what_ended_is_forgotten() {
    for db in TestDb::both(migrations).await {
        let store = store(&db).await;
        store.put_client(client("cli_one")).await.unwrap();
        for (id, end) in [("early", 100), ("late", 300)] {
            assert!(store.claim_replay_id(id, at(end)).await.unwrap());
        }
        let window = RevocationWindow { recorded_at: at(50), until: at(150) };
        assert!(store.delete_client(&ClientId::new("cli_one"), window).await.unwrap());
        let now = |seconds: i64| DateTime::<Utc>::from_timestamp(seconds, 0).unwrap();
        assert_eq!(forget_ended(db.db(), now(99)).await.unwrap(), 0, "{}", label(db.backend()));
        assert_eq!(forget_ended(db.db(), now(200)).await.unwrap(), 2, "{}", label(db.backend()));
        assert!(store.claim_replay_id("early", at(500)).await.unwrap(), "free again");
        assert!(!store.claim_replay_id("late", at(500)).await.unwrap(), "still used");
        assert!(dump(&db, "oauth_client").await.contains("cli_one"), "other replicas may not know yet");
        forget_ended(db.db(), now(50 + 8 * 86_400)).await.unwrap();
        assert!(!dump(&db, "oauth_client").await.contains("cli_one"));
    }
}

#[tokio::test]
async fn only_the_worker_may_read_it() {
    let db = TestDb::postgres(migrations).await;
    store(&db).await.put_client(client("cli_one")).await.unwrap();
    for table in ["oauth_client", "oauth_record", "oauth_barrier", "oauth_replay", "oauth_key"] {
        for (who, pool) in [("app", db.app()), ("ledger", db.ledger())] {
            let sql = format!("SELECT count(*) FROM {table}");
            let read = pool.query_one_raw(Statement::from_string(sea_orm::DbBackend::Postgres, sql)).await;
            assert!(read.is_err(), "{who} reads {table}");
        }
    }
}
