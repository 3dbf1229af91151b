//! The ledger on real databases.
mod model;
mod table;
mod world;
mod writers;
