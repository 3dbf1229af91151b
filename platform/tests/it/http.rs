//! The tower stack, the extractors and the token check, through a whole router.

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use platform::ctx::{Clock, Scope};
use platform::http::{Json, Path, Query};
use platform::layers::{self, HttpConfig, RequestId};
use platform::migrations::migrations;
use platform::oauth::Issuer;
use platform::page::PageQuery;
use platform::problem::{Catalogue, Language, Problem, codes};
use platform::testing::TestDb;
use platform::testing::http::{Answer, Api};
use platform::testing::oauth::{issuer, token_as};
use platform::token::{Access, Authorized};
use platform::{openapi, operation};
use serde_json::{Value, json};
use std::sync::Arc;
use tenants::environment::Mode;
use tenants::id::{AccountId, ClientId};
use tokio::sync::Notify;
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

platform::scopes! {
    /// Read things.
    ThingsRead = "things:read";
    /// Change things.
    ThingsWrite = "things:write";
}

platform::problem_codes! {
    /// The thing is broken.
    THING_BROKEN = 409 "thing_broken";
}

static DOMAIN: platform::problem::Domain = platform::problem::Domain {
    name: "tests",
    codes: &[CODES],
    en: "problem-thing_broken = Broken\n    .detail = Thing { $name } is broken.\n    .remedy = Mend it.\n",
    es: "problem-thing_broken = Roto\n    .detail = La cosa { $name } está rota.\n    .remedy = Repárela.\n",
    pt: "problem-thing_broken = Quebrado\n    .detail = A coisa { $name } está quebrada.\n    .remedy = Conserte.\n",
};

#[derive(Clone)]
struct App {
    access: Access,
    begun: Arc<Notify>,
}

impl FromRef<App> for Access {
    fn from_ref(app: &App) -> Self {
        app.access.clone()
    }
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewThing {
    name: String,
}

/// Make a thing.
#[utoipa::path(post, path = "/v1/things", operation_id = "thing_create", responses((status = 200, body = Value)))]
async fn thing_create(
    _: Authorized<ThingsWrite>,
    Json(thing): Json<NewThing>,
) -> Result<Json<Value>, Problem> {
    Err(Problem::new(&THING_BROKEN).arg("name", thing.name))
}

/// List things.
#[utoipa::path(get, path = "/v1/things", operation_id = "thing_list", params(PageQuery), responses((status = 200, body = Value)))]
async fn thing_list(_: Authorized<ThingsRead>, Query(page): Query<PageQuery>) -> Json<Value> {
    Json(json!({"limit": page.limit.get(), "padding": "x".repeat(2000)}))
}

/// Read a thing.
#[utoipa::path(get, path = "/v1/things/{id}", operation_id = "thing_read", params(("id" = AccountId, Path)), responses((status = 200, body = Value)))]
async fn thing_read(caller: Authorized<ThingsRead>, Path(id): Path<AccountId>) -> Json<Value> {
    Json(json!({"id": id, "client": caller.claims().sub}))
}

/// Never answers.
#[utoipa::path(get, path = "/hang", operation_id = "hang", responses((status = 200, body = Value)))]
async fn hang(_: openapi::Public, State(app): State<App>) -> Json<Value> {
    app.begun.notify_one();
    std::future::pending().await
}

/// Panics.
#[utoipa::path(get, path = "/panic", operation_id = "panics", responses((status = 200, body = Value)))]
async fn panics(_: openapi::Public) -> Json<Value> {
    panic!("secret words")
}

struct Harness {
    _db: TestDb,
    issuer: Issuer,
    api: Api,
    document: utoipa::openapi::OpenApi,
    app: App,
}

async fn harness(config: &HttpConfig) -> Harness {
    let db = TestDb::sqlite(migrations).await;
    let issuer = issuer(&db, Clock::system()).await;
    let app = App { access: Access::new(issuer.clone(), Clock::system()), begun: Arc::new(Notify::new()) };
    let catalogue = Arc::new(Catalogue::new(config.language, &[&DOMAIN]).unwrap());
    let (router, document) = OpenApiRouter::new()
        .routes(operation!(thing_create, &THING_BROKEN))
        .routes(operation!(thing_list))
        .routes(operation!(thing_read))
        .routes(operation!(hang))
        .routes(operation!(panics))
        .with_state(app.clone())
        .merge(platform::problem::router(Arc::clone(&catalogue)))
        .split_for_parts();
    let mut document = openapi::document(document, "Test", "1.0.0");
    // Named by a path only, so that utoipa does not collect it.
    let components = document.components.get_or_insert_default();
    components.schemas.insert("AccountId".to_owned(), <AccountId as utoipa::PartialSchema>::schema());
    let router = router.merge(openapi::router(document.clone()));
    let api = Api::new(layers::apply(router, config, catalogue), &document);
    Harness { _db: db, issuer, api, document, app }
}

impl Harness {
    async fn token(&self, scope: &str) -> String {
        let scopes: Vec<&str> = scope.split(' ').collect();
        let id = ClientId::from_uuid(Uuid::from_u128(1));
        let whose = (Scope::new(0, Uuid::from_u128(2)), Mode::Sandbox);
        token_as(&self.issuer, &Clock::system(), id, whose, &scopes).await
    }

