//! The end of an environment, on both databases: what goes, what stays, and when.

use chrono::{DateTime, Months, TimeDelta, Utc};
use data_plane::environments::{Converged, Converger, Wanted, mark_reported_in_tx, observed_since};
use ledger::system::{open_holds, verify_chain, verify_totals};
use platform::{
    ctx::Clock,
    db::Backend,
    keys::{KeyError, LoadError},
    testing::label,
};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};
use tenants::{
    contract::{EnvironmentIntent, EnvironmentObserved},
    environment::{Desired, Phase, Status},
};

use crate::{
    cell::{Cell, SHARDS, environment, scope},
    convergence::{holds, intent, phased},
};

/// Longer than a request may take, and other replicas take to hear.
pub const SETTLED: TimeDelta = TimeDelta::seconds(40);
/// What somebody has said, and nobody is to know any more.
const WORDS: &str = "For Ana García";

impl Cell {
    /// Makes an environment with a party, accounts, a transfer, a hold and a payment that is not carried out yet.
    async fn lively(&self, number: u128) -> [Value; 2] {
        Box::pin(self.lives(number)).await
    }

    async fn lives(&self, number: u128) -> [Value; 2] {
        self.converges(&intent(number), 1).await;
        let token = self.token_of(number).await;
        let post = async |path: &str, key: &str, body: Value| {
            let key = format!("for-ana-garcia-{key}");
            self.post(path, &body).token(&token).key(&key).send().await
        };
        let person =
            json!({"type": "natural", "given_names": "Ana", "family_names": "García", "email": "a@b.mx"});
        let party = post("/v1/parties", "party", person).await.ok(201)["id"].clone();
        let account = json!({"party_id": party, "metadata": {"who": "Ana"}});
        let ana = post("/v1/accounts", "ana", account.clone()).await.ok(201);
        let beto = post("/v1/accounts", "beto", account).await.ok(201);
        let cash = json!({"name": "Cash", "class": "asset", "may_overdraw": true});
        let cash = post("/v1/internal-accounts", "cash", cash).await.ok(201);
        let deposit = json!({"type": "deposit", "debit_account_id": cash["id"], "credit_account_id": ana["id"],
            "amount": {"amount": 900, "currency": "MXN"}, "reference": WORDS});
        post("/v1/transfers", "deposit", deposit).await.ok(201);
        let between = json!({"debit_account_id": ana["id"], "credit_account_id": beto["id"],
            "amount": {"amount": 50, "currency": "MXN"}, "reference": WORDS});
        post("/v1/holds", "hold", between.clone()).await.ok(201);
        let mut refused = between.clone();
        refused["amount"]["amount"] = json!(1_000_000);
        refused["type"] = json!("transfer");
        assert!(!post("/v1/transfers", "refused", refused).await.status.is_success());
        let preview = post("/v1/payment-previews", "preview", between).await.ok(201);
        post("/v1/payments", "payment", json!({"preview_id": preview["id"]})).await.ok(202);
        [party, ana]
    }

    /// Looks again and again at this instant, until nothing more is to be done at it.
    pub async fn at(&self, now: DateTime<Utc>, number: u128) -> EnvironmentObserved {
        let converger = Converger { clock: Clock::manual(now), ..self.app.converger.clone() };
        let mut waits = 0;
        for _ in 0..100 {
            match Box::pin(converger.converge(environment(number))).await.unwrap() {
                Converged::More => {}
                // What was under way, and what is released, has ended.
                Converged::Wait if self.app.work.tick(self.app.clock.now()).await.unwrap().taken > 0 => {}
                // The holds are released by now.
                Converged::Wait if waits < 3 => waits += 1,
                Converged::Wait | Converged::Settled => break,
            }
        }
        self.seen(environment(number)).await
    }

    /// Wants its end; the instant at which nothing is let in any more.
    pub async fn ends(&self, number: u128) -> DateTime<Utc> {
        self.ends_as(&phased(number, Desired::Removed), number).await
    }

    /// [`Cell::ends`], with an intent that says for how long what is left is kept.
    pub async fn ends_as(&self, wanted: &EnvironmentIntent, number: u128) -> DateTime<Utc> {
        self.want(wanted, 2).await;
        let now = self.app.clock.now();
        self.at(now, number).await;
        now + SETTLED
    }

    /// Its id as the database writes it.
    fn id_of(&self, number: u128) -> String {
        match self.app.db.backend() {
            Backend::Sqlite => format!("x'{}'", environment(number).uuid().simple()),
            Backend::Postgres => format!("'{}'", environment(number).uuid()),
        }
    }

