//! Every step of a payment fails and dies; whatever happens, it has one effect.

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    task::Poll,
};

use platform::{db::Backend, work::Tick};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;

use super::Two;
use crate::cell::Cell;

/// A statement of the database that fails as long as this is planted.
pub struct Planted<'a> {
    cell: &'a Cell,
    table: &'static str,
}

impl<'a> Planted<'a> {
    /// Makes `event` on `table` fail for rows of which the SQL `condition` holds.
    pub async fn new(cell: &'a Cell, table: &'static str, event: &str, condition: &str) -> Self {
        Self::with(cell, table, event, condition, "P0001").await
    }

    /// As [`new`](Self::new); on PostgreSQL it fails with this SQLSTATE.
    pub async fn with(
        cell: &'a Cell,
        table: &'static str,
        event: &str,
        condition: &str,
        state: &str,
    ) -> Self {
        let condition = format!("NEW.{condition}");
        let sql = match cell.app.db.backend() {
            Backend::Sqlite => format!(
                "CREATE TRIGGER planted BEFORE {event} ON {table} WHEN {condition} \
                 BEGIN SELECT RAISE(ABORT, 'planted'); END"
            ),
            Backend::Postgres => format!(
                "CREATE OR REPLACE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql \
                 AS $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '{state}'; END $$; \
                 CREATE TRIGGER planted BEFORE {event} ON {table} FOR EACH ROW WHEN ({condition}) \
                 EXECUTE FUNCTION planted()"
            ),
        };
        cell.root().await.execute_unprepared(&sql).await.unwrap();
        Self { cell, table }
    }

    pub async fn remove(self) {
        let on = match self.cell.app.db.backend() {
            Backend::Sqlite => String::new(),
            Backend::Postgres => format!(" ON {}", self.table),
        };
        let sql = format!("DROP TRIGGER planted{on}");
        self.cell.root().await.execute_unprepared(&sql).await.unwrap();
    }
}

/// Runs work until none is open, each time a minute later, so that leases of the dead are over. A tick that takes nothing
/// is not the end: the transaction of the dead may still hold the row until the database has noticed.
async fn to_the_end(cell: &Cell, minute: &mut i64) {
    let root = cell.root().await;
    let open = "SELECT id FROM work WHERE state = 'open'";
    for _ in 0..10_000 {
        *minute += 1;
        cell.work_at(*minute * 60).await;
        if root
            .query_one_raw(Statement::from_string(root.get_database_backend(), open))
            .await
            .unwrap()
            .is_none()
        {
            return;
        }
    }
    panic!("work is open for ever");
}

#[tokio::test]
async fn a_step_that_fails_is_done_later_once() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 1_000).await;
        let mut paid = 0;
        let mut minute = 0;
        // Where it fails, the status then, and what is set aside and has moved then.
        for (table, event, condition, status, held, moved) in [
            ("ledger_transfer", "INSERT", "kind = 4", "created", 0, 0),
            ("payment", "UPDATE", "status = 'authorised'", "created", 100, 0),
            ("ledger_transfer", "INSERT", "kind = 5", "authorised", 100, 0),
            ("payment", "UPDATE", "status = 'settled'", "authorised", 0, 100),
        ] {
            let case = format!("{event} {table} {condition}");
            let payment = two.pay(100).await;
            let planted = Planted::new(&cell, table, event, condition).await;
            minute += 1;
            assert_eq!(cell.work_at(minute * 60).await.taken, 1, "{case}");
            assert_eq!(cell.status(&payment).await, status, "{case}");
            let posted = 1_000 - paid - moved;
            assert_eq!(two.balances().await, [posted, held, posted - held, paid + moved, held], "{case}");
            planted.remove().await;
            to_the_end(&cell, &mut minute).await;
            paid += 100;
            assert_eq!(cell.status(&payment).await, "settled", "{case}");
            assert_eq!(two.balances().await, [1_000 - paid, 0, 1_000 - paid, paid, 0], "{case}");
        }
    }
}

