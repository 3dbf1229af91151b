//! What a region asks of a tenant and of the cells there, before anything is made.

use axum::http::Method;
use chrono::TimeDelta;
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use tenants::id::CellId;
use uuid::Uuid;

use crate::{
    plane::{Plane, id},
    tenants::{organization, step},
};

/// An approved tenant in Colombia, whose live data may lie at home only in a cell that is certified.
struct Colombian {
    token: String,
    tenant: String,
}

impl Colombian {
    async fn of(plane: &Plane) -> Self {
        let (_, token) = organization(plane, "cafetero").await;
        let body = json!({
            "external_id": "cafetero", "name": "Cafetero", "jurisdiction": "co-sfc", "licence": "SEDPE",
        });
        let tenant = id(&plane.post("/v1/tenants", &body).token(&token).key("t").send().await.ok(201));
        for state in ["verifications", "approvals"] {
            step(plane, &tenant, state).await;
        }
        let call = plane.request(Method::PUT, "/v1/regions/co-1").token(&plane.token);
        call.json(&json!({"country": "CO", "name": "Bogotá"})).send().await.ok(200);
        Self { token, tenant }
    }

    /// The same request each time.
    async fn declare(&self, plane: &Plane, language: &str) -> platform::testing::http::Answer {
        let path = format!("/v1/tenants/{}/environments", self.tenant);
        let call = plane.post(&path, &json!({"mode": "live", "region": "co-1"})).token(&self.token);
        call.key("live").header("accept-language", language).send().await
    }

    async fn check(&self, plane: &Plane) -> Value {
        let path = format!("/v1/tenants/{}/residency?region=co-1&mode=live", self.tenant);
        plane.get(&path).token(&self.token).send().await.ok(200)
    }

    /// Records that the authority was told so many days ago.
    async fn notice(&self, plane: &Plane, days: i64) -> String {
        let dated_on = (plane.app.clock.now() - TimeDelta::days(days)).date_naive();
        let record = json!({
            "condition": "notice", "region": "co-1", "document_name": "Aviso", "document_sha256": "0f".repeat(32),
            "dated_on": dated_on,
        });
        let call = plane.post(&format!("/v1/tenants/{}/residency-records", self.tenant), &record);
        id(&call.token(&self.token).key(&format!("notice-{days}")).send().await.ok(201))
    }
}

/// A live cell in Bogotá that has enrolled, as far as its row says.
async fn ready_cell(plane: &Plane, name: &str) -> CellId {
    let body = json!({
        "name": name, "jurisdiction": "co-sfc", "region": "co-1", "mode": "live", "capacity": 3,
    });
    let made = plane.post("/v1/cells", &body).token(&plane.token).key(name).send().await.ok(201);
    let cell: CellId = id(&made).parse().unwrap();
    let root = plane.root().await;
    let sql = "UPDATE cell SET state = 'ready', instance = $1 WHERE id = $2";
    let values = [Uuid::from_u128(77).into(), cell.uuid().into()];
    root.execute_raw(Statement::from_sql_and_values(root.get_database_backend(), sql, values)).await.unwrap();
    cell
}

/// Puts on record that a cell was certified, until so many days from now.
async fn attest(plane: &Plane, cell: CellId, kind: &str, days: i64) {
    let now = plane.app.clock.now();
    let body = json!({
        "valid_from": now - TimeDelta::days(90), "valid_until": now + TimeDelta::days(days),
        "document_name": kind, "document_sha256": "0f".repeat(32),
    });
    let call = plane.request(Method::PUT, &format!("/v1/cells/{cell}/attestations/{kind}"));
    call.token(&plane.token).json(&body).send().await.ok(200);
}

fn codes(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn without_a_certified_cell_nothing_is_made_and_with_one_the_same_request_passes() {
    for plane in Plane::both().await {
        let tenant = Colombian::of(&plane).await;
        let [first, second] = [ready_cell(&plane, "co-1").await, ready_cell(&plane, "co-2").await];
        let before = plane.rows().await;
        for (language, words) in [
            ("en", "No cell in this region has a valid certificate for iso27001, iso27017, iso27018"),
            ("es-CO", "Ninguna celda de esta región tiene un certificado vigente"),
            ("pt-BR", "Nenhuma célula desta região tem certificado válido"),
        ] {
            let refused = tenant.declare(&plane, language).await;
            let problem = refused.is_problem("residency_condition_missing", language);
            assert_eq!(codes(&problem), ["residency_notice_missing", "residency_certificate_missing"]);
            let detail =
                problem["errors"][1]["detail"].as_str().unwrap().replace(['\u{2068}', '\u{2069}'], "");
            assert!(detail.contains(words), "{problem}");
        }
        assert_eq!(plane.rows().await, before, "nothing was made");

        // Told yesterday, which does not count yet.
        let early = tenant.notice(&plane, 1).await;
        for (language, words) in
            [("en", "counts from"), ("es-CO", "cuenta a partir del"), ("pt-BR", "conta a partir de")]
        {
            let refused = tenant.declare(&plane, language).await;
            let problem = refused.is_problem("residency_condition_missing", language);
            assert_eq!(codes(&problem), ["residency_record_too_young", "residency_certificate_missing"]);
            assert!(problem["errors"][0]["detail"].as_str().unwrap().contains(words), "{problem}");
        }
        let withdrawal = format!("/v1/tenants/{}/residency-records/{early}/withdrawals", tenant.tenant);
        let call = plane.request(Method::POST, &withdrawal).token(&tenant.token).key("early");
        call.send().await.ok(200);
        tenant.notice(&plane, 30).await;

        // Each has some of the certificates, and one has one that has ended: one cell has to hold them all.
        attest(&plane, first, "iso27001", 9).await;
        attest(&plane, first, "iso27017", 9).await;
        attest(&plane, first, "iso27018", -1).await;
        attest(&plane, second, "iso27018", 9).await;
        let checked = tenant.check(&plane).await;
        assert_eq!((&checked["allowed"], &checked["forbidden"]), (&json!(false), &json!(false)));
        assert_eq!(checked["missing"][0]["attestations"], json!(["iso27018"]), "what the best of them lacks");
        let problem =
            tenant.declare(&plane, "en").await.is_problem("residency_condition_missing", "in parts");
        assert_eq!(codes(&problem), ["residency_certificate_missing"]);
        attest(&plane, first, "iso27018", 9).await;
        assert_eq!(tenant.check(&plane).await["allowed"], true);
        // The same request, with the same key: what was refused has used up nothing.
        let operation = tenant.declare(&plane, "en").await.ok(202);
        assert_eq!(operation["kind"], "environment_provision");
    }
}

#[tokio::test]
async fn a_certified_cell_that_takes_no_environments_helps_nobody() {
    let plane = Plane::sqlite().await;
    let tenant = Colombian::of(&plane).await;
    tenant.notice(&plane, 30).await;
    let cell = ready_cell(&plane, "co-1").await;
    for kind in ["iso27001", "iso27017", "iso27018"] {
        attest(&plane, cell, kind, 9).await;
    }
    assert_eq!(tenant.check(&plane).await["allowed"], true);
    let drain = plane.request(Method::POST, &format!("/v1/cells/{cell}/drains")).token(&plane.token);
    drain.key("drain").send().await.ok(200);
    let problem = tenant.declare(&plane, "en").await.is_problem("residency_condition_missing", "drained");
    assert_eq!(codes(&problem), ["residency_certificate_missing"]);
}
