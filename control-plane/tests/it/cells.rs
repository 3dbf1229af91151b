//! Cells as operators see them, and who finds a place in one.

use axum::http::Method;
use chrono::TimeDelta;
use control_plane::{
    PLATFORM,
    cells::{self, Lack, NoPlace, Want},
};
use platform::db;
use serde_json::{Value, json};
use tenants::{
    environment::Mode,
    id::{CellId, EnvironmentId, OrganizationId, TenantId},
};
use uuid::Uuid;

use crate::{
    link::{Links, cell_body, declared, join_token, region},
    plane::Plane,
    tenants::organization,
};

#[tokio::test]
async fn a_cell_is_declared_once_and_changed_by_operators_alone() {
    for plane in Plane::both().await {
        let (_, own) = organization(&plane, "tianguis").await;
        let post = |key: &str, body: &Value| plane.post("/v1/cells", body).token(&plane.token).key(key);
        post("early", &cell_body("mx-1", 2)).send().await.is_problem("region_unknown", "no such region");
        region(&plane).await;
        let made = post("first", &cell_body("mx-1", 2)).send().await.ok(201);
        assert_eq!(
            (&made["state"], &made["stale"], &made["seen_at"]),
            (&json!("enrolling"), &json!(true), &json!(null))
        );
        let again = post("first", &cell_body("mx-1", 2)).send().await;
        assert_eq!(
            (again.ok(201)["id"].clone(), again.header("idempotency-replayed")),
            (made["id"].clone(), Some("true"))
        );
        post("second", &cell_body("mx-1", 2)).send().await.is_problem("cell_name_taken", "the same name");
        post("name", &cell_body("MX 1", 2)).send().await.is_problem("cell_name_unusable", "no name");
        post("none", &cell_body("mx-2", 0)).send().await.is_problem("out_of_bounds", "no capacity");
        let mut body = cell_body("mx-2", 2);
        body["jurisdiction"] = json!("xx-none");
        post("law", &body).send().await.is_problem("cell_jurisdiction_unknown", "no such profile");

        let path = format!("/v1/cells/{}", made["id"].as_str().unwrap());
        let patch = |query: &str, tag: &str, key: &str, body: Value| {
            let call = plane.request(Method::PATCH, &format!("{path}{query}")).token(&plane.token);
            call.key(key).header("if-match", tag).json(&body)
        };
        let plan = patch("?dry_run=true", "\"1\"", "dry", json!({"capacity": 5})).send().await.ok(200);
        assert_eq!(plan["changes"], json!([{"pointer": "/capacity", "before": 2, "after": 5}]));
        patch("", "\"9\"", "stale", json!({"capacity": 5}))
            .send()
            .await
            .is_problem("version_mismatch", "unseen");
        let changed = patch("", "\"1\"", "grow", json!({"capacity": 5})).send().await.ok(200);
        assert_eq!((&changed["capacity"], &changed["version"]), (&json!(5), &json!(2)));
        for path in ["/v1/cells", path.as_str()] {
            plane.get(path).token(&own).send().await.is_problem("operator_only", path);
        }
        let nobody = format!("/v1/cells/{}", CellId::from_uuid(Uuid::from_u128(99)));
        plane
            .get(&nobody)
            .token(&plane.token)
            .send()
            .await
            .is_problem("cell_not_found", "one that is not there");
        let found = plane.get("/v1/cells?name=mx-1").token(&plane.token).send().await.ok(200);
        assert_eq!(found["data"][0]["id"], made["id"]);
    }
}

