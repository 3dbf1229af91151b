//! The worker's part, across environments: what is wanted of them is written, and what they are is read and written.

use chrono::{DateTime, Utc};
use platform::{
    clock,
    ctx::Scope,
    db::{self, Db, Tx},
    hash::sha256,
    idempotency,
    keys::{Keys, LoadError},
    oauth::{Issuer, RegistrationError},
    work,
};
use sea_orm::DbErr;
use serde_json::Value;
use tenants::{
    contract::{EnvironmentIntent, EnvironmentObserved, digest_text},
    environment::{Desired, Mode, Phase},
    id::EnvironmentId,
};

use super::{
    Environments, Remains,
    model::{Home, Record, Step, knows_later, same_demand},
    retention::{self, Written},
    store,
    work::CONVERGE,
};

/// How many environments one transaction looks at.
const PAGE: u32 = 200;

/// What became of something that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// It is stored, and will be brought about.
    Stored,
    /// It was wanted before.
    Known,
    /// Something later is wanted: it is not stored.
    Behind {
        /// The generation that is wanted.
        stored: u64,
    },
}

/// Stores what is wanted of an environment, in the worker's transaction, and enqueues [`CONVERGE`]. After the commit,
/// wake the runner and [`Environments::reload`].
///
/// The same generation in other words is stored too; the generation before is not.
///
/// # Errors
/// The database's.
pub async fn want_in_tx(
    tx: &Tx,
    environments: &Environments,
    intent: &EnvironmentIntent,
    generation: u64,
    now: DateTime<Utc>,
) -> Result<Wanted, DbErr> {
    if let Some(record) = store::get(tx, intent.id).await?
        && !record.is_removed_in(generation)
        && let Some(known) = judge(tx, &record, intent, generation).await?
    {
        return Ok(known);
    }
    let version = store::count(tx).await?;
    // Again, now that nobody else changes it.
    let before = store::get(tx, intent.id).await?;
    let shard = match &before {
        Some(record) if record.is_removed_in(generation) => {
            // Nothing is to be done, and its names stay gone; who asks again has not been told, and is.
            store::update(tx, record, &Record { observed_version: version, ..record.clone() }).await?;
            return Ok(Wanted::Known);
        }
        Some(record) => {
            if let Some(known) = judge(tx, record, intent, generation).await? {
                return Ok(known);
            }
            let after = Record { observed_version: version, ..record.wanting(intent, generation) };
            if !store::update(tx, record, &after).await? {
                return Err(DbErr::RecordNotUpdated);
            }
            record.shard
        }
        None => {
            let home = environments.home();
            let shard = home.shard_of(intent.id);
            let new = Record::new(intent.id, home, shard, now);
            let owned = Record {
                owner: Some((intent.organization, intent.tenant)),
                mode: intent.mode,
                jurisdiction: intent.jurisdiction.clone(),
                ..new
            };
            let new = Record { observed_version: version, ..owned.wanting(intent, generation) };
            store::insert(tx, &new).await?;
            shard
        }
    };
    enqueue(tx, intent.id, shard, now).await?;
    Ok(Wanted::Stored)
}

/// Whether nothing is to be stored but words.
async fn judge(
    tx: &Tx,
    record: &Record,
    intent: &EnvironmentIntent,
    generation: u64,
) -> Result<Option<Wanted>, DbErr> {
    let Some(stored) = &record.intent else { return Ok(None) };
    if generation < record.generation {
        return Ok(Some(Wanted::Behind { stored: record.generation }));
    }
    if knows_later(stored, intent) {
        return Ok(Some(Wanted::Behind { stored: record.generation }));
    }
    if generation > record.generation || !same_demand(stored, intent) {
        return Ok(None);
    }
    if stored != intent {
        store::reword(tx, &Record { intent: Some(intent.clone()), ..record.clone() }).await?;
    }
    Ok(Some(Wanted::Known))
}

