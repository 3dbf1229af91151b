//! The tables of a cell, oldest first.

use sea_orm_migration::MigrationTrait;

/// Those of platform, of the ledger, and of each slice.
#[must_use]
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    let mut all = platform::migrations::migrations();
    all.push(Box::new(ledger::migrations::MIGRATION));
    all.push(Box::new(crate::parties::MIGRATION));
    all.push(Box::new(crate::accounts::MIGRATION));
    all.push(Box::new(crate::payments::MIGRATION));
    all.push(Box::new(crate::environments::MIGRATION));
    all.push(Box::new(crate::link::MIGRATION));
    all.push(Box::new(crate::environments::RETENTION));
    all
}
