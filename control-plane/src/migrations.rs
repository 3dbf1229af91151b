//! The tables of the control plane, oldest first.

use sea_orm_migration::MigrationTrait;

/// Those of platform, and of each slice.
#[must_use]
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    let mut all = platform::migrations::migrations();
    all.push(Box::new(crate::organizations::MIGRATION));
    all.push(Box::new(crate::regions::MIGRATION));
    all.push(Box::new(crate::tenants::MIGRATION));
    all.push(Box::new(crate::tenants::residency::MIGRATION));
    all.push(Box::new(crate::operations::MIGRATION));
    all.push(Box::new(crate::environments::MIGRATION));
    all.push(Box::new(crate::cells::MIGRATION));
    all.push(Box::new(crate::links::MIGRATION));
    all.push(Box::new(crate::clients::MIGRATION));
    all.push(Box::new(crate::documents::MIGRATION));
    all
}
