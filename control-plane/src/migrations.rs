//! The tables of the control plane, oldest first.

use sea_orm_migration::MigrationTrait;

/// Those of platform, and of each slice.
#[must_use]
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    platform::migrations::migrations()
}
