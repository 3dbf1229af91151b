//! Environments as they are declared, and operations as they are watched. Nothing converges here.

use axum::http::Method;
use platform::ctx::{Actor, Ctx, EnvironmentClock, Scope};
use serde_json::{Value, json};

use control_plane::operations::{self, Reason, State, StepState};
use tenants::{environment::Mode, id::OrganizationId};

use crate::{
    plane::{Plane, id},
    tenants::{organization, step, tenant},
};

/// An organization with an approved tenant, and regions in three countries.
pub struct Site {
    pub organization: String,
    pub token: String,
    pub tenant: String,
}

impl Site {
    pub async fn of(plane: &Plane) -> Self {
        Self::named(plane, "tianguis").await
    }

    pub async fn named(plane: &Plane, name: &str) -> Self {
        let (organization, token) = organization(plane, name).await;
        let tenant = tenant(plane, &token, name).await;
        for state in ["verifications", "approvals"] {
            step(plane, &tenant, state).await;
        }
        for (code, country) in [("mx-1", "MX"), ("us-1", "US"), ("de-1", "DE")] {
            let call = plane.request(Method::PUT, &format!("/v1/regions/{code}")).token(&plane.token);
            call.json(&json!({"country": country, "name": code})).send().await.ok(200);
        }
        Self { organization, token, tenant }
    }

    /// A context in the organization, as convergence has one.
    fn ctx(&self, plane: &Plane) -> Ctx {
        let organization: OrganizationId = self.organization.parse().unwrap();
        Ctx {
            scope: Scope::new(0, organization.uuid()),
            mode: Mode::Sandbox,
            actor: Actor::System("test"),
            request_id: "test".into(),
            clock: EnvironmentClock::new(plane.app.clock.clone(), chrono::TimeDelta::zero()),
        }
    }
}

pub async fn declare(
    plane: &Plane,
    site: &Site,
    query: &str,
    region: &str,
    key: &str,
) -> platform::testing::http::Answer {
    let path = format!("/v1/tenants/{}/environments{query}", site.tenant);
    let body = json!({"mode": "sandbox", "region": region});
    plane.post(&path, &body).token(&site.token).key(key).send().await
}

pub async fn environments(plane: &Plane, site: &Site) -> Vec<Value> {
    let path = format!("/v1/environments?tenant_id={}", site.tenant);
    plane.get(&path).token(&site.token).send().await.ok(200)["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_environment_is_declared_once_and_an_operation_begins() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let plan = declare(&plane, &site, "?dry_run=true", "mx-1", "plan").await.ok(200);
        let region = json!({"pointer": "/region", "before": null, "after": "mx-1"});
        assert!(plan["changes"].as_array().unwrap().contains(&region), "{plan}");
        assert!(environments(&plane, &site).await.is_empty(), "a dry run declares nothing");
        let made = declare(&plane, &site, "", "mx-1", "first").await;
        let operation = made.ok(202);
        assert_eq!(
            (&operation["kind"], &operation["state"]),
            (&json!("environment_provision"), &json!("queued"))
        );
        let again = declare(&plane, &site, "", "mx-1", "first").await;
        assert_eq!((again.header("idempotency-replayed"), again.ok(202)), (Some("true"), operation.clone()));
        declare(&plane, &site, "", "mx-1", "second")
            .await
            .is_problem("environment_exists", "a second sandbox");
        declare(&plane, &site, "?dry_run=true", "mx-1", "p")
            .await
            .is_problem("environment_exists", "in a dry run");
        let [environment] = &environments(&plane, &site).await[..] else { panic!() };
        assert_eq!(json!(id(environment)), operation["subject_id"]);
        assert_eq!((&environment["state"], &environment["desired"]), (&json!("pending"), &json!("present")));
        assert_eq!(environment["profile_version"], "2026.11");
        let path = format!("/v1/tenants/{}/environments", site.tenant);
        let post =
            async |body: Value, key: &str| plane.post(&path, &body).token(&site.token).key(key).send().await;
        let nowhere = post(json!({"mode": "live"}), "nowhere").await.is_problem("invalid_field", "no region");
        assert_eq!(nowhere["errors"][0]["pointer"], "/region", "there is no default");
        let old = post(json!({"mode": "live", "region": "mx-1", "profile_version": "1999.01"}), "old").await;
        old.is_problem("profile_version_unknown", "a version that is none");
    }
}

