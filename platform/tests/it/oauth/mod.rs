//! The issuer of tokens on both databases.

mod store;
