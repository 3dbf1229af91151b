//! Convergence, with a cell that the test plays: it reads what is published for it and reports what the test says.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::Method;
use chrono::{DateTime, TimeDelta, Utc};
use control_plane::{cells, links};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde_json::{Value, json};
use tenants::{
    contract::{Body, Document, EnvironmentObserved, Heartbeat, Observed, Poll},
    environment::{Condition, Desired, Phase, Status},
    id::{CellId, OrganizationId},
};
use uuid::Uuid;

use crate::{
    environments::{Site, declare, environments},
    plane::{Plane, id},
    tenants::{step, tenant},
};

#[tokio::test]
async fn a_tenant_sees_where_its_environment_is_and_how_old_the_view_of_it_is() {
    for plane in Plane::both_at("2027-01-15T08:00:00Z".parse().unwrap()).await {
        let site = Site::of(&plane).await;
        let cell = Played::of(&plane, "mx-1", 3).await;
        declare(&plane, &site, "", "mx-1", "first").await.ok(202);
        let seen = async || {
            let token = plane.token_of(site.organization.parse::<OrganizationId>().unwrap().uuid()).await;
            let path = format!("/v1/environments?tenant_id={}", site.tenant);
            let listed = plane.get(&path).token(&token).send().await.ok(200)["data"][0].clone();
            let path = format!("/v1/environments/{}", id(&listed));
            assert_eq!(plane.get(&path).token(&token).send().await.ok(200), listed);
            ["cell_url", "seen_at", "stale"].map(|field| listed[field].clone())
        };
        assert_eq!(seen().await, [json!(null), json!(null), json!(null)], "it has no place yet");
        settle(&plane).await;
        let document = cell.document(&plane).await;
        cell.report(&plane, &document, Phase::Ready, vec![]).await;
        let at = plane.app.clock.now();
        plane.app.clock.advance(cells::STALE_AFTER);
        assert_eq!(seen().await, [json!("https://cell.example"), json!(at), json!(false)]);
        plane.app.clock.advance(TimeDelta::milliseconds(1));
        assert_eq!(seen().await, [json!("https://cell.example"), json!(at), json!(true)]);
    }
}

/// A cell that is let in, and does nothing by itself.
pub struct Played {
    id: CellId,
    instance: Uuid,
    seq: AtomicU64,
}

impl Played {
    pub async fn of(plane: &Plane, name: &str, capacity: u32) -> Self {
        let body = json!({
            "name": name, "jurisdiction": "mx-cnbv", "region": "mx-1", "mode": "sandbox", "capacity": capacity,
        });
        let made = plane.post("/v1/cells", &body).token(&plane.token).key(name).send().await.ok(201);
        let played =
            Self { id: id(&made).parse().unwrap(), instance: Uuid::from_u128(77), seq: AtomicU64::new(0) };
        let root = plane.root().await;
        let backend = root.get_database_backend();
        let sql = "UPDATE cell SET state = 'ready', instance = $1, shards = 1, software = 'played', \
                   url = 'https://cell.example', contract_lowest = 1, contract_highest = 1 WHERE id = $2";
        let values = [played.instance.into(), played.id.uuid().into()];
        root.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await.unwrap();
        assert!(matches!(backend, DbBackend::Sqlite | DbBackend::Postgres));
        played
    }

    pub async fn document(&self, plane: &Plane) -> Document {
        self.documents(plane).await.pop().expect("something is published")
    }

    /// What is published for it of environments.
    pub async fn documents(&self, plane: &Plane) -> Vec<Document> {
        let (site, clock) = (&plane.app.links, &plane.app.clock);
        let poll = Poll { after: 0, lineage: site.lineage, wait_ms: 0 };
        let desired =
            links::desired(&plane.app.db, &site.waiters, &site.drain, site.lineage, self.id, &poll, || {
                clock.now()
            });
        let documents = desired.await.unwrap().documents;
        documents.into_iter().filter(|one| matches!(one.body, Body::Environment(_))).collect()
    }

