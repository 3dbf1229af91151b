//! Work on both databases: exactly with its transaction, at least once, one runner at a time.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use platform::clock::advance_in_tx;
use platform::ctx::{Clock, Scope};
use platform::drain::Drain;
use platform::migrations::migrations;
use platform::testing::{TestDb, label};
use platform::work::{
    self, Backlog, Done, Failed, New, Options, Retry, Runner, SeaOrm, Settled, Store, Tick, WorkItem,
};
use serde_json::json;
use tenants::environment::Mode;
use uuid::Uuid;

const KIND: &str = "test.kind";

fn wall() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_000_007).unwrap()
}

fn scope(number: u128) -> Scope {
    Scope::new(4, Uuid::from_u128(number))
}

fn new(scope: Scope, key: &str, run_at: DateTime<Utc>) -> New<'_> {
    New { scope, kind: KIND, key, payload: json!({"for": key}), run_at, wall: wall() }
}

async fn enqueue(db: &TestDb, scope: Scope, key: &str, run_at: DateTime<Utc>) {
    let tx = db.begin(scope).await.unwrap();
    work::enqueue_in_tx(&tx, new(scope, key, run_at)).await.unwrap();
    tx.commit().await.unwrap();
}

fn store(db: &TestDb) -> SeaOrm {
    SeaOrm::new(db.db().clone())
}

async fn take(db: &TestDb, owner: u128, wall: DateTime<Utc>) -> Vec<WorkItem> {
    let until = wall + TimeDelta::seconds(30);
    store(db).take(4, &[KIND], Uuid::from_u128(owner), wall, until, 10).await.unwrap()
}

fn runner<F>(db: &TestDb, id: u128, handler: F) -> Runner<SeaOrm>
where
    F: Fn(WorkItem) -> Result<Done, Retry> + Send + Sync + Clone + 'static,
{
    let mut runner = Runner::new(store(db), Options::new(vec![4]), Uuid::from_u128(id << 64));
    runner.handle(KIND, move |item| {
        let handler = handler.clone();
        async move { handler(item) }
    });
    runner
}

fn keys(items: &[WorkItem]) -> Vec<&str> {
    items.iter().map(|item| item.key.as_str()).collect()
}

const FINISHED: Settled = Settled::Done(Done::Finished);

#[tokio::test]
async fn work_exists_exactly_if_its_transaction_commits() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let tx = db.begin(scope(1)).await.unwrap();
        work::enqueue_in_tx(&tx, new(scope(1), "undone", wall())).await.unwrap();
        tx.rollback().await.unwrap();
        enqueue(&db, scope(1), "kept", wall()).await;
        let items = take(&db, 1, wall()).await;
        assert_eq!(keys(&items), ["kept"], "{on}");
        assert_eq!(items[0].payload, json!({"for": "kept"}), "{on}");
        assert_eq!((items[0].scope(), items[0].run_at), (scope(1), wall()), "{on}");
    }
}

#[tokio::test]
async fn an_item_has_one_taker_until_its_lease_runs_out() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        enqueue(&db, scope(1), "a", wall()).await;
        let first = take(&db, 1, wall()).await;
        assert_eq!(first.len(), 1, "{on}");
        assert!(take(&db, 2, wall() + TimeDelta::seconds(29)).await.is_empty(), "{on}: leased");

        let late = wall() + TimeDelta::seconds(30);
        let second = take(&db, 2, late).await;
        assert_eq!(second.len(), 1, "{on}: the lease has run out");
        assert_eq!(second[0].lease.attempt, 2, "{on}");

        // The first runner wakes up again and may change nothing.
        let store = store(&db);
        let failed = Settled::Failed(Failed { run_at: None, reason: "late".into() });
        assert!(!store.renew(&first[0].lease, late + TimeDelta::hours(1)).await.unwrap(), "{on}");
        assert!(!store.settle(&first[0].lease, &failed, late).await.unwrap(), "{on}");
        assert!(!store.settle(&first[0].lease, &FINISHED, late).await.unwrap(), "{on}");

        assert!(store.renew(&second[0].lease, late + TimeDelta::hours(1)).await.unwrap(), "{on}");
        assert!(take(&db, 3, late + TimeDelta::minutes(59)).await.is_empty(), "{on}: renewed");
        assert!(store.settle(&second[0].lease, &FINISHED, late).await.unwrap(), "{on}");
        assert!(!store.settle(&second[0].lease, &FINISHED, late).await.unwrap(), "{on}: twice");
        assert_eq!(work::backlog(&db, 4).await.unwrap(), Backlog { open: 0, dead: 0 }, "{on}");
    }
}

#[tokio::test]
async fn two_takers_at_once_share_without_overlap() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        for number in 0..20 {
            enqueue(&db, scope(number % 3), &format!("{number:02}"), wall()).await;
        }
        let (one, two, three) =
            tokio::join!(take(&db, 1, wall()), take(&db, 2, wall()), take(&db, 3, wall()));
        let mut taken: Vec<&str> = [&one, &two, &three].into_iter().flat_map(|items| keys(items)).collect();
        taken.sort_unstable();
        let expected: Vec<String> = (0..20).map(|number| format!("{number:02}")).collect();
        assert_eq!(taken, expected, "{on}");
    }
}

