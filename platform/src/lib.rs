//! What both planes need and no banking word: problems, the tower stack, tokens, configuration, telemetry, databases.

pub mod cache;
pub mod clock;
pub mod config;
pub mod ctx;
pub mod db;
pub mod drain;
pub mod egress;
pub mod failpoint;
pub mod http;
pub mod idempotency;
pub mod keys;
pub mod layers;
pub mod migrations;
pub mod openapi;
pub mod page;
pub mod pki;
pub mod problem;
pub mod random;
pub mod sealed;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
pub mod token;
pub mod upkeep;
pub mod work;
