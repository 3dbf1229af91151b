//! Tokens of one's own: an OAuth 2.1 issuer for one audience, itself.
//!
//! A client proves who it is, by a key (`private_key_jwt`), a certificate or in a sandbox a secret, and gets a token of
//! ten minutes: a JWT (RFC 9068) that says who it is and what it may do, bound to a key (RFC 9449) or a certificate
//! (RFC 8705) where that is asked. The protocol engine is the library `oauth-as`; this module gives it a store on
//! sea-orm, keys, a clock and an HTTP surface, and verifies the tokens that come back.
//!
//! Promises:
//! - Nothing in the database is a credential. What a client presents is there as SHA-256 only, and what is known of it
//!   is sealed.
//! - A revocation is final: a write that was on its way cannot bring back what it removed.
//! - A token is verified with our own keys, by the name of the key in it; nothing in it chooses an algorithm or a key
//!   from elsewhere. It says no more than who its client is: where that may act, and whether its tokens are still good,
//!   is looked up on every call in the [`Directory`], which is a second behind another replica's changes at most.
//! - Of two replicas that rotate keys at once, one does.
//!
//! What it does not do: people, consent, refresh tokens. The tables are ready for them.

mod certificate;
mod changes;
mod credential;
mod directory;
mod document;
mod dpop;
pub mod http;
mod issuer;
pub mod keys;
mod probe;
mod rows;
mod section;
mod store;
mod system;
mod token;

pub use credential::{BadCredential, Credential};
pub use directory::{Directory, Entry, Registration, RegistrationError, is_known};
pub use document::Signed;
pub use dpop::ProofError;
pub use issuer::{Grant, Issuer, IssuerError, IssuerOptions, Proof, Refused, Request, is_name};
pub use probe::ProbeError;
pub use rows::MIGRATION;
pub use section::ClientSection;
pub use store::StoreError;
pub use system::{Store, forget_ended};
pub use token::Presented;

/// How long a token lives, in seconds.
pub const TTL_S: u32 = 600;