    /// Reports that the environment of this document is in this phase, and lets the control plane look at it.
    pub async fn report(&self, plane: &Plane, document: &Document, phase: Phase, conditions: Vec<Condition>) {
        self.report_held(plane, document, (phase, None, None), conditions).await;
    }

    /// Reports that the cell has done this step on the way.
    async fn report_step(&self, plane: &Plane, document: &Document, step: &str) {
        self.report_held(plane, document, (Phase::Converging, Some(step), None), vec![]).await;
    }

    /// The same, of one that is kept until then.
    pub async fn report_held(
        &self,
        plane: &Plane,
        document: &Document,
        (phase, step, hold_until): (Phase, Option<&str>, Option<DateTime<Utc>>),
        conditions: Vec<Condition>,
    ) {
        let Body::Environment(intent) = &document.body else { panic!("{document:?}") };
        let observed = EnvironmentObserved {
            id: intent.id,
            organization: intent.organization,
            tenant: intent.tenant,
            generation: document.generation,
            phase,
            step: step.map(str::to_owned),
            conditions,
            profile_version: intent.profile_version.clone(),
            clients: Vec::new(),
            schema: "m0022_payments".to_owned(),
            exports: Vec::new(),
            hold_until,
            intent: None,
        };
        self.send(plane, vec![observed], document.revision).await;
    }

    /// Reports, in full, that it has nothing.
    pub async fn report_nothing(&self, plane: &Plane) {
        self.send(plane, vec![], 0).await;
    }

    async fn send(&self, plane: &Plane, environments: Vec<EnvironmentObserved>, cursor: u64) {
        let now = plane.app.clock.now();
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let report = Observed {
            seq,
            instance: self.instance,
            lineage: plane.app.links.lineage,
            cursor,
            sent_at: now,
            heartbeat: Heartbeat {
                software: "played".to_owned(),
                contract: 1,
                environments: 1,
                ready: 0,
                capacity: 1,
                backlog: 0,
                dead: 0,
                skew_ms: 0,
                certificate_not_after: now,
                digest: String::new(),
            },
            full: environments.is_empty(),
            environments,
            after: None,
        };
        let lineage = plane.app.links.lineage;
        let hash = format!("{seq:064x}");
        links::system::observed(&plane.app.db, lineage, self.id, &report, &hash, (1, [1, 1]), now)
            .await
            .unwrap();
        settle(plane).await;
    }

    pub async fn placed(&self, plane: &Plane) -> i32 {
        cells::get(&plane.app.db, self.id).await.unwrap().placed
    }
}

/// Carries out all work that is due `after` from now.
pub async fn settle_after(plane: &Plane, after: TimeDelta) {
    for _ in 0..100 {
        let wall = plane.app.clock.now() + after;
        if plane.app.work.tick(wall).await.unwrap().taken == 0 {
            return;
        }
    }
    panic!("the work does not come to rest");
}

pub async fn settle(plane: &Plane) {
    settle_after(plane, TimeDelta::zero()).await;
}

pub async fn read(plane: &Plane, path: &str) -> Value {
    plane.get(path).token(&plane.token).send().await.ok(200)
}

pub async fn operation(plane: &Plane, operation: &Value) -> Value {
    read(plane, &format!("/v1/operations/{}", id(operation))).await
}

pub async fn tenant_state(plane: &Plane, site: &Site) -> Value {
    read(plane, &format!("/v1/tenants/{}", site.tenant)).await["state"].clone()
}

pub async fn ask(plane: &Plane, environment: &str, what: &str) -> Value {
    let path = format!("/v1/environments/{environment}/{what}");
    plane.request(Method::POST, &path).token(&plane.token).key(what).send().await.ok(202)
}

