//! Organizations, regions and tenants, as operators and as organizations.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::plane::{Plane, id};

/// What every step of a life gives as its reason.
pub fn why(code: &str) -> Value {
    json!({"reason": {"code": code, "detail": "A test says so"}})
}

/// An organization: its id, and a token of its own.
pub async fn organization(plane: &Plane, external_id: &str) -> (String, String) {
    let body = json!({"external_id": external_id, "name": "Tianguis Pagos", "country": "MX"});
    let made =
        plane.post("/v1/organizations", &body).token(&plane.token).key(external_id).send().await.ok(201);
    let organization = id(&made);
    let uuid: tenants::id::OrganizationId = organization.parse().unwrap();
    let token = plane.token_of(uuid.uuid()).await;
    (organization, token)
}

/// A draft of the organization that the token is of.
pub async fn tenant(plane: &Plane, token: &str, external_id: &str) -> String {
    let body = json!({
        "external_id": external_id, "name": "Tianguis", "jurisdiction": "mx-cnbv", "licence": "IFPE",
    });
    id(&plane.post("/v1/tenants", &body).token(token).key(external_id).send().await.ok(201))
}

/// Takes a tenant a step further, as an operator.
pub async fn step(plane: &Plane, tenant: &str, step: &str) -> Value {
    let call = plane.post(&format!("/v1/tenants/{tenant}/{step}"), &why(step)).token(&plane.token);
    call.key(&format!("{tenant}-{step}")).send().await.ok(200)
}

#[tokio::test]
async fn an_organization_is_made_once_and_seen_by_itself_and_operators() {
    for plane in Plane::both().await {
        let (first, own) = organization(&plane, "tianguis").await;
        let (second, _) = organization(&plane, "cafetero").await;
        let body = json!({"external_id": "tianguis", "name": "Tianguis Pagos", "country": "MX"});
        let post =
            |key: &str, body: &Value| plane.post("/v1/organizations", body).token(&plane.token).key(key);
        let again = post("tianguis", &body).send().await;
        assert_eq!((id(&again.ok(201)), again.header("idempotency-replayed")), (first.clone(), Some("true")));
        let taken = post("other", &body).send().await;
        taken.is_problem("external_id_taken", "another organization of the same external_id");
        let nameless = post("nameless", &json!({"name": " ", "country": "MX"})).send().await;
        let problem = nameless.is_problem("text_unusable", "a blank name");
        assert_eq!(problem["errors"][0]["pointer"], "/name");
        let get = async |id: &str, token: &str| {
            plane.get(&format!("/v1/organizations/{id}")).token(token).send().await
        };
        assert_eq!(get(&first, &own).await.ok(200)["external_id"], "tianguis");
        assert_eq!(get(&second, &plane.token).await.ok(200)["external_id"], "cafetero");
        get(&second, &own).await.is_problem("organization_not_found", "another's");
        let refused = plane.post("/v1/organizations", &body).token(&own).key("mine").send().await;
        refused.is_problem("operator_only", "made by an organization");
        let listed = plane.get("/v1/organizations").token(&own).send().await;
        listed.is_problem("operator_only", "listed by an organization");
        let found =
            plane.get("/v1/organizations?external_id=cafetero").token(&plane.token).send().await.ok(200);
        assert_eq!((found["data"].as_array().unwrap().len(), id(&found["data"][0])), (1, second));
    }
}

