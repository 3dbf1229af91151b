//! The tower stack, the extractors and the token check, through a whole router.

use axum::body::Body;
use axum::extract::{FromRef, State};
use axum::http::{Request, Response, StatusCode, header};
use axum::{Router, http};
use http_body_util::BodyExt;
use platform::ctx::Clock;
use platform::http::{Json, Path, Query};
use platform::layers::{self, HttpConfig, RequestId};
use platform::page::PageQuery;
use platform::problem::{Catalogue, Language, Problem, codes};
use platform::token::{Access, Authorized, Claims, Tokens};
use platform::{openapi, operation};
use serde_json::{Value, json};
use std::sync::Arc;
use tenants::environment::Mode;
use tenants::id::{AccountId, ClientId, EnvironmentId};
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
    router: Router,
    document: utoipa::openapi::OpenApi,
    app: App,
}

fn harness(config: &HttpConfig) -> Harness {
    let app =
        App { access: Access::new(Tokens::new(&[1; 32]), Clock::system()), begun: Arc::new(Notify::new()) };
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
    let document = openapi::document(document, "Test", "1.0.0");
    let router = router.merge(openapi::router(document.clone()));
    Harness { router: layers::apply(router, config, catalogue), document, app }
}

impl Harness {
    fn token(&self, scope: &str) -> String {
        let token = self.app.access.tokens().issue(&Claims {
            sub: ClientId::from_uuid(Uuid::from_u128(1)),
            env: EnvironmentId::from_uuid(Uuid::from_u128(2)),
            shard: 0,
            mode: Mode::Sandbox,
            scope: scope.to_owned().into(),
            exp: i64::MAX,
            jti: "t".to_owned(),
        });
        format!("Bearer {token}")
    }

    /// The answer to a request. A problem of a known operation has to be one that the document lists for it.
    async fn send(&self, request: http::request::Builder, body: impl Into<Body>) -> Response<Body> {
        let request = request.body(body.into()).unwrap();
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        if parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json") {
            let problem: Value = serde_json::from_slice(&body).unwrap();
            let operations = openapi::operations(&self.document);
            if let Some(operation) = operations.iter().find(|operation| operation.serves(&method, &path)) {
                let listed = operation.codes.iter().any(|code| problem["code"] == **code);
                assert!(listed, "{} does not list {}", operation.operation_id, problem["code"]);
            }
        }
        Response::from_parts(parts, Body::from(body))
    }

    /// A request with a good token.
    async fn get(&self, path: &str) -> Response<Body> {
        let token = self.token("things:read");
        self.send(Request::get(path).header(header::AUTHORIZATION, token), Body::empty()).await
    }

    async fn post(&self, body: impl Into<Body>) -> Response<Body> {
        let request = Request::post("/v1/things").header(header::AUTHORIZATION, self.token("things:write"));
        self.send(request.header(header::CONTENT_TYPE, "application/json"), body).await
    }
}

async fn bytes(response: Response<Body>) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

/// The problem of an answer: its status has to be the answer's.
async fn problem(response: Response<Body>) -> Value {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let status = response.status().as_u16();
    let problem: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    assert_eq!(problem["status"], status, "{problem}");
    problem
}

#[tokio::test]
async fn a_problem_is_told_in_the_callers_language_with_its_request_id() {
    let harness = harness(&HttpConfig::default());
    for (language, title, detail) in [
        ("es-MX,es;q=0.9", "Roto", "La cosa x está rota."),
        ("pt-BR", "Quebrado", "A coisa x está quebrada."),
        ("fr", "Broken", "Thing x is broken."),
    ] {
        let request = Request::post("/v1/things")
            .header(header::AUTHORIZATION, harness.token("things:write"))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT_LANGUAGE, language)
            .header("x-request-id", "mine-7");
        let response = harness.send(request, r#"{"name":"x"}"#).await;
        assert_eq!(response.headers()["x-request-id"], "mine-7");
        let tag = response.headers()[header::CONTENT_LANGUAGE].clone();
        assert_eq!(tag, if language == "fr" { "en" } else { &language[..2] });
        let problem = problem(response).await;
        assert_eq!(problem["type"], "/problems/thing_broken");
        assert_eq!((&problem["title"], &problem["detail"]), (&json!(title), &json!(detail)));
        assert_eq!(problem["request_id"], "mine-7");
        assert_eq!((&problem["code"], &problem["retryable"]), (&json!("thing_broken"), &json!(false)));
    }
}

