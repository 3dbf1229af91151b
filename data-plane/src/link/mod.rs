//! The cell's end of the link: it enrols, asks what is wanted of it, and reports what became of that.
//!
//! **Promise.** The cell serves whether the link is up or not, and goes on from where it was when it comes up again.
//! What is wanted is stored whole or not at all, with the cursor behind it. Keys and requests are stored before anybody
//! is asked with them, and reports are numbered before they are sent, so that a cell that dies anywhere asks for the
//! same again and reports nothing twice. Of several replicas of a cell one has the link, by a lease; what is written is
//! written by who has it.
//!
//! The control plane never calls. A refusal is logged once, shown ([`Link::status`], the gauge `link_refused`), and tried
//! again every minute: an operator's new join token, an upgrade or a clock set right heals it. Whether a certificate has
//! ended is looked up in the certificate, never guessed from a connection's error; one that has ended is good for
//! renewal only, for [`GRACE`].

mod model;
mod run;
mod store;
mod system;
mod wire;

use std::{
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use platform::{
    ctx::Clock,
    db::Db,
    egress::{EgressConfig, EgressError},
    join::{InvalidJoin, Join},
    keys::{DataKey, KeyError},
    pki::{self, Identity, PkiError},
    random,
};
use sea_orm::DbErr;
use tenants::{
    contract::{Enrol, Renewal, SPOKEN},
    environment::Mode,
    id::CellId,
    jurisdiction::JurisdictionId,
};
use tokio::sync::Notify;
use uuid::Uuid;

pub use self::{
    model::{Call, GRACE, MOST_SKEW, Pace, State, Status},
    store::MIGRATION,
    wire::Failure,
};
use self::{store::Current, system::Rows, wire::Wire};
use crate::{
    config::{CellConfig, LinkSection},
    environments::Environments,
};

/// Why the link did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another replica has the link.
    #[error("another process of this cell has the link")]
    NotHeld,
    /// There is no identity, and nothing to enrol with.
    #[error("the join token cannot be read from {}: {error}", file.display())]
    NoToken {
        /// Where it was looked for.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file holds something else.
    #[error("{}: {error}", file.display())]
    NotToken {
        /// Which one.
        file: PathBuf,
        /// What is wrong.
        error: InvalidJoin,
    },
    /// The token, or the answer to it, is for another cell than this database is of.
    #[error("this is the cell {ours}, and the join token is for {theirs}")]
    OtherCell {
        /// Which cell this is.
        ours: CellId,
        /// For which one it was.
        theirs: CellId,
    },
    /// The certificate ended too long ago to be renewed.
    #[error("the certificate ended more than {} days ago: put a new join token into its file", GRACE.num_days())]
    Ended,
    /// The control plane did not answer, or refused.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The host may not be called, or the identity cannot be used.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// The identity cannot be sealed or opened.
    #[error("the identity of the link: {0}")]
    Keys(#[from] KeyError),
    /// A certificate cannot be made or read.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// The link of this process. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Link(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rows: Rows,
    db: Db,
    key: Arc<DataKey>,
    environments: Environments,
    clock: Clock,
    section: LinkSection,
    /// Where tenants reach the cell.
    public_url: String,
    egress: EgressConfig,
    jurisdiction: JurisdictionId,
    mode: Mode,
    shards: i32,
    /// Everything is to be reported, though no environment has changed.
    again: Notify,
    /// There is something to do.
    worker: Arc<Notify>,
    pace: Pace,
    status: Mutex<Status>,
}

/// An identity in use.
#[derive(Debug)]
struct Session {
    wire: Wire,
    current: Current,
}

impl Link {
    /// The link of a cell that is configured to have one, at the pace of a cell or of a test. `worker` is notified
    /// when there is something to do.
    #[must_use]
    pub fn of(
        config: &CellConfig,
        (db, key): (Db, Arc<DataKey>),
        environments: Environments,
        (clock, worker): (Clock, Arc<Notify>),
        pace: Pace,
    ) -> Option<Self> {
        let section = config.link.clone()?;
        let rows = Rows::new(db.clone(), Uuid::from_u128(random::bits()));
        let (jurisdiction, mode) = (config.cell.jurisdiction.clone(), config.cell.mode);
        let (egress, shards) = (config.egress.clone(), config.cell.shards);
        let (again, status) = (Notify::new(), Mutex::default());
        Some(Self(Arc::new(Inner {
            rows,
            db,
            key,
            environments,
            clock,
            section,
            public_url: config.cell.public_url.clone(),
            egress,
            jurisdiction,
            mode,
            shards,
            again,
            worker,
            pace,
            status,
        })))
    }

    /// How the link is, as this process has seen it.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is stored of the link; none before its first use.
    ///
    /// # Errors
    /// The database's.
    pub async fn stored(&self) -> Result<Option<State>, DbErr> {
        self.0.rows.read().await
    }

    /// When the certificate ends, if there is one.
    ///
    /// # Errors
    /// The database's, or the identity cannot be opened.
    pub async fn not_after(&self) -> Result<Option<chrono::DateTime<chrono::Utc>>, Error> {
        let current = self.0.rows.current(&self.0.key).await?;
        Ok(current.map(|(current, _)| current.not_after))
    }

    /// Enrols with the join token, unless that was done; which cell this is. For who sets a cell up: a cell that serves
    /// does it by itself.
    ///
    /// # Errors
    /// [`Error::NotHeld`] while another process of the cell has the link; the control plane's refusal, or no answer.
    pub async fn enrol(&self) -> Result<CellId, Error> {
        if !self.lease().await? {
            return Err(Error::NotHeld);
        }
        let session = self.identify().await;
        self.0.rows.release().await?;
        Ok(session?.current.cell)
    }

    async fn lease(&self) -> Result<bool, DbErr> {
        let now = self.0.clock.now();
        let until =
            now.checked_add_signed(chrono::TimeDelta::from_std(self.0.pace.lease).unwrap_or_default());
        self.0.rows.lease(&software(), now, until.unwrap_or(now)).await
    }

    fn join(&self) -> Result<Join, Error> {
        let file = &self.0.section.join_token_file;
        let text = fs::read_to_string(file).map_err(|error| Error::NoToken { file: file.clone(), error })?;
        text.parse().map_err(|error| Error::NotToken { file: file.clone(), error })
    }

    /// The identity to go on with: one of the join token in the file if that is another than before, else the one that
    /// is there.
    async fn identify(&self) -> Result<Arc<Session>, Error> {
        let state = self.0.rows.change(|_| {}).await?;
        let there = self.session(&state).await?;
        let join = self.join();
        let Some(there) = there else { return self.enrol_with(&join?).await };
        match join {
            Ok(join) if state.join != Some(join.id) && join.expires_at > self.0.clock.now() => {
                let ours = there.current.cell;
                let anew = match join.cell == ours {
                    true => self.enrol_with(&join).await,
                    false => Err(Error::OtherCell { ours, theirs: join.cell }),
                };
                Ok(anew.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the new join token was of no use; the cell goes on as it was");
                    there
                }))
            }
            _ => Ok(there),
        }
    }

    async fn session(&self, state: &State) -> Result<Option<Arc<Session>>, Error> {
        let current = self.0.rows.current(&self.0.key).await?;
        let (Some((current, identity)), Some(url)) = (current, &state.url) else { return Ok(None) };
        Ok(Some(Arc::new(self.connect(url, current, &identity)?)))
    }

    fn connect(&self, url: &str, current: Current, identity: &Identity) -> Result<Session, Error> {
        let root = pki::der(&current.root_pem)?;
        Ok(Session { wire: Wire::new(&self.0.egress, url, &root, Some(identity))?, current })
    }

    async fn enrol_with(&self, join: &Join) -> Result<Arc<Session>, Error> {
        let Inner { rows, key, clock, section, public_url, .. } = &*self.0;
        let (state, pending, key_pem) = rows.pending(key, join.cell, Some(join.id)).await?;
        let stranger = Wire::new(&self.0.egress, &join.url, &join.root, None)?;
        let asked = Enrol {
            token: join.text(),
            csr_pem: pending.csr_pem.clone(),
            jurisdiction: self.0.jurisdiction.clone(),
            region: section.region.clone(),
            mode: self.0.mode,
            shards: self.0.shards,
            instance: state.instance,
            software: software(),
            contract: [SPOKEN.lowest(), SPOKEN.highest()],
            sent_at: clock.now(),
            url: public_url.clone(),
        };
        let enrolled = stranger.enrol(&asked).await?;
        if enrolled.cell != join.cell {
            return Err(Error::OtherCell { ours: join.cell, theirs: enrolled.cell });
        }
        let current = Current {
            cell: join.cell,
            key_sealed: pending.key_sealed,
            certificate_pem: enrolled.certificate_pem,
            chain_pem: enrolled.chain_pem,
            root_pem: enrolled.root_pem,
            not_after: enrolled.not_after,
            renew_at: model::renew_at(enrolled.renew_at, enrolled.not_after, random::fraction()),
        };
        let identity = identity(&current, key_pem);
        // Before it takes the place of what is there: whether it can be used at all.
        let session = self.connect(&join.url, current, &identity)?;
        let now = clock.now();
        let changed = |state: &mut State| {
            state.cell = Some(join.cell);
            state.join = Some(join.id);
            state.url = Some(join.url.clone());
            state.answered(enrolled.now_at, now);
            // What the control plane has heard before may have been of another database.
            state.resync = true;
            if state.lineage != enrolled.lineage {
                state.begin_anew(enrolled.lineage);
            }
        };
        rows.install(&pending.csr_pem, &session.current, changed).await?;
        tracing::info!(cell = %join.cell, until = %session.current.not_after, "the cell has enrolled");
        Ok(Arc::new(session))
    }

    /// The next certificate, for a key of its own.
    async fn renew(&self, session: &Session) -> Result<Arc<Session>, Error> {
        let Inner { rows, key, clock, .. } = &*self.0;
        let before = &session.current;
        if before.not_after.checked_add_signed(GRACE).is_some_and(|end| end <= clock.now()) {
            return Err(Error::Ended);
        }
        let (state, pending, key_pem) = rows.pending(key, before.cell, None).await?;
        let asked =
            Renewal { csr_pem: pending.csr_pem.clone(), instance: state.instance, sent_at: clock.now() };
        let issued = session.wire.renew(&asked).await?;
        let current = Current {
            cell: before.cell,
            key_sealed: pending.key_sealed,
            certificate_pem: issued.certificate_pem,
            chain_pem: issued.chain_pem,
            root_pem: before.root_pem.clone(),
            not_after: issued.not_after,
            renew_at: model::renew_at(issued.renew_at, issued.not_after, random::fraction()),
        };
        let identity = identity(&current, key_pem);
        let next = self.connect(session.wire.url(), current, &identity)?;
        let now = clock.now();
        rows.install(&pending.csr_pem, &next.current, |state| state.answered(issued.now_at, now)).await?;
        tracing::info!(until = %next.current.not_after, "the link's certificate was renewed");
        Ok(Arc::new(next))
    }
}

fn identity(current: &Current, key_pem: String) -> Identity {
    Identity {
        key_pem,
        certificate_pem: current.certificate_pem.clone(),
        chain_pem: current.chain_pem.clone(),
    }
}

/// The build, for people.
fn software() -> String {
    format!("tambo {}", env!("CARGO_PKG_VERSION"))
}
