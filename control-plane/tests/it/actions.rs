//! Actions as they are tried before they are taken, and by whom they may be taken.

use axum::http::Method;
use platform::testing::http::Answer;
use serde_json::{Value, json};

use crate::{
    convergence::{client, ready},
    environments::Site,
    plane::{Plane, id},
    provisioning::{follow, read, settle},
    tenants::{tenant, why},
};

/// An action on what is at `path`; those on tenants say why.
async fn act(plane: &Plane, path: &str, action: &str, seen: &str, key: &str) -> Answer {
    let call = plane.request(Method::POST, &format!("{path}/{action}")).token(&plane.token).key(key);
    let call = call.header("if-match", seen);
    if path.starts_with("/v1/tenants/") { call.json(&why("a_test")).send().await } else { call.send().await }
}

fn change(plan: &Value, pointer: &str) -> (Value, Value) {
    let changes = plan["changes"].as_array().unwrap();
    let found = changes.iter().find(|one| one["pointer"] == pointer);
    let found = found.unwrap_or_else(|| panic!("{pointer} stays: {plan}"));
    (found["before"].clone(), found["after"].clone())
}

#[tokio::test]
async fn a_removal_that_is_tried_says_what_would_be_and_leaves_everything_as_it_is() {
    for plane in Plane::both().await {
        let (site, cell, environment) = ready(&plane).await;
        settle(&plane).await;
        let path = format!("/v1/environments/{environment}");
        let all = async || {
            let mut seen = Vec::new();
            let operations = format!("/v1/operations?subject_id={environment}");
            for path in [path.clone(), format!("/v1/tenants/{}", site.tenant), operations] {
                seen.push(read(&plane, &path).await);
            }
            (seen, cell.document(&plane).await, cell.placed(&plane).await)
        };
        let before = all().await;
        let etag = format!("\"{}\"", before.0[0]["version"]);
        let plan = act(&plane, &path, "removals?dry_run=true", &etag, "removal").await.ok(200);
        assert_eq!(change(&plan, "/desired"), (json!("present"), json!("removed")));
        assert_eq!(change(&plan, "/generation"), (json!(1), json!(2)));
        let told = plan["changes"].as_array().unwrap().iter().map(|one| one["pointer"].as_str().unwrap());
        assert_eq!(told.collect::<Vec<_>>(), ["/desired", "/generation"]);
        assert_eq!(
            plane.app.work.tick(plane.app.clock.now()).await.unwrap().taken,
            0,
            "nothing is to be done"
        );
        assert_eq!(all().await, before);
        // It would be refused for what the removal would be refused for.
        for action in ["removals?dry_run=true", "removals"] {
            act(&plane, &path, action, "\"99\"", "stale").await.is_problem("version_mismatch", action);
        }
        act(&plane, &path, "removals?dry_run=maybe", "*", "x")
            .await
            .is_problem("invalid_parameter", "neither");
        // Neither has used up its key.
        let begun = act(&plane, &path, "removals", &etag, "removal").await;
        assert_eq!((begun.header("idempotency-replayed"), &begun.ok(202)["generation"]), (None, &json!(2)));
        act(&plane, &path, "removals?dry_run=true", "*", "late")
            .await
            .is_problem("operation_running", "by name");
        follow(&plane, &cell).await;
        assert_eq!(read(&plane, &path).await["state"], "removed");
        act(&plane, &path, "removals?dry_run=true", "*", "gone")
            .await
            .is_problem("environment_state", "it is gone");
    }
}

/// Tries an action, and takes it: what it is to change is so then and not before, and only for who has seen the latest.
async fn tried(plane: &Plane, path: &str, action: &str, pointer: &str, to: Value) {
    let name = format!("{path}/{action}");
    let get = async || plane.get(path).token(&plane.token).send().await;
    let before = get().await;
    let seen = before.header("etag").unwrap();
    let trial = format!("{action}?dry_run=true");
    for action in [&trial, action] {
        act(plane, path, action, "\"99\"", &name).await.is_problem("version_mismatch", &name);
    }
    let plan = act(plane, path, &trial, seen, &name).await.ok(200);
    assert_eq!(change(&plan, pointer).1, to, "{name}");
    let after = get().await;
    assert_eq!((after.json(), after.header("etag")), (before.json(), Some(seen)), "{name} was only tried");
    let done = act(plane, path, action, seen, &name).await;
    assert!(done.status == 200 || done.status == 202, "{name}: {}", done.text());
    assert_eq!(done.header("idempotency-replayed"), None, "{name}");
    assert_eq!(get().await.json().pointer(pointer), Some(&to), "{name}");
}

#[tokio::test]
async fn every_action_is_tried_before_it_is_taken() {
    for plane in Plane::both().await {
        let site = Site::named(&plane, "cafetero").await;
        for (name, steps) in [
            (
                "first",
                [("verifications", "verifying"), ("approvals", "approved"), ("offboardings", "offboarding")]
                    .as_slice(),
            ),
            ("second", [("verifications", "verifying"), ("rejections", "rejected")].as_slice()),
        ] {
            let path = format!("/v1/tenants/{}", tenant(&plane, &site.token, name).await);
            for (action, state) in steps {
                tried(&plane, &path, action, "/state", json!(state)).await;
            }
        }
        let (site, cell, environment) = ready(&plane).await;
        let path = format!("/v1/tenants/{}", site.tenant);
        for (action, state) in
            [("restrictions", "restricted"), ("suspensions", "suspended"), ("resumptions", "restricted")]
        {
            tried(&plane, &path, action, "/state", json!(state)).await;
            follow(&plane, &cell).await;
        }
        act(&plane, &path, "resumptions", "*", "end").await.ok(200);
        let client = id(&client(&plane, &environment, "en", "own").await.ok(201));
        tried(&plane, &format!("/v1/clients/{client}"), "revocations", "/revoked", json!(true)).await;
        let path = format!("/v1/environments/{environment}");
        for (action, desired) in
            [("suspensions", "suspended"), ("resumptions", "present"), ("removals", "removed")]
        {
            tried(&plane, &path, action, "/desired", json!(desired)).await;
            follow(&plane, &cell).await;
        }
    }
}