#[tokio::test]
async fn a_sandboxs_clock_reaches_its_cell_and_moves_forward_only() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let cell = Played::of(&plane, "mx-1", 3).await;
        let body = json!({"mode": "sandbox", "region": "mx-1", "clock_offset_ms": 1_000});
        let path = format!("/v1/tenants/{}/environments", site.tenant);
        let begun = plane.post(&path, &body).token(&site.token).key("first").send().await.ok(202);
        settle(&plane).await;
        let ahead = async || {
            let document = cell.document(&plane).await;
            let Body::Environment(intent) = &document.body else { panic!() };
            let ahead = intent.clock_offset_ms;
            cell.report(&plane, &document, Phase::Ready, vec![]).await;
            (document.generation, ahead)
        };
        assert_eq!(ahead().await, (1, 1_000));
        let path = format!("/v1/environments/{}", begun["subject_id"].as_str().unwrap());
        let patch = async |query: &str, to: i64| {
            let call = plane.request(Method::PATCH, &format!("{path}{query}")).token(&site.token);
            let call = call.key(&format!("to-{to}")).header("if-match", "*");
            call.json(&json!({"clock_offset_ms": to})).send().await
        };
        let back = patch("", 999).await.is_problem("clock_backwards", "less than before");
        assert!(back["detail"].as_str().unwrap().replace(',', "").contains("1000"), "{back}");
        let plan = patch("?dry_run=true", 2_000).await.ok(200);
        let moved = json!({"pointer": "/clock_offset_ms", "before": 1_000, "after": 2_000});
        assert!(plan["changes"].as_array().unwrap().contains(&moved), "{plan}");
        assert_eq!(patch("", 2_000).await.ok(202)["kind"], "environment_update");
        settle(&plane).await;
        assert_eq!(ahead().await, (2, 2_000));
        let shown = read(&plane, &path).await;
        assert_eq!((&shown["state"], &shown["clock_offset_ms"]), (&json!("ready"), &json!(2_000)));
        assert_eq!(shown["profile_version"], "2026.11", "what is absent stays");
    }
}

#[tokio::test]
async fn a_declared_environment_becomes_ready_and_its_tenant_active() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let cell = Played::of(&plane, "mx-1", 3).await;
        let begun = declare(&plane, &site, "", "mx-1", "first").await.ok(202);
        settle(&plane).await;
        assert_eq!(tenant_state(&plane, &site).await, "provisioning");
        let [environment] = &environments(&plane, &site).await[..] else { panic!() };
        assert_eq!(
            (&environment["state"], &environment["cell_id"]),
            (&json!("provisioning"), &json!(cell.id))
        );
        let document = cell.document(&plane).await;
        let Body::Environment(intent) = &document.body else { panic!() };
        assert_eq!(
            (document.generation, intent.phase, &intent.tenant_name[..]),
            (1, Desired::Present, "Tianguis")
        );
        // A cell that begins again names a step of before, and one of another version a step that nobody here knows.
        for step in ["objects", "verify", "fit"] {
            cell.report_step(&plane, &document, step).await;
            assert_eq!(operation(&plane, &begun).await["state"], "running");
        }
        cell.report(&plane, &document, Phase::Ready, vec![]).await;
        let done = operation(&plane, &begun).await;
        assert_eq!(done["state"], "succeeded", "{done}");
        let steps: Vec<_> = done["steps"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert_eq!(steps, ["begin", "place", "publish", "objects", "verify", "fit"]);
        let of = |shown: &Value| {
            (shown["progress"]["done"].as_i64().unwrap(), shown["progress"]["of"].as_i64().unwrap())
        };
        let far: Vec<_> = done["steps"].as_array().unwrap().iter().map(of).collect();
        assert_eq!(far, [(1, 11), (2, 11), (3, 11), (9, 11), (10, 11), (10, 11)], "it never goes back");
        assert_eq!(of(&done), (11, 11));
        let [environment] = &environments(&plane, &site).await[..] else { panic!() };
        assert_eq!(
            (&environment["state"], &environment["observed_generation"]),
            (&json!("ready"), &json!(1))
        );
        assert_eq!(tenant_state(&plane, &site).await, "active");
        // Suspended, and resumed.
        for (what, wanted, phase, state) in [
            ("suspensions", Desired::Suspended, Phase::Suspended, "suspended"),
            ("resumptions", Desired::Present, Phase::Ready, "ready"),
        ] {
            let begun = ask(&plane, &id(environment), what).await;
            settle(&plane).await;
            let document = cell.document(&plane).await;
            let Body::Environment(intent) = &document.body else { panic!() };
            assert_eq!(intent.phase, wanted);
            cell.report(&plane, &document, phase, vec![]).await;
            assert_eq!(operation(&plane, &begun).await["state"], "succeeded", "{what}");
            assert_eq!(environments(&plane, &site).await[0]["state"], state);
        }
        // The tenant leaves: its environment goes, and nothing is left in the cell.
        step(&plane, &site.tenant, "offboardings").await;
        settle(&plane).await;
        let document = cell.document(&plane).await;
        let Body::Environment(intent) = &document.body else { panic!() };
        assert_eq!(intent.phase, Desired::Removed);
        assert_eq!(tenant_state(&plane, &site).await, "offboarding");
        cell.report(&plane, &document, Phase::Removed, vec![]).await;
        assert_eq!(environments(&plane, &site).await[0]["state"], "removed");
        assert_eq!(tenant_state(&plane, &site).await, "erased", "nothing was to be kept");
        assert_eq!(cell.placed(&plane).await, 0);
    }
}

