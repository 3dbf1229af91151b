//! The ledger on real databases.
#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

mod model;
mod outcomes;
mod planted;
mod sim;
mod table;
mod world;
mod writers;
