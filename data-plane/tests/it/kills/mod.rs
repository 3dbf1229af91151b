//! Kills the cell and PostgreSQL under load with SIGKILL, and holds the books against what clients were told.
//!
//! Every client writes each final answer to one log and syncs it before it goes on; a request without a final answer is
//! sent again under its id until there is one. Afterwards the log, read from disk, must equal the ledger: every posted
//! transfer is there once, of the refused ones nothing is there, and nothing else is. The clients' histories must be
//! linearizable for each account (Wing and Gong's algorithm as extended by Lowe: `todc_utils::WGLChecker`).
//!
//! What it does not show: that a commit survives a power cut. SIGKILL leaves the operating system its buffers; that
//! PostgreSQL syncs them is its own promise, and the cluster here runs with `fsync` on.

mod history;
mod load;
pub mod site;

use std::collections::BTreeMap;

use ledger::system::verify_chain;
use platform::db::Db;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

use self::{load::Load, site::Site};

/// Whom to kill.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Cell,
    Postgres,
    Both,
}

/// Kills each victim this often while clients move money, then compares.
async fn survive(rounds: usize, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut site = Site::start().await;
    let load = Load::start(&site, seed).await;
    for round in 0..rounds {
        for victim in [Victim::Cell, Victim::Postgres, Victim::Both] {
            // The moment is a number of answers, so that every kill meets a cell at work.
            load.answered(random.random_range(40..160)).await;
            match victim {
                Victim::Cell => site.kill_cell(),
                Victim::Postgres => site.kill_postgres(),
                Victim::Both => {
                    site.kill_cell();
                    site.kill_postgres();
                }
            }
            eprintln!("round {round}: killed {victim:?}");
            site.restart();
        }
    }
    load.answered(100).await;
    let report = load.finish().await;

    let logged = load::read_log(&site.log());
    assert_eq!(logged.len(), report.finals, "the log on disk has every final answer once");
    let posted: BTreeMap<_, _> =
        logged.iter().filter(|line| line.posted).map(|line| (line.id.clone(), line.amount)).collect();
    let stored = site.transfers().await;
    let in_books: BTreeMap<_, _> = stored.iter().map(|(id, amount)| (id.clone(), *amount)).collect();
    assert_eq!(in_books.len(), stored.len(), "the ledger has an id once");
    assert_eq!(in_books, posted, "the ledger is what clients were told, no more and no less");

    let balanced = site.get("/v1/trial-balance").await;
    assert_eq!(balanced["balanced"], true, "{balanced}");
    let db = Db::connect(&site.database).await.unwrap();
    let chain = verify_chain(&db, 0).await.unwrap();
    assert_eq!(usize::try_from(chain.transfers).unwrap(), stored.len());
    db.close().await.unwrap();

    let checked = history::check(&report.spans);
    assert!(report.repeated > 0, "no kill met a request on its way");
    eprintln!(
        "{} final answers, {} posted; {} requests sent more than once, {} of them answered before the client knew; \
         {checked} operations linearizable",
        report.finals,
        posted.len(),
        report.repeated,
        report.replayed,
    );
}

/// Whatever is asked: 503, when to come back, and which problem it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_cell_without_its_database_says_so_and_goes_on_when_it_is_back() {
    let mut site = Site::start().await;
    let account = json!({"name": "vault", "class": "asset", "may_overdraw": true});
    let opening = ("/v1/internal-accounts", Some(&account));
    let opened = site.ask(opening.0, opening.1).await;
    assert_eq!(opened.status().as_u16(), 201);
    let opened: Value = opened.json().await.unwrap();
    assert_eq!(site.ask("/readyz", None).await.status().as_u16(), 200);

    site.kill_postgres();
    let away = async |(path, body): (&str, Option<&Value>)| {
        let answer = site.ask(path, body).await;
        let said = (answer.status().as_u16(), answer.headers().get("retry-after").cloned());
        assert_eq!(said, (503, Some("1".parse().unwrap())), "{path}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!((&problem["code"], &problem["retryable"]), (&json!("database_unavailable"), &json!(true)));
    };
    let unready = async || {
        let answer = site.ask("/readyz", None).await;
        assert_eq!(answer.status().as_u16(), 503);
        let report: Value = answer.json().await.unwrap();
        let checks = json!([{"name": "database", "ok": false}, {"name": "ledger", "ok": true}]);
        assert_eq!(report, json!({"ready": false, "stopping": false, "checks": checks}));
    };
    // Each waits for seconds for a connection; at once, as callers come.
    tokio::join!(away(opening), away(("/v1/transfers", None)), away(("/v1/trial-balance", None)), unready());
    assert_eq!(site.ask("/livez", None).await.status().as_u16(), 200);

    site.restart();
    let again = site.ask(opening.0, opening.1).await;
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap(), opened);
    assert_eq!(site.get("/readyz").await["ready"], true);
    assert_eq!(site.get("/v1/trial-balance").await["balanced"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kills_and_has_one_effect() {
    survive(1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long tier: ./test --full"]
async fn full_twenty_kills_of_each() {
    survive(10, 2).await;
}
