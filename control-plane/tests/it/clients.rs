//! Clients of environments and of organizations, as they are made, rotated and revoked.

use axum::http::Method;
use control_plane::{PLATFORM, app::App, clients};
use platform::{
    ctx::Scope,
    oauth::Credential,
    testing::{http::Answer, oauth as tokens},
};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use tenants::{
    environment::Mode,
    id::{ClientId, OrganizationId},
};
use uuid::Uuid;

use crate::{
    environments::{Site, declare, environments},
    plane::{Plane, id},
};

fn credential() -> Credential {
    Credential::make(ClientId::from_uuid(Uuid::from_u128(1))).unwrap()
}

fn jwk(credential: &Credential) -> Value {
    let key = credential.public();
    json!({"kty": "EC", "crv": "P-256", "kid": key.kid, "x": key.x, "y": key.y})
}

fn signing(key: &Credential, scopes: &[&str]) -> Value {
    json!({"name": "core", "method": "private_key_jwt", "keys": [jwk(key)], "scopes": scopes})
}

/// Where the site's organization may act.
fn of_organization(site: &Site) -> Scope {
    Scope::new(PLATFORM.shard, site.organization.parse::<OrganizationId>().unwrap().uuid())
}

/// A site with a declared sandbox.
async fn sandbox(plane: &Plane) -> (Site, String) {
    let site = Site::of(plane).await;
    declare(plane, &site, "", "mx-1", "declare").await.ok(202);
    let environment = id(&environments(plane, &site).await[0]);
    (site, environment)
}

async fn make(plane: &Plane, token: &str, of: &str, body: &Value, key: &str) -> Answer {
    plane.post(&format!("/v1/{of}/clients"), body).token(token).key(key).send().await
}

async fn generation(plane: &Plane, site: &Site) -> i64 {
    environments(plane, site).await[0]["generation"].as_i64().unwrap()
}

#[tokio::test]
async fn a_client_of_an_environment_is_made_once_and_its_cell_is_to_hear_of_it() {
    for plane in Plane::both().await {
        let (site, environment) = sandbox(&plane).await;
        let (of, key) = (format!("environments/{environment}"), credential());
        let body = signing(&key, &["accounts:read"]);
        let before = generation(&plane, &site).await;
        let path = format!("/v1/{of}/clients?dry_run=true");
        let plan = plane.post(&path, &body).token(&site.token).key("plan").send().await.ok(200);
        assert!(plan["changes"].as_array().unwrap().iter().any(|one| one["pointer"] == "/method"), "{plan}");
        assert_eq!(generation(&plane, &site).await, before, "a dry run changes nothing");
        let made = make(&plane, &site.token, &of, &body, "first").await.ok(201);
        assert_eq!((&made["environment_id"], &made["keys"]), (&json!(environment), &json!([jwk(&key)])));
        assert_eq!((made.get("secret"), &made["epoch"]), (None, &json!(0)));
        assert_eq!(generation(&plane, &site).await, before + 1);
        let again = make(&plane, &site.token, &of, &body, "first").await;
        assert_eq!((again.header("idempotency-replayed"), again.ok(201)), (Some("true"), made.clone()));
        assert_eq!(generation(&plane, &site).await, before + 1);

        let path = format!("/v1/clients/{}", id(&made));
        for token in [&site.token, &plane.token] {
            assert_eq!(plane.get(&path).token(token).send().await.ok(200), made);
        }
        let stranger = Site::named(&plane, "otra").await;
        plane.get(&path).token(&stranger.token).send().await.is_problem("client_not_found", "another's");
        make(&plane, &stranger.token, &of, &body, "theirs")
            .await
            .is_problem("environment_not_found", "another's");
        let listed = plane.get(&format!("/v1/clients?environment_id={environment}")).token(&site.token);
        assert_eq!(listed.send().await.ok(200)["data"], json!([made]));
        let others = plane.get("/v1/clients").token(&stranger.token).send().await.ok(200);
        assert_eq!(others["data"], json!([]));
    }
}