#[tokio::test]
async fn only_a_sandboxs_clock_is_declared_ahead() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let path = format!("/v1/tenants/{}/environments", site.tenant);
        let post = async |query: &str, mode: &str, ahead: i64| {
            let body = json!({"mode": mode, "region": "mx-1", "clock_offset_ms": ahead});
            plane.post(&format!("{path}{query}"), &body).token(&site.token).key(mode).send().await
        };
        let live = post("", "live", 1).await.is_problem("clock_live", "a live clock");
        assert_eq!(live["errors"][0]["pointer"], "/clock_offset_ms");
        for ahead in [-1, 3_153_600_000_001] {
            post("", "sandbox", ahead).await.is_problem("out_of_bounds", "before now, or too far");
        }
        assert!(environments(&plane, &site).await.is_empty());
        let plan = post("?dry_run=true", "sandbox", 86_400_000).await.ok(200);
        let ahead = json!({"pointer": "/clock_offset_ms", "before": null, "after": 86_400_000});
        assert!(plan["changes"].as_array().unwrap().contains(&ahead), "{plan}");
        post("", "sandbox", 86_400_000).await.ok(202);
        post("", "live", 0).await.ok(202);
        let [sandbox, live] = &environments(&plane, &site).await[..] else { panic!() };
        assert_eq!((&sandbox["mode"], &sandbox["clock_offset_ms"]), (&json!("sandbox"), &json!(86_400_000)));
        assert_eq!((&live["mode"], &live["clock_offset_ms"]), (&json!("live"), &json!(0)));
    }
}

#[tokio::test]
async fn what_a_region_lacks_is_refused_in_three_languages_before_anything_is_made() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        declare(&plane, &site, "", "de-1", "de")
            .await
            .is_problem("residency_region_forbidden", "a country that is not listed");
        declare(&plane, &site, "", "xx-1", "xx").await.is_problem("region_unknown", "no region");
        let path = format!("/v1/tenants/{}/environments", site.tenant);
        let body = json!({"mode": "sandbox", "region": "us-1"});
        for (language, words) in
            [("en", "may lie in us-1"), ("es-MX", "pueden estar en us-1"), ("pt-BR", "podem ficar em us-1")]
        {
            let call =
                plane.post(&path, &body).token(&site.token).key("us").header("accept-language", language);
            let problem = call.send().await.is_problem("residency_condition_missing", language);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(words) && detail.contains("notice, regulator_access"), "{problem}");
            let codes: Vec<_> =
                problem["errors"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
            let expected = [
                "residency_notice_missing",
                "residency_regulator_access_missing",
                "residency_local_only_contract_missing",
            ];
            assert_eq!(codes, expected, "each condition by name");
        }
        assert!(environments(&plane, &site).await.is_empty());
        let operations = plane.get("/v1/operations").token(&site.token).send().await.ok(200);
        assert_eq!(operations["data"], json!([]));
        for condition in ["notice", "regulator_access", "local_only_contract"] {
            let record = json!({
                "condition": condition, "region": "us-1", "document_name": "Aviso", "document_sha256": "0f".repeat(32),
                "dated_on": "2026-01-01",
            });
            let call = plane.post(&format!("/v1/tenants/{}/residency-records", site.tenant), &record);
            call.token(&site.token).key(condition).send().await.ok(201);
        }
        // The same request, with the same key: what was refused has used up nothing.
        plane.post(&path, &body).token(&site.token).key("us").send().await.ok(202);
    }
}

#[tokio::test]
async fn while_an_operation_runs_only_a_removal_gets_past_it() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let draft = tenant(&plane, &site.token, "draft").await;
        let early = plane.post(
            &format!("/v1/tenants/{draft}/environments"),
            &json!({"mode": "sandbox", "region": "mx-1"}),
        );
        let problem =
            early.token(&site.token).key("early").send().await.is_problem("tenant_not_approved", "a draft");
        assert!(problem["detail"].as_str().unwrap().contains("draft"));
        let operation = declare(&plane, &site, "", "mx-1", "first").await.ok(202);
        let environment = operation["subject_id"].as_str().unwrap().to_owned();
        let ask = async |what: &str, key: &str| {
            let path = format!("/v1/environments/{environment}/{what}");
            plane.request(Method::POST, &path).token(&site.token).key(key).send().await
        };
        let refused = ask("suspensions", "s").await;
        let problem = refused.is_problem("operation_running", "while it is being made");
        assert!(problem["detail"].as_str().unwrap().contains(&id(&operation)), "{problem}");
        let removal = ask("removals", "r").await.ok(202);
        assert_eq!((&removal["kind"], &removal["generation"]), (&json!("environment_remove"), &json!(2)));
        let read = async |id: &str| {
            plane.get(&format!("/v1/operations/{id}")).token(&site.token).send().await.ok(200)
        };
        let ended = read(&id(&operation)).await;
        assert_eq!((&ended["state"], &ended["reason"]["code"]), (&json!("cancelled"), &json!("removed")));
        let twice = ask("removals", "again").await.is_problem("operation_running", "removed twice");
        assert!(twice["detail"].as_str().unwrap().contains(&id(&removal)));
        let cancel = plane.request(Method::POST, &format!("/v1/operations/{}/cancellations", id(&removal)));
        let cancel = cancel.token(&site.token).key("c").send().await;
        cancel.is_problem("operation_not_cancellable", "a removal");
        let shown = plane.get(&format!("/v1/environments/{environment}")).token(&site.token).send().await;
        assert_eq!((shown.header("etag"), &shown.ok(200)["desired"]), (Some("\"2\""), &json!("removed")));
        let patch =
            plane.request(Method::PATCH, &format!("/v1/environments/{environment}")).token(&site.token);
        let patch = patch.key("p").header("if-match", "\"1\"").json(&json!({"profile_version": "2026.11"}));
        patch.send().await.is_problem("version_mismatch", "a version of before");
    }
}

