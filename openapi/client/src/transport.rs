//! What carries requests.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use futures::Stream;
use http::{Request, Response};

/// The body of an answer, as it comes.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, Lost>> + Send>>;

/// No answer, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Lost {
    /// Why, for people.
    pub reason: String,
    /// Whether another attempt may get through. If not, the request cannot be sent at all.
    pub again: bool,
}

impl Lost {
    /// What another attempt may repair.
    pub fn again(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), again: true }
    }

    /// What no other attempt repairs.
    pub fn for_good(reason: impl ToString) -> Self {
        Self { reason: reason.to_string(), again: false }
    }
}

/// The way to one server. Requests name a path and a query; where the server is, the transport knows.
pub trait Transport: Sync {
    /// Sends a request and waits for the head of its answer. An answer of any status is an answer.
    fn send(&self, request: Request<Vec<u8>>) -> impl Future<Output = Result<Response<Body>, Lost>> + Send;

    /// Waits that long.
    fn pause(&self, pause: Duration) -> impl Future<Output = ()> + Send;
}