#[tokio::test]
async fn credentials_are_rotated_by_who_has_seen_the_client_and_a_revocation_is_final() {
    for plane in Plane::both().await {
        let (site, environment) = sandbox(&plane).await;
        let (of, [old, new]) = (format!("environments/{environment}"), [credential(), credential()]);
        let made = make(&plane, &site.token, &of, &signing(&old, &["accounts:read"]), "first").await.ok(201);
        let path = format!("/v1/clients/{}", id(&made));
        let before = generation(&plane, &site).await;
        let rotate = async |query: &str, body: Value, seen: &str, key: &str| {
            let call =
                plane.request(Method::POST, &format!("{path}/rotations{query}")).token(&site.token).key(key);
            call.header("if-match", seen).json(&body).send().await
        };
        let both = json!({"keys": [jwk(&old), jwk(&new)]});
        rotate("", both.clone(), "\"9\"", "blind").await.is_problem("version_mismatch", "another version");
        rotate("", json!({}), "\"1\"", "none").await.is_problem("client_credentials_unusable", "no key");
        let twice = json!({"keys": [jwk(&old), jwk(&old)]});
        rotate("", twice, "\"1\"", "twice").await.is_problem("client_credentials_unusable", "one name twice");
        let odd = json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]});
        rotate("", odd, "\"1\"", "odd").await.is_problem("client_credentials_unusable", "no point");
        let plan = rotate("?dry_run=true", both.clone(), "\"1\"", "plan").await.ok(200);
        assert!(plan["changes"].is_array(), "{plan}");
        assert_eq!(generation(&plane, &site).await, before);
        let rotated = rotate("", both, "\"1\"", "both").await.ok(200);
        assert_eq!((&rotated["keys"][1], &rotated["epoch"]), (&jwk(&new), &json!(0)));
        assert_eq!(generation(&plane, &site).await, before + 1);
        let ended =
            rotate("", json!({"keys": [jwk(&new)], "revoke_tokens": true}), "\"2\"", "ended").await.ok(200);
        assert!(ended["epoch"].as_i64().unwrap() >= plane.app.clock.now().timestamp() - 60, "{ended}");

        let revoke = plane.request(Method::POST, &format!("{path}/revocations")).token(&site.token);
        let revoked = revoke.key("gone").send().await.ok(200);
        assert_eq!((&revoked["revoked"], &revoked["version"]), (&json!(true), &json!(4)));
        assert_eq!(generation(&plane, &site).await, before + 3);
        let again = plane.request(Method::POST, &format!("{path}/revocations")).token(&site.token);
        again.key("again").send().await.is_problem("client_revoked", "once more");
        let late = rotate("", json!({"keys": [jwk(&new)]}), "\"4\"", "late").await;
        late.is_problem("client_revoked", "for ever");
    }
}

#[tokio::test]
async fn a_secret_is_shown_once_and_stored_nowhere() {
    for plane in Plane::both().await {
        let (site, environment) = sandbox(&plane).await;
        let of = format!("environments/{environment}");
        let body = json!({"name": "tour", "method": "secret", "scopes": ["accounts:read"]});
        let made = make(&plane, &site.token, &of, &body, "first").await.ok(201);
        let secret = made["secret"].as_str().unwrap().to_owned();
        assert_eq!(secret.len(), 64, "256 bits");
        let again = make(&plane, &site.token, &of, &body, "first").await.ok(201);
        assert_eq!((id(&again), again.get("secret")), (id(&made), None));
        let path = format!("/v1/clients/{}", id(&made));
        assert_eq!(plane.get(&path).token(&site.token).send().await.ok(200).get("secret"), None);
        let call = plane.request(Method::POST, &format!("{path}/rotations")).token(&site.token).key("next");
        let next = call.header("if-match", "\"1\"").json(&json!({})).send().await.ok(200);
        assert_ne!(next["secret"], json!(secret));
    }
}

