//! The routes of an issuer, and a guarded route, through a whole router.

use std::sync::Arc;

use axum::extract::FromRef;
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use platform::ctx::Clock;
use platform::hash::sha256_base64url;
use platform::http::Json;
use platform::layers::{self, HttpConfig};
use platform::migrations::migrations;
use platform::oauth::{Issuer, Presented};
use platform::problem::Catalogue;
use platform::testing::TestDb;
use platform::testing::http::{Answer, Api};
use platform::testing::oauth::{ISSUER, TestClient, issuer, token};
use platform::token::{Access, Authorized};
use platform::{openapi, operation};
use serde_json::{Value, json};
use tenants::contract::Method as By;
use tenants::environment::Mode;
use utoipa_axum::router::OpenApiRouter;

use super::{clock, scope};

platform::scopes! {
    /// Read things.
    ThingsRead = "things:read";
}

#[derive(Clone)]
struct App {
    access: Access,
    issuer: Issuer,
}

impl FromRef<App> for Access {
    fn from_ref(app: &App) -> Self {
        app.access.clone()
    }
}

impl FromRef<App> for Issuer {
    fn from_ref(app: &App) -> Self {
        app.issuer.clone()
    }
}

/// List things.
#[utoipa::path(get, path = "/v1/things", operation_id = "thing_list", responses((status = 200, body = Value)))]
async fn thing_list(caller: Authorized<ThingsRead>) -> Json<Value> {
    Json(json!({"client": caller.claims().sub, "scope": caller.scope.id}))
}

struct Harness {
    _db: TestDb,
    api: Api,
    document: utoipa::openapi::OpenApi,
    issuer: Issuer,
    clock: Clock,
}

async fn harness() -> Harness {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let app = App { access: Access::new(issuer.clone(), clock.clone()), issuer: issuer.clone() };
    let config = HttpConfig::default();
    let catalogue = Arc::new(Catalogue::new(config.language, &[]).unwrap());
    let (router, document) = OpenApiRouter::new()
        .routes(operation!(thing_list))
        .merge(platform::oauth::http::router())
        .with_state(app)
        .split_for_parts();
    let document = openapi::document(document, "Test", "1.0.0");
    let api = Api::new(layers::apply(router, &config, catalogue), &document);
    Harness { _db: db, api, document, issuer, clock }
}

impl Harness {
    async fn ask(&self, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut call = self.api.request(Method::POST, "/v1/oauth/token");
        call = call.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.body(body).send().await
    }

    async fn with_secret(&self, secret: &str) -> TestClient {
        let mut client = TestClient::new(&self.clock, scope(3), Mode::Sandbox, &["things:read"]);
        client.registration.client.method = By::Secret;
        client.registration.client.secret_sha256 = Some(sha256_base64url(secret));
        self.issuer.register(&client.registration).await.unwrap();
        client
    }
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[tokio::test]
async fn a_client_gets_a_token_by_a_form_and_uses_it() {
    let harness = harness().await;
    let client =
        TestClient::register(&harness.issuer, &harness.clock, scope(3), Mode::Sandbox, &["things:read"])
            .await;
    let assertion = client.assertion(&client.claims());
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", JWT_BEARER),
        ("client_assertion", &assertion),
        ("scope", "things:read"),
        ("something", "else"),
    ];
    let answer = harness.ask(&form, &[]).await;
    let body = answer.ok(200);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 600);
    assert_eq!(body["scope"], "things:read");
    let token = body["access_token"].as_str().unwrap();
    let things = harness.api.get("/v1/things").token(token).send().await.ok(200);
    assert_eq!(things, json!({"client": client.id(), "scope": scope(3).id}));
    harness.clock.advance(TimeDelta::seconds(600));
    let late = harness.api.get("/v1/things").token(token).send().await;
    late.is_problem("unauthenticated", "an ended token");
    assert_eq!(late.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
}

