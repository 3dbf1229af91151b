//! The worker's part: keys are made, wrapped anew and destroyed.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, RwLock};

use chrono::{DateTime, Utc};
use secrecy::SecretBox;

use super::root::Roots;
use super::{
    DataKey, HOME, KeyError, Keys, KeysConfig, LoadError, MOST_KEPT, STALE_AFTER, StartError, store,
};
use crate::cache::Cache;
use crate::ctx::Scope;
use crate::db::{self, Db, Tx};
use crate::random;

/// How many keys are wrapped anew in one transaction.
const PAGE: u64 = 200;

impl Keys {
    /// Of a database with this many shards. The first start makes the root key's file, if there is none, and the data key
    /// of the plane itself.
    ///
    /// # Errors
    /// The root key is not the one that data keys of this database are wrapped by, or its file cannot be read; the
    /// database failed. Nothing has changed then.
    pub async fn start(
        db: Db,
        shards: i32,
        config: &KeysConfig,
        now: DateTime<Utc>,
    ) -> Result<Self, StartError> {
        let roots = Roots::open(config, &held(&db, shards).await?)?;
        db::retry(|| async {
            let tx = db.begin_system().await?;
            match add(&tx, &roots, HOME, now).await {
                Ok(true) => Ok(tx.commit().await?),
                Ok(false) => Ok(()),
                Err(LoadError::Database(error)) => Err(StartError::Database(error)),
                Err(LoadError::Key(error)) => Err(StartError::Home(error)),
            }
        })
        .await?;
        // Somebody with another root may have been quicker.
        Roots::open(config, &held(&db, shards).await?)?;
        let tx = db.begin_system().await?;
        let row = store::get(&tx, HOME).await?.ok_or(StartError::Home(KeyError::Absent))?;
        tx.commit().await?;
        let secret = roots.unwrap(HOME.id, row.root(), &row.wrapped).map_err(StartError::Home)?;
        let home = Arc::new(DataKey::new(HOME.id, secret).map_err(StartError::Home)?);
        let (known, hidden) = (Cache::new(MOST_KEPT, STALE_AFTER), RwLock::new(HashSet::new()));
        Ok(Self { db, shards, roots, home, known, hidden })
    }

    /// Makes the data key of an environment in the worker's transaction, if there is none; whether it was made.
    ///
    /// # Errors
    /// The database's.
    pub async fn ensure_in_tx(&self, tx: &Tx, scope: Scope, now: DateTime<Utc>) -> Result<bool, LoadError> {
        add(tx, &self.roots, scope, now).await
    }

    /// Destroys the data key of an environment in the worker's transaction: once that is committed, what was sealed with it,
    /// and what can be found with it, is nobody's any more. [`Keys::hide`] it before, so that this process opens nothing from
    /// memory; another process does not after [`STALE_AFTER`]. Whether there was one.
    ///
    /// What it cannot reach is a copy of the wrapped key that was made before: such a copy opens for as long as the root
    /// key of that time exists.
    ///
    /// # Errors
    /// The database's.
    pub async fn destroy_in_tx(&self, tx: &Tx, scope: Scope) -> Result<bool, sea_orm::DbErr> {
        store::remove(tx, scope).await
    }

    /// Wraps by the current root key what another one wraps; may break off anywhere, and run twice at once. How many
    /// data keys other roots still wrap afterwards: with 0 the files of these are not needed any more.
    ///
    /// # Errors
    /// The database's.
    pub async fn rewrap(&self) -> Result<u64, sea_orm::DbErr> {
        let root = self.roots.current();
        let (mut done, mut left) = (0_u64, 0_u64);
        for shard in 0..self.shards {
            let mut after = None;
            loop {
                let tx = self.db.begin_system().await?;
                let rows = store::of_other_roots(&tx, shard, root, after, PAGE).await?;
                let Some(last) = rows.last() else { break };
                after = Some(last.scope_id);
                for row in &rows {
                    let opened = self.roots.unwrap(row.scope_id, row.root(), &row.wrapped);
                    match opened.and_then(|secret| self.roots.wrap(row.scope_id, &secret)) {
                        Ok(wrapped) => {
                            let swapped = store::swap(&tx, row, root, wrapped).await?;
                            done = done.saturating_add(u64::from(swapped));
                        }
                        Err(error) => {
                            left = left.saturating_add(1);
                            tracing::error!(environment = %row.scope_id, %error, "a data key does not open");
                        }
                    }
                }
                tx.commit().await?;
            }
        }
        if done > 0 {
            tracing::info!(keys = done, left, %root, "data keys are wrapped by another root key now");
        }
        Ok(left)
    }
}

/// The roots that the data keys of a database are wrapped by.
async fn held(db: &Db, shards: i32) -> Result<Vec<super::RootId>, sea_orm::DbErr> {
    let mut held = BTreeSet::new();
    let tx = db.begin_system().await?;
    for shard in 0..shards {
        held.extend(store::roots(&tx, shard).await?);
    }
    tx.commit().await?;
    Ok(held.into_iter().collect())
}

async fn add(tx: &Tx, roots: &Roots, scope: Scope, now: DateTime<Utc>) -> Result<bool, LoadError> {
    if store::get(tx, scope).await?.is_some() {
        return Ok(false);
    }
    let secret = SecretBox::new(Box::new(random::bytes()));
    let wrapped = roots.wrap(scope.id, &secret)?;
    Ok(store::add(tx, scope, (roots.current(), wrapped), now).await?)
}