async fn enqueue(tx: &Tx, id: EnvironmentId, shard: i32, now: DateTime<Utc>) -> Result<(), DbErr> {
    let scope = Scope::new(shard, id.uuid());
    let new = work::New {
        scope,
        kind: CONVERGE,
        key: &id.to_string(),
        payload: Value::Null,
        run_at: now,
        wall: now,
    };
    work::enqueue_in_tx(tx, new).await
}

/// The environments that changed after the change `after` and since the control plane was told, with the number of each
/// change, in their order.
///
/// # Errors
/// The database's.
pub async fn observed_since(
    db: &Db,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, EnvironmentObserved)>, DbErr> {
    let tx = db.begin_system().await?;
    let records = store::unreported(&tx, after, limit).await?;
    tx.commit().await?;
    Ok(numbered(records, false))
}

/// All environments after an id, in the order of ids, with what is wanted of them and the number of their last change:
/// for a full report.
///
/// # Errors
/// The database's.
pub async fn observed_all(
    db: &Db,
    after: Option<EnvironmentId>,
    limit: u32,
) -> Result<Vec<(i64, EnvironmentObserved)>, DbErr> {
    let tx = db.begin_system().await?;
    let records = store::of_tenants(&tx, after, limit).await?;
    tx.commit().await?;
    Ok(numbered(records, true))
}

fn numbered(records: Vec<Record>, with_intent: bool) -> Vec<(i64, EnvironmentObserved)> {
    let number = |record: Record| Some((record.observed_version, record.observed(with_intent)?));
    records.into_iter().filter_map(number).collect()
}

/// Notes, in the worker's transaction, that the control plane was told of these environments up to these changes.
///
/// # Errors
/// The database's.
pub async fn mark_reported_in_tx(tx: &Tx, told: &[(EnvironmentId, i64)]) -> Result<(), DbErr> {
    // In one order, so that two who mark at once do not wait for each other.
    let mut told = told.to_vec();
    told.sort_unstable();
    for (id, version) in told {
        store::reported(tx, id, version).await?;
    }
    Ok(())
}

/// What a heartbeat says of the environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// How many there are.
    pub environments: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// Items of work that wait, of all shards.
    pub backlog: u64,
    /// Items of work that were given up, of all shards.
    pub dead: u64,
    /// The digest of what is observed, as the control plane takes it.
    pub digest: String,
}

/// Counts for a heartbeat.
///
/// # Errors
/// The database's.
pub async fn counts(db: &Db, environments: &Environments) -> Result<Counts, DbErr> {
    let tx = db.begin_system().await?;
    let mut phases = store::phases(&tx).await?;
    tx.commit().await?;
    phases.retain(|(_, _, phase)| !matches!(phase, Phase::Absent | Phase::Removed));
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let ready = phases.iter().filter(|(_, _, phase)| *phase == Phase::Ready).count();
    let (mut backlog, mut dead) = (0_u64, 0_u64);
    for shard in 0..environments.home().shards {
        let of = work::backlog(db, shard).await?;
        (backlog, dead) = (backlog.saturating_add(of.open), dead.saturating_add(of.dead));
    }
    Ok(Counts {
        environments: number(phases.len()),
        ready: number(ready),
        backlog,
        dead,
        digest: sha256(digest_text(phases)),
    })
}

/// An environment as it is.
pub(super) async fn get(db: &Db, id: EnvironmentId) -> Result<Option<Record>, DbErr> {
    let tx = db.begin_system().await?;
    let record = store::get(&tx, id).await?;
    tx.commit().await?;
    Ok(record)
}

/// Whether an environment may have objects: it is here, and was not removed.
pub(super) async fn has_objects(db: &Db, id: EnvironmentId) -> Result<bool, DbErr> {
    Ok(get(db, id).await?.is_some_and(|record| record.phase != Phase::Removed))
}

