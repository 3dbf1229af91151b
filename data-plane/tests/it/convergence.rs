//! Environments that are wanted while the cell runs, on both databases.

use chrono::TimeDelta;
use data_plane::{
    app::App,
    environments::{
        Converged, Converger, Wanted, counts, mark_reported_in_tx, observed_all, observed_since, want_in_tx,
    },
    router::scopes,
};
use futures::future::join_all;
use platform::{clock::offset_in_tx, testing::oauth::TestClient};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tenants::{
    contract::{EnvironmentIntent, EnvironmentObserved, Method},
    environment::{Desired, Mode, Phase, Status},
    id::{EnvironmentId, OrganizationId, TenantId},
};
use uuid::Uuid;

use crate::{
    accounts::pesos,
    cell::{Cell, environment, scope},
};

pub fn intent(number: u128) -> EnvironmentIntent {
    EnvironmentIntent {
        id: environment(number),
        organization: OrganizationId::from_uuid(Uuid::from_u128(100)),
        tenant: TenantId::from_uuid(Uuid::from_u128(200)),
        tenant_name: "Caja Popular".to_owned(),
        mode: Mode::Sandbox,
        jurisdiction: "mx-cnbv".parse().unwrap(),
        profile_version: tenants::profile::profile(&"mx-cnbv".parse().unwrap()).unwrap().version.clone(),
        phase: Desired::Present,
        hold_until: None,
        clock_offset_ms: 0,
        clients: Vec::new(),
        operation: None,
    }
}

pub fn phased(number: u128, phase: Desired) -> EnvironmentIntent {
    EnvironmentIntent { phase, ..intent(number) }
}

