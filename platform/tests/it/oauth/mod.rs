//! The issuer of tokens on both databases.

mod access;
mod bound;
mod document;
mod issue;
mod rotate;
mod scopes;
mod store;

use chrono::DateTime;
use platform::ctx::{Clock, Scope};
use platform::oauth::{Issuer, Presented};
use platform::token::TokenError;
use uuid::Uuid;

/// A clock that tests move.
fn clock() -> Clock {
    Clock::manual(DateTime::from_timestamp(1_800_000_000, 250_000_000).unwrap())
}

fn scope(number: u128) -> Scope {
    Scope::new(0, Uuid::from_u128(number))
}

/// Why the token is refused, if it is.
async fn refusal(issuer: &Issuer, token: &str) -> Option<TokenError> {
    issuer.caller(&Presented::bearer(token)).await.err()
}
