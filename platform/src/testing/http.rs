//! A whole router under test, held to its own OpenAPI document.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::Value;
use tower::ServiceExt;
use utoipa::openapi::OpenApi;

use crate::openapi::{self, Operation};

/// A router and what its document says of it. Every answer is held against the document: a status or a problem that the
/// operation does not list fails the test.
#[derive(Debug, Clone)]
pub struct Api {
    router: Router,
    operations: Arc<[Operation]>,
}

impl Api {
    /// The router behind its layers, and its document.
    pub fn new(router: Router, document: &OpenApi) -> Self {
        Self { router, operations: openapi::operations(document).into() }
    }

    /// The operations of the document.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// A request to this path (with its query).
    pub fn request(&self, method: Method, path: &str) -> Call<'_> {
        Call { api: self, request: Request::builder().method(method).uri(path), body: Body::empty() }
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Call<'_> {
        self.request(Method::GET, path)
    }

    /// `POST` of this JSON.
    pub fn post(&self, path: &str, body: &impl Serialize) -> Call<'_> {
        self.request(Method::POST, path).json(body)
    }

    /// Calls every operation that is not public as a stranger and with a token without scopes, and expects 401 and 403.
    /// Returns how many there are.
    ///
    /// # Panics
    /// When one lets them in: its name and what it answered.
    pub async fn refuses_strangers(&self, token_without_scopes: &str) -> usize {
        let mut guarded = 0;
        for operation in self.operations.iter().filter(|operation| !operation.is_public()) {
            let method =
                Method::from_bytes(operation.method.as_bytes()).expect("methods of documents are methods");
            let path = operation.path.replace(['{', '}'], "");
            let stranger = self.request(method.clone(), &path).send().await;
            stranger.is_problem("unauthenticated", &operation.operation_id);
            let weak = self.request(method, &path).token(token_without_scopes).send().await;
            weak.is_problem("insufficient_scope", &operation.operation_id);
            guarded += 1;
        }
        guarded
    }

    fn check(&self, method: &Method, path: &str, answer: &Answer) {
        // Of `/things/search` and `/things/{id}` the first is meant, as the router would.
        let serving = self.operations.iter().filter(|operation| operation.serves(method.as_str(), path));
        let Some(operation) = serving.min_by_key(|operation| operation.path.matches('{').count()) else {
            return;
        };
        let Operation { operation_id, statuses, codes, .. } = operation;
        let status = answer.status.as_u16();
        assert!(statuses.contains(&status), "{operation_id} does not list {status}: {}", answer.text());
        if let Some(code) = answer.code() {
            assert!(codes.contains(&code), "{operation_id} does not list {code}");
        }
    }
}

/// A request that is being put together.
#[derive(Debug)]
pub struct Call<'a> {
    api: &'a Api,
    request: axum::http::request::Builder,
    body: Body,
}

impl Call<'_> {
    /// With this bearer token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With this `Idempotency-Key`.
    #[must_use]
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// With this header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    /// With this JSON.
    #[must_use]
    pub fn json(self, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("what tests send has a JSON form");
        self.header("content-type", "application/json").body(body)
    }

    /// With these bytes.
    #[must_use]
    pub fn body(self, body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// The answer.
    ///
    /// # Panics
    /// When the document does not list it, or the request is none.
    pub async fn send(self) -> Answer {
        let request = self.request.body(self.body).expect("the test put a request together");
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = match self.api.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("answers in memory can be read").to_bytes();
        let answer = Answer { status: parts.status, headers: parts.headers, body };
        self.api.check(&method, &path, &answer);
        answer
    }
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The body as JSON, of an answer with this status.
    ///
    /// # Panics
    /// When it is another status, or no JSON.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self.json()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The code, if this is a problem.
    pub fn code(&self) -> Option<String> {
        if self.header(header::CONTENT_TYPE.as_str()) != Some("application/problem+json") {
            return None;
        }
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16(), "{problem}");
        problem["code"].as_str().map(str::to_owned)
    }

    /// The problem with this code; `of` says what was tried.
    ///
    /// # Panics
    /// When it is another, or none.
    pub fn is_problem(&self, code: &str, of: &str) -> Value {
        assert_eq!(self.code().as_deref(), Some(code), "{of}: {} {}", self.status, self.text());
        self.json()
    }
}
