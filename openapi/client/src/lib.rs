//! A client of both planes: typed calls, retries that repeat no effect, pages, problems, and operations followed to
//! their end.
//!
//! A [`Call`] is a request as a value: [`control`] makes those of the control plane, [`cell`] those of a cell. A
//! [`Client`] sends it over a [`Transport`], again and again where that is safe, until there is an answer that will not
//! change by waiting:
//!
//! - `POST` and `PATCH` carry an idempotency key, the same one for every attempt. What was lost on the way may have had
//!   its effect; sent again it has no second one.
//! - A problem (RFC 9457) that says it is `retryable` is waited for, as long as its `Retry-After` says.
//! - Everything else is an [`Error`] at once, with the problem's code, detail and remedy.
//!
//! The crate does no IO and reads no clock: the transport sends and pauses, and the seed makes keys and jitter.

mod call;
pub mod cell;
mod client;
pub mod control;
mod error;
mod follow;
mod sse;
mod transport;
mod words;

pub use call::{Call, Declared, Page, Plain, Planned, Segment};
pub use client::{Answer, Client};
pub use error::{Error, Fault, Problem};
pub use follow::Event;
pub use transport::{Body, Lost, Transport};
