//! What every answer has, whoever made it: request id, span, metrics, security headers, and for a problem its texts.

use crate::problem::{Carried, Catalogue, Language};
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use metrics::{Histogram, histogram};
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};
use tower::{Layer, Service};
use tracing::Span;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request id that is taken from a caller.
const LONGEST_ID: usize = 64;

/// The request's id, in the extensions of each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    /// The caller's, if it is short and plain enough to stand in logs; else a fresh one (UUID version 7).
    #[expect(
        clippy::disallowed_methods,
        reason = "the id of a request tells when it came, by the wall clock and no environment"
    )]
    fn of(headers: &HeaderMap) -> Self {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        let given = headers.get(REQUEST_ID).map(HeaderValue::as_bytes);
        match given {
            Some(bytes) if (1..=LONGEST_ID).contains(&bytes.len()) && bytes.iter().all(plain) => {
                Self(String::from_utf8_lossy(bytes).into())
            }
            _ => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                let id =
                    uuid::Builder::from_unix_timestamp_millis(millis, &crate::random::bytes()).into_uuid();
                let mut text = [0; uuid::fmt::Simple::LENGTH];
                Self(Arc::from(&*id.as_simple().encode_lower(&mut text)))
            }
        }
    }
}

#[derive(Clone)]
pub(super) struct EdgeLayer {
    catalogue: Arc<Catalogue>,
}

impl EdgeLayer {
    pub const fn new(catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue }
    }
}

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;
    fn layer(&self, inner: S) -> Edge<S> {
        Edge {
            inner,
            shared: Arc::new(Shared { catalogue: Arc::clone(&self.catalogue), meters: OnceLock::new() }),
        }
    }
}

/// Axum makes one of these per route and method, and clones it per request.
#[derive(Clone)]
pub(super) struct Edge<S> {
    inner: S,
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    catalogue: Arc<Catalogue>,
    /// Looked up in the registry once per route and method, not once per request.
    meters: OnceLock<Meters>,
}

struct Meters {
    method: Method,
    route: Arc<str>,
    /// Durations in seconds by the first digit of the status.
    seconds: [Histogram; 5],
}

impl Meters {
    fn of(request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
        let route: Arc<str> = route.into();
        // Of unmatched paths one instance serves every method.
        let method = if &*route == "unmatched" { Method::default() } else { request.method().clone() };
        let seconds = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|status| {
            let labels =
                [("method", method.to_string()), ("route", route.to_string()), ("status", status.to_owned())];
            histogram!("http_request_seconds", &labels)
        });
        Self { method, route, seconds }
    }

    fn record(&self, status: StatusCode, began: Instant) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(seconds) = class.checked_sub(1).and_then(|class| self.seconds.get(class)) {
            seconds.record(began.elapsed().as_secs_f64());
        }
    }
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Edged<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let began = Instant::now();
        let meters = self.shared.meters.get_or_init(|| Meters::of(&request));
        let language = Language::negotiate(request.headers(), self.shared.catalogue.default_language());
        let id = RequestId::of(request.headers());
        // At debug level: with the usual filter a request costs one atomic load here, and errors name the id themselves.
        let span = tracing::debug_span!(
            "request",
            method = %meters.method,
            route = &*meters.route,
            request_id = &*id.0,
            status = tracing::field::Empty,
        );
        request.extensions_mut().insert(id.clone());
        let inner = span.in_scope(|| self.inner.call(request));
        Edged { inner, span, shared: Arc::clone(&self.shared), id, language, began }
    }
}

pin_project! {
    pub(super) struct Edged<F> {
        #[pin]
        inner: F,
        span: Span,
        shared: Arc<Shared>,
        id: RequestId,
        language: Language,
        began: Instant,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Edged<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let entered = this.span.enter();
        let Ok(mut response) = ready!(this.inner.poll(cx));
        if let Some(carried) = response.extensions_mut().remove::<Carried>() {
            let texts = Some((&*this.shared.catalogue, *this.language));
            *response.body_mut() = Body::from(carried.body(texts, Some(&this.id.0)));
            let language = HeaderValue::from_static(this.language.tag());
            response.headers_mut().insert(header::CONTENT_LANGUAGE, language);
            if let Some(meters) = this.shared.meters.get() {
                log(&carried, &this.id.0, meters);
            }
        }
        headers(response.headers_mut(), &this.id.0);
        let status = response.status();
        this.span.record("status", status.as_u16());
        if let Some(meters) = this.shared.meters.get() {
            meters.record(status, *this.began);
        }
        tracing::debug!(status = status.as_u16(), elapsed_us = this.began.elapsed().as_micros(), "answered");
        drop(entered);
        Poll::Ready(Ok(response))
    }
}

/// What every answer says to a browser (RFC 9111 §5.2, RFC 6797, Fetch, CSP 3). A handler may have said something
/// stricter for its own page.
fn headers(headers: &mut HeaderMap, id: &str) {
    const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
    const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    const HTTPS: HeaderValue = HeaderValue::from_static("max-age=31536000; includeSubDomains");
    const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
    headers.reserve(6);
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.insert(header::STRICT_TRANSPORT_SECURITY, HTTPS);
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(NOTHING);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Logs a problem's private cause, the only place where that happens: ours as errors, the caller's for those who debug.
fn log(carried: &Carried, request_id: &str, meters: &Meters) {
    let code = carried.code();
    let (method, route) = (&meters.method, &*meters.route);
    metrics::counter!("http_problems_total", "code" => code.name).increment(1);
    if code.status >= 500 {
        let cause = carried.cause().map(chain).unwrap_or_default();
        tracing::error!(code = code.name, cause, request_id, %method, route, "a request failed");
    } else if tracing::enabled!(tracing::Level::DEBUG) {
        let cause = carried.cause().map(chain).unwrap_or_default();
        tracing::debug!(code = code.name, cause, request_id, "a request was refused");
    }
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn Error + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_ids_are_taken() {
        for (given, taken) in [
            ("a", true),
            ("0198-Ab_c.d:e", true),
            ("a b", false),
            ("a\"b", false),
            ("", false),
            (&"x".repeat(LONGEST_ID), true),
            (&"x".repeat(LONGEST_ID + 1), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, given.parse().unwrap());
            let id = RequestId::of(&headers);
            assert_eq!(&*id.0 == given, taken, "{given}");
            assert!(taken || id.0.len() == 32, "{id:?}");
        }
        assert_ne!(RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
    }
}
