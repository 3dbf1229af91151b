//! Data keys in a database: made, wrapped, wrapped anew and destroyed.

use std::fs;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use platform::ctx::Scope;
use platform::db::{DatabaseConfig, Db};
use platform::keys::{KeyError, Keys, KeysConfig, LoadError, StartError};
use platform::migrations::migrations;
use platform::sealed::Sealed;
use platform::testing::{TestDb, label};
use sea_orm::{ConnectionTrait, Statement};
use secrecy::ExposeSecret;
use tempfile::TempDir;
use uuid::Uuid;

/// Root keys as files, none of them made.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// With the root key of this name, and others.
    fn config(&self, root: &str, others: &[&str]) -> KeysConfig {
        KeysConfig {
            root_file: self.file(root),
            other_root_files: others.iter().map(|name| self.file(name)).collect(),
        }
    }

    fn make(&self, name: &str, digit: &str) {
        fs::write(self.file(name), digit.repeat(64)).unwrap();
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

fn scope(number: u128) -> Scope {
    Scope::new(1, Uuid::from_u128(number))
}

async fn start(db: &Db, config: &KeysConfig) -> Result<Keys, StartError> {
    Keys::start(db.clone(), 2, config, now()).await
}

async fn ensure(db: &Db, keys: &Keys, scope: Scope) -> bool {
    let tx = db.begin_system().await.unwrap();
    let made = keys.ensure_in_tx(&tx, scope, now()).await.unwrap();
    tx.commit().await.unwrap();
    made
}

async fn destroy(db: &Db, keys: &Keys, scope: Scope) -> bool {
    keys.hide(scope).await;
    let tx = db.begin_system().await.unwrap();
    let destroyed = keys.destroy_in_tx(&tx, scope).await.unwrap();
    tx.commit().await.unwrap();
    destroyed
}

async fn refusal(keys: &Keys, scope: Scope) -> Option<KeyError> {
    match keys.of(scope).await {
        Ok(_) => None,
        Err(LoadError::Key(error)) => Some(error),
        Err(LoadError::Database(error)) => panic!("{error}"),
    }
}

async fn sealed(keys: &Keys, scope: Scope, text: &str) -> Sealed<String> {
    keys.of(scope).await.unwrap().seal("party.name", &text.to_owned()).unwrap()
}

async fn opened(keys: &Keys, scope: Scope, sealed: &Sealed<String>) -> Result<String, KeyError> {
    match keys.of(scope).await {
        Ok(key) => key.open("party.name", sealed),
        Err(LoadError::Key(error)) => Err(error),
        Err(LoadError::Database(error)) => panic!("{error}"),
    }
}

#[tokio::test]
async fn each_environment_has_a_key_of_its_own_and_none_before_it_is_made() {
    for db in TestDb::both(migrations).await {
        let (on, site) = (label(db.backend()), Site::new());
        let keys = start(&db, &site.config("root", &[])).await.unwrap();
        assert_eq!(refusal(&keys, scope(1)).await, Some(KeyError::Absent), "{on}");
        for number in [1, 2] {
            assert!(ensure(&db, &keys, scope(number)).await, "{on}");
            assert!(!ensure(&db, &keys, scope(number)).await, "{on}: once");
        }
        let name = sealed(&keys, scope(1), "Ana").await;
        assert_eq!(opened(&keys, scope(1), &name).await.as_deref(), Ok("Ana"), "{on}");
        assert!(matches!(opened(&keys, scope(2), &name).await, Err(KeyError::UnknownKey(_))), "{on}");
        let [one, two] =
            [scope(1), scope(2)].map(async |scope| keys.of(scope).await.unwrap().blind("f", "x"));
        assert_ne!(one.await, two.await, "{on}");
        let own = keys.home().seal("f", &1).unwrap();

        // Another process, and a later start.
        let again = start(&db, &site.config("root", &[])).await.unwrap();
        assert_eq!(opened(&again, scope(1), &name).await.as_deref(), Ok("Ana"), "{on}");
        assert_eq!(again.home().open("f", &own), Ok(1), "{on}");
    }
}

#[tokio::test]
async fn of_many_who_make_a_key_at_once_one_does_and_all_have_it() {
    for db in TestDb::both(migrations).await {
        let (on, site) = (label(db.backend()), Site::new());
        let config = site.config("root", &[]);
        let replicas = join_all((0..3).map(|_| start(&db, &config))).await;
        let replicas: Vec<Keys> = replicas.into_iter().map(Result::unwrap).collect();
        let own = replicas[0].home().seal("f", &1).unwrap();
        let mut values = Vec::new();
        for keys in &replicas {
            assert_eq!(keys.home().open("f", &own), Ok(1), "{on}");
            ensure(&db, keys, scope(1)).await;
            values.push(sealed(keys, scope(1), "Ana").await);
        }
        for keys in &replicas {
            for value in &values {
                assert_eq!(opened(keys, scope(1), value).await.as_deref(), Ok("Ana"), "{on}");
            }
        }
    }
}

#[tokio::test]
async fn another_root_or_none_is_refused_and_nothing_is_lost() {
    for db in TestDb::both(migrations).await {
        let (on, site) = (label(db.backend()), Site::new());
        let keys = start(&db, &site.config("root", &[])).await.unwrap();
        ensure(&db, &keys, scope(1)).await;
        let name = sealed(&keys, scope(1), "Ana").await;
        let kept = fs::read(site.file("root")).unwrap();

        site.make("other", "7");
        let wrong = start(&db, &site.config("other", &[])).await.unwrap_err();
        assert!(matches!(wrong, StartError::Unknown { .. }), "{on}: {wrong}");
        assert!(wrong.to_string().contains("keys.other_root_files"), "{on}: {wrong}");
        fs::remove_file(site.file("root")).unwrap();
        let missing = start(&db, &site.config("root", &[])).await.unwrap_err();
        assert!(matches!(missing, StartError::Missing { .. }), "{on}: {missing}");
        assert!(!site.file("root").exists(), "{on}: no other one is made");

        fs::write(site.file("root"), kept).unwrap();
        let again = start(&db, &site.config("root", &[])).await.unwrap();
        assert_eq!(opened(&again, scope(1), &name).await.as_deref(), Ok("Ana"), "{on}");
    }
}

#[tokio::test]
async fn a_root_is_changed_by_wrapping_data_keys_anew() {
    for db in TestDb::both(migrations).await {
        let (on, site) = (label(db.backend()), Site::new());
        site.make("old", "1");
        site.make("new", "2");
        let old = start(&db, &site.config("old", &[])).await.unwrap();
        let mut names = Vec::new();
        for number in 0..450 {
            ensure(&db, &old, scope(number)).await;
            names.push(sealed(&old, scope(number), "Ana").await);
        }
        let own = old.home().seal("f", &1).unwrap();
        assert_eq!(old.rewrap().await.unwrap(), 0, "{on}: nothing to do");

        // Two replicas at once, and one that broke off.
        let [one, two] = [(); 2].map(|()| site.config("new", &["old"]));
        let [one, two] = [start(&db, &one).await.unwrap(), start(&db, &two).await.unwrap()];
        let mut broken = Box::pin(one.rewrap());
        for _ in 0..5 {
            assert!(futures::poll!(&mut broken).is_pending(), "{on}");
            tokio::task::yield_now().await;
        }
        drop(broken);
        let (left, also) = tokio::join!(one.rewrap(), two.rewrap());
        assert_eq!((left.unwrap(), also.unwrap()), (0, 0), "{on}");

        let new = start(&db, &site.config("new", &[])).await.unwrap();
        for (number, name) in (0..).zip(&names) {
            assert_eq!(opened(&new, scope(number), name).await.as_deref(), Ok("Ana"), "{on}: {number}");
        }
        assert_eq!(new.home().open("f", &own), Ok(1), "{on}");
        assert!(
            matches!(start(&db, &site.config("old", &[])).await, Err(StartError::Unknown { .. })),
            "{on}"
        );
        // Who still has the old one alone says what it lacks, and takes nothing for lost.
        let fresh = scope(1_000);
        ensure(&db, &new, fresh).await;
        assert!(matches!(refusal(&old, fresh).await, Some(KeyError::UnknownRoot(_))), "{on}");
    }
}

#[tokio::test]
async fn a_wrapped_key_that_was_changed_or_exchanged_is_refused() {
    for db in TestDb::both(migrations).await {
        let (on, site) = (label(db.backend()), Site::new());
        let keys = start(&db, &site.config("root", &[])).await.unwrap();
        for number in [1, 2, 3] {
            ensure(&db, &keys, scope(number)).await;
        }
        let root = db.root().await;
        let own = |number: u128| match db.backend() {
            platform::db::Backend::Sqlite => format!("x'{}'", Uuid::from_u128(number).simple()),
            platform::db::Backend::Postgres => format!("'{}'", Uuid::from_u128(number)),
        };
        let [one, two, three] = [1, 2, 3].map(own);
        let part = "substr(wrapped, 1, 60)";
        for change in [
            format!(
                "UPDATE data_key SET wrapped = (SELECT d.wrapped FROM data_key d WHERE d.scope_id = {two}) WHERE scope_id = {one}"
            ),
            format!("UPDATE data_key SET wrapped = {part} WHERE scope_id = {two}"),
            format!("UPDATE data_key SET root_id = root_id - 1 WHERE scope_id = {three}"),
        ] {
            root.execute_unprepared(&change).await.unwrap();
        }
        assert_eq!(refusal(&keys, scope(1)).await, Some(KeyError::Changed), "{on}");
        assert_eq!(refusal(&keys, scope(2)).await, Some(KeyError::Changed), "{on}");
        assert!(matches!(refusal(&keys, scope(3)).await, Some(KeyError::UnknownRoot(_))), "{on}");
    }
}

#[tokio::test]
async fn who_serves_requests_reads_the_key_of_its_environment_and_changes_none() {
    let db = TestDb::postgres(migrations).await;
    let site = Site::new();
    let keys = start(&db, &site.config("root", &[])).await.unwrap();
    for number in [1, 2] {
        ensure(&db, &keys, scope(number)).await;
    }
    let tx = db.begin(scope(1)).await.unwrap();
    let all = Statement::from_string(sea_orm::DbBackend::Postgres, "SELECT scope_id FROM data_key");
    let seen: Vec<Uuid> = tx
        .query_all_raw(all)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.try_get_by_index(0).unwrap())
        .collect();
    assert_eq!(seen, [scope(1).id]);
    drop(tx);
    for change in [
        "DELETE FROM data_key",
        "UPDATE data_key SET wrapped = ''",
        "INSERT INTO data_key VALUES (1, gen_random_uuid(), 1, '', now())",
    ] {
        let tx = db.begin(scope(1)).await.unwrap();
        let refused = tx.execute_unprepared(change).await.unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{change}: {refused}");
    }
}

