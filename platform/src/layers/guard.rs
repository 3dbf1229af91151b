//! What may end a request from outside of its handler: too many at once, too long, a panic.

use crate::problem::{Problem, codes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use futures::future::CatchUnwind;
use pin_project_lite::pin_project;
use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tower::{Layer, Service};

/// One semaphore for all routes, and a problem at once instead of a queue. Tower's `GlobalConcurrencyLimitLayer` under its
/// `LoadShedLayer` would shed too, but with a boxed error that a further layer has to turn into an answer.
#[derive(Clone)]
pub(super) struct GuardLayer {
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl GuardLayer {
    pub const fn new(permits: Arc<Semaphore>, timeout: Duration) -> Self {
        Self { permits, timeout }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;
    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, permits: Arc::clone(&self.permits), timeout: self.timeout }
    }
}

#[derive(Clone)]
pub(super) struct Guard<S> {
    inner: S,
    permits: Arc<Semaphore>,
    timeout: Duration,
}

impl<S> Service<Request> for Guard<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Guarded<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => Guarded::Running {
                inner: AssertUnwindSafe(self.inner.call(request)).catch_unwind(),
                sleep: tokio::time::sleep(self.timeout),
                timeout: self.timeout,
                _permit: permit,
            },
            Err(_) => Guarded::Shed,
        }
    }
}

pin_project! {
    #[project = Project]
    pub(super) enum Guarded<F> {
        Running {
            #[pin]
            inner: CatchUnwind<AssertUnwindSafe<F>>,
            #[pin]
            sleep: Sleep,
            timeout: Duration,
            _permit: OwnedSemaphorePermit,
        },
        Shed,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Guarded<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let problem = match self.project() {
            Project::Shed => Problem::new(&codes::OVERLOADED).retry_after(1),
            Project::Running { inner, sleep, timeout, .. } => match inner.poll(cx) {
                Poll::Ready(Ok(response)) => return Poll::Ready(response),
                Poll::Ready(Err(panic)) => Problem::internal(format!("panic: {}", said(&*panic))),
                // The timer is only registered for requests that have to wait at all.
                Poll::Pending if sleep.poll(cx).is_pending() => return Poll::Pending,
                Poll::Pending => {
                    let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                    Problem::new(&codes::TIMEOUT).arg("limit_ms", milliseconds)
                }
            },
        };
        Poll::Ready(Ok(problem.into_response()))
    }
}

/// What a panic said, for the log.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}
