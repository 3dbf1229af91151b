//! What is sealed in an environment is sealed with a key of its own, made when it is, and destroyed when it ends.

use platform::{
    ctx::Scope,
    keys::{KeyError, LoadError},
};
use tenants::environment::Status;

use super::{
    model::{KEYS_ERASED, KEYS_MADE, Record, Step},
    system,
    work::{Converger, Error, Look, failed},
};

impl Converger {
    /// Makes the data key of a new environment. One that had a key and has none any more gets no other: what was sealed
    /// would look as if it had never been.
    pub(super) async fn keys(&self, record: &Record) -> Result<Look, Error> {
        let scope = Scope::new(record.shard, record.id.uuid());
        let stuck = |reason: &str, error: KeyError| {
            let seen = self.seen(KEYS_MADE, Status::False, reason, Some(error.to_string()));
            failed(record, Step::Keys, seen)
        };
        let had = record.conditions.iter().find(|one| one.r#type == KEYS_MADE);
        match self.keys.of(scope).await {
            Ok(_) if had.is_some_and(|one| one.status == Status::True) => Ok(Look::There),
            Ok(_) => {
                let seen = self.seen(KEYS_MADE, Status::True, "Made", None);
                Ok(Look::Made(record.after(Step::Keys, [seen])))
            }
            Err(LoadError::Key(error @ KeyError::Absent)) if had.is_some() => {
                Ok(Look::Stuck(stuck("Lost", error)))
            }
            Err(LoadError::Key(KeyError::Absent)) => {
                match system::ensure_key(&self.db, &self.keys, record, self.clock.now()).await {
                    Ok(None) => Ok(Look::Past),
                    Ok(Some(_)) => {
                        let seen = self.seen(KEYS_MADE, Status::True, "Made", None);
                        Ok(Look::Made(record.after(Step::Keys, [seen])))
                    }
                    Err(LoadError::Key(error)) => Ok(Look::Stuck(stuck("Refused", error))),
                    Err(LoadError::Database(error)) => Err(error.into()),
                }
            }
            // Another replica has a root key that this one has not yet.
            Err(LoadError::Key(error @ KeyError::UnknownRoot(_))) => {
                let seen = self.seen(KEYS_MADE, Status::False, "RootUnknown", Some(error.to_string()));
                Ok(Look::Wait(record.after(Step::Keys, [seen])))
            }
            Err(LoadError::Key(error)) => Ok(Look::Stuck(stuck("Refused", error))),
            Err(LoadError::Database(error)) => Err(error.into()),
        }
    }

    /// Destroys the data key, and with it all that is sealed and not yet gone everywhere.
    pub(super) async fn erase(&self, record: &Record) -> Result<Look, Error> {
        match system::destroy_key(&self.db, &self.keys, record).await? {
            None => Ok(Look::Past),
            Some(false) => Ok(Look::There),
            Some(true) => {
                let seen = self.seen(KEYS_ERASED, Status::True, "Destroyed", None);
                Ok(Look::Made(record.after(Step::Erase, [seen])))
            }
        }
    }
}