#[tokio::test]
async fn an_environment_that_is_removed_or_cancelled_while_it_is_made_leaves_nothing() {
    for plane in Plane::both().await {
        for (end, ended) in [("removals", "succeeded"), ("cancellations", "cancelled")] {
            let name = format!("mx-{end}");
            let site = Site::named(&plane, &name).await;
            let cell = Played::of(&plane, &name, 1).await;
            let begun = declare(&plane, &site, "", "mx-1", end).await.ok(202);
            settle(&plane).await;
            let environment = begun["subject_id"].as_str().unwrap();
            let last = if end == "removals" {
                ask(&plane, environment, end).await
            } else {
                let path = format!("/v1/operations/{}/cancellations", id(&begun));
                plane.request(Method::POST, &path).token(&site.token).key(end).send().await.ok(202)
            };
            settle(&plane).await;
            assert_eq!(cell.placed(&plane).await, 1, "until the cell says that it is gone");
            let document = cell.document(&plane).await;
            cell.report(&plane, &document, Phase::Removed, vec![]).await;
            assert_eq!(operation(&plane, &last).await["state"], ended);
            assert_eq!(operation(&plane, &begun).await["state"], "cancelled", "{end}");
            assert_eq!(environments(&plane, &site).await[0]["state"], "removed");
            assert_eq!(cell.placed(&plane).await, 0);
            // The tenant may have another one.
            declare(&plane, &site, "", "mx-1", "another").await.ok(202);
            settle(&plane).await;
            assert_eq!(cell.placed(&plane).await, 1);
            let retire = plane.request(Method::POST, &format!("/v1/cells/{}/drains", cell.id));
            retire.token(&plane.token).key(end).send().await;
        }
    }
}

#[tokio::test]
async fn without_a_place_an_environment_waits_and_says_so() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let begun = declare(&plane, &site, "", "mx-1", "first").await.ok(202);
        settle(&plane).await;
        let conditions = environments(&plane, &site).await[0]["conditions"].clone();
        let placed =
            conditions.as_array().unwrap().iter().find(|one| one["type"] == "Placed").unwrap().clone();
        assert_eq!((&placed["status"], &placed["detail"]), (&json!("false"), &json!("no_cell")));
        let waits = operation(&plane, &begun).await;
        assert_eq!((&waits["state"], &waits["steps"][1]["state"]), (&json!("running"), &json!("failed")));
        let cell = Played::of(&plane, "mx-1", 1).await;
        settle_after(&plane, TimeDelta::seconds(31)).await;
        assert_eq!(environments(&plane, &site).await[0]["cell_id"], json!(cell.id));
        // And the next one finds it full.
        let next = Site::named(&plane, "cafetero").await;
        declare(&plane, &next, "", "mx-1", "next").await.ok(202);
        settle(&plane).await;
        let conditions = environments(&plane, &next).await[0]["conditions"].clone();
        assert!(conditions.to_string().contains("\"full\""), "{conditions}");
    }
}

