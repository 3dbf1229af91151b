//! Compression for those who ask for it; all others do not even get a wrapped body.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::response::Response;
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::{Layer, Service};
use tower_http::compression::predicate::{And, NotForContentType, Predicate, SizeAbove};
use tower_http::compression::{Compression, ResponseFuture};

/// Long enough, and no stream of events, whose chunks have to leave at once.
type Worthwhile = And<SizeAbove, NotForContentType>;

#[derive(Clone, Copy)]
pub(super) struct CompressLayer {
    from_bytes: u64,
}

impl CompressLayer {
    pub const fn new(from_bytes: u64) -> Self {
        Self { from_bytes }
    }
}

impl<S> Layer<S> for CompressLayer {
    type Service = Compress<S>;
    fn layer(&self, inner: S) -> Compress<S> {
        let worthwhile = SizeAbove::new(self.from_bytes).and(NotForContentType::SSE);
        Compress(Compression::new(inner).compress_when(worthwhile))
    }
}

#[derive(Clone)]
pub(super) struct Compress<S>(Compression<S, Worthwhile>);

impl<S> Service<Request> for Compress<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Compressed<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.get_mut().poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let accepted = request.headers().get(header::ACCEPT_ENCODING).map(|value| value.as_bytes());
        if accepted.is_some_and(|value| value.windows(4).any(|word| word == b"gzip")) {
            Compressed::Asked { inner: self.0.call(request) }
        } else {
            Compressed::Plain { inner: self.0.get_mut().call(request) }
        }
    }
}

pin_project! {
    #[project = Project]
    pub(super) enum Compressed<F> {
        Plain { #[pin] inner: F },
        Asked { #[pin] inner: ResponseFuture<F, Worthwhile> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Compressed<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Project::Plain { inner } => inner.poll(cx),
            Project::Asked { inner } => {
                Poll::Ready(ready!(inner.poll(cx)).map(|response| response.map(Body::new)))
            }
        }
    }
}