/// However long the database is out, the payment waits and spends no attempt; a fault of another kind spends one.
#[tokio::test]
async fn an_outage_of_the_database_makes_no_dead_letter() {
    let [_, cell] = Cell::both().await;
    let two = Two::with(&cell, 1_000).await;
    let payment = two.pay(100).await;
    let mut minute = 0;
    // Too many connections; shutting down; a serialisation failure that outlasts the retries; a full disk.
    let status = ("payment", "UPDATE", "status = 'authorised'");
    let posting = ("ledger_transfer", "INSERT", "amount > 0");
    for ((table, event, condition), state, times) in [
        (posting, "53100", 15),
        (status, "53300", 30),
        (status, "57P01", 1),
        (status, "40001", 1),
        (status, "53100", 1),
    ] {
        let planted = Planted::with(&cell, table, event, condition, state).await;
        for _ in 0..times {
            minute += 1;
            let tick = cell.work_at(minute * 60).await;
            assert_eq!(tick, Tick { taken: 1, done: 1, ..Tick::default() }, "{state}");
            assert_eq!(cell.status(&payment).await, "created", "{state}");
        }
        planted.remove().await;
    }
    let planted = Planted::new(&cell, "payment", "UPDATE", "status = 'authorised'").await;
    minute += 1;
    assert_eq!(cell.work_at(minute * 60).await.failed, 1);
    planted.remove().await;
    to_the_end(&cell, &mut minute).await;
    assert_eq!(cell.status(&payment).await, "settled");
    assert_eq!(two.balances().await, [900, 0, 900, 100, 0]);
}

/// A commit whose work cannot be written writes nothing: neither payment, nor key, nor use of the preview.
#[tokio::test]
async fn a_commit_is_whole_or_not_at_all() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 100).await;
        let preview = two.preview(100).await;
        let body = json!({"preview_id": preview["id"]});
        let commit = || cell.post("/v1/payments", &body).token(&cell.token).key("once").send();
        for (table, event, condition) in [
            ("payment_preview", "UPDATE", "payment_id IS NOT NULL"),
            ("payment", "INSERT", "amount > 0"),
            ("work", "INSERT", "attempt = 0"),
        ] {
            let planted = Planted::new(&cell, table, event, condition).await;
            commit().await.is_problem("internal", table);
            planted.remove().await;
            assert_eq!(cell.read("/v1/payments").await["data"], json!([]), "{table}");
            assert_eq!(cell.work_at(0).await, Tick::default(), "{table}");
        }
        let first = commit().await;
        assert_eq!(first.header("idempotency-replayed"), None);
        first.ok(202);
        assert_eq!(cell.work_at(0).await.done, 1);
        assert_eq!(two.balances().await, [0, 0, 0, 100, 0]);
    }
}

/// `future` until it was polled `polls` times and is woken again; then it is dropped, as a process that dies drops it.
async fn die_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// The run dies at its first await, at its second, and so on until it survives; each time another one follows. How many
/// awaits there are depends on how quick the database is, so it starts again until it has died in every status.
#[tokio::test]
async fn a_run_may_die_at_every_await() {
    for cell in Cell::both().await {
        const MOST: i64 = 1_000;
        let two = Two::with(&cell, MOST).await;
        let mut minute = 0;
        let mut statuses = BTreeSet::new();
        let mut polls = 0;
        for paid in 1..=MOST {
            polls += 1;
            let payment = two.pay(1).await;
            minute += 1;
            let survived = die_after(polls, cell.work_at(minute * 60)).await.is_some();
            statuses.insert(cell.status(&payment).await);
            to_the_end(&cell, &mut minute).await;
            assert_eq!(cell.status(&payment).await, "settled", "died after {polls} polls");
            let left = MOST - paid;
            assert_eq!(two.balances().await, [left, 0, left, paid, 0], "died after {polls} polls");
            if survived {
                polls = 0;
                if statuses.len() == 3 {
                    break;
                }
            }
        }
        let seen: Vec<&str> = statuses.iter().map(String::as_str).collect();
        assert_eq!(seen, ["authorised", "created", "settled"], "it died in every status");
    }
}

/// The same item handled by two at once, because the first was taken for dead.
#[tokio::test]
async fn two_runs_at_once_have_one_effect() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 1_000).await;
        let mut paths = Vec::new();
        for _ in 0..8 {
            paths.push(two.pay(100).await);
        }
        let (one, other) = tokio::join!(cell.work_at(0), cell.work_at(60));
        assert!(one.taken + other.taken >= 8, "{one:?} {other:?}");
        to_the_end(&cell, &mut 2).await;
        for path in &paths {
            assert_eq!(cell.status(path).await, "settled");
        }
        assert_eq!(two.balances().await, [200, 0, 200, 800, 0]);
    }
}