#[tokio::test]
async fn a_provisioning_is_cancelled_once_somebody_carries_it_out() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let operation = id(&declare(&plane, &site, "", "mx-1", "first").await.ok(202));
        let cancel = async |key: &str| {
            let path = format!("/v1/operations/{operation}/cancellations");
            plane.request(Method::POST, &path).token(&site.token).key(key).send().await
        };
        let asked = cancel("c").await.ok(202);
        assert!(asked["cancel_asked_at"].is_string() && asked["state"] == "queued", "{asked}");
        assert_eq!(cancel("d").await.ok(202)["cancel_asked_at"], asked["cancel_asked_at"], "asked twice");
    }
}

#[tokio::test]
async fn an_operation_tells_its_steps_and_its_end_to_whoever_comes_back() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let (ctx, operation) = (site.ctx(&plane), declare(&plane, &site, "", "mx-1", "first").await.ok(202));
        let of = id(&operation).parse().unwrap();
        assert_eq!(operation["progress"], json!({"done": 0, "of": 11}));
        let tx = plane.app.db.begin(ctx.scope).await.unwrap();
        let begun = operations::get_in_tx(&tx, &ctx, of).await.unwrap().unwrap();
        for (name, state, cancellable) in [
            ("place", StepState::Done, true),
            ("place", StepState::Done, true),
            ("publish", StepState::Running, true),
            ("verify", StepState::Done, false),
        ] {
            operations::step_in_tx(&tx, &ctx, &begun, name, state, None, cancellable).await.unwrap();
        }
        tx.commit().await.unwrap();
        let path = format!("/v1/operations/{}", id(&operation));
        let shown = plane.get(&path).token(&site.token).send().await.ok(200);
        let names: Vec<_> =
            shown["steps"].as_array().unwrap().iter().map(|step| step["name"].clone()).collect();
        assert_eq!(names, ["place", "publish", "verify"], "a step that is repeated is noted once");
        assert_eq!((&shown["state"], &shown["cancellable"]), (&json!("running"), &json!(false)));
        let late =
            plane.request(Method::POST, &format!("{path}/cancellations")).token(&site.token).key("late");
        late.send().await.is_problem("operation_not_cancellable", "past its point");
        let tx = plane.app.db.begin(ctx.scope).await.unwrap();
        let reason = Reason { code: "looked".to_owned(), detail: None };
        assert!(operations::end_in_tx(&tx, &ctx, of, State::Succeeded, Some(&reason)).await.unwrap());
        assert!(!operations::end_in_tx(&tx, &ctx, of, State::Failed, None).await.unwrap(), "it ends once");
        operations::step_in_tx(&tx, &ctx, &begun, "more", StepState::Done, None, false).await.unwrap();
        tx.commit().await.unwrap();
        let events = async |last: Option<&str>| {
            let call = plane.get(&format!("{path}/events")).token(&site.token);
            let call = if let Some(last) = last { call.header("last-event-id", last) } else { call };
            call.send().await
        };
        let all = events(None).await;
        assert_eq!(all.header("content-type"), Some("text/event-stream"));
        let ids = |text: &str| {
            text.lines().filter_map(|line| line.strip_prefix("id: ").map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(ids(&all.text()), ["1", "2", "3"], "{}", all.text());
        assert!(all.text().contains("event: state") && all.text().contains("\"succeeded\""));
        assert_eq!(ids(&events(Some("2")).await.text()), ["3"]);
        events(Some("two")).await.is_problem("invalid_parameter", "no number");
    }
}

#[tokio::test]
async fn environments_and_operations_of_others_are_not_there() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let (_, other) = organization(&plane, "cafetero").await;
        let operation = declare(&plane, &site, "", "mx-1", "first").await.ok(202);
        let (operation, environment) = (id(&operation), operation["subject_id"].as_str().unwrap().to_owned());
        for (path, code) in [
            (format!("/v1/environments/{environment}"), "environment_not_found"),
            (format!("/v1/operations/{operation}"), "operation_not_found"),
            (format!("/v1/operations/{operation}/events"), "operation_not_found"),
        ] {
            plane.get(&path).token(&other).send().await.is_problem(code, &path);
        }
        for (path, code) in [
            (format!("/v1/environments/{environment}/removals"), "environment_not_found"),
            (format!("/v1/operations/{operation}/cancellations"), "operation_not_found"),
        ] {
            plane.request(Method::POST, &path).token(&other).key(code).send().await.is_problem(code, &path);
        }
        for list in ["environments", "operations"] {
            let of = async |token: &str| {
                let page = plane.get(&format!("/v1/{list}")).token(token).send().await.ok(200);
                page["data"].as_array().unwrap().len()
            };
            assert_eq!(
                (of(&other).await, of(&site.token).await, of(&plane.token).await),
                (0, 1, 1),
                "{list}"
            );
        }
        let seen = plane.get(&format!("/v1/environments/{environment}")).token(&plane.token).send().await;
        assert_eq!(seen.ok(200)["organization_id"], json!(site.organization), "an operator sees it");
    }
}
