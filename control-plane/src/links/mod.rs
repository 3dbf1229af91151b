//! The links that cells keep to the control plane: desired state goes down, observed state comes up.
//!
//! **Promise.** A cell that asks from its cursor on gets every document that was published since, in order, or is told
//! that its cursor means nothing here. A document of a lower generation never takes the place of a later one. A report
//! is taken once, whole or not at all, and every environment of which it says something new is looked at afterwards.
//! Nothing is ever sent to a cell that did not ask.
//!
//! A poll waits, for most of a minute, until there is something to say. A document's revision is the time at which it
//! was published, so that a control plane that was restored from a backup uses none again; a cell with a cursor beyond
//! all revisions, or of another database, is asked to report everything and begins anew.

pub mod http;
mod store;
pub mod system;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use platform::{
    db::{self, Db, Tx},
    drain::Drain,
    hash::sha256,
    random,
};
use sea_orm::DbErr;
use tenants::{
    contract::{Body, CellIntent, Desired, Document, MOST_BYTES, MOST_DOCUMENTS, Poll},
    id::{CellId, OrganizationId},
};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

pub use store::MIGRATION;

use crate::{
    PLATFORM,
    cells::{self, Cell, State},
};

/// The longest that a poll waits.
pub const LONGEST_WAIT: Duration = Duration::from_secs(50);
/// How soon a poll sees what another process has published.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Wakes polls of this process that wait. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Waiters(Arc<Mutex<HashMap<CellId, Arc<Notify>>>>);

impl Waiters {
    fn of(&self, cell: CellId) -> Arc<Notify> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(cell).or_default())
    }

    /// There is something for this cell. Called after the commit; who forgets it delays the cell by seconds.
    pub fn wake(&self, cell: CellId) {
        self.of(cell).notify_waiters();
    }
}

/// Why a document was not published.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A later generation is published.
    #[error("generation {0} is published already")]
    Older(u64),
    /// There is no such cell.
    #[error("there is no such cell")]
    NoCell,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Publishes a document for a cell, in the caller's transaction in [`PLATFORM`] or the worker's, which is then alone in
/// publishing for this cell. What is published already is left alone, so that this bears repetition. The revision in
/// `document` does not count. After the commit, [`Waiters::wake`].
///
/// # Errors
/// [`Error::Older`], [`Error::NoCell`], and the database's.
pub async fn publish_in_tx(
    tx: &Tx,
    cell: CellId,
    organization: OrganizationId,
    document: &Document,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    // First, so that of two at once the second sees what the first has published.
    let locked = cells::lock_in_tx(tx, cell).await?.ok_or(Error::NoCell)?;
    let sha256 = sha256(document.canonical());
    match store::published(tx, cell, &document.subject).await? {
        Some((generation, _)) if generation > document.generation => return Err(Error::Older(generation)),
        Some((_, published)) if published == sha256 => return Ok(()),
        _ => {}
    }
    let revision = cells::revise_in_tx(tx, locked.id, now).await?.ok_or(Error::NoCell)?;
    Ok(store::publish(tx, cell, organization, document, revision, sha256).await?)
}

/// Removes a document whose subject the cell has reported as gone, or has lost, in the caller's transaction in [`PLATFORM`]
/// or the worker's.
///
/// # Errors
/// The database's.
pub async fn unpublish_in_tx(tx: &Tx, cell: CellId, subject: &str) -> Result<(), DbErr> {
    store::unpublish(tx, cell, subject).await
}

/// The name of this control plane's database, given when it is first asked for: another lineage has another history.
///
/// # Errors
/// The database's.
pub async fn lineage(db: &Db, now: DateTime<Utc>) -> Result<Uuid, DbErr> {
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        store::name(&tx, Uuid::from_u128(random::bits()), now).await?;
        let lineage = store::lineage(&tx).await?;
        tx.commit().await?;
        lineage.ok_or_else(|| DbErr::RecordNotFound("the lineage that was just written".to_owned()))
    })
    .await
}

/// What is wanted of a cell since its cursor; waits for something to say as long as the poll allows, and not beyond the
/// beginning of the drain.
///
/// # Errors
/// The database's.
pub async fn desired(
    db: &Db,
    waiters: &Waiters,
    drain: &Drain,
    lineage: Uuid,
    cell: CellId,
    poll: &Poll,
    now: impl Fn() -> DateTime<Utc>,
) -> Result<Desired, DbErr> {
    let wait = Duration::from_millis(poll.wait_ms.into()).min(LONGEST_WAIT);
    let end = Instant::now() + wait;
    let notify = waiters.of(cell);
    loop {
        let news = notify.notified();
        tokio::pin!(news);
        // From here on no news is lost, although nobody waits for it yet.
        news.as_mut().enable();
        let desired = look(db, lineage, cell, poll, now()).await?;
        let nothing = desired.documents.is_empty() && !desired.resync;
        if !nothing || drain.has_begun() || Instant::now() >= end {
            return Ok(desired);
        }
        tokio::select! {
            () = news => {}
            () = drain.begun() => {}
            () = tokio::time::sleep_until(end.min(Instant::now() + LOOK_EVERY)) => {}
        }
    }
}

async fn look(
    db: &Db,
    lineage: Uuid,
    cell: CellId,
    poll: &Poll,
    now_at: DateTime<Utc>,
) -> Result<Desired, DbErr> {
    let tx = db.begin_read(PLATFORM).await?;
    // The cell first: what is published up to its revision is then seen below.
    let row = cells::get_in_tx(&tx, cell).await?;
    let newest = row.as_ref().map_or(0, |row| row.revision);
    let after = i64::try_from(poll.after).unwrap_or(i64::MAX);
    if poll.lineage != lineage || after > newest {
        let resync =
            Desired { lineage, revision: 0, complete: false, documents: Vec::new(), now_at, resync: true };
        return Ok(resync);
    }
    let mut documents = store::later(&tx, cell, after, MOST_DOCUMENTS as u64 + 1).await?;
    tx.commit().await?;
    let own = row.as_ref().filter(|row| row.intent_revision > after).map(own_document);
    documents.extend(own);
    documents.sort_by_key(|document| document.revision);
    let fitting = fitting(&documents);
    let complete = fitting == documents.len();
    documents.truncate(fitting);
    let last = documents.last().map_or(0, |document| document.revision);
    let revision = if complete { last.max(u64::try_from(newest).unwrap_or(0)) } else { last };
    Ok(Desired { lineage, revision, complete, documents, now_at, resync: false })
}

/// The document of the cell itself, from its row.
fn own_document(cell: &Cell) -> Document {
    let intent = CellIntent {
        capacity: u32::try_from(cell.capacity).unwrap_or(0),
        draining: cell.state == State::Draining,
        control_plane_keys: Vec::new(),
    };
    Document {
        subject: cell.id.to_string(),
        generation: u64::try_from(cell.generation).unwrap_or(0),
        revision: u64::try_from(cell.intent_revision).unwrap_or(0),
        body: Body::Cell(intent),
    }
}

/// How many of these go into one answer; at least one, if there is one.
fn fitting(documents: &[Document]) -> usize {
    let mut bytes: usize = 0;
    for (index, document) in documents.iter().enumerate() {
        // What is published has a JSON form.
        bytes = bytes.saturating_add(serde_json::to_vec(document).map_or(0, |json| json.len()));
        if index == MOST_DOCUMENTS || (index > 0 && bytes > MOST_BYTES) {
            return index;
        }
    }
    documents.len()
}
