//! What convergence does where there is little to do, or nobody to do it, with a cell that the test plays.

use axum::http::Method;
use chrono::TimeDelta;
use platform::testing::http::Answer;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use tenants::{
    contract::Body,
    environment::{Desired, Phase},
};

use crate::{
    environments::{Site, declare, environments},
    plane::{Plane, id},
    provisioning::{Played, ask, follow, operation, read, settle, settle_after, tenant_state},
    tenants::step,
};

/// A site with a sandbox that is ready in a cell.
pub async fn ready(plane: &Plane) -> (Site, Played, String) {
    let site = Site::of(plane).await;
    let cell = Played::of(plane, "mx-1", 3).await;
    declare(plane, &site, "", "mx-1", "declare").await.ok(202);
    assert_eq!(follow(plane, &cell).await, Desired::Present);
    let environment = id(&environments(plane, &site).await[0]);
    (site, cell, environment)
}

#[tokio::test]
async fn an_operation_that_has_nothing_to_do_succeeds() {
    for plane in Plane::both().await {
        let (site, cell, environment) = ready(&plane).await;
        let path = format!("/v1/environments/{environment}");
        for (what, wanted) in [("suspensions", Desired::Suspended), ("resumptions", Desired::Present)] {
            let before = plane.get(&path).token(&site.token).send().await;
            let seen = before.header("etag").unwrap().to_owned();
            let before = before.ok(200);
            let patch = plane.request(Method::PATCH, &path).token(&site.token).key(what);
            let same = json!({"profile_version": before["profile_version"]});
            let begun = patch.header("if-match", &seen).json(&same).send().await.ok(202);
            assert_eq!(
                (&begun["kind"], &begun["generation"]),
                (&json!("environment_update"), &before["generation"])
            );
            settle(&plane).await;
            let done = operation(&plane, &begun).await;
            assert_eq!(
                (&done["state"], &done["cancellable"]),
                (&json!("succeeded"), &json!(false)),
                "{done}"
            );
            assert_eq!(read(&plane, &path).await, before, "nothing was changed");
            // Nothing is in the way of what comes next.
            let begun = ask(&plane, &environment, what).await;
            assert_eq!(follow(&plane, &cell).await, wanted);
            assert_eq!(operation(&plane, &begun).await["state"], "succeeded", "{what}");
        }
    }
}

/// Makes a client of an environment, which raises its generation.
pub async fn client(plane: &Plane, environment: &str, language: &str, key: &str) -> Answer {
    let path = format!("/v1/environments/{environment}/clients");
    let body = json!({"name": "core", "method": "secret", "scopes": ["accounts:read"]});
    let call = plane.post(&path, &body).token(&plane.token).key(key);
    call.header("accept-language", language).send().await
}

#[tokio::test]
async fn what_its_cell_has_lost_is_made_anew_by_no_change_and_goes_on_when_it_is_found() {
    for plane in Plane::both().await {
        let (site, cell, environment) = ready(&plane).await;
        let before = cell.document(&plane).await;
        cell.report_nothing(&plane).await;
        client(&plane, &environment, "en", "late").await.ok(201);
        settle(&plane).await;
        for (what, had) in [("suspensions", "generation 1"), ("removals", "generation 3")] {
            assert!(cell.documents(&plane).await.is_empty(), "nothing is told of it, not even what was");
            let begun = ask(&plane, &environment, what).await;
            settle(&plane).await;
            let [shown] = &environments(&plane, &site).await[..] else { panic!() };
            let conditions = shown["conditions"].as_array().unwrap();
            let reported = conditions.iter().find(|one| one["type"] == "Reported").unwrap();
            assert_eq!((&reported["status"], &reported["reason"]), (&json!("false"), &json!("Missing")));
            assert!(reported["detail"].as_str().unwrap().contains(had), "{reported}");
            if what == "removals" {
                assert_eq!(follow(&plane, &cell).await, Desired::Removed);
                assert_eq!(operation(&plane, &begun).await["state"], "succeeded");
                assert_eq!(cell.placed(&plane).await, 0);
                break;
            }
            let ended = operation(&plane, &begun).await;
            assert_eq!(
                (&ended["state"], &ended["reason"]["code"]),
                (&json!("failed"), &json!("environment_missing"))
            );
            // It is restored in its cell, as it was: what was wanted meanwhile is brought about.
            cell.report(&plane, &before, Phase::Ready, vec![]).await;
            assert_eq!(follow(&plane, &cell).await, Desired::Suspended);
            let [shown] = &environments(&plane, &site).await[..] else { panic!() };
            assert_eq!((&shown["state"], &shown["observed_generation"]), (&json!("suspended"), &json!(3)));
            assert!(shown["conditions"].to_string().contains("\"Found\""), "{shown}");
            cell.report_nothing(&plane).await;
        }
    }
}

