//! What convergence does where there is little to do, or nobody to do it, with a cell that the test plays.

use axum::http::Method;
use serde_json::json;
use tenants::environment::Desired;

use crate::{
    environments::{Site, declare, environments},
    plane::{Plane, id},
    provisioning::{Played, ask, follow, operation, read, settle},
};

/// A site with a sandbox that is ready in a cell.
async fn ready(plane: &Plane) -> (Site, Played, String) {
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