#[tokio::test]
async fn an_item_is_due_by_its_environments_clock() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let due = wall() + TimeDelta::days(1);
        for number in [1, 2] {
            enqueue(&db, scope(number), "timer", due).await;
        }
        assert!(take(&db, 1, wall()).await.is_empty(), "{on}");
        let tx = db.begin(scope(2)).await.unwrap();
        advance_in_tx(&tx, scope(2), Mode::Sandbox, wall(), due).await.unwrap();
        tx.commit().await.unwrap();
        let items = take(&db, 1, wall()).await;
        assert_eq!(items.len(), 1, "{on}");
        assert_eq!(items[0].scope(), scope(2), "{on}: the one whose clock was moved");
        assert_eq!(items[0].now(wall()), due, "{on}");
        assert!(
            take(&db, 1, due - TimeDelta::microseconds(1)).await.iter().all(|item| item.scope() != scope(1))
        );
        assert_eq!(take(&db, 1, due).await.len(), 1, "{on}: due to the microsecond");
    }
}

#[tokio::test]
async fn an_open_key_is_not_doubled_and_no_signal_is_lost() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        enqueue(&db, scope(1), "a", wall() + TimeDelta::hours(1)).await;
        enqueue(&db, scope(1), "a", wall()).await;
        enqueue(&db, scope(1), "a", wall() + TimeDelta::hours(2)).await;
        let items = take(&db, 1, wall()).await;
        assert_eq!(keys(&items), ["a"], "{on}: once, and at the earliest time");

        // Enqueued while it is being handled: it runs once more.
        enqueue(&db, scope(1), "a", wall()).await;
        assert!(store(&db).settle(&items[0].lease, &FINISHED, wall()).await.unwrap());
        let again = take(&db, 2, wall()).await;
        assert_eq!(keys(&again), ["a"], "{on}");
        assert_eq!(again[0].lease.attempt, 1, "{on}: a fresh start");
        assert!(store(&db).settle(&again[0].lease, &FINISHED, wall()).await.unwrap());
        assert!(take(&db, 3, wall()).await.is_empty(), "{on}");

        // A finished key may come again.
        enqueue(&db, scope(1), "a", wall()).await;
        assert_eq!(take(&db, 4, wall()).await.len(), 1, "{on}");
    }
}

#[tokio::test]
async fn steps_follow_each_other() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let seen: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
        let log = Arc::clone(&seen);
        let runner = runner(&db, 1, move |item| {
            log.lock().unwrap().push(item.step.clone());
            Ok(match item.step.as_deref() {
                None => Done::Next { step: "two".into(), run_at: item.run_at + TimeDelta::hours(1) },
                Some(_) => Done::Finished,
            })
        });
        enqueue(&db, scope(1), "a", wall()).await;
        let once = Tick { taken: 1, done: 1, ..Tick::default() };
        assert_eq!(runner.tick(wall()).await.unwrap(), once, "{on}");
        assert_eq!(runner.tick(wall()).await.unwrap(), Tick::default(), "{on}: not yet");
        assert_eq!(runner.tick(wall() + TimeDelta::hours(1)).await.unwrap(), once, "{on}");
        assert_eq!(*seen.lock().unwrap(), [None, Some("two".to_owned())], "{on}");
        assert_eq!(work::backlog(&db, 4).await.unwrap().open, 0, "{on}");
    }
}

#[tokio::test]
async fn what_fails_too_often_is_a_dead_letter_until_it_is_requeued() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let runner = runner(&db, 1, |_| Err(Retry::later("the rail is down")));
        enqueue(&db, scope(1), "a", wall()).await;
        let mut now = wall();
        let max = Options::new(vec![]).max_attempts;
        for attempt in 1..max {
            let tick = runner.tick(now).await.unwrap();
            assert_eq!((tick.failed, tick.dead), (1, 0), "{on}: attempt {attempt}");
            assert_eq!(runner.tick(now).await.unwrap().taken, 0, "{on}: it waits");
            now += TimeDelta::seconds(600);
        }
        assert_eq!(runner.tick(now).await.unwrap().dead, 1, "{on}");
        assert_eq!(runner.tick(now + TimeDelta::days(9)).await.unwrap().taken, 0, "{on}");
        assert_eq!(work::backlog(&db, 4).await.unwrap(), Backlog { open: 0, dead: 1 }, "{on}");

        let tx = db.begin(scope(1)).await.unwrap();
        let dead = work::dead_in_tx(&tx, scope(1), None, 10).await.unwrap();
        assert_eq!(dead.len(), 1, "{on}");
        assert_eq!((dead[0].key.as_str(), dead[0].attempts), ("a", max), "{on}");
        assert_eq!(dead[0].reason, "the rail is down", "{on}");
        assert_eq!(dead[0].ended_at, Some(now), "{on}");
        assert!(work::dead_in_tx(&tx, scope(1), Some(dead[0].id), 10).await.unwrap().is_empty(), "{on}");
        assert!(work::dead_in_tx(&tx, scope(2), None, 10).await.unwrap().is_empty(), "{on}: another's");
        assert!(!work::requeue_in_tx(&tx, scope(2), dead[0].id, now).await.unwrap(), "{on}: another's");
        assert!(work::requeue_in_tx(&tx, scope(1), dead[0].id, now).await.unwrap(), "{on}");
        assert!(!work::requeue_in_tx(&tx, scope(1), dead[0].id, now).await.unwrap(), "{on}: twice");
        tx.commit().await.unwrap();
        assert_eq!(runner.tick(now).await.unwrap().failed, 1, "{on}: all its attempts again");
    }
}

