//! The tower stack, all of it, with a reason per layer.
//!
//! Everything is static: axum boxes one service per route, and the layers inside add no allocation of their own. The
//! probes (`/livez`, `/readyz`, `/metrics`) are merged beside this stack, so that they answer under overload too.

mod compress;
mod edge;
mod guard;

pub use edge::RequestId;

use crate::config::Faults;
use crate::http::BodyLimit;
use crate::problem::{Catalogue, Language, Problem, codes};
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, header};
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tower::{Layer, ServiceBuilder};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

/// The limits of the stack.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// How long a request may take, in milliseconds.
    pub timeout_ms: u64,
    /// The longest body, in bytes, where an operation does not say otherwise.
    pub body_limit_bytes: usize,
    /// How many requests are in flight at most; more are shed.
    pub in_flight_limit: usize,
    /// Bodies shorter than this are not compressed, in bytes.
    pub compress_from_bytes: u64,
    /// The language for callers who name none of ours.
    pub language: Language,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            timeout_ms: 30_000,
            body_limit_bytes: 1024 * 1024,
            in_flight_limit: 4096,
            compress_from_bytes: 1024,
            language: Language::En,
        }
    }
}

impl HttpConfig {
    /// Adds what is wrong, as keys of the table `at`.
    pub fn check(&self, at: &str, faults: &mut Faults) {
        faults.unless(self.timeout_ms > 0, &format!("{at}.timeout_ms"), "be at least 1");
        faults.unless(self.body_limit_bytes > 0, &format!("{at}.body_limit_bytes"), "be at least 1");
        let permits = (1..=Semaphore::MAX_PERMITS).contains(&self.in_flight_limit);
        faults.unless(permits, &format!("{at}.in_flight_limit"), "be at least 1");
    }
}

/// Headers that no log and no debug output may show.
const SENSITIVE: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// The router behind the stack.
pub fn apply(router: Router, config: &HttpConfig, catalogue: Arc<Catalogue>) -> Router {
    let stack = ServiceBuilder::new()
        // First, so that nothing below can print a token.
        .layer(SetSensitiveRequestHeadersLayer::new(SENSITIVE))
        // Request id, span, metrics and security headers: of every answer, those of the layers below included. Problems
        // get their texts here, since here the language and the request id are known, and their causes are logged once.
        .layer(edge::EdgeLayer::new(catalogue))
        // Below the edge, so that what it adds is not compressed twice; does nothing unless the caller asks.
        .layer(compress::CompressLayer::new(config.compress_from_bytes))
        // Concurrency limit with load shedding, timeout, panics: what may end a request from outside of its handler.
        // Sheds before the body is read; a permit is held until the handler has answered or was dropped.
        .layer(guard::GuardLayer::new(
            Arc::new(Semaphore::new(config.in_flight_limit)),
            Duration::from_millis(config.timeout_ms),
        ))
        // Innermost, so that a route can set its own.
        .layer(body_limit(config.body_limit_bytes));
    router
        .fallback(async || Problem::new(&codes::NOT_FOUND))
        .method_not_allowed_fallback(async || Problem::new(&codes::METHOD_NOT_ALLOWED))
        // Handlers become services now; otherwise axum would apply the layers anew on each request.
        .with_state(())
        .layer(stack)
}

/// The longest body of the routes inside, in bytes: for our extractors and for axum's.
pub fn body_limit<S>(
    bytes: usize,
) -> impl Layer<S, Service = <(Extension<BodyLimit>, DefaultBodyLimit) as Layer<S>>::Service>
+ Clone
+ Send
+ Sync
+ 'static
where
    (Extension<BodyLimit>, DefaultBodyLimit): Layer<S>,
{
    (Extension(BodyLimit(bytes)), DefaultBodyLimit::max(bytes))
}