#[tokio::test]
async fn secrets_come_by_header_or_form() {
    let harness = harness().await;
    let secret = "se:cret with % signs";
    let id = harness.with_secret(secret).await.id().to_string();
    let encoded = |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let basic = |id: &str, secret: &str| {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret))))
    };
    let grant = ("grant_type", "client_credentials");
    let good = basic(&id, secret);
    harness.ask(&[grant], &[("authorization", &good)]).await.ok(200);
    harness.ask(&[grant, ("client_id", &id), ("client_secret", secret)], &[]).await.ok(200);
    let wrong = harness.ask(&[grant], &[("authorization", &basic(&id, "x"))]).await;
    assert_eq!(wrong.ok(401)["error"], "invalid_client");
    assert_eq!(wrong.header("www-authenticate"), Some("Basic"));
    assert_eq!(wrong.header("cache-control"), Some("no-store"));
    for (form, headers, status, error) in [
        (vec![grant, ("client_secret", secret)], vec![("authorization", &*good)], 400, "invalid_request"),
        (vec![grant, ("client_id", "cli_x")], vec![("authorization", &*good)], 400, "invalid_request"),
        (vec![grant, grant], vec![("authorization", &*good)], 400, "invalid_request"),
        (vec![], vec![("authorization", &*good)], 400, "invalid_request"),
        (vec![("grant_type", "password")], vec![("authorization", &*good)], 400, "unsupported_grant_type"),
        (vec![grant, ("scope", "all:of it")], vec![("authorization", &*good)], 400, "invalid_scope"),
        (
            vec![grant, ("resource", "https://x.example")],
            vec![("authorization", &*good)],
            400,
            "invalid_target",
        ),
        (vec![grant], vec![("authorization", "Bearer x")], 401, "invalid_client"),
        (vec![grant], vec![("authorization", "Basic !")], 401, "invalid_client"),
        (vec![grant], vec![], 401, "invalid_client"),
        (vec![grant, ("client_id", &*id)], vec![], 401, "invalid_client"),
        (vec![grant, ("client_id", "a\0b"), ("client_secret", "x")], vec![], 401, "invalid_client"),
        (
            vec![grant],
            vec![("authorization", &*good), ("dpop", "a"), ("dpop", "b")],
            400,
            "invalid_dpop_proof",
        ),
        (vec![grant], vec![("authorization", &*good), ("dpop", "a")], 400, "invalid_dpop_proof"),
    ] {
        let answer = harness.ask(&form, &headers).await;
        assert_eq!(answer.ok(status)["error"], error, "{form:?} {headers:?}");
    }
    let json = harness.api.post("/v1/oauth/token", &json!({"grant_type": "client_credentials"})).send().await;
    assert_eq!(json.ok(400)["error"], "invalid_request");
    let long = "x".repeat(20_000);
    let long = harness.ask(&[grant, ("client_id", &long)], &[]).await;
    assert_eq!(long.ok(400)["error"], "invalid_request");
}

#[tokio::test]
async fn a_bound_token_passes_the_router_with_its_proof() {
    let harness = harness().await;
    let client =
        TestClient::register(&harness.issuer, &harness.clock, scope(3), Mode::Live, &["things:read"]).await;
    let token = client.token(&harness.issuer, None).await.unwrap().token;
    let get = || harness.api.get("/v1/things").header("authorization", &format!("DPoP {token}"));
    let proof = client.proof("GET", "/v1/things", Some(&token));
    get().header("dpop", &proof).send().await.ok(200);
    let again = get().header("dpop", &proof).send().await;
    again.is_problem("unauthenticated", "a used proof");
    assert_eq!(again.header("www-authenticate"), Some("DPoP error=\"invalid_dpop_proof\", algs=\"ES256\""));
    let bare = harness.api.get("/v1/things").token(&token).send().await;
    bare.is_problem("binding_required", "a bound token as a bearer's");
    let challenge = bare.header("www-authenticate");
    assert_eq!(challenge, Some("DPoP error=\"invalid_token\", algs=\"ES256\""));
    let unproved = get().header("accept-language", "pt").send().await;
    unproved.is_problem("binding_required", "no proof");
    assert!(unproved.json()["remedy"].as_str().unwrap().contains("RFC 9449"), "{:?}", unproved.json());
}

#[tokio::test]
async fn the_document_says_only_what_is_done() {
    let harness = harness().await;
    assert_eq!(openapi::faults(&harness.document), Vec::<String>::new());
    let metadata = harness.api.get("/.well-known/oauth-authorization-server").send().await.ok(200);
    assert_eq!(metadata["issuer"], ISSUER);
    assert_eq!(metadata["token_endpoint"], format!("{ISSUER}/v1/oauth/token"));
    assert_eq!(metadata["grant_types_supported"], json!(["client_credentials"]));
    assert_eq!(metadata["response_types_supported"], json!([]));
    assert!(metadata.get("authorization_endpoint").is_none());
    let keys = harness.api.get("/v1/oauth/jwks").send().await;
    let set = keys.ok(200);
    assert_eq!(set["keys"].as_array().unwrap().len(), 1);
    assert_eq!(set["keys"][0]["kid"].as_str(), harness.issuer.active_key().as_deref());
    assert!(set["keys"][0].get("d").is_none());
    assert_eq!(keys.header("cache-control"), Some("public, max-age=600"));
    let weak = token(&harness.issuer, &harness.clock, scope(3), Mode::Sandbox, &["other:read"]).await;
    assert_eq!(harness.api.refuses_strangers(&weak).await, 1);
}

#[tokio::test]
async fn a_token_is_read_once_until_something_about_its_client_changes() {
    let Harness { issuer, clock, _db, .. } = harness().await;
    let mut client = TestClient::register(&issuer, &clock, scope(3), Mode::Sandbox, &["things:read"]).await;
    let token = client.token(&issuer, None).await.unwrap().token;
    let read = async || issuer.caller(&Presented::bearer(&token)).await.unwrap();
    let first = read().await;
    assert!(Arc::ptr_eq(&first, &read().await), "from memory");
    TestClient::register(&issuer, &clock, scope(4), Mode::Sandbox, &["things:read"]).await;
    issuer.rotate_now(TimeDelta::zero()).await.unwrap();
    assert!(Arc::ptr_eq(&first, &read().await), "others and keys do not matter");
    client.registration.client.name = "another name".to_owned();
    issuer.register(&client.registration).await.unwrap();
    assert!(Arc::ptr_eq(&first, &read().await), "nor what a token is not judged by");
    client.registration.client.scopes.push("things:write".to_owned());
    issuer.register(&client.registration).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &read().await));
}
