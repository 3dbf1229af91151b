//! What cells report, and the work of their organizations that follows from it.

use chrono::{DateTime, Utc};
use platform::{
    db::{self, Db, Tx},
    hash::sha256,
    work,
};
use sea_orm::DbErr;
use serde_json::Value;
use tenants::{
    contract::{EnvironmentObserved, Observed, Taken, digest_text},
    environment::Phase,
    id::{CellId, EnvironmentId, OrganizationId},
};

use super::store;
use crate::{
    cells::{self, Refusal, Seen, Told},
    environments::CONVERGE,
    organizations,
};

/// Takes a report: keeps what it says, and enqueues [`CONVERGE`] for each environment that is another than before. It came
/// in the version `spoken` of the contract, of those from the lowest to the highest that the cell can.
///
/// Reports are numbered. The last one may come again, with the same bytes, and gets the same answer; a later number may
/// leave some out, since a cell counts before it sends. Everything else means that two go on from one identity: nobody
/// is listened to then, until an operator lets one in anew.
///
/// # Errors
/// [`Refusal::IdentityTaken`], [`Refusal::Forked`], and the database's.
pub async fn observed(
    db: &Db,
    lineage: uuid::Uuid,
    id: CellId,
    report: &Observed,
    report_sha256: &str,
    (spoken, contract): (u16, [u16; 2]),
    now: DateTime<Utc>,
) -> Result<Taken, Refusal> {
    let taken: Result<_, Refusal> = db::retry(|| async {
        let tx = db.begin_system().await?;
        let cell = cells::lock_in_tx(&tx, id).await?.ok_or(Refusal::Revoked)?;
        cells::instance(&cell, report.instance)?;
        let seq = store::column(report.seq)?;
        let again = seq == cell.seen.seq && cell.seen.report_sha256.as_deref() == Some(report_sha256);
        if seq <= cell.seen.seq && !again {
            let seen = Seen { forked_at: Some(now), ..cell.seen };
            cells::seen_in_tx(&tx, id, &seen).await?;
            tx.commit().await?;
            return Ok(Err(Refusal::Forked));
        }
        let known_here = report.lineage == lineage;
        if known_here && !again {
            keep(&tx, id, &report.environments, now).await?;
            if report.full {
                forget_others(&tx, id, report, now).await?;
            }
        }
        let digest = digest(&tx, id, &cell.seen, report).await?;
        let resync = !known_here || digest.is_none();
        let seen = Seen {
            at: Some(now),
            skew_ms: cells::skew(report.sent_at, now),
            spoken: Some(spoken),
            seq,
            report_sha256: Some(report_sha256.to_owned()),
            digest: digest.or(cell.seen.digest),
            forked_at: None,
            told: Some(Told { contract, heartbeat: report.heartbeat.clone() }),
        };
        cells::seen_in_tx(&tx, id, &seen).await?;
        tx.commit().await?;
        let acknowledged = if known_here { report.environments.len() } else { 0 };
        let acknowledged = u32::try_from(acknowledged).unwrap_or(u32::MAX);
        Ok(Ok(Taken { seq: report.seq, acknowledged, lineage, resync, refused: Vec::new() }))
    })
    .await;
    taken?
}

/// Keeps what is another than before.
async fn keep(
    tx: &Tx,
    cell: CellId,
    reports: &[EnvironmentObserved],
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let ids: Vec<EnvironmentId> = reports.iter().map(|report| report.id).collect();
    let known = store::observed(tx, cell, &ids).await?;
    for report in reports.iter().filter(|report| !known.contains(report)) {
        let is_gone = matches!(report.phase, Phase::Absent | Phase::Removed);
        if is_gone && cells::placed_in_tx(tx, report.id).await? != Some(cell) {
            // Nobody waits for that: it was heard before, acted upon and forgotten, and the cell does not know.
            store::forget(tx, cell, report.id).await?;
            continue;
        }
        store::observe(tx, cell, report, now).await?;
        look(tx, report.id, report.organization, now).await?;
    }
    Ok(())
}

/// Forgets what a full report does not have any more, and what was wanted of it: the cell is not to find that there when
/// it asks next. Whoever still wants something publishes it anew.
async fn forget_others(tx: &Tx, cell: CellId, report: &Observed, now: DateTime<Utc>) -> Result<(), DbErr> {
    let there: Vec<EnvironmentId> = report.environments.iter().map(|one| one.id).collect();
    let until = there.last().copied();
    for (environment, organization) in store::forget_between(tx, cell, report.after, until, &there).await? {
        tracing::warn!(%cell, %environment, "a cell has an environment no more that it had");
        store::unpublish(tx, cell, &environment.to_string()).await?;
        look(tx, environment, organization, now).await?;
    }
    Ok(())
}

/// Has an environment looked at after the commit.
async fn look(
    tx: &Tx,
    id: EnvironmentId,
    organization: OrganizationId,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let (scope, key, payload) = (organizations::scope(organization), id.to_string(), Value::Null);
    let item = work::New { scope, kind: CONVERGE, key: &key, payload, run_at: now, wall: now };
    work::enqueue_in_tx(tx, item).await
}

/// The cell that has an environment, by what it reported, wherever the environment is placed.
///
/// # Errors
/// The database's.
pub async fn cell_of(tx: &Tx, environment: EnvironmentId) -> Result<Option<CellId>, DbErr> {
    store::cell_of(tx, environment).await
}

/// The digest of the cell if it is ours too; none if they differ, so that something was missed. A cell that has news is
/// not asked: its digest is ahead of what it has told so far. Ours is taken only if the cell's is another than last time.
async fn digest(tx: &Tx, cell: CellId, seen: &Seen, report: &Observed) -> Result<Option<String>, DbErr> {
    let theirs = &report.heartbeat.digest;
    if !report.environments.is_empty() {
        return Ok(Some(String::new()));
    }
    if seen.digest.as_ref() == Some(theirs) {
        return Ok(Some(theirs.clone()));
    }
    let ours = sha256(digest_text(store::phases(tx, cell).await?));
    Ok((ours == *theirs).then_some(ours))
}

/// What a cell last reported of an environment, across organizations.
///
/// # Errors
/// The database's.
pub async fn observed_of(
    tx: &Tx,
    cell: CellId,
    environment: EnvironmentId,
) -> Result<Option<EnvironmentObserved>, DbErr> {
    Ok(store::observed(tx, cell, &[environment]).await?.pop())
}

/// Forgets what a cell reported of an environment that is gone.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &Tx, cell: CellId, environment: EnvironmentId) -> Result<(), DbErr> {
    store::forget(tx, cell, environment).await
}