#[tokio::test]
async fn twenty_at_once_do_not_get_more_than_there_is() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let cell = Played::of(&plane, "mx-1", 5).await;
        for number in 0..20 {
            let tenant = tenant(&plane, &site.token, &format!("t-{number}")).await;
            for state in ["verifications", "approvals"] {
                step(&plane, &tenant, state).await;
            }
            let path = format!("/v1/tenants/{tenant}/environments");
            let body = json!({"mode": "sandbox", "region": "mx-1"});
            plane.post(&path, &body).token(&site.token).key(&tenant).send().await.ok(202);
        }
        // One batch of work takes all of them, each concurrently with the others.
        settle(&plane).await;
        let listed = plane.get("/v1/environments?limit=200").token(&site.token).send().await.ok(200);
        let listed = listed["data"].as_array().unwrap().clone();
        let placed = listed.iter().filter(|one| !one["cell_id"].is_null()).count();
        assert_eq!((listed.len(), placed, cell.placed(&plane).await), (20, 5, 5));
    }
}

#[tokio::test]
async fn what_a_cell_cannot_do_ends_the_operation_with_its_reason() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let cell = Played::of(&plane, "mx-1", 1).await;
        let begun = declare(&plane, &site, "", "mx-1", "first").await.ok(202);
        settle(&plane).await;
        let document = cell.document(&plane).await;
        let condition = Condition {
            r#type: "ProfileKnown".to_owned(),
            status: Status::False,
            reason: "ProfileUnknown".to_owned(),
            detail: Some("2026.11 is not compiled in".to_owned()),
            since_at: plane.app.clock.now(),
        };
        cell.report(&plane, &document, Phase::Failed, vec![condition]).await;
        let failed = operation(&plane, &begun).await;
        assert_eq!(
            (&failed["state"], &failed["reason"]["code"]),
            (&json!("failed"), &json!("ProfileUnknown"))
        );
        let [environment] = &environments(&plane, &site).await[..] else { panic!() };
        assert!(environment["conditions"].to_string().contains("not compiled in"), "{environment}");
        // It mends itself, and the environment is ready after all.
        cell.report(&plane, &document, Phase::Ready, vec![]).await;
        assert_eq!(environments(&plane, &site).await[0]["state"], "ready");
    }
}

/// Reports what the newest document asks for; which phase that was.
pub async fn follow(plane: &Plane, cell: &Played) -> Desired {
    settle(plane).await;
    let document = cell.document(plane).await;
    let Body::Environment(intent) = &document.body else { panic!() };
    let phase = match intent.phase {
        Desired::Suspended => Phase::Suspended,
        Desired::Removed => Phase::Removed,
        _ => Phase::Ready,
    };
    let wanted = intent.phase;
    cell.report(plane, &document, phase, vec![]).await;
    wanted
}

/// A step that was taken before.
async fn again(plane: &Plane, tenant: &str, key: &str, step: &str) {
    let why = json!({"reason": {"code": "a_test"}});
    let call = plane.post(&format!("/v1/tenants/{tenant}/{step}"), &why).token(&plane.token);
    call.key(&format!("{key}-{step}")).send().await.ok(200);
}

