//! Dry runs: which operations have one, and that it answers as the operation would and changes nothing.

use std::collections::BTreeSet;

use axum::http::Method;
use chrono::{DateTime, Utc};
use platform::testing::http::Answer;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use tenants::id::CellId;
use uuid::Uuid;

use crate::{
    plane::{Plane, id},
    tenants::{organization, tenant},
};

/// The operations that change something and have no dry run, and why.
const WITHOUT: &[(&str, &str)] = &[
    ("token_issue", "it configures nothing, and what it makes is a secret"),
    ("cell_join_token_create", "what it makes is a secret, shown once"),
    ("document_create", "a document is evidence, and the answer is a link, which is a secret"),
    ("document_link", "a link is a secret, and that it was given is recorded"),
    ("operation_cancel", "it configures nothing: it asks of something that runs"),
];

#[test]
fn every_change_has_a_dry_run_or_a_reason_why_not() {
    let document = serde_json::to_value(control_plane::router::document().unwrap()).unwrap();
    let mut without = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in ["post", "put", "patch", "delete"].iter().filter_map(|method| item.get(*method)) {
            let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
            if !parameters.iter().any(|parameter| parameter["name"] == "dry_run") {
                without.insert(operation["operationId"].as_str().unwrap());
            }
        }
    }
    assert!(WITHOUT.iter().all(|(_, why)| !why.is_empty()));
    assert_eq!(without, WITHOUT.iter().map(|(name, _)| *name).collect(), "and none on the list that has one");
}

/// A plane whose clock stands still, so that a plan and what comes of it say the same times.
struct Tried<'a> {
    plane: &'a Plane,
}

impl Tried<'_> {
    async fn send(&self, method: &Method, path: &str, body: &Value, key: &str) -> Answer {
        let call = self.plane.request(method.clone(), path).token(&self.plane.token).key(key);
        if body.is_null() { call.send().await } else { call.json(body).send().await }
    }

    /// Tries a change twice, makes it, and tries and makes it again, which is refused with `again`, or changes nothing.
    async fn change(&self, method: Method, path: &str, body: Value, again: Option<&str>) -> Value {
        let dry = format!("{path}?dry_run=true");
        let rows = self.plane.rows().await;
        let plan = self.send(&method, &dry, &body, path).await.ok(200);
        let changes = plan["changes"].as_array().unwrap_or_else(|| panic!("{method} {path}: {plan}"));
        assert!(!changes.is_empty(), "{method} {path}");
        let repeated = self.send(&method, &dry, &body, path).await.ok(200);
        assert_eq!(repeated, plan, "{method} {path}: the first one left something");
        assert_eq!(self.plane.rows().await, rows, "{method} {path}");
        // With the same key: a dry run has used up nothing.
        let made = self.send(&method, path, &body, path).await;
        assert!(
            made.status.is_success() && made.header("idempotency-replayed").is_none(),
            "{method} {path}: {made:?}"
        );
        let made = made.json();
        for change in changes {
            let pointer = change["pointer"].as_str().unwrap();
            assert_eq!(made.pointer(pointer), Some(&change["after"]), "{method} {path} {pointer}");
        }
        let rows = self.plane.rows().await;
        let tried = self.send(&method, &dry, &body, "again-dry").await;
        match again {
            Some(code) => {
                tried.is_problem(code, path);
                self.send(&method, path, &body, "again").await.is_problem(code, path);
            }
            None => assert_eq!(tried.ok(200)["changes"], json!([]), "{method} {path}"),
        }
        assert_eq!(self.plane.rows().await, rows, "{method} {path}");
        made
    }
}

#[tokio::test]
async fn a_dry_run_answers_as_the_change_would_and_changes_no_row() {
    let start: DateTime<Utc> = "2026-11-20T12:00:00Z".parse().unwrap();
    for plane in Plane::both_at(start).await {
        let tried = Tried { plane: &plane };
        let region = json!({"country": "MX", "name": "Querétaro"});
        tried.change(Method::PUT, "/v1/regions/mx-1", region, None).await;
        let body = json!({"external_id": "tianguis", "name": "Tianguis Pagos", "country": "MX"});
        tried.change(Method::POST, "/v1/organizations", body, Some("external_id_taken")).await;

        let body = json!({
            "name": "mx-1", "jurisdiction": "mx-cnbv", "region": "mx-1", "mode": "sandbox", "capacity": 3,
        });
        let made = tried.change(Method::POST, "/v1/cells", body, Some("cell_name_taken")).await;
        let cell = id(&made);
        let certificate = |name: &str| {
            json!({
                "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2029-01-01T00:00:00Z",
                "document_name": name, "document_sha256": "0f".repeat(32),
            })
        };
        let path = format!("/v1/cells/{cell}/attestations/iso27001");
        for name in ["ISO 27001", "ISO 27001, renewed"] {
            tried.change(Method::PUT, &path, certificate(name), None).await;
        }
        enrolled(&plane, cell.parse().unwrap()).await;
        for step in ["drains", "resumptions"] {
            tried
                .change(Method::POST, &format!("/v1/cells/{cell}/{step}"), json!(null), Some("cell_state"))
                .await;
        }
        let drains = format!("/v1/cells/{cell}/drains");
        tried.send(&Method::POST, &drains, &json!(null), "for-good").await.ok(200);
        tried
            .change(Method::POST, &format!("/v1/cells/{cell}/retirements"), json!(null), Some("cell_state"))
            .await;

        let (_, own) = organization(&plane, "cafetero").await;
        let tenant = tenant(&plane, &own, "cafetero-mx").await;
        let record = json!({
            "condition": "notice", "region": "mx-1", "document_name": "Aviso", "document_sha256": "0f".repeat(32),
            "dated_on": "2026-01-01",
        });
        let path = format!("/v1/tenants/{tenant}/residency-records");
        let made = tried.change(Method::POST, &path, record, Some("residency_record_exists")).await;
        let path = format!("{path}/{}/withdrawals", id(&made));
        tried.change(Method::POST, &path, json!(null), None).await;
    }
}

/// The cell has enrolled, as far as its row says.
async fn enrolled(plane: &Plane, cell: CellId) {
    let root = plane.root().await;
    let sql = "UPDATE cell SET state = 'ready', instance = $1 WHERE id = $2";
    let values = [Uuid::from_u128(77).into(), cell.uuid().into()];
    root.execute_raw(Statement::from_sql_and_values(root.get_database_backend(), sql, values)).await.unwrap();
}

#[tokio::test]
async fn a_region_is_changed_only_as_it_was_seen() {
    for plane in Plane::both().await {
        let put = async |seen: &str, name: &str| {
            let call =
                plane.request(Method::PUT, "/v1/regions/mx-1").token(&plane.token).header("if-match", seen);
            call.json(&json!({"country": "MX", "name": name})).send().await
        };
        put("*", "Querétaro").await.is_problem("version_mismatch", "there is none to be changed");
        let made = plane.request(Method::PUT, "/v1/regions/mx-1").token(&plane.token);
        made.json(&json!({"country": "MX", "name": "Querétaro"})).send().await.ok(200);
        assert_eq!(put("\"1\"", "Santiago de Querétaro").await.ok(200)["version"], 2);
        put("\"1\"", "Querétaro").await.is_problem("version_mismatch", "a version of before");
        assert_eq!(put("*", "Querétaro").await.ok(200)["version"], 3);
    }
}