    /// The rows of an environment, by table.
    async fn rows_of(&self, number: u128) -> Vec<(String, i64)> {
        let (root, id) = (self.root().await, self.id_of(number));
        let tables = match self.app.db.backend() {
            Backend::Sqlite => {
                "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' \
                 AND c.name IN ('environment_id', 'scope_id') AND m.name NOT IN ('work', 'oauth_client')"
            }
            Backend::Postgres => {
                "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE \
                 table_schema = 'public' AND column_name IN ('environment_id', 'scope_id') \
                 AND table_name NOT IN ('work', 'oauth_client')"
            }
        };
        let backend = root.get_database_backend();
        let mut found = Vec::new();
        for row in root.query_all_raw(Statement::from_string(backend, tables)).await.unwrap() {
            let [table, column] = [0, 1].map(|at| row.try_get_by_index::<String>(at).unwrap());
            let sql = format!("SELECT count(*) AS many FROM {table} WHERE {column} = {id}");
            let row = root.query_one_raw(Statement::from_string(backend, sql)).await.unwrap().unwrap();
            let many: i64 = row.try_get_by("many").unwrap();
            if many > 0 {
                found.push((table, many));
            }
        }
        found.sort();
        found
    }

    /// All texts of an environment's transfers.
    async fn words_of(&self, number: u128) -> String {
        let root = self.root().await;
        let cast = match root.get_database_backend() {
            DbBackend::Sqlite => "hex(environment_id)",
            _ => "upper(replace(environment_id::text, '-', ''))",
        };
        let sql = format!(
            "SELECT coalesce(reference, '') || coalesce(idempotency_key, '') || request_id AS words \
             FROM ledger_transfer WHERE {cast} = '{}'",
            environment(number).uuid().simple().to_string().to_uppercase()
        );
        let rows =
            root.query_all_raw(Statement::from_string(root.get_database_backend(), sql)).await.unwrap();
        rows.iter().map(|row| row.try_get_by::<String, _>("words").unwrap()).collect::<Vec<_>>().join("|")
    }

