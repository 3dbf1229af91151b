//! Integration tests of `platform`, one binary.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

mod clock;
mod cluster;
mod db;
mod http;
mod idempotency;
mod keys;
mod oauth;
mod objects;
mod pki;
mod process;
mod sealed;
mod tls;
mod work;