#[tokio::test]
async fn environments_follow_their_tenant_and_only_those_that_answered_answer_again() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let cell = Played::of(&plane, "mx-1", 3).await;
        declare(&plane, &site, "", "mx-1", "first").await.ok(202);
        assert_eq!(follow(&plane, &cell).await, Desired::Present);
        let environment = id(&environments(&plane, &site).await[0]);
        let state = async || environments(&plane, &site).await[0]["state"].clone();

        // A dry run shows it, and does nothing.
        let path = format!("/v1/tenants/{}/suspensions?dry_run=true", site.tenant);
        let why = json!({"reason": {"code": "a_test"}});
        let plan = plane.post(&path, &why).token(&plane.token).key("plan").send().await.ok(200);
        assert!(plan["changes"].to_string().contains("suspended"), "{plan}");
        settle(&plane).await;
        assert_eq!((tenant_state(&plane, &site).await, state().await), (json!("active"), json!("ready")));

        step(&plane, &site.tenant, "suspensions").await;
        assert_eq!(follow(&plane, &cell).await, Desired::Suspended);
        assert_eq!(state().await, "suspended");
        let path = format!("/v1/environments/{environment}/resumptions");
        let refused = plane.request(Method::POST, &path).token(&site.token).key("alone").send().await;
        refused.is_problem("tenant_suspended", "an environment on its own");
        step(&plane, &site.tenant, "resumptions").await;
        assert_eq!(follow(&plane, &cell).await, Desired::Present);
        assert_eq!((tenant_state(&plane, &site).await, state().await), (json!("active"), json!("ready")));

        // One that was suspended before stays so.
        ask(&plane, &environment, "suspensions").await;
        assert_eq!(follow(&plane, &cell).await, Desired::Suspended);
        again(&plane, &site.tenant, "second", "suspensions").await;
        settle(&plane).await;
        again(&plane, &site.tenant, "second", "resumptions").await;
        settle(&plane).await;
        assert_eq!((tenant_state(&plane, &site).await, state().await), (json!("active"), json!("suspended")));

        // While an operation runs the tenant's suspension waits for it, and comes after it.
        plane.request(Method::POST, &path).token(&plane.token).key("again").send().await.ok(202);
        again(&plane, &site.tenant, "third", "suspensions").await;
        assert_eq!(follow(&plane, &cell).await, Desired::Present, "the resumption was under way");
        assert_eq!(follow(&plane, &cell).await, Desired::Suspended);
        assert_eq!(
            (tenant_state(&plane, &site).await, state().await),
            (json!("suspended"), json!("suspended"))
        );
    }
}

#[tokio::test]
async fn a_tenant_is_archived_while_its_environment_is_kept_and_erased_when_it_is_gone() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let cell = Played::of(&plane, "mx-1", 1).await;
        declare(&plane, &site, "", "mx-1", "first").await.ok(202);
        follow(&plane, &cell).await;
        step(&plane, &site.tenant, "offboardings").await;
        settle(&plane).await;
        let document = cell.document(&plane).await;
        cell.report(&plane, &document, Phase::Removing, vec![]).await;
        assert_eq!(tenant_state(&plane, &site).await, "offboarding");
        let until = plane.app.clock.now() + TimeDelta::days(3650);
        let held = Condition {
            r#type: "Held".to_owned(),
            status: Status::True,
            reason: "Retention".to_owned(),
            detail: Some(until.to_rfc3339()),
            since_at: plane.app.clock.now(),
        };
        cell.report_held(&plane, &document, (Phase::Removing, None, Some(until)), vec![held]).await;
        assert_eq!(tenant_state(&plane, &site).await, "archived");
        let [environment] = &environments(&plane, &site).await[..] else { panic!() };
        assert_eq!(environment["state"], "removing");
        assert!(environment["conditions"].to_string().contains("Retention"), "{environment}");
        let listed = read(&plane, &format!("/v1/operations?subject_id={}", id(environment))).await;
        let running =
            listed["data"].as_array().unwrap().iter().filter(|one| one["ended_at"].is_null()).count();
        assert_eq!(running, 0, "{listed}");
        // A way back there is none, nor a second one out.
        for step in ["suspensions", "resumptions", "offboardings"] {
            let path = format!("/v1/tenants/{}/{step}", site.tenant);
            let why = json!({"reason": {"code": "a_test"}});
            let refused =
                plane.post(&path, &why).token(&plane.token).key(&format!("late-{step}")).send().await;
            refused.is_problem("tenant_state", step);
        }
        cell.report(&plane, &document, Phase::Removed, vec![]).await;
        assert_eq!(tenant_state(&plane, &site).await, "erased");
        assert_eq!(cell.placed(&plane).await, 0);
    }
}