#[tokio::test]
async fn hopeless_and_panicking_handlers_harm_nobody_else() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let runner = runner(&db, 1, |item| match item.key.as_str() {
            "hopeless" => Err(Retry::never("no such account")),
            "panics" => panic!("a bug"),
            _ => Ok(Done::Finished),
        });
        for key in ["hopeless", "panics", "fine"] {
            enqueue(&db, scope(1), key, wall()).await;
        }
        let tick = runner.tick(wall()).await.unwrap();
        assert_eq!(tick, Tick { taken: 3, done: 1, failed: 1, dead: 1, lost: 0 }, "{on}");
    }
}

#[tokio::test]
async fn a_runner_that_lost_its_lease_counts_it() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        // While the handler runs, the lease runs out and another runner takes and finishes the item.
        let other = Arc::new(runner(&db, 2, |_| Ok(Done::Finished)));
        let mut slow = Runner::new(store(&db), Options::new(vec![4]), Uuid::from_u128(1 << 64));
        let late = wall() + TimeDelta::minutes(1);
        slow.handle(KIND, move |_| {
            let other = Arc::clone(&other);
            async move {
                let tick = other.tick(late).await?;
                assert_eq!(tick.done, 1);
                Ok(Done::Next { step: "again".into(), run_at: late })
            }
        });
        enqueue(&db, scope(1), "a", wall()).await;
        let tick = slow.tick(wall()).await.unwrap();
        assert_eq!(tick, Tick { taken: 1, lost: 1, ..Tick::default() }, "{on}");
        assert_eq!(work::backlog(&db, 4).await.unwrap().open, 0, "{on}: finished by the other");
    }
}

#[tokio::test]
async fn other_kinds_and_shards_are_left_alone() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        enqueue(&db, scope(1), "mine", wall()).await;
        enqueue(&db, Scope::new(5, Uuid::from_u128(1)), "elsewhere", wall()).await;
        let tx = db.begin(scope(1)).await.unwrap();
        work::enqueue_in_tx(&tx, New { kind: "other", ..new(scope(1), "mine", wall()) }).await.unwrap();
        tx.commit().await.unwrap();
        let taken = take(&db, 1, wall()).await;
        assert_eq!(keys(&taken), ["mine"], "{on}");
        assert_eq!(taken[0].kind, KIND, "{on}");
    }
}

#[tokio::test]
async fn finished_work_is_forgotten_and_dead_letters_stay() {
    for db in TestDb::both(migrations).await {
        let on = label(db.backend());
        let runner = runner(&db, 1, |item| match item.key.as_str() {
            "dead" => Err(Retry::never("x")),
            _ => Ok(Done::Finished),
        });
        for key in ["dead", "done"] {
            enqueue(&db, scope(1), key, wall()).await;
        }
        runner.tick(wall()).await.unwrap();
        assert_eq!(work::forget_finished(&db, 4, wall()).await.unwrap(), 0, "{on}: not before");
        let later = wall() + TimeDelta::microseconds(1);
        assert_eq!(work::forget_finished(&db, 4, later).await.unwrap(), 1, "{on}");
        assert_eq!(work::backlog(&db, 4).await.unwrap(), Backlog { open: 0, dead: 1 }, "{on}");
    }
}

#[tokio::test]
async fn the_loop_runs_what_it_is_woken_for_and_ends_with_the_drain() {
    let db = TestDb::postgres(migrations).await;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut runner = Runner::new(store(&db), Options::new(vec![4]), Uuid::from_u128(9 << 64));
    runner.handle(KIND, move |item| {
        let sender = sender.clone();
        async move {
            sender.send(item.key)?;
            Ok(Done::Finished)
        }
    });
    let waker = runner.waker();
    let drain = Drain::new();
    let (clock, stop) = (Clock::manual(wall()), drain.clone());
    let running = tokio::spawn(async move { runner.run(&clock, &stop).await });
    for key in ["a", "b"] {
        enqueue(&db, scope(1), key, wall()).await;
        waker.notify_one();
        assert_eq!(receiver.recv().await.as_deref(), Some(key));
    }
    drain.begin();
    running.await.unwrap();
    assert_eq!(work::backlog(&db, 4).await.unwrap(), Backlog { open: 0, dead: 0 });
}
