//! The keys that seal personal data, and blind indexes: a data key per environment, wrapped by a root key.
//!
//! **Promise.** What is sealed opens in its own environment and field only, and any changed bit is noticed. Once the data
//! key of an environment is destroyed, nothing that was sealed with it opens any more, wherever its bytes still lie.
//!
//! ```text
//! root key (a file)  --wraps-->  data key of an environment (a row)  --HKDF-->  sealing key, a key per blind index
//! ```
//!
//! A plane's own secrets (what tokens are signed with, its end of the link) are sealed with a data key too, that of
//! [`HOME`]. So the root wraps data keys and nothing else, and changing it is wrapping those anew ([`Keys::rewrap`]).
//!
//! **Cost.** A data key is read once in [`STALE_AFTER`] and kept in memory, at most [`MOST_KEPT`] of them.

mod data;
mod root;
mod store;
mod system;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ring::hkdf;
use sea_orm::DbErr;
use uuid::Uuid;

pub use self::{
    data::DataKey,
    root::{KeysConfig, RootId},
    store::MIGRATION,
};
use crate::cache::Cache;
use crate::ctx::Scope;
use crate::db::Db;

const KEY_BYTES: usize = 32;
/// How many data keys are kept in memory.
pub const MOST_KEPT: u64 = 10_000;
/// How long a process may go on with a data key that another one has destroyed, if nobody tells it.
pub const STALE_AFTER: Duration = Duration::from_secs(60);
/// Whose the secrets of a plane itself are.
pub const HOME: Scope = Scope { shard: 0, id: Uuid::nil() };

/// Why a value cannot be sealed or opened. Never says what the value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The key has not the form of one.
    #[error("a key has not the form of one")]
    Malformed,
    /// The stored bytes are too short or of an unknown version.
    #[error("these bytes were not sealed by this program")]
    UnknownFormat,
    /// There is no data key: it was not made yet, or it was destroyed.
    #[error("there is no data key of this environment")]
    Absent,
    /// The data key is wrapped by a root key that is not here.
    #[error("the data key is wrapped by the root key {0}, which is not here")]
    UnknownRoot(RootId),
    /// The wrapped data key was changed, or is another environment's.
    #[error("the wrapped data key does not belong here or was changed")]
    Changed,
    /// The value was sealed with a key that is not here.
    #[error("the value was sealed with key {0:08x}, which is not here")]
    UnknownKey(u32),
    /// The bytes were changed, or belong to another scope or field.
    #[error("the sealed value does not belong here or was changed")]
    Refused,
    /// The content is not of the expected type, or cannot be written as JSON.
    #[error("the sealed value is of another type")]
    WrongType,
}

/// Why there is no data key to work with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LoadError {
    /// The key's own reason.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Why a program does not start with these keys. Nothing was changed or lost; each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read or made.
    #[error("the root key {}: {error}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no root key: it takes 64 hexadecimal digits", .0.display())]
    Malformed(PathBuf),
    /// The database was sealed under a root key, and there is none.
    #[error(
        "there is no file {}, and the data keys of this database are wrapped by the root key {root}: put its file back; \
         no other key opens them",
        .path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Which one it should be.
        root: RootId,
    },
    /// The database was sealed under another root key.
    #[error(
        "{} holds the root key {has}, and data keys of this database are wrapped by {needs}: name the file of {needs} in \
         `keys.root_file`, or, to change to {has}, in `keys.other_root_files`",
        .path.display()
    )]
    Unknown {
        /// The file of the configuration.
        path: PathBuf,
        /// What it holds.
        has: RootId,
        /// What is needed.
        needs: RootId,
    },
    /// The plane's own data key does not open.
    #[error("the data key of this program itself: {0}; restore the database")]
    Home(#[source] KeyError),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] DbErr),
}

/// The data keys of a plane. Cheap to share by reference; never printed.
pub struct Keys {
    db: Db,
    /// How many shards there are.
    shards: i32,
    roots: root::Roots,
    home: Arc<DataKey>,
    known: Cache<Uuid, Arc<DataKey>>,
    /// Those that this process destroys: who was just loading one must not keep it.
    hidden: RwLock<HashSet<Uuid>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.roots.current())
    }
}

impl Keys {
    /// The key for what is the plane's own.
    #[must_use]
    pub fn home(&self) -> Arc<DataKey> {
        Arc::clone(&self.home)
    }

    /// The data key of an environment. Ask before a transaction begins: it may take one.
    ///
    /// # Errors
    /// There is none, it does not open, or the database failed.
    pub async fn of(&self, scope: Scope) -> Result<Arc<DataKey>, LoadError> {
        let load = async {
            let tx = self.db.begin_read(scope).await?;
            let row = store::get(&tx, scope).await?;
            tx.commit().await?;
            let row = row.ok_or(KeyError::Absent)?;
            let secret = self.roots.unwrap(scope.id, row.root(), &row.wrapped)?;
            Ok::<_, LoadError>(Arc::new(DataKey::new(scope.id, secret)?))
        };
        let key = self.known.get_or_load(&scope.id, load).await.map_err(|error| LoadError::clone(&error))?;
        // After the load: it may have been hidden meanwhile.
        if self.hidden.read().unwrap_or_else(PoisonError::into_inner).contains(&scope.id) {
            self.known.forget(&scope.id).await;
            return Err(KeyError::Absent.into());
        }
        Ok(key)
    }

    /// From now on this process opens nothing of an environment: its data key is about to be destroyed.
    pub async fn hide(&self, scope: Scope) {
        self.hidden.write().unwrap_or_else(PoisonError::into_inner).insert(scope.id);
        self.known.forget(&scope.id).await;
    }

    /// Takes [`Keys::hide`] back: the key was not destroyed.
    pub fn show(&self, scope: Scope) {
        self.hidden.write().unwrap_or_else(PoisonError::into_inner).remove(&scope.id);
    }
}

/// HKDF-SHA-256; the parts of `info` have to be unambiguous together.
fn derived(salt: &[u8], secret: &[u8; KEY_BYTES], info: &[&[u8]]) -> [u8; KEY_BYTES] {
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    let mut key = [0; KEY_BYTES];
    pseudorandom
        .expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .expect("32 bytes is what HKDF-SHA-256 gives");
    key
}

/// What a key is called.
fn short_id(salt: &[u8], secret: &[u8; KEY_BYTES]) -> u32 {
    let [a, b, c, d, ..] = derived(salt, secret, &[b"id"]);
    u32::from_be_bytes([a, b, c, d])
}
