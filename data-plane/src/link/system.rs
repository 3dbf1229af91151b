//! The link's rows are the worker's: the keys of a cell are nothing for who serves requests.
//!
//! Whatever is written is written by who has the lease, and by nobody who has lost it.

use chrono::{DateTime, Utc};
use platform::{
    db::{self, Db},
    keys::DataKey,
    pki::{Identity, KeyAndRequest},
    random,
};
use sea_orm::DbErr;
use tenants::{
    contract::{Body, Desired},
    id::{CellId, EnvironmentId, JoinTokenId},
};
use uuid::Uuid;

use super::{
    Error,
    model::State,
    store::{self, Current, Pending},
};
use crate::environments::{self, Environments, Wanted};

/// The field that the key of an identity of this cell is sealed for.
fn field(cell: CellId) -> String {
    format!("link_identity.key/{cell}")
}

/// The link's rows, as one process that may have the lease sees them. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Rows {
    db: Db,
    owner: Uuid,
}

impl Rows {
    /// For a process that calls itself `owner`.
    pub fn new(db: Db, owner: Uuid) -> Self {
        Self { db, owner }
    }

    /// Gives this process the lease from `now` to `until`, unless another one has it.
    pub async fn lease(
        &self,
        software: &str,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> Result<bool, DbErr> {
        db::retry(|| async {
            let tx = self.db.begin_system().await?;
            if store::state(&tx).await?.is_none() {
                let instance = Uuid::from_u128(random::bits());
                store::begin(&tx, &State::new(instance, software.to_owned())).await?;
            }
            let has = store::lease(&tx, self.owner, now, until).await?;
            tx.commit().await?;
            Ok(has)
        })
        .await
    }

    /// Gives the lease back.
    pub async fn release(&self) -> Result<(), DbErr> {
        db::retry(|| async {
            let tx = self.db.begin_system().await?;
            store::release(&tx, self.owner).await?;
            tx.commit().await
        })
        .await
    }

    /// What is stored of the link, whoever has the lease.
    pub async fn read(&self) -> Result<Option<State>, DbErr> {
        let tx = self.db.begin_system().await?;
        let state = store::state(&tx).await?;
        tx.commit().await?;
        Ok(state)
    }

    /// Changes what is stored of the link; what it is then.
    pub async fn change(&self, change: impl Fn(&mut State)) -> Result<State, Error> {
        db::retry(|| async {
            let tx = self.db.begin_system().await?;
            let before = store::held(&tx, self.owner).await?.ok_or(Error::NotHeld)?;
            let mut after = before.clone();
            change(&mut after);
            if after != before {
                store::write(&tx, &after).await?;
            }
            tx.commit().await?;
            Ok(after)
        })
        .await
    }

    /// The key that is asked a certificate for with this join token, or for renewal; made and kept if there is none.
    /// So whoever dies asks for the same again.
    pub async fn pending(
        &self,
        key: &DataKey,
        cell: CellId,
        join: Option<JoinTokenId>,
    ) -> Result<(State, Pending, String), Error> {
        let made = KeyAndRequest::make(cell)?;
        db::retry(|| async {
            let tx = self.db.begin_system().await?;
            let state = store::held(&tx, self.owner).await?.ok_or(Error::NotHeld)?;
            let kept = store::pending(&tx).await?.filter(|kept| kept.cell == cell && kept.join == join);
            // A key that was sealed under another root is as good as none.
            let opened = kept.and_then(|kept| {
                let opened = key.open(&field(cell), &kept.key_sealed).ok()?;
                Some((kept, opened))
            });
            let (pending, key_pem) = match opened {
                Some(opened) => opened,
                None => {
                    let key_sealed = key.seal(&field(cell), &made.key_pem)?;
                    let new = Pending { cell, join, key_sealed, csr_pem: made.csr_pem.clone() };
                    store::put_pending(&tx, &new).await?;
                    (new, made.key_pem.clone())
                }
            };
            tx.commit().await?;
            Ok((state, pending, key_pem))
        })
        .await
    }

    /// Makes a certificate that was given the identity, together with what changes of the state.
    pub async fn install(
        &self,
        csr_pem: &str,
        new: &Current,
        change: impl Fn(&mut State),
    ) -> Result<(), Error> {
        db::retry(|| async {
            let tx = self.db.begin_system().await?;
            let mut state = store::held(&tx, self.owner).await?.ok_or(Error::NotHeld)?;
            change(&mut state);
            store::install(&tx, csr_pem, new).await?;
            store::write(&tx, &state).await?;
            Ok(tx.commit().await?)
        })
        .await
    }

    /// The identity, opened.
    pub async fn current(&self, key: &DataKey) -> Result<Option<(Current, Identity)>, Error> {
        let tx = self.db.begin_system().await?;
        let current = store::current(&tx).await?;
        tx.commit().await?;
        let Some(current) = current else { return Ok(None) };
        let key_pem = key.open(&field(current.cell), &current.key_sealed)?;
        let identity = Identity {
            key_pem,
            certificate_pem: current.certificate_pem.clone(),
            chain_pem: current.chain_pem.clone(),
        };
        Ok(Some((current, identity)))
    }

    /// Stores what was answered to a poll from `asked` on, whole or not at all: the documents and the cursor behind
    /// them. What is stored of the link then, and whether there was anything.
    pub async fn take(
        &self,
        environments: &Environments,
        asked: &State,
        desired: &Desired,
        now: DateTime<Utc>,
    ) -> Result<(State, bool), Error> {
        db::retry(|| async {
            let tx = self.db.begin_system().await?;
            let mut state = store::held(&tx, self.owner).await?.ok_or(Error::NotHeld)?;
            state.answered(desired.now_at, now);
            // The report has found another history meanwhile: this answer is of the one before.
            let stands = state.lineage == asked.lineage && state.cursor == asked.cursor;
            if stands && (desired.resync || desired.lineage != state.lineage) {
                state.begin_anew(desired.lineage);
            } else if stands {
                for document in &desired.documents {
                    match &document.body {
                        Body::Environment(intent) => {
                            let (subject, generation) = (&document.subject, document.generation);
                            let wanted =
                                environments::want_in_tx(&tx, environments, intent, generation, now).await?;
                            if let Wanted::Behind { stored } = wanted {
                                // The control plane does not know what it has wanted: it is told.
                                tracing::warn!(
                                    subject,
                                    generation,
                                    stored,
                                    "a document is behind what is stored"
                                );
                                state.resync = true;
                            }
                        }
                        Body::Cell(intent) => state.want(document.generation, intent),
                        Body::Unknown => {
                            let subject = &document.subject;
                            tracing::warn!(subject, "a document of a kind that this build does not know");
                        }
                    }
                }
                state.cursor = desired.revision;
            }
            store::write(&tx, &state).await?;
            tx.commit().await?;
            Ok((state, stands && (desired.resync || !desired.documents.is_empty())))
        })
        .await
    }

    /// Notes that the control plane was told of these environments, up to these changes.
    pub async fn reported(&self, told: &[(EnvironmentId, i64)]) -> Result<(), DbErr> {
        if told.is_empty() {
            return Ok(());
        }
        db::retry(|| async {
            let tx = self.db.begin_system().await?;
            environments::mark_reported_in_tx(&tx, told).await?;
            tx.commit().await
        })
        .await
    }
}