#[tokio::test]
async fn a_cell_drains_resumes_and_retires_for_ever() {
    for plane in Plane::both().await {
        let cell = declared(&plane, "mx-1", 2).await;
        let step = async |step: &str, key: &str| {
            let call = plane.request(Method::POST, &format!("/v1/cells/{cell}/{step}")).token(&plane.token);
            call.key(key).send().await
        };
        step("drains", "early").await.is_problem("cell_state", "drained before it is ready");
        step("resumptions", "skip").await.is_problem("cell_state", "made ready by hand");
        let links = Links::of(&plane).await;
        links.enrolled(cell).await;
        assert_eq!(step("drains", "drain").await.ok(200)["state"], "draining");
        assert_eq!(step("resumptions", "resume").await.ok(200)["state"], "ready");
        step("retirements", "hasty").await.is_problem("cell_state", "retired while ready");
        place(&plane, 1).await.unwrap();
        step("drains", "again").await.ok(200);
        step("retirements", "full").await.is_problem("cell_in_use", "retired with an environment");
        let tx = plane.app.db.begin(PLATFORM).await.unwrap();
        cells::release_in_tx(&tx, EnvironmentId::from_uuid(Uuid::from_u128(1))).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(step("retirements", "last").await.ok(200)["state"], "retired");
        let call = plane.post(&format!("/v1/cells/{cell}/join-tokens"), &json!({})).token(&plane.token);
        call.key("late").send().await.is_problem("cell_state", "a token of a retired cell");
    }
}

#[tokio::test]
async fn a_join_token_is_shown_once_and_kept_as_a_hash() {
    for plane in Plane::both().await {
        let cell = declared(&plane, "mx-1", 2).await;
        let path = format!("/v1/cells/{cell}/join-tokens");
        let post = |key: &str, body: &Value| plane.post(&path, body).token(&plane.token).key(key);
        let first = post("one", &json!({})).send().await.ok(201);
        let again = post("one", &json!({})).send().await.ok(201);
        assert!(first["token"].as_str().unwrap().starts_with("tambo-join.v1."));
        assert_eq!((&again["token"], &again["id"]), (&json!(null), &first["id"]));
        for seconds in [59, 86_401] {
            let refused = post("bounds", &json!({"expires_in_s": seconds})).send().await;
            refused.is_problem("out_of_bounds", "too short or too long");
        }
    }
}

fn want(number: u128) -> Want {
    Want {
        environment: EnvironmentId::from_uuid(Uuid::from_u128(number)),
        organization: OrganizationId::from_uuid(Uuid::from_u128(900)),
        tenant: TenantId::from_uuid(Uuid::from_u128(901)),
        jurisdiction: "mx-cnbv".parse().unwrap(),
        region: "mx-central-1".parse().unwrap(),
        mode: Mode::Sandbox,
        attestations: Vec::new(),
    }
}

async fn place_as(plane: &Plane, want: &Want) -> Result<CellId, NoPlace> {
    let now = plane.app.clock.now();
    db::retry(|| async {
        let tx = plane.app.db.begin(PLATFORM).await?;
        let cell = cells::place_in_tx(&tx, want, now).await?;
        tx.commit().await?;
        Ok(cell)
    })
    .await
}

async fn place(plane: &Plane, number: u128) -> Result<CellId, NoPlace> {
    place_as(plane, &want(number)).await
}

fn lacks(placed: Result<CellId, NoPlace>) -> Lack {
    match placed {
        Err(NoPlace::Lack(lack)) => lack,
        other => panic!("a lack was expected: {other:?}"),
    }
}