impl Cell {
    pub async fn want(&self, intent: &EnvironmentIntent, generation: u64) -> Wanted {
        let App { db, environments, clock, .. } = &self.app;
        let tx = db.begin_system().await.unwrap();
        let wanted = want_in_tx(&tx, environments, intent, generation, clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        wanted
    }

    /// Carries out all work that is due.
    pub async fn works(&self) {
        while self.app.work.tick(self.app.clock.now()).await.unwrap().taken > 0 {}
    }

    pub async fn converges(&self, intent: &EnvironmentIntent, generation: u64) -> EnvironmentObserved {
        assert_eq!(self.want(intent, generation).await, Wanted::Stored);
        self.works().await;
        self.seen(intent.id).await
    }

    pub async fn seen(&self, id: EnvironmentId) -> EnvironmentObserved {
        let all = observed_all(&self.app.db, None, 100).await.unwrap();
        all.into_iter().map(|(_, seen)| seen).find(|seen| seen.id == id).unwrap()
    }

    pub async fn refusal_of(&self, number: u128) -> Option<String> {
        let answer = self.get("/v1/environment").token(&self.token_of(number).await).send().await;
        if answer.status == 200 { None } else { answer.code() }
    }
}

pub fn holds(seen: &EnvironmentObserved, name: &str) -> Option<(Status, String)> {
    let found = seen.conditions.iter().find(|one| one.r#type == name)?;
    Some((found.status, found.reason.clone()))
}

#[tokio::test]
async fn an_environment_that_is_wanted_becomes_ready_and_takes_transfers() {
    for cell in Cell::both().await {
        assert_eq!(cell.refusal_of(10).await.as_deref(), Some("unauthenticated"), "before");
        assert_eq!(cell.want(&intent(10), 3).await, Wanted::Stored);
        assert_eq!(cell.refusal_of(10).await.as_deref(), Some("unauthenticated"), "wanted, not made");
        assert_eq!(cell.seen(environment(10)).await.phase, Phase::Converging);
        cell.works().await;
        let seen = cell.seen(environment(10)).await;
        assert_eq!((seen.phase, seen.generation, seen.step.clone()), (Phase::Ready, 3, None));
        for name in ["SchemaCurrent", "LedgerPosts", "ProfileKnown", "KeysMade"] {
            assert_eq!(holds(&seen, name).map(|(status, _)| status), Some(Status::True), "{name}");
        }
        assert_eq!(seen.profile_version, intent(10).profile_version);
        assert!(!seen.schema.is_empty());
        assert_eq!(seen.intent.as_deref(), Some(&intent(10)));
        let token = cell.token_of(10).await;
        let own = async |name: &str, class: &str| -> Value {
            let body = json!({"name": name, "class": class, "may_overdraw": true});
            cell.post("/v1/internal-accounts", &body).token(&token).key(name).send().await.json()["id"]
                .clone()
        };
        let [cash, fees] = [own("Cash", "asset").await, own("Owed", "liability").await];
        let paid = json!({
            "type": "deposit", "debit_account_id": cash, "credit_account_id": fees, "amount": pesos(7),
        });
        let paid = cell.post("/v1/transfers", &paid).token(&token).key("paid").send().await;
        assert!(paid.status.is_success(), "{}", paid.text());
        let shard = cell.app.environments.get(environment(10).uuid()).unwrap().shard;
        ledger::system::verify_chain(&cell.app.db, shard).await.unwrap();
    }
}

#[tokio::test]
async fn the_same_again_changes_nothing_and_an_older_generation_is_not_stored() {
    for cell in Cell::both().await {
        let ready = cell.converges(&intent(10), 5).await;
        let before = *cell.app.environments.news().borrow();
        assert_eq!(cell.want(&intent(10), 5).await, Wanted::Known);
        let reworded = EnvironmentIntent { tenant_name: "Caja".to_owned(), ..intent(10) };
        assert_eq!(cell.want(&reworded, 5).await, Wanted::Known);
        let older = cell.want(&phased(10, Desired::Removed), 4).await;
        assert_eq!(older, Wanted::Behind { stored: 5 });
        cell.works().await;
        cell.app.environments.reload(&cell.app.db).await.unwrap();
        assert_eq!(*cell.app.environments.news().borrow(), before, "nothing that can be observed");
        let seen = cell.seen(environment(10)).await;
        assert_eq!(seen.intent.as_deref(), Some(&reworded), "the words are kept");
        assert_eq!(EnvironmentObserved { intent: ready.intent.clone(), ..seen }, ready);
    }
}

#[tokio::test]
async fn a_suspended_environment_says_so_and_a_resumed_one_serves_again() {
    for cell in Cell::both().await {
        cell.converges(&intent(10), 1).await;
        assert_eq!(cell.refusal_of(10).await, None);
        let seen = cell.converges(&phased(10, Desired::Suspended), 2).await;
        assert_eq!((seen.phase, seen.generation), (Phase::Suspended, 2));
        assert_eq!(cell.refusal_of(10).await.as_deref(), Some("environment_suspended"));
        assert_eq!(cell.refusal_of(1).await, None, "another one serves");
        assert_eq!(cell.want(&intent(10), 3).await, Wanted::Stored);
        assert_eq!(
            cell.refusal_of(10).await.as_deref(),
            Some("environment_suspended"),
            "not before it is verified"
        );
        cell.works().await;
        assert_eq!(cell.refusal_of(10).await, None);
    }
}

#[tokio::test]
async fn an_unknown_profile_fails_with_a_condition_and_the_old_one_goes_on_serving() {
    for cell in Cell::both().await {
        let unknown = |number| EnvironmentIntent { profile_version: "1999.1".to_owned(), ..intent(number) };
        let seen = cell.converges(&unknown(10), 1).await;
        assert_eq!(seen.phase, Phase::Failed);
        assert_eq!(holds(&seen, "ProfileKnown"), Some((Status::False, "ProfileUnknown".to_owned())));
        assert_eq!(cell.refusal_of(10).await.as_deref(), Some("unauthenticated"));
        cell.converges(&intent(11), 1).await;
        assert_eq!(cell.converges(&unknown(11), 2).await.phase, Phase::Failed);
        assert_eq!(cell.refusal_of(11).await, None, "it still has the version before");
        let healed = cell.converges(&intent(10), 2).await;
        assert_eq!(healed.phase, Phase::Ready);
        assert_eq!(holds(&healed, "ProfileKnown").map(|(status, _)| status), Some(Status::True));
    }
}

#[tokio::test]
async fn what_does_not_fit_into_the_cell_fails() {
    let cell = Cell::sqlite().await;
    let other = "br-bcb".parse().unwrap();
    let abroad = EnvironmentIntent { jurisdiction: other, ..intent(10) };
    let live = EnvironmentIntent { mode: Mode::Live, ..intent(11) };
    let of_config = intent(1);
    let newer = phased(12, Desired::Unknown);
    for (intent, reason) in [(abroad, "JurisdictionDiffers"), (live, "ModeDiffers"), (newer, "PhaseUnknown")]
    {
        let seen = cell.converges(&intent, 1).await;
        assert_eq!(seen.phase, Phase::Failed, "{reason}");
        assert_eq!(holds(&seen, "Fits"), Some((Status::False, reason.to_owned())));
    }
    assert_eq!(cell.want(&of_config, 1).await, Wanted::Stored);
    cell.works().await;
    assert_eq!(cell.refusal_of(1).await, None, "what the configuration names is not taken over");
    cell.converges(&intent(13), 1).await;
    let stolen = EnvironmentIntent { tenant: TenantId::from_uuid(Uuid::from_u128(9)), ..intent(13) };
    let seen = cell.converges(&stolen, 2).await;
    assert_eq!(holds(&seen, "Fits"), Some((Status::False, "TenantDiffers".to_owned())));
    assert_eq!(cell.converges(&intent(13), 3).await.phase, Phase::Ready);
}

#[tokio::test]
async fn a_sandboxs_clock_is_ahead_by_what_is_wanted_and_never_goes_back() {
    for cell in Cell::both().await {
        let day = TimeDelta::days(1);
        let ahead = |ms| EnvironmentIntent { clock_offset_ms: ms, ..intent(10) };
        cell.converges(&ahead(day.num_milliseconds()), 1).await;
        let scope = scope(10);
        let offset = async || {
            let tx = cell.app.db.begin_read(scope).await.unwrap();
            offset_in_tx(&*tx, scope).await.unwrap()
        };
        assert!(offset().await >= day);
        let before = offset().await;
        assert_eq!(cell.converges(&ahead(1), 2).await.phase, Phase::Ready);
        assert_eq!(offset().await, before);
    }
}

#[tokio::test]
async fn it_may_break_off_after_any_step_and_two_may_work_at_once() {
    for cell in Cell::both().await {
        let ahead = |number| EnvironmentIntent { clock_offset_ms: 1_000, ..intent(number) };
        let converger = &cell.app.converger;
        // Dropped after the n-th time it waits: in the middle of steps, statements and commits.
        for polls in 0..60 {
            let number = 1_000 + polls;
            cell.want(&ahead(number), 1).await;
            let mut run = Box::pin(converger.converge(environment(number)));
            for _ in 0..polls {
                if futures::poll!(&mut run).is_ready() {
                    run = Box::pin(converger.converge(environment(number)));
                }
                tokio::task::yield_now().await;
            }
            drop(run);
            let [one, other] = [converger.clone(), converger.clone()];
            let id = environment(number);
            let settle = async |converger: Converger| {
                while converger.converge(id).await.unwrap() != Converged::Settled {}
            };
            tokio::join!(settle(one), settle(other));
            assert_eq!(cell.seen(id).await.phase, Phase::Ready, "{polls}");
            assert_eq!(cell.refusal_of(number).await, None);
        }
    }
}

#[tokio::test]
async fn ten_at_once_are_ready_and_counted() {
    for cell in Cell::both().await {
        let intents: Vec<_> = (10..20).map(intent).collect();
        let stored = join_all(intents.iter().map(|one| cell.want(one, 1))).await;
        assert!(stored.iter().all(|one| *one == Wanted::Stored));
        // Another process looks at the same work.
        tokio::join!(cell.works(), cell.works());
        cell.works().await;
        let counted = counts(&cell.app.db, &cell.app.environments).await.unwrap();
        assert_eq!((counted.environments, counted.ready, counted.dead), (10, 10, 0));
        let digest = tenants::contract::digest_text((10..20).map(|one| (environment(one), 1, Phase::Ready)));
        assert_eq!(counted.digest, platform::hash::sha256(digest));
        for number in 10..20 {
            assert_eq!(cell.refusal_of(number).await, None, "{number}");
        }
    }
}

#[tokio::test]
async fn what_was_told_is_not_told_again_until_it_changes() {
    for cell in Cell::both().await {
        let db = &cell.app.db;
        cell.converges(&intent(10), 1).await;
        cell.converges(&intent(11), 1).await;
        let news = observed_since(db, 0, 10).await.unwrap();
        let ids: Vec<_> = news.iter().map(|(_, seen)| seen.id).collect();
        assert_eq!(ids, [environment(10), environment(11)], "in order, without what the configuration names");
        assert!(news.iter().all(|(_, seen)| seen.intent.is_none()));
        assert_eq!(observed_since(db, news[0].0, 10).await.unwrap(), news[1..]);
        assert_eq!(observed_since(db, 0, 1).await.unwrap(), news[..1]);
        let told: Vec<_> = news.iter().map(|(version, seen)| (seen.id, *version)).collect();
        // It changes while it is being told.
        let mut waiting = cell.app.environments.news();
        waiting.mark_unchanged();
        cell.converges(&phased(11, Desired::Suspended), 2).await;
        assert!(waiting.has_changed().unwrap(), "who tells is woken");
        let tx = db.begin_system().await.unwrap();
        mark_reported_in_tx(&tx, &told).await.unwrap();
        tx.commit().await.unwrap();
        let left = observed_since(db, 0, 10).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].1.id, left[0].1.phase), (environment(11), Phase::Suspended));
    }
}