#[tokio::test]
async fn a_region_stays_in_its_country() {
    for plane in Plane::both().await {
        let (_, own) = organization(&plane, "tianguis").await;
        let put = async |query: &str, country: &str, name: &str| {
            let path = format!("/v1/regions/mx-central-1{query}");
            let call = plane.request(axum::http::Method::PUT, &path).token(&plane.token);
            call.json(&json!({"country": country, "name": name})).send().await
        };
        let plan = put("?dry_run=true", "MX", "Querétaro").await.ok(200);
        assert_eq!(plan["changes"][0]["pointer"], "/code", "{plan}");
        let none = plane.get("/v1/regions").token(&own).send().await.ok(200);
        assert_eq!(none["data"], json!([]), "a dry run makes nothing");
        let made = put("", "MX", "Querétaro").await;
        assert_eq!((made.ok(200)["version"].clone(), made.header("etag")), (json!(1), Some("\"1\"")));
        assert_eq!(put("", "MX", "Querétaro").await.ok(200), made.json(), "the same again changes nothing");
        let plan = put("?dry_run=true", "MX", "Santiago de Querétaro").await.ok(200);
        let change = json!({"pointer": "/name", "before": "Querétaro", "after": "Santiago de Querétaro"});
        assert_eq!(plan["changes"], json!([change]));
        assert_eq!(put("", "MX", "Santiago de Querétaro").await.ok(200)["version"], 2);
        put("", "US", "Querétaro").await.is_problem("region_country_fixed", "another country");
        put("?dry_run=true", "US", "Querétaro").await.is_problem("region_country_fixed", "in a dry run");
        put("?dry=true", "MX", "x").await.is_problem("invalid_parameter", "a parameter that is none");
        let listed = plane.get("/v1/regions").token(&own).send().await.ok(200);
        assert_eq!(listed["data"][0]["name"], "Santiago de Querétaro", "everybody reads them");
        let call = plane.request(axum::http::Method::PUT, "/v1/regions/br-1").token(&own);
        let refused = call.json(&json!({"country": "BR", "name": "x"})).send().await;
        refused.is_problem("operator_only", "written by an organization");
    }
}

#[tokio::test]
async fn an_operator_leads_a_tenant_through_its_life_and_every_move_is_kept() {
    for plane in Plane::both().await {
        let (organization, own) = organization(&plane, "tianguis").await;
        let tenant = tenant(&plane, &own, "tianguis-mx").await;
        let state = async || plane.get(&format!("/v1/tenants/{tenant}")).token(&own).send().await.ok(200);
        let draft = state().await;
        assert_eq!((&draft["state"], &draft["organization_id"]), (&json!("draft"), &json!(organization)));
        let own_approval = plane.post(&format!("/v1/tenants/{tenant}/approvals"), &why("mine")).token(&own);
        own_approval.key("own").send().await.is_problem("operator_only", "approved by itself");
        let early = plane.post(&format!("/v1/tenants/{tenant}/approvals"), &why("early")).token(&plane.token);
        let problem = early.key("early").send().await.is_problem("tenant_state", "approved as a draft");
        assert!(problem["detail"].as_str().unwrap().contains("draft"), "{problem}");
        step(&plane, &tenant, "verifications").await;
        let approved = step(&plane, &tenant, "approvals").await;
        assert_eq!(approved["state"], "approved");
        assert_eq!(approved["state_reason"], why("approvals")["reason"]);
        let again = step(&plane, &tenant, "approvals").await;
        assert_eq!(again, approved, "the same key again");
        let moves = plane.get(&format!("/v1/tenants/{tenant}/moves")).token(&own).send().await.ok(200);
        let moves: Vec<Value> = moves["data"].as_array().unwrap().clone();
        let trail: Vec<_> =
            moves.iter().map(|one| (one["from"].as_str().unwrap(), one["to"].as_str().unwrap())).collect();
        assert_eq!(trail, [("draft", "verifying"), ("verifying", "approved")]);
        assert!(moves.iter().all(|one| one["actor"].as_str().unwrap().starts_with("cli_")), "{moves:?}");
        assert_eq!(moves[1]["reason"]["code"], "approvals");
        assert_eq!(step(&plane, &tenant, "offboardings").await["state"], "offboarding");
        let late = plane.post(&format!("/v1/tenants/{tenant}/suspensions"), &why("late")).token(&plane.token);
        late.key("late").send().await.is_problem("tenant_state", "suspended while it leaves");
        let bad = json!({"reason": {"code": "No Code"}});
        let bad = plane.post(&format!("/v1/tenants/{tenant}/suspensions"), &bad).token(&plane.token);
        bad.key("bad").send().await.is_problem("text_unusable", "a code with spaces");
    }
}

