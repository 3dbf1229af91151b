//! What both planes need and no banking word: problems, the tower stack, tokens, configuration, telemetry, databases.

pub mod http;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod token;