    async fn books_stand(&self) {
        for shard in 0..SHARDS {
            verify_chain(&self.app.db, shard).await.unwrap();
            verify_totals(&self.app.db, shard).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_sandbox_ends_with_its_words_and_its_key_and_leaves_the_others_books_whole() {
    for cell in Cell::both().await {
        let on = label(cell.app.db.backend());
        let [party, _] = cell.lively(11).await;
        let [_, account] = cell.lively(10).await;
        let later = cell.ends(10).await;
        let seen = cell.seen(environment(10)).await;
        assert_eq!(
            (seen.phase, cell.rows_of(10).await.is_empty()),
            (Phase::Removing, false),
            "{on}: requests may run"
        );
        assert_eq!(holds(&seen, "Drained"), Some((Status::False, "RequestsMayRun".to_owned())), "{on}");

        let seen = cell.at(later, 10).await;
        assert_eq!((seen.phase, seen.hold_until), (Phase::Removed, None), "{on}: {:?}", seen.conditions);
        let left: Vec<String> = cell.rows_of(10).await.into_iter().map(|(table, _)| table).collect();
        assert_eq!(left, ["ledger_account", "ledger_hold", "ledger_transfer"], "{on}");
        let words = cell.words_of(10).await;
        assert!(words.split('|').all(|one| one.starts_with('#') && one.len() == 65), "{on}: {words}");
        assert!(cell.words_of(11).await.contains(WORDS), "{on}: the others' stay");
        assert!(open_holds(&cell.app.db, scope(10)).await.unwrap().is_empty(), "{on}");
        let gone = cell.app.keys.of(scope(10)).await;
        assert!(matches!(gone, Err(LoadError::Key(KeyError::Absent))), "{on}");
        cell.books_stand().await;

        // The account that had 900, of which 50 were held and 50 paid.
        let tx = cell.app.db.begin(scope(10)).await.unwrap();
        let id = account["id"].as_str().unwrap().parse().unwrap();
        let account = ledger::books::account(&tx, scope(10), id).await.unwrap().unwrap();
        drop(tx);
        assert_eq!(account.balance().unwrap(), 850, "{on}: the payment under way came to its end");
        assert_eq!(account.debits_held, 0, "{on}: and the hold was released");

        let path = format!("/v1/parties/{}", party.as_str().unwrap());
        let other = cell.get(&path).token(&cell.token_of(11).await).send().await.ok(200);
        assert_eq!(other["given_names"], "Ana", "{on}");
    }
}

#[tokio::test]
async fn what_the_law_wants_kept_is_kept_until_then_whatever_the_clock_says_meanwhile() {
    for cell in Cell::both().await {
        let on = label(cell.app.db.backend());
        cell.lively(10).await;
        let later = cell.ends(10).await;
        let until = later + TimeDelta::days(3650);
        let kept = EnvironmentIntent { hold_until: Some(until), ..phased(10, Desired::Removed) };
        cell.want(&kept, 3).await;
        let seen = cell.at(later, 10).await;
        assert_eq!(
            (seen.phase, seen.hold_until),
            (Phase::Removing, Some(until)),
            "{on}: {:?}",
            seen.conditions
        );
        assert_eq!(holds(&seen, "Held"), Some((Status::True, "Retention".to_owned())), "{on}");
        let rows = cell.rows_of(10).await;
        assert!(rows.iter().any(|(table, _)| table == "party"), "{on}: {rows:?}");

        // Nobody shortens it: not who wants it sooner, and not who may write rows.
        cell.want(&phased(10, Desired::Removed), 4).await;
        let sooner = EnvironmentIntent { hold_until: Some(later), ..phased(10, Desired::Removed) };
        cell.want(&sooner, 5).await;
        assert_eq!(cell.at(later + TimeDelta::days(1), 10).await.hold_until, Some(until), "{on}");
        if cell.app.db.backend() == Backend::Postgres {
            for sql in ["DELETE FROM environment_hold", "UPDATE environment_hold SET hold_until = now()"] {
                for role in [cell.app.db.worker(), cell.app.db.app(), cell.app.db.ledger()] {
                    let refused = role.execute_unprepared(sql).await.unwrap_err().to_string();
                    assert!(refused.contains("permission denied"), "{sql}: {refused}");
                }
            }
        }

        // A clock that jumps ahead and is put right within a day has ended nothing.
        let seen = cell.at(until + TimeDelta::days(9), 10).await;
        assert_eq!(holds(&seen, "Held"), Some((Status::False, "Over".to_owned())), "{on}");
        assert_eq!(cell.at(later + TimeDelta::days(2), 10).await.phase, Phase::Removing, "{on}");
        assert_eq!(cell.rows_of(10).await, rows, "{on}: nothing is gone");
        let seen = cell.at(until, 10).await;
        assert_eq!((seen.phase, holds(&seen, "Held").unwrap().0), (Phase::Removing, Status::False), "{on}");
        assert_eq!(cell.at(until + TimeDelta::hours(23), 10).await.phase, Phase::Removing, "{on}");
        assert_eq!(cell.at(until + TimeDelta::hours(24), 10).await.phase, Phase::Removed, "{on}");
        cell.books_stand().await;
    }
}

#[tokio::test]
async fn what_others_book_prolongs_no_hold_and_a_clock_that_was_behind_shortens_none() {
    for cell in Cell::both().await {
        let on = label(cell.app.db.backend());
        let booked = cell.app.clock.now();
        cell.lively(10).await;
        // As one whose books the law wants kept.
        let live = format!("UPDATE environment SET mode = 'live' WHERE id = {}", cell.id_of(10));
        assert_eq!(cell.root().await.execute_unprepared(&live).await.unwrap().rows_affected(), 1);

        // It is closed by a clock that is a month behind.
        let past = booked - TimeDelta::days(30);
        cell.want(&phased(10, Desired::Removed), 2).await;
        cell.at(past, 10).await;
        let seen = cell.at(past + SETTLED, 10).await;
        let until = seen.hold_until.unwrap_or_else(|| panic!("{on}: {:?}", seen.conditions));
        let profile = tenants::profile::profile(&intent(10).jurisdiction).unwrap();
        let least = booked.checked_add_months(Months::new(12 * profile.retention.years)).unwrap();
        assert!(until >= least, "{on}: {until} is before {least}");

        cell.lively(11).await;
        assert_eq!(cell.at(past + TimeDelta::days(1), 10).await.hold_until, Some(until), "{on}");
    }
}

#[tokio::test]
async fn who_asks_again_for_a_removal_that_is_done_is_told_again() {
    for cell in Cell::both().await {
        let on = label(cell.app.db.backend());
        cell.lively(10).await;
        let later = cell.ends(10).await;
        assert_eq!(cell.at(later, 10).await.phase, Phase::Removed, "{on}");
        let unreported = async || observed_since(&cell.app.db, 0, 10).await.unwrap();
        let told: Vec<_> = unreported().await.iter().map(|(version, seen)| (seen.id, *version)).collect();
        let tx = cell.app.db.begin_system().await.unwrap();
        mark_reported_in_tx(&tx, &told).await.unwrap();
        tx.commit().await.unwrap();
        assert!(unreported().await.is_empty(), "{on}");

        // The control plane has died between two steps, and does not know.
        assert_eq!(cell.want(&phased(10, Desired::Removed), 2).await, Wanted::Known, "{on}");
        let again = unreported().await;
        assert_eq!(again.len(), 1, "{on}");
        let (_, seen) = &again[0];
        assert_eq!((seen.id, seen.phase, seen.generation), (environment(10), Phase::Removed, 2), "{on}");
        let stored = cell.seen(environment(10)).await.intent.unwrap();
        assert_eq!(stored.tenant_name, "", "{on}: its names stay gone");
    }
}

#[tokio::test]
async fn the_end_may_break_off_anywhere_and_two_may_bring_it_about() {
    for cell in Cell::both().await {
        for number in 100..112 {
            cell.lively(number).await;
            let later = cell.ends(number).await;
            let clock = Clock::manual(later);
            let converger = || Converger { clock: clock.clone(), ..cell.app.converger.clone() };
            for polls in 1..25 {
                let one = converger();
                let mut run = Box::pin(one.converge(environment(number)));
                for _ in 0..polls * (number - 99) {
                    if futures::poll!(&mut run).is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            let (one, other) = (cell.at(later, number), cell.at(later, number));
            tokio::join!(one, other);
            let seen = cell.at(later, number).await;
            assert_eq!(seen.phase, Phase::Removed, "{number}: {:?}", seen.conditions);
            assert_eq!(cell.rows_of(number).await.len(), 3, "{number}");
        }
        cell.books_stand().await;
    }
}

#[tokio::test]
async fn what_was_never_ready_goes_at_once_and_another_environments_token_opens_nothing() {
    for cell in Cell::both().await {
        // Removed before it was made.
        cell.want(&intent(10), 1).await;
        let _first = cell.app.converger.converge(environment(10)).await.unwrap();
        cell.want(&phased(10, Desired::Removed), 2).await;
        assert_eq!(cell.at(cell.app.clock.now(), 10).await.phase, Phase::Removed);
        assert_eq!(cell.rows_of(10).await, []);

        // While it is being removed, nobody gets in, with its own token or another's.
        let [party, _] = cell.lively(11).await;
        cell.converges(&intent(12), 1).await;
        cell.ends(11).await;
        assert_eq!(cell.refusal_of(11).await.as_deref(), Some("unauthenticated"));
        let path = format!("/v1/parties/{}", party.as_str().unwrap());
        cell.get(&path).token(&cell.token_of(12).await).send().await.is_problem("not_found", "another's");
    }
}

#[tokio::test]
async fn what_comes_back_is_exported_anew_and_what_was_cleared_does_not_come_back() {
    for cell in Cell::both().await {
        let on = label(cell.app.db.backend());
        cell.lively(10).await;
        let kept = EnvironmentIntent {
            hold_until: Some(cell.app.clock.now() + TimeDelta::days(3650)),
            ..phased(10, Desired::Removed)
        };
        let later = cell.ends_as(&kept, 10).await;
        let first = cell.at(later, 10).await.exports;
        assert_eq!(first.len(), 1, "{on}");

        // A control plane of an older backup wants it back.
        let seen = cell.converges(&intent(10), 3).await;
        assert_eq!((seen.phase, seen.exports.len(), seen.hold_until), (Phase::Ready, 0, None), "{on}");
        let person = json!({"type": "natural", "given_names": "Luz", "family_names": "Ruiz"});
        let token = cell.token_of(10).await;
        cell.post("/v1/parties", &person).token(&token).key("luz").send().await.ok(201);
        cell.want(&kept, 4).await;
        let now = cell.app.clock.now();
        cell.at(now, 10).await;
        let second = cell.at(now + SETTLED, 10).await.exports;
        assert_eq!((second.len(), second[0].id != first[0].id), (1, true), "{on}");
        let parties =
            cell.store.bytes(&format!("{}/export/{}/parties-000001.jsonl", environment(10), second[0].id));
        assert!(String::from_utf8(parties.unwrap()).unwrap().contains("Luz"), "{on}");

        cell.lively(11).await;
        let later = cell.ends(11).await;
        assert_eq!(cell.at(later, 11).await.phase, Phase::Removed, "{on}");
        let seen = cell.converges(&intent(11), 3).await;
        assert_eq!(seen.phase, Phase::Failed, "{on}: {:?}", seen.conditions);
        assert_eq!(cell.refusal_of(11).await.as_deref(), Some("unauthenticated"), "{on}");
    }
}