#[tokio::test]
async fn of_two_moves_at_once_one_happens() {
    for plane in Plane::both().await {
        let (_, own) = organization(&plane, "tianguis").await;
        let tenant = tenant(&plane, &own, "tianguis-mx").await;
        step(&plane, &tenant, "verifications").await;
        let decide = async |decision: &str| {
            let path = format!("/v1/tenants/{tenant}/{decision}");
            plane.post(&path, &why("decided")).token(&plane.token).key(decision).send().await
        };
        let (approved, rejected) = tokio::join!(decide("approvals"), decide("rejections"));
        let won = [&approved, &rejected].into_iter().filter(|answer| answer.status == 200).count();
        assert_eq!(won, 1, "{} {}", approved.text(), rejected.text());
        for answer in [&approved, &rejected].into_iter().filter(|answer| answer.status != 200) {
            answer.is_problem("tenant_state", "the second decision");
        }
        let moves = plane.get(&format!("/v1/tenants/{tenant}/moves")).token(&own).send().await.ok(200);
        assert_eq!(moves["data"].as_array().unwrap().len(), 2, "{moves}");
    }
}

#[tokio::test]
async fn a_change_needs_the_version_that_was_seen() {
    for plane in Plane::both().await {
        let (_, own) = organization(&plane, "tianguis").await;
        let tenant = tenant(&plane, &own, "tianguis-mx").await;
        let path = format!("/v1/tenants/{tenant}");
        let patch = |query: &str, key: &str, body: Value| {
            let path = format!("{path}{query}");
            plane.request(axum::http::Method::PATCH, &path).token(&own).key(key).json(&body)
        };
        let name = json!({"name": "Tianguis Digital"});
        patch("", "a", name.clone()).send().await.is_problem("if_match_missing", "without If-Match");
        let stale = patch("", "b", name.clone()).header("if-match", "\"7\"").send().await;
        stale.is_problem("version_mismatch", "another version");
        let plan = patch("?dry_run=true", "c", name.clone()).header("if-match", "\"1\"").send().await.ok(200);
        let change = json!({"pointer": "/name", "before": "Tianguis", "after": "Tianguis Digital"});
        assert!(plan["changes"].as_array().unwrap().contains(&change), "{plan}");
        let dry =
            patch("?dry_run=true", "d", json!({"licence": "CASINO"})).header("if-match", "*").send().await;
        let problem = dry.is_problem("licence_unknown", "a dry run with a licence that is none");
        assert!(problem["detail"].as_str().unwrap().contains("IFPE"), "{problem}");
        let done = patch("", "e", name.clone()).header("if-match", "\"1\"").send().await;
        assert_eq!((done.header("etag"), &done.ok(200)["generation"]), (Some("\"2\""), &json!(2)));
        let again = patch("", "e", name.clone()).header("if-match", "\"1\"").send().await;
        assert_eq!((again.header("idempotency-replayed"), again.json()), (Some("true"), done.json()));
        let same = patch("", "f", name).header("if-match", "\"2\"").send().await;
        assert_eq!(same.header("etag"), Some("\"2\""), "a change that changes nothing");
    }
}

#[tokio::test]
async fn changes_at_once_to_whatever_version_there_is_all_happen() {
    for plane in Plane::both().await {
        let (_, own) = organization(&plane, "tianguis").await;
        let tenant = tenant(&plane, &own, "tianguis-mx").await;
        let path = format!("/v1/tenants/{tenant}");
        let change = async |name: &str| {
            let patch = plane.request(axum::http::Method::PATCH, &path).token(&own).key(name);
            patch.json(&json!({"name": name})).header("if-match", "*").send().await.ok(200)
        };
        tokio::join!(change("Uno"), change("Dos"), change("Tres"), change("Cuatro"), change("Cinco"));
        let now = plane.get(&path).token(&own).send().await;
        assert_eq!((now.header("etag"), &now.ok(200)["generation"]), (Some("\"6\""), &json!(6)));
    }
}