#[tokio::test]
async fn what_was_sealed_does_not_open_once_its_key_is_destroyed() {
    for db in TestDb::both(migrations).await {
        let (on, site) = (label(db.backend()), Site::new());
        let keys = start(&db, &site.config("root", &[])).await.unwrap();
        for number in [1, 2] {
            ensure(&db, &keys, scope(number)).await;
        }
        let [one, two] = [sealed(&keys, scope(1), "Ana").await, sealed(&keys, scope(2), "Luz").await];
        // Who is just loading it, though not from memory.
        let fresh = start(&db, &site.config("root", &[])).await.unwrap();
        let mut loading = Box::pin(fresh.of(scope(1)));
        let is_loading = futures::poll!(&mut loading).is_pending();
        assert!(destroy(&db, &fresh, scope(1)).await, "{on}");
        if is_loading {
            assert!(matches!(loading.await, Err(LoadError::Key(KeyError::Absent))), "{on}");
        }

        assert!(!destroy(&db, &keys, scope(1)).await, "{on}: it was done before");
        for keys in [&keys, &fresh, &start(&db, &site.config("root", &[])).await.unwrap()] {
            assert_eq!(opened(keys, scope(1), &one).await, Err(KeyError::Absent), "{on}");
            assert_eq!(opened(keys, scope(2), &two).await.as_deref(), Ok("Luz"), "{on}: the others stay");
        }
    }
}