#[tokio::test]
async fn what_no_client_can_be_is_refused() {
    let plane = Plane::sqlite().await;
    let (site, environment) = sandbox(&plane).await;
    let (of, key) = (format!("environments/{environment}"), credential());
    let with = |field: &str, value: Value| {
        let mut body = signing(&key, &["accounts:read"]);
        body[field] = value;
        body
    };
    let bodies = [
        (with("name", json!(" ")), "text_unusable"),
        (with("scopes", json!([])), "client_scopes_unusable"),
        (with("scopes", json!(["a b"])), "client_scopes_unusable"),
        (with("keys", json!([])), "client_credentials_unusable"),
        (with("method", json!("tls")), "client_credentials_unusable"),
        (with("method", json!("password")), "client_credentials_unusable"),
        (with("binding", json!("certificate")), "client_credentials_unusable"),
        (with("binding", json!("string")), "client_unbound"),
    ];
    for (number, (body, code)) in bodies.iter().enumerate() {
        let refused = make(&plane, &site.token, &of, body, &number.to_string()).await;
        refused.is_problem(code, &body.to_string());
    }
    let of = format!("organizations/{}", site.organization);
    let secret = json!({"name": "x", "method": "secret", "scopes": ["tenants:read"]});
    make(&plane, &site.token, &of, &secret, "s").await.is_problem("client_secret_forbidden", "not here");
}

#[tokio::test]
async fn an_organizations_own_client_gets_tokens_here_until_it_is_revoked() {
    for plane in Plane::both().await {
        let site = Site::of(&plane).await;
        let (of, key) = (format!("organizations/{}", site.organization), credential());
        let wide = signing(&key, &["tenants:read", "everything:write"]);
        make(&plane, &site.token, &of, &wide, "wide")
            .await
            .is_problem("client_scopes_unusable", "beyond one's own");
        let body = signing(&key, &["tenants:read"]);
        let stranger = Site::named(&plane, "otra").await;
        make(&plane, &stranger.token, &of, &body, "x")
            .await
            .is_problem("organization_not_found", "another's");
        let made = make(&plane, &site.token, &of, &body, "own").await.ok(201);
        assert_eq!(made["environment_id"], Value::Null);
        let client = key.of(id(&made).parse().unwrap());
        let ask = async || {
            let form = client.token_form(plane.app.issuer.url(), plane.app.clock.now()).unwrap();
            let call = plane.request(Method::POST, "/v1/oauth/token").body(form);
            call.header("content-type", "application/x-www-form-urlencoded").send().await
        };
        let token = ask().await.ok(200)["access_token"].as_str().unwrap().to_owned();
        let seen = plane.get("/v1/tenants").token(&token).send().await.ok(200);
        assert_eq!(seen["data"].as_array().unwrap().len(), 1);
        let weak = plane.get("/v1/clients").token(&token).send().await;
        weak.is_problem("insufficient_scope", "no more than it has");

        // Who has its key has its scopes.
        let maker = of_organization(&site);
        let App { issuer, clock, .. } = &plane.app;
        let narrow = tokens::token(issuer, clock, maker, Mode::Sandbox, &["clients:write"]).await;
        let other = json!({"keys": [jwk(&credential())]});
        for query in ["", "?dry_run=true"] {
            let path = format!("/v1/clients/{}/rotations{query}", id(&made));
            let call =
                plane.request(Method::POST, &path).token(&narrow).key("take").header("if-match", "\"1\"");
            call.json(&other).send().await.is_problem("client_scopes_unusable", "it would have tenants:read");
        }
        let call =
            plane.request(Method::POST, &format!("/v1/clients/{}/rotations", id(&made))).token(&plane.token);
        let same = json!({"keys": [jwk(&client)]});
        call.key("ours").header("if-match", "\"1\"").json(&same).send().await.ok(200);

        let path = format!("/v1/clients/{}/revocations", id(&made));
        plane.request(Method::POST, &path).token(&plane.token).key("end").send().await.ok(200);
        plane.get("/v1/tenants").token(&token).send().await.is_problem("unauthenticated", "revoked");
        assert_eq!(ask().await.ok(401)["error"], "invalid_client");
    }
}