#[tokio::test]
async fn tenants_of_others_are_not_there() {
    for plane in Plane::both().await {
        let (first, own) = organization(&plane, "tianguis").await;
        let (second, other) = organization(&plane, "cafetero").await;
        let mine = tenant(&plane, &own, "same").await;
        let theirs = tenant(&plane, &other, "same").await;
        let region = plane.request(axum::http::Method::PUT, "/v1/regions/us-1").token(&plane.token);
        region.json(&json!({"country": "US", "name": "Ohio"})).send().await.ok(200);
        let paths = ["", "/moves", "/residency-records", "/residency?region=us-1&mode=sandbox"];
        for path in paths.map(|rest| format!("/v1/tenants/{theirs}{rest}")) {
            plane.get(&path).token(&own).send().await.is_problem("tenant_not_found", &path);
            plane.get(&path).token(&plane.token).send().await.ok(200);
        }
        let record = json!({
            "condition": "notice", "region": "us-1", "document_name": "x", "document_sha256": "0".repeat(64),
            "dated_on": "2026-01-01",
        });
        for (path, body) in [("offboardings", why("mine")), ("residency-records", record)] {
            let call = plane.post(&format!("/v1/tenants/{theirs}/{path}"), &body).token(&own).key(path);
            call.send().await.is_problem("tenant_not_found", path);
        }
        let listed = async |token: &str, query: &str| {
            let page = plane.get(&format!("/v1/tenants{query}")).token(token).send().await.ok(200);
            page["data"].as_array().unwrap().iter().map(id).collect::<Vec<_>>()
        };
        assert_eq!(listed(&own, "").await, vec![mine.clone()]);
        assert_eq!(listed(&own, "?external_id=same").await, vec![mine.clone()]);
        let mut all = [mine.clone(), theirs.clone()];
        all.sort();
        assert_eq!(listed(&plane.token, "?external_id=same").await, all);
        assert_eq!(listed(&plane.token, &format!("?organization_id={second}")).await, [theirs]);
        assert_eq!(listed(&plane.token, "?state=active").await, Vec::<String>::new());
        let others = plane.get(&format!("/v1/tenants?organization_id={second}")).token(&own).send().await;
        others.is_problem("organization_not_found", "another's list");
        let unnamed = json!({"name": "x", "jurisdiction": "mx-cnbv", "licence": "IFPE"});
        let unnamed = plane.post("/v1/tenants", &unnamed).token(&plane.token).key("unnamed").send().await;
        assert_eq!(
            unnamed.is_problem("invalid_field", "by nobody")["errors"][0]["pointer"],
            "/organization_id"
        );
        let mut body = json!({
            "organization_id": first, "external_id": "same", "name": "x", "jurisdiction": "xx-none", "licence": "IFPE",
        });
        let lawless = plane.post("/v1/tenants", &body).token(&plane.token).key("lawless").send().await;
        lawless.is_problem("jurisdiction_unknown", "under no law that is known here");
        body["jurisdiction"] = json!("mx-cnbv");
        let twice = plane.post("/v1/tenants", &body).token(&plane.token).key("twice").send().await;
        twice.is_problem("external_id_taken", "twice in one organization");
    }
}

