//! The contract between the planes, pure: ids, jurisdictions, compliance profiles, money.
//!
//! This crate does no IO and reads no clock; whatever depends on time takes it as an argument.

pub mod calendar;
pub mod environment;
pub mod id;
pub mod jurisdiction;
pub mod money;
pub mod profile;
