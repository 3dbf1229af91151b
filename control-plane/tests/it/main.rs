//! Integration tests of the control plane, through its router, on both databases.

#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

mod actions;
mod catalogue;
mod cells;
mod clients;
mod convergence;
mod document;
mod documents;
mod dry_run;
mod environments;
mod link;
mod links;
mod plane;
mod provisioning;
mod residency;
mod tenants;