    /// A request with a good token.
    async fn get(&self, path: &str) -> Answer {
        self.api.get(path).token(&self.token("things:read").await).send().await
    }

    async fn post(&self, body: impl Into<Body>) -> Answer {
        let call = self.api.request(Method::POST, "/v1/things").token(&self.token("things:write").await);
        call.header("content-type", "application/json").body(body).send().await
    }
}

#[tokio::test]
async fn a_problem_is_told_in_the_callers_language_with_its_request_id() {
    let harness = harness(&HttpConfig::default()).await;
    for (language, title, detail) in [
        ("es-MX,es;q=0.9", "Roto", "La cosa x está rota."),
        ("pt-BR", "Quebrado", "A coisa x está quebrada."),
        ("fr", "Broken", "Thing x is broken."),
    ] {
        let call =
            harness.api.post("/v1/things", &json!({"name": "x"})).token(&harness.token("things:write").await);
        let response = call.header("accept-language", language).header("x-request-id", "mine-7").send().await;
        assert_eq!(response.header("x-request-id"), Some("mine-7"));
        let tag = &response.headers[header::CONTENT_LANGUAGE];
        assert_eq!(tag, if language == "fr" { "en" } else { &language[..2] });
        let problem = response.is_problem("thing_broken", language);
        assert_eq!(problem["type"], "/problems/thing_broken");
        assert_eq!((&problem["title"], &problem["detail"]), (&json!(title), &json!(detail)));
        assert_eq!(problem["request_id"], "mine-7");
        assert_eq!((&problem["code"], &problem["retryable"]), (&json!("thing_broken"), &json!(false)));
    }
}

#[tokio::test]
async fn what_axum_would_answer_with_text_is_a_problem() {
    let harness = harness(&HttpConfig { body_limit_bytes: 64, ..HttpConfig::default() }).await;
    let json = "application/json";
    for (method, path, kind, body, code, pointer) in [
        (Method::GET, "/nowhere", json, "", "not_found", ""),
        (Method::DELETE, "/v1/things", json, "", "method_not_allowed", ""),
        (Method::POST, "/v1/things", "text/plain", "{}", "unsupported_media_type", ""),
        (Method::POST, "/v1/things", json, "{", "malformed_json", ""),
        (Method::POST, "/v1/things", json, "{}", "invalid_field", "/name"),
        (Method::POST, "/v1/things", json, r#"{"name":"x","nme":1}"#, "invalid_field", "/nme"),
        (Method::GET, "/v1/things?limit=0", json, "", "invalid_parameter", "limit"),
        (Method::GET, "/v1/things?limit=x", json, "", "invalid_parameter", "limit"),
        (Method::GET, "/v1/things?limits=1", json, "", "invalid_parameter", "limits"),
        (Method::GET, "/v1/things/acct_1", json, "", "invalid_parameter", "id"),
    ] {
        let call = harness.api.request(method, path).token(&harness.token("things:read things:write").await);
        let response = call.header("content-type", kind).body(body).send().await;
        if code == "method_not_allowed" {
            assert_eq!(response.headers[header::ALLOW], "POST,GET,HEAD");
        }
        let problem = response.is_problem(code, &format!("{path} {body}"));
        let named = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(named, pointer, "{path} {body}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_its_length_is_declared_or_not() {
    let harness = harness(&HttpConfig { body_limit_bytes: 20, ..HttpConfig::default() }).await;
    let fits = harness.post(r#"{"name":"123456789"}"#).await;
    fits.is_problem("thing_broken", "a body of the limit's length");
    let long = r#"{"name":"1234567890"}"#;
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(&long[..10]), Ok(&long[10..])]);
    for body in [Body::from(long), Body::from_stream(chunks)] {
        let problem = harness.post(body).await.is_problem("body_too_large", "one byte more");
        assert!(problem["detail"].as_str().unwrap().contains("20"), "{problem}");
    }
}

#[tokio::test]
async fn more_requests_than_the_limit_are_shed_and_a_dropped_one_makes_room() {
    let harness = harness(&HttpConfig { in_flight_limit: 1, ..HttpConfig::default() }).await;
    let hanging = tokio::spawn({
        let api = harness.api.clone();
        async move { api.get("/hang").send().await }
    });
    harness.app.begun.notified().await;
    let shed = harness.get("/v1/things").await;
    assert_eq!(shed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shed.headers[header::RETRY_AFTER], "1");
    shed.is_problem("overloaded", "a second request");
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    assert_eq!(harness.get("/v1/things").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let harness = harness(&HttpConfig { timeout_ms: 3, ..HttpConfig::default() }).await;
    let problem = harness.get("/hang").await.is_problem("timeout", "a handler that hangs");
    assert_eq!(problem["retryable"], true);
    assert!(problem["detail"].as_str().unwrap().contains("3 ms"), "{problem}");
}

#[tokio::test]
async fn a_panic_is_an_internal_problem_and_says_nothing() {
    let harness = harness(&HttpConfig::default()).await;
    let problem = harness.get("/panic").await.is_problem("internal", "a handler that panics");
    assert!(!problem.to_string().contains("secret"), "{problem}");
}

#[tokio::test]
async fn a_caller_needs_a_token_with_the_scope() {
    let harness = harness(&HttpConfig::default()).await;
    let bearer = async |scope| format!("Bearer {}", harness.token(scope).await);
    for (authorization, code, challenge) in [
        (None, "unauthenticated", "Bearer"),
        (Some("Basic eDp5".to_owned()), "unauthenticated", "Bearer"),
        (Some(bearer("things:read").await + "x"), "unauthenticated", "Bearer error=\"invalid_token\""),
        (Some(bearer("things:write").await), "insufficient_scope", "Bearer error=\"insufficient_scope\""),
    ] {
        let mut call = harness.api.get("/v1/things");
        if let Some(authorization) = &authorization {
            call = call.header("authorization", authorization);
        }
        let answer = call.send().await;
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
        answer.is_problem(code, challenge);
    }
    assert_eq!(harness.api.refuses_strangers(&harness.token("others:read").await).await, 3);
    assert_eq!(harness.get("/v1/things").await.status, StatusCode::OK);
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_ask() {
    let harness = harness(&HttpConfig::default()).await;
    for (path, asked, compressed) in [
        ("/v1/things", "gzip, br", true),
        ("/v1/things", "", false),
        ("/v1/things", "gzip;q=0", false),
        ("/v1/things/acct_00000000000000000000000001", "gzip", false),
    ] {
        let call = harness.api.get(path).token(&harness.token("things:read").await);
        let response = call.header("accept-encoding", asked).send().await;
        assert_eq!(response.status, StatusCode::OK);
        assert_eq!(response.headers.contains_key(header::CONTENT_ENCODING), compressed, "{path} {asked}");
    }
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let harness = harness(&HttpConfig::default()).await;
    for path in ["/v1/things", "/nowhere", "/panic", "/problems/internal", "/docs/", "/openapi.json"] {
        let response = harness.get(path).await;
        let headers = response.headers;
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert!(headers.contains_key(header::STRICT_TRANSPORT_SECURITY), "{path}");
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(
            !policy.contains("unsafe-inline") || path == "/docs/" || path == "/openapi.json",
            "{path}: {policy}"
        );
    }
    assert_eq!(harness.get("/v1/things").await.headers[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn every_code_has_a_page_in_every_language() {
    let harness = harness(&HttpConfig::default()).await;
    let catalogue = Catalogue::new(Language::En, &[&DOMAIN]).unwrap();
    for code in catalogue.codes() {
        for language in Language::ALL {
            let call = harness.api.get(&format!("/problems/{}", code.name));
            let answer = call.header("accept-language", language.tag()).send().await;
            assert_eq!(answer.status, StatusCode::OK);
            let html = answer.text();
            let marks = [
                format!("<html lang=\"{}\">", language.tag()),
                code.name.to_owned(),
                code.status.to_string(),
            ];
            assert!(marks.iter().all(|mark| html.contains(mark)), "{html}");
            assert!(!html.contains("<script") && !html.contains("page-"), "{html}");
        }
    }
    let index = harness.get("/problems").await.text();
    assert!(index.contains("href=\"/problems/thing_broken\""));
    harness.get("/problems/none").await.is_problem("not_found", "a code that is none");
}

#[tokio::test]
async fn the_document_says_what_the_router_does() {
    let harness = harness(&HttpConfig::default()).await;
    assert_eq!(openapi::faults(&harness.document), Vec::<String>::new());
    let operations = harness.api.operations();
    let find = |id: &str| operations.iter().find(|operation| operation.operation_id == id).unwrap();
    let create = find("thing_create");
    assert_eq!((create.method, create.path.as_str()), ("POST", "/v1/things"));
    assert_eq!(create.scopes, ["things:write"]);
    for code in [
        "thing_broken",
        "malformed_json",
        "invalid_field",
        "unauthenticated",
        "insufficient_scope",
        "internal",
    ] {
        assert!(create.codes.iter().any(|listed| listed == code), "{code}: {:?}", create.codes);
    }
    assert!(create.statuses.contains(&200) && create.statuses.contains(&409));
    assert_eq!(find("thing_list").scopes, ["things:read"]);
    assert!(find("hang").is_public() && find("problem_read").is_public());
    let served = harness.get("/openapi.json").await.ok(200);
    assert_eq!(served["info"]["title"], "Test");
    assert_eq!(served["openapi"], "3.1.0");
    assert_eq!(served["components"]["schemas"]["Problem"]["type"], "object");
    assert!(served["components"]["schemas"]["ProblemFault"].is_object());
}

#[tokio::test]
async fn a_request_has_one_id_inside_and_outside() {
    let router = OpenApiRouter::<()>::new()
        .split_for_parts()
        .0
        .fallback(async |axum::Extension(id): axum::Extension<RequestId>| id.0.to_string());
    let catalogue = Arc::new(Catalogue::new(Language::En, &[]).unwrap());
    // The fallback of the stack itself is "not found"; a nested service keeps its own.
    let router =
        layers::apply(Router::new().nest_service("/inner", router), &HttpConfig::default(), catalogue);
    let response = router.oneshot(Request::get("/inner/x").body(Body::empty()).unwrap()).await.unwrap();
    let outside = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap(),
        outside
    );
    assert_eq!(outside.len(), 32);
    assert_eq!(codes::NOT_FOUND.status, 404);
}
