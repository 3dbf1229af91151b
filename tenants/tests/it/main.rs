//! Integration tests: the contract between the planes against its published versions.

#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

mod contract;
mod contract_v1;
mod contract_v2;
