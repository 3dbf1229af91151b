//! Tokens of one's own: an OAuth 2.1 issuer for one audience, itself.
//!
//! The protocol engine is the library `oauth-as`; this module gives it a [`Store`] on sea-orm.
//!
//! Promise: nothing in the database is a credential. What a client presents is there as SHA-256 only, and what is known
//! of it is sealed. A revocation is final: a write that was on its way cannot bring back what it removed.

mod rows;
mod store;
mod system;

pub use rows::MIGRATION;
pub use system::{Store, forget_ended};
