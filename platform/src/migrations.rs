//! The tables that both planes have, oldest first; each root puts its own migrations after these.

use sea_orm_migration::MigrationTrait;

/// The migrations of this crate.
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    vec![
        Box::new(crate::clock::MIGRATION),
        Box::new(crate::idempotency::MIGRATION),
        Box::new(crate::work::MIGRATION),
        Box::new(crate::oauth::MIGRATION),
        Box::new(crate::keys::MIGRATION),
    ]
}
