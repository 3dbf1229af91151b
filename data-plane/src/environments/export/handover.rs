//! How a tenant gets its export: its tokens have ended, and the control plane never has a way to a customer's data. So the
//! institution's own people, who have the cell's configuration, make links and hand them over on a way of their own.

use chrono::TimeDelta;
use platform::{
    ctx::Clock,
    db::Db,
    objects::{LinkError, Objects, ObjectsError},
};
use sea_orm::DbErr;
use tenants::id::EnvironmentId;

use super::super::system;

/// How long a link is good for.
const LIFE: TimeDelta = TimeDelta::hours(1);

/// A link to one object of an export; whoever has it needs nothing else.
#[derive(Debug, Clone)]
pub struct ExportLink {
    /// The name that the manifest knows it by.
    pub name: String,
    /// Where to get it.
    pub url: String,
}

/// Why there are no links.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The cell has no such environment, or nothing of it was exported.
    #[error("nothing of {0} was exported: it is not here, or not being removed")]
    NoExport(EnvironmentId),
    /// The export is under way.
    #[error("the export of {0} is not whole yet; its conditions say what it waits for")]
    NotWhole(EnvironmentId),
    /// A link cannot be made.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The environment's folder cannot be named.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Links to all objects of an environment's export, the manifest first.
///
/// # Errors
/// [`HandoverError`]
pub async fn links(
    db: &Db,
    objects: &Objects,
    id: EnvironmentId,
    clock: &Clock,
) -> Result<Vec<ExportLink>, HandoverError> {
    let record = system::get(db, id).await?;
    let export = record.and_then(|record| record.export).ok_or(HandoverError::NoExport(id))?;
    if export.seal.is_none() {
        return Err(HandoverError::NotWhole(id));
    }
    let folder = objects.folder(&id)?;
    let mut links = Vec::new();
    for name in export.names() {
        let link = folder.download_link(&export.key(&name), &name, clock, LIFE).await?;
        links.push(ExportLink { name, url: link.url });
    }
    Ok(links)
}
