//! The place of an environment's objects: a folder of the cell's bucket, with a marker in it that says whose it is.
//!
//! The marker is put once and never changed, so that who comes again, or second, finds it. No request of a tenant waits
//! for the object store: while it is down, environments are made later, and those that are ready stay so.

use std::{future::Future, time::Duration};

use platform::objects::{Folder, ObjectsError};
use serde::{Deserialize, Serialize};
use tenants::{
    environment::{Condition, Status},
    id::EnvironmentId,
};

use super::{
    model::{CLEARED, OBJECTS_READY, Record, Step},
    work::{Converger, Look},
};

/// The key of the marker.
const MARKER: &str = ".tambo";
/// Markers are small; what is larger is none.
const MARKER_BYTES: u64 = 1_000;
/// How long one look may take: other work waits for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Whether its objects are gone.
const OBJECTS_REMOVED: &str = "ObjectsRemoved";

/// Whose folder it is, and what was wanted of it when it was made.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    environment: EnvironmentId,
    generation: u64,
}

/// What is wrong with a place, or with what is to be put there.
pub(super) enum Fault {
    Objects(ObjectsError),
    /// The marker is another environment's, or none.
    Differs,
    /// No key signs.
    NoKey,
}

impl From<ObjectsError> for Fault {
    fn from(error: ObjectsError) -> Self {
        Self::Objects(error)
    }
}

impl Fault {
    /// A stable word, and a sentence for people who are not to know where the store is.
    pub(super) fn public(&self) -> (&'static str, &'static str) {
        match self {
            Self::NoKey => ("NoSigningKey", "the cell has no key that signs"),
            Self::Differs => ("MarkerDiffers", "the marker of the environment's objects is not its own"),
            Self::Objects(error) => {
                let detail = match error {
                    ObjectsError::Unreachable(_) => "the cell's object store does not answer",
                    ObjectsError::Denied(_) => "the cell's object store refuses the cell's access key",
                    ObjectsError::NoBucket(_) => "the cell's bucket is not there",
                    ObjectsError::Configuration(_) => "the cell's object store cannot be asked as configured",
                    ObjectsError::Refused(_) | ObjectsError::Key(_) => "the cell's object store refuses",
                };
                (error.reason(), detail)
            }
        }
    }
}

impl Converger {
    /// Looks whether the objects have a place, and makes it if not.
    pub(super) async fn place(&self, record: &Record) -> Look {
        match within(self.ensure_place(record)).await {
            Ok(()) => {
                let seen = self.seen(OBJECTS_READY, Status::True, "Marked", None);
                let after = record.after(Step::Objects, [seen]);
                if after.conditions == record.conditions { Look::There } else { Look::Made(after) }
            }
            Err(fault) => {
                Look::Wait(record.after(Step::Objects, [self.unseen(record, OBJECTS_READY, &fault)]))
            }
        }
    }

    async fn ensure_place(&self, record: &Record) -> Result<(), Fault> {
        let folder = self.folder_of(record.id)?;
        let made = Marker { environment: record.id, generation: record.generation };
        let bytes = serde_json::to_vec(&made).map_err(|_| Fault::Differs)?;
        let found = match folder.get(MARKER, MARKER_BYTES).await? {
            Some(found) => found,
            None => {
                folder.put_new(MARKER, "application/json", bytes).await?;
                // Somebody else's, if there were two at once.
                folder.get(MARKER, MARKER_BYTES).await?.ok_or(Fault::Differs)?
            }
        };
        match serde_json::from_slice::<Marker>(&found) {
            Ok(marker) if marker.environment == record.id => Ok(()),
            _ => Err(Fault::Differs),
        }
    }

    /// Removes the objects, a page at a time.
    pub(super) async fn remove_objects(&self, record: &Record) -> Look {
        if record.conditions.iter().all(|one| one.r#type != CLEARED) {
            // From here on there is no way back to serving.
            let begun = self.seen(CLEARED, Status::False, "Begun", None);
            return Look::Made(record.after(Step::RemoveObjects, [begun]));
        }
        let removed = within(async { Ok(self.folder_of(record.id)?.remove_some().await?) }).await;
        match removed {
            Ok(false) if record.holds(OBJECTS_REMOVED) => Look::There,
            Ok(false) => {
                let gone = self.seen(OBJECTS_REMOVED, Status::True, "Removed", None);
                Look::Made(record.after(Step::RemoveObjects, [gone]))
            }
            Ok(true) => Look::Made(record.after(Step::RemoveObjects, [])),
            Err(fault) => {
                Look::Wait(record.after(Step::RemoveObjects, [self.unseen(record, OBJECTS_REMOVED, &fault)]))
            }
        }
    }

    /// The folders of the bucket that belong to no environment of this cell, at most `limit`: what a cell that was
    /// restored has lost, or somebody else has put there. Nothing is done to them here.
    ///
    /// # Errors
    /// The database's or the object store's, as texts for a log.
    pub async fn orphans(&self, limit: usize) -> Result<Vec<String>, String> {
        let mut orphans = Vec::new();
        let mut after = None;
        loop {
            let folders = self.objects.folders(after.as_deref()).await.map_err(|error| error.to_string())?;
            let Some(last) = folders.last() else { return Ok(orphans) };
            after = Some(last.clone());
            for folder in folders {
                let known = match folder.parse() {
                    Ok(id) => {
                        super::system::has_objects(&self.db, id).await.map_err(|error| error.to_string())?
                    }
                    // What is ours and no environment's: the probes of locks.
                    Err(_) => folder.starts_with('.'),
                };
                if !known {
                    orphans.push(folder);
                }
                if orphans.len() == limit {
                    return Ok(orphans);
                }
            }
        }
    }

    pub(super) fn folder_of(&self, id: EnvironmentId) -> Result<Folder, ObjectsError> {
        self.objects.folder(&id)
    }

    fn unseen(&self, record: &Record, name: &str, fault: &Fault) -> Condition {
        let (reason, detail) = fault.public();
        if let Fault::Objects(error) = fault {
            tracing::warn!(environment = %record.id, %error, "an environment waits for the object store");
        }
        self.seen(name, Status::False, reason, Some(detail.to_owned()))
    }
}

async fn within<T>(asked: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let late = || ObjectsError::Unreachable(format!("no answer within {} s", PATIENCE.as_secs())).into();
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late()))
}