#[tokio::test]
async fn a_restricted_tenant_keeps_what_it_has_and_gets_nothing_new() {
    for plane in Plane::both().await {
        let (site, cell, environment) = ready(&plane).await;
        let first = id(&client(&plane, &environment, "en", "first").await.ok(201));
        assert_eq!(step(&plane, &site.tenant, "restrictions").await["state"], "restricted");
        for (language, words) in [
            ("en", "no new clients"),
            ("es-MX", "ni clientes nuevos"),
            ("es-CO", "ni clientes nuevos"),
            ("pt-BR", "nem clientes novos"),
        ] {
            let refused = client(&plane, &environment, language, "late").await;
            let problem = refused.is_problem("tenant_restricted", language);
            assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
        }
        for query in ["", "?dry_run=true"] {
            let refused = declare(&plane, &site, query, "mx-1", "late").await;
            refused.is_problem("tenant_restricted", "a new environment");
        }
        // Everything that it has goes on.
        let rotate = plane.request(Method::POST, &format!("/v1/clients/{first}/rotations"));
        let rotate = rotate.token(&site.token).key("rotate").header("if-match", "\"1\"");
        rotate.json(&json!({})).send().await.ok(200);
        assert_eq!(follow(&plane, &cell).await, Desired::Present);
        for (what, wanted) in [("suspensions", Desired::Suspended), ("resumptions", Desired::Present)] {
            let begun = ask(&plane, &environment, what).await;
            assert_eq!(follow(&plane, &cell).await, wanted);
            assert_eq!(operation(&plane, &begun).await["state"], "succeeded", "{what}");
        }
        step(&plane, &site.tenant, "resumptions").await;
        client(&plane, &environment, "en", "late").await.ok(201);
    }
}

#[tokio::test]
async fn the_cells_of_a_renamed_tenant_are_told_its_name() {
    for plane in Plane::both().await {
        let (site, cell, _) = ready(&plane).await;
        let path = format!("/v1/tenants/{}", site.tenant);
        let patch = async |query: &str, key: &str, change: Value| {
            let call = plane.request(Method::PATCH, &format!("{path}{query}")).token(&site.token).key(key);
            call.header("if-match", "*").json(&change).send().await.ok(200);
            settle(&plane).await;
            let document = cell.document(&plane).await;
            let Body::Environment(intent) = document.body else { panic!() };
            (document.generation, intent.tenant_name)
        };
        let (old, new) = ("Tianguis".to_owned(), "Tianguis Digital".to_owned());
        let name = json!({"name": new});
        assert_eq!(patch("?dry_run=true", "plan", name.clone()).await, (1, old.clone()));
        assert_eq!(patch("", "licence", json!({"licence": "BANCO"})).await, (1, old), "no cell is told that");
        assert_eq!(patch("", "name", name.clone()).await, (2, new.clone()));
        assert_eq!(follow(&plane, &cell).await, Desired::Present);
        assert_eq!(environments(&plane, &site).await[0]["observed_generation"], 2);
        assert_eq!(patch("", "again", name).await, (2, new), "a change that changes nothing");
        // One that is going is told nothing.
        step(&plane, &site.tenant, "offboardings").await;
        settle(&plane).await;
        assert_eq!(patch("", "late", json!({"name": "Late"})).await.0, 3);
    }
}

