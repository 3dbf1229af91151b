//! A private cluster survives being killed.

use platform::db::Db;
use platform::db::cluster::{Cluster, Options};
use sea_orm::ConnectionTrait;

#[tokio::test]
async fn what_was_committed_is_there_after_kill_and_restart() {
    let mut cluster = Cluster::start(Options { fsync: true, ..Options::default() }).unwrap();
    let config = cluster.create_database("tambo").await.unwrap();
    let db = Db::connect(&config).await.unwrap();
    db.migrate(crate::db::migrations).await.unwrap();
    let scope = crate::db::scope(1);
    crate::db::insert(&db, scope, "kept").await.unwrap();

    let open = db.begin(scope).await.unwrap();
    open.execute_unprepared("UPDATE thing SET note = 'lost'").await.unwrap();
    cluster.kill9().unwrap();
    assert!(open.commit().await.is_err(), "nobody is there to commit");
    cluster.restart().unwrap();

    // The pool finds its dead connections out by itself.
    let notes = platform::db::retry(|| crate::db::notes(&db, scope)).await;
    let notes = match notes {
        Ok(notes) => notes,
        Err(err) => {
            assert!(platform::db::is_unavailable(&err), "{err}");
            crate::db::notes(&db, scope).await.unwrap()
        }
    };
    assert_eq!(notes, ["kept"]);
}