#[tokio::test]
async fn its_clients_are_those_that_are_wanted_and_their_tokens_end_with_them() {
    for cell in Cell::both().await {
        let App { issuer, clock, .. } = &cell.app;
        let scope = scope(10);
        let [one, two] = [(); 2].map(|()| TestClient::new(clock, scope, Mode::Sandbox, &scopes()));
        let with = |clients: &[&TestClient]| EnvironmentIntent {
            clients: clients.iter().map(|client| client.registration.client.clone()).collect(),
            ..intent(10)
        };
        let answer = async |token: &str| {
            let answer = cell.get("/v1/environment").token(token).send().await;
            if answer.status == 200 { None } else { answer.code() }
        };
        let seen = cell.converges(&with(&[&one, &two]), 1).await;
        assert_eq!(seen.phase, Phase::Ready);
        for name in ["ClientsKnown", "TokensIssued"] {
            assert_eq!(holds(&seen, name).map(|(status, _)| status), Some(Status::True), "{name}");
        }
        assert_eq!(seen.clients.len(), 2);
        let [first, second] = [one.current(issuer).await, two.current(issuer).await];
        assert_eq!((answer(&first).await, answer(&second).await), (None, None));

        let mut ended = with(&[&one]);
        ended.clients[0].epoch = clock.now().timestamp() + 1;
        let seen = cell.converges(&ended, 2).await;
        assert_eq!(seen.clients.len(), 1);
        assert_eq!(answer(&first).await.as_deref(), Some("unauthenticated"), "tokens of before the epoch");
        assert_eq!(answer(&second).await.as_deref(), Some("unauthenticated"), "of a client that is gone");
        let again = one.token(issuer, None).await.unwrap().token;
        assert_eq!(answer(&again).await, None);

        let mut wrong = with(&[&one]);
        wrong.clients[0].keys.clear();
        let seen = cell.converges(&wrong, 3).await;
        assert_eq!((seen.phase, seen.clients.len()), (Phase::Failed, 0));
        assert_eq!(holds(&seen, "ClientsKnown"), Some((Status::False, "Refused".to_owned())));
        assert_eq!(answer(&again).await, None, "what was there goes on");

        let gone = EnvironmentIntent { phase: Desired::Removed, ..with(&[&one]) };
        assert_eq!(cell.converges(&gone, 4).await.phase, Phase::Removing, "requests may run");
        assert!(issuer.store().registration(one.id()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_revocation_reaches_an_environment_that_is_stuck() {
    for cell in Cell::both().await {
        let App { issuer, clock, .. } = &cell.app;
        let scope = scope(10);
        let [one, two, odd] = [(); 3].map(|()| TestClient::new(clock, scope, Mode::Sandbox, &scopes()));
        let with = |clients: &[&TestClient]| EnvironmentIntent {
            clients: clients.iter().map(|client| client.registration.client.clone()).collect(),
            ..intent(10)
        };
        assert_eq!(cell.converges(&with(&[&one, &two]), 1).await.phase, Phase::Ready);
        let (first, second) = (one.current(issuer).await, two.current(issuer).await);
        let comes_in =
            async |token: &str| cell.get("/v1/environment").token(token).send().await.status == 200;
        assert!(comes_in(&first).await && comes_in(&second).await);

        let newer = EnvironmentIntent { profile_version: "9999-1".to_owned(), ..with(&[&one]) };
        let seen = cell.converges(&newer, 2).await;
        assert_eq!((seen.phase, holds(&seen, "ProfileKnown").unwrap().0), (Phase::Failed, Status::False));
        assert!(comes_in(&first).await, "what was there goes on");
        assert!(!comes_in(&second).await, "but not who was revoked");

        let mut ended = EnvironmentIntent { profile_version: "9999-1".to_owned(), ..with(&[&one, &odd]) };
        ended.clients[0].epoch = clock.now().timestamp();
        ended.clients[0].keys = odd.registration.client.keys.clone();
        assert_eq!(cell.converges(&ended, 3).await.phase, Phase::Failed);
        assert!(!comes_in(&first).await, "its tokens were ended");
        let known = issuer.store().registration(one.id()).await.unwrap().unwrap().client;
        assert_eq!(known.keys, ended.clients[0].keys, "and its key is another");
        assert!(issuer.store().registration(odd.id()).await.unwrap().is_none(), "nobody new is let in");
        let mut revoked = ended.clone();
        revoked.clients[0].revoked = true;
        cell.converges(&revoked, 4).await;
        cell.converges(&ended, 5).await;
        let known = issuer.store().registration(one.id()).await.unwrap().unwrap().client;
        assert!(known.revoked, "nobody takes a revocation back");

        let mut unknown = with(&[&odd, &two]);
        unknown.clients[0].method = Method::Unknown;
        let seen = cell.converges(&unknown, 6).await;
        assert_eq!(holds(&seen, "ClientsKnown"), Some((Status::False, "Refused".to_owned())));
        let known = issuer.store().registration(one.id()).await.unwrap().unwrap().client;
        assert!(known.revoked, "nor is it forgotten when nobody speaks of it");
        assert!(issuer.store().registration(two.id()).await.unwrap().is_some(), "and the others are there");
    }
}

#[tokio::test]
async fn another_process_sees_a_new_environment_when_it_looks() {
    for cell in Cell::both().await {
        let other = cell.restarted().await;
        cell.converges(&intent(10), 1).await;
        assert_eq!(other.environments.get(environment(10).uuid()).map(|one| one.shard), None);
        other.environments.reload(&other.db).await.unwrap();
        assert_eq!(
            other.environments.get(environment(10).uuid()).map(|one| one.shard),
            Some(scope(10).shard)
        );
        let place = other.environments.places().get(environment(10)).unwrap();
        assert!(!place.suspended);
    }
}

#[tokio::test]
async fn requests_cannot_read_what_is_wanted() {
    let cell = Cell::postgres().await;
    cell.converges(&intent(10), 1).await;
    let app = cell.app.db.app();
    let read = async |column: &str| {
        app.query_one_raw(sea_orm::Statement::from_string(
            sea_orm::DbBackend::Postgres,
            format!("SELECT {column} FROM environment LIMIT 1"),
        ))
        .await
    };
    assert!(read("id, mode, jurisdiction, shard, access").await.unwrap().is_some());
    for column in ["intent", "organization_id", "tenant_id", "conditions", "*"] {
        let refused = read(column).await.unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{column}: {refused}");
    }
    for change in ["UPDATE environment SET access = 'open'", "DELETE FROM environment"] {
        let refused = app.execute_unprepared(change).await.unwrap_err().to_string();
        assert!(refused.contains("permission denied"), "{change}: {refused}");
    }
}

#[tokio::test]
async fn an_environment_that_has_lost_its_key_gets_no_other() {
    for cell in Cell::both().await {
        cell.converges(&intent(10), 1).await;
        let party = json!({"type": "natural", "given_names": "Ana", "family_names": "García"});
        let token = cell.token_of(10).await;
        cell.post("/v1/parties", &party).token(&token).key("p").send().await.ok(201);
        let gone = "DELETE FROM data_key WHERE made_at = (SELECT max(made_at) FROM data_key)";
        cell.root().await.execute_unprepared(gone).await.unwrap();
        let other = cell.restarted().await;
        let App { db, environments, clock, converger, .. } = &other;
        let tx = db.begin_system().await.unwrap();
        want_in_tx(&tx, environments, &intent(10), 2, clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        while converger.converge(environment(10)).await.unwrap() == Converged::More {}
        let seen = cell.seen(environment(10)).await;
        assert_eq!(seen.phase, Phase::Failed);
        assert_eq!(holds(&seen, "KeysMade"), Some((Status::False, "Lost".to_owned())));
    }
}