/// Writes what an environment has become, if nobody changed it since it was read.
pub(super) async fn write(db: &Db, before: &Record, after: &Record) -> Result<bool, DbErr> {
    if before == after {
        return Ok(true);
    }
    db::retry(|| async {
        let tx = db.begin_system().await?;
        let version = store::count(&tx).await?;
        let written =
            store::update(&tx, before, &Record { observed_version: version, ..after.clone() }).await?;
        if written {
            tx.commit().await?;
        }
        Ok(written)
    })
    .await
}

/// Makes the clients of an environment those that are wanted, or at [`Step::Withdraw`] takes away what is not; whether there
/// was anything to do, and nothing if something else is wanted of it by now.
pub(super) async fn ensure_clients(
    db: &Db,
    issuer: &Issuer,
    record: &Record,
    step: Step,
    now: DateTime<Utc>,
) -> Result<Option<bool>, RegistrationError> {
    let Some(wanted) = record.wanted_clients() else { return Ok(Some(false)) };
    let (scope, store) = (Scope::new(record.shard, record.id.uuid()), issuer.store());
    let changed = db::retry(|| async {
        let tx = db.begin_system().await?;
        let known = store::hold(&tx, record.id).await?;
        if known != Some(record.observed_version) {
            return Ok::<_, RegistrationError>(None);
        }
        let changed = match step {
            Step::Withdraw => store.withdraw_in_tx(&tx, (scope, record.mode), wanted, now).await?,
            _ => store.ensure_clients_in_tx(&tx, (scope, record.mode), wanted, now).await?,
        };
        tx.commit().await?;
        Ok(Some(changed))
    })
    .await?;
    issuer.refresh().await?;
    Ok(changed)
}

/// Makes the data key of an environment; nothing if something else is wanted of it by now.
pub(super) async fn ensure_key(
    db: &Db,
    keys: &Keys,
    record: &Record,
    now: DateTime<Utc>,
) -> Result<Option<bool>, LoadError> {
    let scope = Scope::new(record.shard, record.id.uuid());
    db::retry(|| async {
        let tx = db.begin_system().await?;
        // Whoever destroys a key writes that it is to be removed before.
        if store::hold(&tx, record.id).await? != Some(record.observed_version) {
            return Ok(None);
        }
        let made = keys.ensure_in_tx(&tx, scope, now).await?;
        tx.commit().await?;
        Ok(Some(made))
    })
    .await
}

/// Destroys the data key of an environment; whether there was one, and nothing if something else is wanted of it by now.
pub(super) async fn destroy_key(db: &Db, keys: &Keys, record: &Record) -> Result<Option<bool>, DbErr> {
    let scope = Scope::new(record.shard, record.id.uuid());
    keys.hide(scope).await;
    let done = db::retry(|| async {
        let tx = db.begin_system().await?;
        if store::hold(&tx, record.id).await? != Some(record.observed_version) {
            return Ok(None);
        }
        let destroyed = keys.destroy_in_tx(&tx, scope).await?;
        clock::forget_in_tx(&tx, scope).await?;
        tx.commit().await?;
        Ok(Some(destroyed))
    })
    .await;
    if !matches!(done, Ok(Some(_))) {
        keys.show(scope);
    }
    done
}

