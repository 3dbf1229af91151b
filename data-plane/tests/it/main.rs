//! Integration tests of a cell, through its router, on both databases.

#![allow(clippy::unwrap_used, reason = "a panic is the failure report")]

mod accounts;
mod blocks;
mod catalogue;
mod cell;
mod convergence;
mod coverage;
mod document;
mod environments;
mod exports;
mod kills;
mod mode;
mod money;
mod objects;
mod parties;
mod payments;
mod removal;
mod statements;
mod telemetry;