/// The wrapped key of an environment lies in the database, and with it in every copy that was made before: what erases
/// those is the end of the root key of that time. So both copies are looked at, the one from after and the one from before.
#[tokio::test]
async fn a_copy_of_the_database_does_not_open_either() {
    let db = TestDb::sqlite(migrations).await;
    let site = Site::new();
    site.make("old", "1");
    site.make("new", "2");
    let keys = start(&db, &site.config("old", &[])).await.unwrap();
    ensure(&db, &keys, scope(1)).await;
    let root = db.root().await;
    let name = sealed(&keys, scope(1), "Ana").await;
    let kept = hex::encode(name.bytes());
    root.execute_unprepared(&format!("CREATE TABLE kept AS SELECT x'{kept}' AS name")).await.unwrap();
    let copy = async |file: &str| {
        let file = site.file(file).display().to_string();
        root.execute_unprepared(&format!("VACUUM INTO '{file}'")).await.unwrap();
        let bytes = fs::read(&file).unwrap();
        assert!(
            bytes.windows(name.bytes().len()).any(|part| part == name.bytes()),
            "the bytes still lie there"
        );
        Db::connect(&DatabaseConfig::new(format!("sqlite://{file}"))).await.unwrap()
    };
    let before = copy("before.db").await;
    assert!(destroy(&db, &keys, scope(1)).await);
    let after = copy("after.db").await;

    let restored = start(&after, &site.config("old", &[])).await.unwrap();
    assert_eq!(opened(&restored, scope(1), &name).await, Err(KeyError::Absent));
    assert_eq!(restored.home().open("f", &keys.home().seal("f", &1).unwrap()), Ok(1), "the rest is there");

    // With the root key of that time it opens; and without it does not, which is why there is a way to change it.
    let restored = start(&before, &site.config("old", &[])).await.unwrap();
    assert_eq!(opened(&restored, scope(1), &name).await.as_deref(), Ok("Ana"));
    assert!(matches!(start(&before, &site.config("new", &[])).await, Err(StartError::Unknown { .. })));
    let rotated = start(&db, &site.config("new", &["old"])).await.unwrap();
    assert_eq!(rotated.rewrap().await.unwrap(), 0);
    start(&db, &site.config("new", &[])).await.unwrap();
}

#[tokio::test]
async fn a_destroyed_key_does_not_lie_in_the_file_any_more() {
    let db = TestDb::sqlite(migrations).await;
    let site = Site::new();
    let keys = start(&db, &site.config("root", &[])).await.unwrap();
    for number in 1..20 {
        ensure(&db, &keys, scope(number)).await;
    }
    let root = db.root().await;
    let sql = format!("SELECT wrapped FROM data_key WHERE scope_id = x'{}'", scope(7).id.simple());
    let row = root.query_one_raw(Statement::from_string(sea_orm::DbBackend::Sqlite, sql)).await.unwrap();
    let wrapped: Vec<u8> = row.unwrap().try_get_by_index(0).unwrap();
    let url = db.config().url.expose_secret().to_owned();
    let file = url.trim_start_matches("sqlite://").to_owned();
    let lies = |file: &str| {
        let bytes = fs::read(file).unwrap();
        bytes.windows(wrapped.len()).any(|part| part == wrapped)
    };
    root.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    assert!(lies(&file));
    destroy(&db, &keys, scope(7)).await;
    root.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    assert!(!lies(&file));
}