#[tokio::test]
async fn a_missing_condition_is_named_in_three_languages_until_it_is_on_record() {
    for plane in Plane::both().await {
        let (_, own) = organization(&plane, "tianguis").await;
        let tenant = tenant(&plane, &own, "tianguis-mx").await;
        for (code, country) in [("mx-1", "MX"), ("us-1", "US"), ("de-1", "DE")] {
            let call =
                plane.request(axum::http::Method::PUT, &format!("/v1/regions/{code}")).token(&plane.token);
            call.json(&json!({"country": country, "name": code})).send().await.ok(200);
        }
        let check = async |region: &str, language: &str| {
            let path = format!("/v1/tenants/{tenant}/residency?region={region}&mode=sandbox");
            plane.get(&path).token(&own).header("accept-language", language).send().await
        };
        let home = check("mx-1", "en").await.ok(200);
        assert_eq!((&home["allowed"], &home["missing"]), (&json!(true), &json!([])));
        let forbidden = check("de-1", "en").await.ok(200);
        assert_eq!((&forbidden["allowed"], &forbidden["forbidden"]), (&json!(false), &json!(true)));
        check("xx-1", "en").await.is_problem("region_unknown", "no region");
        for (language, words) in [
            ("en", "authority was told"),
            ("es-MX", "avisado a la autoridad"),
            ("pt-BR", "autoridade tenha sido comunicada"),
        ] {
            let missing = check("us-1", language).await.ok(200)["missing"].clone();
            let named: Vec<_> =
                missing.as_array().unwrap().iter().map(|one| one["condition"].clone()).collect();
            assert_eq!(named, ["notice", "regulator_access", "local_only_contract"]);
            assert!(missing[0]["detail"].as_str().unwrap().contains(words), "{missing}");
        }
        let path = format!("/v1/tenants/{tenant}/residency-records");
        let record = |condition: &str, dated_on: &str, key: &str| {
            let body = json!({
                "condition": condition, "region": "us-1", "document_name": "Aviso 2026-114",
                "document_sha256": "0f".repeat(32), "dated_on": dated_on,
            });
            plane.post(&path, &body).token(&own).key(key)
        };
        let cell = record("certificate", "2026-01-01", "cell").send().await;
        cell.is_problem("residency_condition_of_cell", "a tenant's certificate");
        let notice = record("notice", "2026-01-01", "notice").send().await.ok(201);
        let again = record("notice", "2026-01-01", "notice").send().await;
        assert_eq!((again.header("idempotency-replayed"), again.json()), (Some("true"), notice.clone()));
        record("notice", "2026-02-01", "more").send().await.is_problem("residency_record_exists", "twice");
        for condition in ["regulator_access", "local_only_contract"] {
            record(condition, "2026-01-01", condition).send().await.ok(201);
        }
        assert_eq!(check("us-1", "en").await.ok(200)["allowed"], true);
        let withdrawal = format!("{path}/{}/withdrawals", id(&notice));
        let withdraw = async |key: &str| {
            plane.request(axum::http::Method::POST, &withdrawal).token(&own).key(key).send().await.ok(200)
        };
        let nobodys =
            format!("{path}/{}_{}/withdrawals", id(&notice).split_once('_').unwrap().0, "0".repeat(26));
        let call = plane.request(axum::http::Method::POST, &nobodys).token(&own).key("nobodys");
        call.send().await.is_problem("residency_record_not_found", "a record that is not there");
        let withdrawn = withdraw("gone").await;
        assert!(withdrawn["withdrawn_at"].is_string(), "{withdrawn}");
        assert_eq!(withdraw("gone-again").await, withdrawn, "withdrawn once");
        let missing = check("us-1", "en").await.ok(200)["missing"].clone();
        assert_eq!(missing.as_array().unwrap().len(), 1, "{missing}");
        record("notice", "2999-01-01", "future").send().await.ok(201);
        assert_eq!(check("us-1", "en").await.ok(200)["allowed"], false, "a document of later does not count");
        let listed = plane.get(&path).token(&own).send().await.ok(200);
        assert_eq!(listed["data"].as_array().unwrap().len(), 4, "withdrawn ones stay to be seen");
    }
}

/// The second lock behind the stores' own conditions: what the role of requests sees of the tables, whatever it asks.
#[tokio::test]
async fn rows_of_an_organization_are_shown_to_its_scope_only() {
    use platform::ctx::Scope;
    use sea_orm::{ConnectionTrait, DbBackend, Statement};

    let plane = Plane::postgres().await;
    let (organization, own) = organization(&plane, "tianguis").await;
    let mine: tenants::id::OrganizationId = organization.parse().unwrap();
    let tenant = tenant(&plane, &own, "tianguis-mx").await;
    step(&plane, &tenant, "verifications").await;
    for table in ["tenant", "tenant_move"] {
        let count = Statement::from_string(DbBackend::Postgres, format!("SELECT count(*) FROM {table}"));
        let all = plane.root().await.query_one_raw(count.clone()).await.unwrap().unwrap();
        assert_eq!(all.try_get_by_index::<i64>(0).unwrap(), 1, "{table}");
        for (scope, expected) in [(mine.uuid(), 1), (Uuid::from_u128(99), 0)] {
            let tx = plane.app.db.begin(Scope::new(0, scope)).await.unwrap();
            let seen = tx.query_one_raw(count.clone()).await.unwrap().unwrap();
            assert_eq!(seen.try_get_by_index::<i64>(0).unwrap(), expected, "{table} in {scope}");
        }
    }
}
