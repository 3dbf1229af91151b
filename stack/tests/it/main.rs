//! Tests of the whole, one binary.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

mod bench;
mod cells;
mod client;
mod clients;
mod commands;
mod demo;
mod launch;
mod link;
mod live;
mod plane;
mod planes;
mod restore;
mod steps;
mod tidy;