#[tokio::test]
async fn what_axum_would_answer_with_text_is_a_problem() {
    let harness = harness(&HttpConfig { body_limit_bytes: 64, ..HttpConfig::default() });
    let json = "application/json";
    for (method, path, kind, body, code, pointer) in [
        ("GET", "/nowhere", json, "", "not_found", ""),
        ("DELETE", "/v1/things", json, "", "method_not_allowed", ""),
        ("POST", "/v1/things", "text/plain", "{}", "unsupported_media_type", ""),
        ("POST", "/v1/things", json, "{", "malformed_json", ""),
        ("POST", "/v1/things", json, "{}", "invalid_field", "/name"),
        ("POST", "/v1/things", json, r#"{"name":"x","nme":1}"#, "invalid_field", "/nme"),
        ("GET", "/v1/things?limit=0", json, "", "invalid_parameter", "limit"),
        ("GET", "/v1/things?limit=x", json, "", "invalid_parameter", "limit"),
        ("GET", "/v1/things?limits=1", json, "", "invalid_parameter", "limits"),
        ("GET", "/v1/things/acct_1", json, "", "invalid_parameter", "id"),
    ] {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        let request = request.header(header::AUTHORIZATION, harness.token("things:read things:write"));
        let response = harness.send(request, body).await;
        if code == "method_not_allowed" {
            assert_eq!(response.headers()[header::ALLOW], "POST,GET,HEAD");
        }
        let problem = problem(response).await;
        assert_eq!(problem["code"], code, "{method} {path} {body}: {problem}");
        let named = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!(named, pointer, "{method} {path} {body}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_its_length_is_declared_or_not() {
    let harness = harness(&HttpConfig { body_limit_bytes: 20, ..HttpConfig::default() });
    let fits = harness.post(r#"{"name":"123456789"}"#).await;
    assert_eq!(problem(fits).await["code"], "thing_broken");
    let long = r#"{"name":"1234567890"}"#;
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(&long[..10]), Ok(&long[10..])]);
    for body in [Body::from(long), Body::from_stream(chunks)] {
        let problem = problem(harness.post(body).await).await;
        assert_eq!(problem["code"], "body_too_large");
        assert!(problem["detail"].as_str().unwrap().contains("20"), "{problem}");
    }
}

#[tokio::test]
async fn more_requests_than_the_limit_are_shed_and_a_dropped_one_makes_room() {
    let harness = harness(&HttpConfig { in_flight_limit: 1, ..HttpConfig::default() });
    let hanging =
        tokio::spawn(harness.router.clone().oneshot(Request::get("/hang").body(Body::empty()).unwrap()));
    harness.app.begun.notified().await;
    let shed = harness.get("/v1/things").await;
    assert_eq!(shed.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shed.headers()[header::RETRY_AFTER], "1");
    assert_eq!(problem(shed).await["code"], "overloaded");
    hanging.abort();
    assert!(hanging.await.unwrap_err().is_cancelled());
    assert_eq!(harness.get("/v1/things").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_ended() {
    let harness = harness(&HttpConfig { timeout_ms: 3, ..HttpConfig::default() });
    let problem = problem(harness.get("/hang").await).await;
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("timeout"), &json!(true)));
    assert!(problem["detail"].as_str().unwrap().contains("3 ms"), "{problem}");
}

#[tokio::test]
async fn a_panic_is_an_internal_problem_and_says_nothing() {
    let harness = harness(&HttpConfig::default());
    let problem = problem(harness.get("/panic").await).await;
    assert_eq!(problem["code"], "internal");
    assert!(!problem.to_string().contains("secret"), "{problem}");
}

#[tokio::test]
async fn a_caller_needs_a_token_with_the_scope() {
    let harness = harness(&HttpConfig::default());
    let good = harness.token("things:read");
    for (authorization, status, code, challenge) in [
        (None, 401, "unauthenticated", "Bearer"),
        (Some("Basic eDp5".to_owned()), 401, "unauthenticated", "Bearer"),
        (Some(format!("{good}x")), 401, "unauthenticated", "Bearer error=\"invalid_token\""),
        (
            Some(harness.token("things:write")),
            403,
            "insufficient_scope",
            "Bearer error=\"insufficient_scope\"",
        ),
    ] {
        let mut request = Request::get("/v1/things");
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = harness.send(request, Body::empty()).await;
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], challenge);
        let problem = problem(response).await;
        assert_eq!((&problem["status"], &problem["code"]), (&json!(status), &json!(code)));
    }
    assert_eq!(harness.get("/v1/things").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn long_answers_are_compressed_for_those_who_ask() {
    let harness = harness(&HttpConfig::default());
    for (path, asked, compressed) in [
        ("/v1/things", "gzip, br", true),
        ("/v1/things", "", false),
        ("/v1/things", "gzip;q=0", false),
        ("/v1/things/acct_00000000000000000000000001", "gzip", false),
    ] {
        let request = Request::get(path).header(header::AUTHORIZATION, harness.token("things:read"));
        let response = harness.send(request.header(header::ACCEPT_ENCODING, asked), Body::empty()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers().contains_key(header::CONTENT_ENCODING), compressed, "{path} {asked}");
    }
}

#[tokio::test]
async fn every_answer_has_the_security_headers() {
    let harness = harness(&HttpConfig::default());
    for path in ["/v1/things", "/nowhere", "/panic", "/problems/internal", "/docs/", "/openapi.json"] {
        let response = harness.get(path).await;
        let headers = response.headers();
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
    assert_eq!(harness.get("/v1/things").await.headers()[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn every_code_has_a_page_in_every_language() {
    let harness = harness(&HttpConfig::default());
    let catalogue = Catalogue::new(Language::En, &[&DOMAIN]).unwrap();
    for code in catalogue.codes() {
        for language in Language::ALL {
            let request = Request::get(format!("/problems/{}", code.name))
                .header(header::ACCEPT_LANGUAGE, language.tag());
            let response = harness.send(request, Body::empty()).await;
            assert_eq!(response.status(), StatusCode::OK);
            let html = String::from_utf8(bytes(response).await).unwrap();
            let marks = [
                format!("<html lang=\"{}\">", language.tag()),
                code.name.to_owned(),
                code.status.to_string(),
            ];
            assert!(marks.iter().all(|mark| html.contains(mark)), "{html}");
            assert!(!html.contains("<script") && !html.contains("page-"), "{html}");
        }
    }
    let index = String::from_utf8(bytes(harness.get("/problems").await).await).unwrap();
    assert!(index.contains("href=\"/problems/thing_broken\""));
    assert_eq!(problem(harness.get("/problems/none").await).await["code"], "not_found");
}

#[tokio::test]
async fn the_document_says_what_the_router_does() {
    let harness = harness(&HttpConfig::default());
    assert_eq!(openapi::faults(&harness.document), Vec::<String>::new());
    let operations = openapi::operations(&harness.document);
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
    // What is stated is what is checked.
    for operation in &operations {
        let path =
            operation.path.replace("{id}", "acct_00000000000000000000000001").replace("{code}", "internal");
        if path == "/hang" {
            continue;
        }
        let request = Request::builder().method(operation.method).uri(path);
        let refused = harness.send(request, Body::empty()).await.status() == StatusCode::UNAUTHORIZED;
        assert_eq!(refused, !operation.is_public(), "{operation:?}");
    }
    let served: Value = serde_json::from_slice(&bytes(harness.get("/openapi.json").await).await).unwrap();
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
    assert_eq!(String::from_utf8(bytes(response).await).unwrap(), outside);
    assert_eq!(outside.len(), 32);
    assert_eq!(codes::NOT_FOUND.status, 404);
}