#[tokio::test]
async fn a_lack_of_place_says_which() {
    for plane in Plane::both().await {
        assert_eq!(lacks(place(&plane, 1).await), Lack::NoCell);
        let cell = declared(&plane, "mx-1", 1).await;
        assert_eq!(lacks(place(&plane, 1).await), Lack::NoneReady);
        Links::of(&plane).await.enrolled(cell).await;
        let live = Want { mode: Mode::Live, ..want(1) };
        assert_eq!(lacks(place_as(&plane, &live).await), Lack::NoCell);

        let certified = Want { attestations: vec!["iso27001".to_owned()], ..want(1) };
        assert_eq!(lacks(place_as(&plane, &certified).await), Lack::Attestations);
        let now = plane.app.clock.now();
        let attest = async |from: i64, until: i64| {
            let path = format!("/v1/cells/{cell}/attestations/iso27001");
            let body = json!({
                "valid_from": now + TimeDelta::days(from), "valid_until": now + TimeDelta::days(until),
                "document_name": "ISO 27001", "document_sha256": "0".repeat(64),
            });
            plane.request(Method::PUT, &path).token(&plane.token).json(&body).send().await
        };
        attest(-9, -1).await.ok(200);
        assert_eq!(lacks(place_as(&plane, &certified).await), Lack::Attestations, "it has ended");
        attest(-1, -2).await.is_problem("text_unusable", "it ends before it begins");
        let list = async || {
            let path = format!("/v1/cells/{cell}/attestations");
            plane.get(&path).token(&plane.token).send().await.ok(200)["data"].clone()
        };
        let ended = list().await;
        assert_eq!(ended[0]["valid_until"], json!(now - TimeDelta::days(1)), "it is shown all the same");
        let put = attest(-1, 9).await.ok(200);
        assert_eq!(list().await, json!([put]), "the later one in its place");
        let nowhere = format!("/v1/cells/{}/attestations", CellId::from_uuid(Uuid::from_u128(78)));
        plane.get(&nowhere).token(&plane.token).send().await.is_problem("cell_not_found", "no such cell");
        assert_eq!(place_as(&plane, &certified).await.unwrap(), cell);
        assert_eq!(place_as(&plane, &certified).await.unwrap(), cell, "where it is already");
        assert_eq!(lacks(place(&plane, 2).await), Lack::Full);
    }
}

#[tokio::test]
async fn a_tenants_own_cell_is_its_alone() {
    let plane = Plane::sqlite().await;
    let [shared, own] = [declared(&plane, "mx-1", 9).await, declared(&plane, "mx-2", 9).await];
    let links = Links::of(&plane).await;
    links.enrolled(shared).await;
    links.enrolled(own).await;
    let patch = plane.request(Method::PATCH, &format!("/v1/cells/{own}")).token(&plane.token).key("own");
    let body = json!({"dedicated_tenant_id": want(1).tenant});
    patch.header("if-match", "*").json(&body).send().await.ok(200);
    assert_eq!(place(&plane, 1).await.unwrap(), own);
    let other = Want { tenant: TenantId::from_uuid(Uuid::from_u128(902)), ..want(2) };
    assert_eq!(place_as(&plane, &other).await.unwrap(), shared);
}

#[tokio::test]
async fn a_cell_never_has_more_than_its_capacity() {
    for plane in Plane::both().await {
        let cell = declared(&plane, "mx-1", 5).await;
        Links::of(&plane).await.enrolled(cell).await;
        let asked = (1..=20).map(|number| place(&plane, number));
        let placed = futures::future::join_all(asked).await;
        let full = placed.into_iter().filter_map(Result::err).map(|lack| lacks(Err(lack)));
        assert_eq!(full.collect::<Vec<_>>(), [Lack::Full; 15]);
        let shown = plane.get(&format!("/v1/cells/{cell}")).token(&plane.token).send().await.ok(200);
        assert_eq!(shown["placed"], 5);
        let shrink = plane.request(Method::PATCH, &format!("/v1/cells/{cell}")).token(&plane.token);
        let refused = shrink.key("shrink").header("if-match", "*").json(&json!({"capacity": 4})).send().await;
        refused.is_problem("cell_in_use", "less than there are");
    }
}

#[tokio::test]
async fn the_role_that_serves_requests_reads_no_secret_of_a_token() {
    let plane = Plane::postgres().await;
    let cell = declared(&plane, "mx-1", 5).await;
    join_token(&plane, cell, json!({})).await;
    let tx = plane.app.db.begin(PLATFORM).await.unwrap();
    let refused =
        sea_orm::ConnectionTrait::execute_unprepared(&*tx, "SELECT secret_sha256 FROM join_token").await;
    assert!(refused.unwrap_err().to_string().contains("permission denied"));
}