/// Writes that what ended then is kept until then, if it is not kept for longer anyway; until when it is, and nothing if
/// something else is wanted by now.
pub(super) async fn begin_hold(
    db: &Db,
    record: &Record,
    ended: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, DbErr> {
    db::retry(|| async {
        let tx = db.begin_system().await?;
        if store::hold(&tx, record.id).await? != Some(record.observed_version) {
            return Ok(None);
        }
        let written = retention::written(&tx, record.id).await?;
        if let Some(written) = written
            && written.ended >= ended
            && written.until >= until
        {
            return Ok(Some(written.until));
        }
        retention::begin(&tx, record.id, ended, until).await?;
        tx.commit().await?;
        Ok(Some(written.map_or(until, |written| written.until.max(until))))
    })
    .await
}

/// Until when an environment is kept and since when, as far as is written.
pub(super) async fn hold_written(db: &Db, record: &Record) -> Result<Option<Written>, DbErr> {
    let tx = db.begin_system().await?;
    let written = retention::written(&tx, record.id).await?;
    tx.commit().await?;
    Ok(written)
}

/// Removes at most `limit` rows of an environment; how many, and nothing if something else is wanted of it by now.
pub(super) async fn forget(
    db: &Db,
    remains: &[Remains],
    record: &Record,
    limit: u64,
) -> Result<Option<u64>, DbErr> {
    let scope = Scope::new(record.shard, record.id.uuid());
    db::retry(|| async {
        let tx = db.begin_system().await?;
        if store::hold(&tx, record.id).await? != Some(record.observed_version) {
            return Ok(None);
        }
        let mut gone = 0_u64;
        for remains in remains {
            gone = gone.saturating_add((remains.forget)(&tx, scope, limit.saturating_sub(gone)).await?);
        }
        let left = limit.saturating_sub(gone);
        gone = gone.saturating_add(idempotency::system::forget_in_tx(&tx, scope, left).await?);
        if gone > 0 {
            tx.commit().await?;
        }
        Ok(Some(gone))
    })
    .await
}

/// Makes the row of an environment that the cell's configuration names, or wants it present again; the row as it is then.
pub(super) async fn ensure_row(
    db: &Db,
    home: &Home,
    id: EnvironmentId,
    shard: i32,
    now: DateTime<Utc>,
) -> Result<Record, DbErr> {
    want_named(db, id, Desired::Present, Some(&Record::new(id, home, shard, now))).await?;
    get(db, id).await?.ok_or_else(|| DbErr::RecordNotFound("the environment that was just made".to_owned()))
}

/// Suspends an environment that the cell's configuration does not name any more.
pub(super) async fn suspend(db: &Db, id: EnvironmentId) -> Result<(), DbErr> {
    want_named(db, id, Desired::Suspended, None).await
}

async fn want_named(db: &Db, id: EnvironmentId, wanted: Desired, new: Option<&Record>) -> Result<(), DbErr> {
    db::retry(|| async {
        let tx = db.begin_system().await?;
        let observed_version = store::count(&tx).await?;
        match (store::get(&tx, id).await?, new) {
            (Some(before), _) if before.wanted != wanted => {
                let phase = Phase::Converging;
                let after = Record { wanted, phase, step: None, observed_version, ..before.clone() };
                store::update(&tx, &before, &after).await?;
            }
            (None, Some(new)) => {
                store::insert(&tx, &Record { observed_version, ..new.clone() }).await?;
            }
            _ => return Ok(()),
        }
        tx.commit().await
    })
    .await
}

/// An environment of another mode than this that somebody is let into, if there is one.
pub(super) async fn open_in_another_mode(db: &Db, mode: Mode) -> Result<Option<EnvironmentId>, DbErr> {
    let tx = db.begin_system().await?;
    let found = store::open_in_another_mode(&tx, mode).await?;
    tx.commit().await?;
    Ok(found)
}

/// The environments that only the cell's configuration names, or named.
pub(super) async fn named(db: &Db) -> Result<Vec<Record>, DbErr> {
    let tx = db.begin_system().await?;
    let named = store::named(&tx).await?;
    tx.commit().await?;
    Ok(named)
}

/// Enqueues [`CONVERGE`] for every environment that is not what is wanted of it, or not known to be so to this build.
pub(super) async fn enqueue_unsettled(
    db: &Db,
    home: &Home,
    schema: &str,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let mut after = None;
    loop {
        let tx = db.begin_system().await?;
        let records = store::list(&tx, after, PAGE).await?;
        let Some(last) = records.last() else { return Ok(()) };
        after = Some(last.id);
        for record in records.iter().filter(|record| !record.is_settled(home.profile, schema)) {
            enqueue(&tx, record.id, record.shard, now).await?;
        }
        tx.commit().await?;
    }
}
