//! What both planes need and no banking word: problems, the tower stack, tokens, configuration, telemetry, databases.

pub mod cache;
pub mod config;
pub mod ctx;
pub mod db;
pub mod drain;
pub mod egress;
pub mod http;
pub mod idempotency;
pub mod layers;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod random;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod token;