#[tokio::test]
async fn a_tenant_that_leaves_while_its_environment_is_made_leaves_nothing() {
    for plane in Plane::both().await {
        for placed in [false, true] {
            let name = if placed { "mx-placed" } else { "mx-waits" };
            let site = Site::named(&plane, name).await;
            let cell = if placed { Some(Played::of(&plane, name, 1).await) } else { None };
            let begun = declare(&plane, &site, "", "mx-1", name).await.ok(202);
            settle(&plane).await;
            if let Some(cell) = &cell {
                let document = cell.document(&plane).await;
                cell.report(&plane, &document, Phase::Converging, vec![]).await;
                assert_eq!(cell.placed(&plane).await, 1);
            }
            assert_eq!(operation(&plane, &begun).await["state"], "running");
            step(&plane, &site.tenant, "offboardings").await;
            settle(&plane).await;
            if let Some(cell) = &cell {
                assert_eq!(tenant_state(&plane, &site).await, "offboarding");
                assert_eq!(follow(&plane, cell).await, Desired::Removed);
                assert_eq!(cell.placed(&plane).await, 0);
            }
            let path = format!("/v1/tenants/{}/moves", site.tenant);
            let moves = read(&plane, &path).await;
            let moves: Vec<&str> =
                moves["data"].as_array().unwrap().iter().map(|one| one["to"].as_str().unwrap()).collect();
            let expected = ["verifying", "approved", "provisioning", "offboarding", "archived", "erased"];
            assert_eq!(moves, expected);
            assert_eq!(operation(&plane, &begun).await["state"], "cancelled");
            let [environment] = &environments(&plane, &site).await[..] else { panic!() };
            assert_eq!(
                (&environment["state"], &environment["cell_id"]),
                (&json!("removed"), &Value::Null),
                "{environment}"
            );
            let path = format!("/v1/operations?subject_id={}", id(environment));
            let operations = read(&plane, &path).await["data"].as_array().unwrap().clone();
            let kinds: Vec<_> = operations.iter().map(|one| (&one["kind"], &one["state"])).collect();
            let removal = (&json!("environment_remove"), &json!("succeeded"));
            assert_eq!(kinds, [(&json!("environment_provision"), &json!("cancelled")), removal]);
        }
        settle_after(&plane, TimeDelta::minutes(1)).await;
        let root = plane.root().await;
        for table in ["link_document", "link_observed", "placement", "work WHERE state <> 'done'"] {
            let left = Statement::from_string(root.get_database_backend(), format!("SELECT 1 FROM {table}"));
            assert!(root.query_all_raw(left).await.unwrap().is_empty(), "{table}");
        }
    }
}

#[tokio::test]
async fn a_tenant_says_which_of_its_environments_are_not_ready_and_what_all_have_come_to() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let shown = async || {
            let tenant = read(&plane, &format!("/v1/tenants/{}", site.tenant)).await;
            let conditions = tenant["conditions"].as_array().unwrap();
            let ready = conditions.iter().find(|one| one["type"] == "EnvironmentsReady");
            let ready = ready.map(|one| (one["status"] == "true", one["detail"].clone()));
            (tenant["generation"] == tenant["observed_generation"], ready)
        };
        settle(&plane).await;
        assert_eq!(shown().await, (true, Some((false, Value::Null))), "it has none");
        let cell = Played::of(&plane, "mx-1", 3).await;
        declare(&plane, &site, "", "mx-1", "first").await.ok(202);
        settle(&plane).await;
        let environment = id(&environments(&plane, &site).await[0]);
        let is = |state: &str| Some((false, json!(format!("{environment} is {state}"))));
        assert_eq!(shown().await, (false, is("provisioning")));
        follow(&plane, &cell).await;
        assert_eq!(shown().await, (true, Some((true, Value::Null))));
        for (what, state, ready) in [
            ("suspensions", "suspended", is("suspended")),
            ("resumptions", "ready", Some((true, Value::Null))),
        ] {
            step(&plane, &site.tenant, what).await;
            settle(&plane).await;
            assert!(!shown().await.0, "{what}: its cell is to bring it about");
            follow(&plane, &cell).await;
            assert_eq!(shown().await, (true, ready), "{state}");
        }
        // Nothing is written where nothing is new.
        let before = read(&plane, &format!("/v1/tenants/{}", site.tenant)).await;
        client(&plane, &environment, "en", "own").await.ok(201);
        follow(&plane, &cell).await;
        assert_eq!(read(&plane, &format!("/v1/tenants/{}", site.tenant)).await, before);
        cell.report_nothing(&plane).await;
        assert_eq!(shown().await, (true, is("missing")));
        step(&plane, &site.tenant, "offboardings").await;
        settle(&plane).await;
        assert_eq!(shown().await, (false, is("removing")));
        follow(&plane, &cell).await;
        assert_eq!(shown().await, (true, Some((false, Value::Null))));
    }
}
