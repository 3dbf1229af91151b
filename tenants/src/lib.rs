//! What both planes know, pure: ids, jurisdictions, compliance profiles, residency, money, the messages between them.
//!
//! This crate does no IO and reads no clock; whatever depends on time takes it as an argument.

pub mod calendar;
pub mod contract;
pub mod environment;
pub mod example;
pub mod id;
pub mod jurisdiction;
pub mod money;
pub mod profile;
pub mod region;
pub mod residency;
pub mod tenant;