#[tokio::test]
async fn who_died_before_registering_is_made_good_by_the_work() {
    let plane = Plane::sqlite().await;
    let site = Site::of(&plane).await;
    let (of, key) = (format!("organizations/{}", site.organization), credential());
    let made = make(&plane, &site.token, &of, &signing(&key, &["tenants:read"]), "own").await.ok(201);
    let id: ClientId = id(&made).parse().unwrap();
    // As if the process had died before it.
    plane.app.issuer.remove(id).await.unwrap();
    while plane.app.work.tick(plane.app.clock.now()).await.unwrap().taken > 0 {}
    assert!(plane.app.issuer.store().registration(id).await.unwrap().is_some());
}

/// Until so many sessions of this database wait for a lock.
async fn wait_until_waiting(plane: &Plane, sessions: usize) {
    let root = plane.root().await;
    let waiting =
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = Statement::from_string(root.get_database_backend(), waiting);
    while root.query_all_raw(waiting.clone()).await.unwrap().len() < sessions {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_was_revoked_while_somebody_registers_is_not_registered_again() {
    let plane = Plane::postgres().await;
    let site = Site::of(&plane).await;
    let (of, key) = (format!("organizations/{}", site.organization), credential());
    let made = make(&plane, &site.token, &of, &signing(&key, &["tenants:read"]), "own").await.ok(201);
    let client: ClientId = id(&made).parse().unwrap();
    let App { issuer, db, .. } = &plane.app;
    issuer.remove(client).await.unwrap();

    let held = db.begin_system().await.unwrap();
    issuer.store().hold_in_tx(&held).await.unwrap();
    let revoked = async {
        wait_until_waiting(&plane, 1).await;
        let root = plane.root().await;
        root.execute_unprepared("UPDATE client SET revoked = true").await.unwrap();
        held.commit().await.unwrap();
    };
    let (registered, ()) = tokio::join!(clients::register(db, issuer, of_organization(&site)), revoked);
    registered.unwrap();
    assert!(issuer.store().registration(client).await.unwrap().is_none(), "a revocation is final");
}

#[tokio::test]
async fn who_asks_the_same_at_the_same_time_gets_the_client_as_it_is_then() {
    let plane = Plane::postgres().await;
    let (site, environment) = sandbox(&plane).await;
    let of = format!("environments/{environment}");
    let made =
        make(&plane, &site.token, &of, &signing(&credential(), &["accounts:read"]), "own").await.ok(201);
    let path = format!("/v1/clients/{}", id(&made));
    let body = json!({"keys": [jwk(&credential())]});
    let rotate = async || {
        let call = plane.request(Method::POST, &format!("{path}/rotations")).token(&site.token).key("same");
        call.header("if-match", "\"1\"").json(&body).send().await
    };
    let held = plane.app.db.begin(of_organization(&site)).await.unwrap();
    held.execute_unprepared("SELECT 1 FROM client FOR UPDATE").await.unwrap();
    let waiting = async {
        wait_until_waiting(&plane, 2).await;
        held.commit().await.unwrap();
    };
    let (one, other, ()) = tokio::join!(rotate(), rotate(), waiting);
    assert_eq!((one.ok(200)["version"].clone(), other.ok(200)["version"].clone()), (json!(2), json!(2)));
}

#[tokio::test]
async fn a_client_is_renamed_and_may_do_less_or_more_by_who_has_seen_it() {
    for plane in Plane::both().await {
        let (site, environment) = sandbox(&plane).await;
        let of = format!("environments/{environment}");
        let scopes = ["accounts:read", "payments:write"];
        let made = make(&plane, &site.token, &of, &signing(&credential(), &scopes), "own").await.ok(201);
        let path = format!("/v1/clients/{}", id(&made));
        let before = generation(&plane, &site).await;
        let change = async |token: &str, query: &str, seen: &str, key: &str, body: Value| {
            let call = plane.request(Method::PATCH, &format!("{path}{query}")).token(token).key(key);
            call.header("if-match", seen).json(&body).send().await
        };
        let own = &site.token;
        let name = json!({"name": "till 7"});
        let unseen = plane.request(Method::PATCH, &path).token(own).key("unseen").json(&name).send().await;
        unseen.is_problem("if_match_missing", "nobody has seen it");
        change(own, "", "\"2\"", "other", name.clone())
            .await
            .is_problem("version_mismatch", "another version");
        for (number, (body, code)) in [
            (json!({"name": " "}), "text_unusable"),
            (json!({"scopes": []}), "client_scopes_unusable"),
            (json!({"scopes": ["a b"]}), "client_scopes_unusable"),
            (json!({"keys": []}), "invalid_field"),
        ]
        .into_iter()
        .enumerate()
        {
            change(own, "", "\"1\"", &number.to_string(), body).await.is_problem(code, code);
        }
        let stranger = Site::named(&plane, "otra").await;
        let strange = change(&stranger.token, "", "\"1\"", "strange", name.clone()).await;
        strange.is_problem("client_not_found", "another organization's");
        let plan = change(own, "?dry_run=true", "\"1\"", "plan", name.clone()).await.ok(200);
        let pointers = plan["changes"].as_array().unwrap().iter().map(|one| one["pointer"].clone());
        assert!(pointers.into_iter().any(|one| one == "/name"), "{plan}");
        assert_eq!(generation(&plane, &site).await, before);

        let renamed = change(own, "", "\"1\"", "name", name).await.ok(200);
        assert_eq!((&renamed["name"], &renamed["scopes"]), (&json!("till 7"), &json!(scopes)));
        assert_eq!((&renamed["epoch"], &renamed["version"]), (&json!(0), &json!(2)), "tokens stay");
        let more = json!({"scopes": ["accounts:read", "payments:write", "parties:read"]});
        let wider = change(own, "", "\"2\"", "more", more).await.ok(200);
        assert_eq!(wider["epoch"], json!(0), "it loses nothing");
        let less = json!({"scopes": ["parties:read", "accounts:read"]});
        let narrower = change(own, "", "\"3\"", "less", less.clone()).await;
        let again = change(own, "", "\"3\"", "less", less).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let narrower = narrower.ok(200);
        assert!(narrower["epoch"].as_i64().unwrap() > 0, "{narrower}");
        assert_eq!((&narrower["name"], &narrower["keys"]), (&json!("till 7"), &made["keys"]));
        assert_eq!(generation(&plane, &site).await, before + 3, "its cell is to hear of it");

        // Of an organization's own nobody makes more than he has.
        let of = format!("organizations/{}", site.organization);
        let own =
            make(&plane, &site.token, &of, &signing(&credential(), &["tenants:read"]), "o").await.ok(201);
        let path = format!("/v1/clients/{}", id(&own));
        let call = plane.request(Method::PATCH, &path).token(&plane.token).key("wide");
        let wide =
            call.header("if-match", "\"1\"").json(&json!({"scopes": ["everything:write"]})).send().await;
        wide.is_problem("client_scopes_unusable", "beyond one's own");
        let revoke =
            plane.request(Method::POST, &format!("{path}/revocations")).token(&plane.token).key("end");
        revoke.send().await.ok(200);
        let call = plane.request(Method::PATCH, &path).token(&plane.token).key("late");
        let late = call.header("if-match", "\"2\"").json(&json!({"name": "x"})).send().await;
        late.is_problem("client_revoked", "for ever");
    }
}
