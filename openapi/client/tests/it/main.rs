//! The client against answers that the tests make up, and its lists against the documents.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

mod document;
mod follow;
mod retries;
mod script;
