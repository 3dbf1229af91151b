//! The process's randomness: ids, jitter, nonces.
//!
//! Everything here comes from a cryptographically secure generator seeded by the operating system. What must be
//! repeatable (simulations) takes a seeded generator as an argument instead and never calls this module.

use rand::Rng;

/// 128 random bits.
#[expect(clippy::disallowed_methods, reason = "the one source of randomness")]
pub fn bits() -> u128 {
    rand::rng().random()
}

/// `N` random bytes, fit for keys and nonces.
#[expect(clippy::disallowed_methods, reason = "the one source of randomness")]
pub fn bytes<const N: usize>() -> [u8; N] {
    rand::rng().random()
}

/// A number in `0.0..1.0`, for jitter.
#[expect(clippy::disallowed_methods, reason = "the one source of randomness")]
pub fn fraction() -> f64 {
    rand::rng().random()
}
