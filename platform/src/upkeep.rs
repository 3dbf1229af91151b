//! What every process with a database does without being asked: counts waiting work, forgets what is old.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::db::Db;
use crate::drain::Drain;
use crate::keys::Keys;
use crate::work;

/// Keys are kept for days: looking once an hour is enough.
pub const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// How old the counts of waiting work and dead letters may be in the metrics.
pub const COUNT_EVERY: Duration = Duration::from_secs(15);
/// How long new connections may be shown a certificate after another one was put in its files.
pub const SHOW_EVERY: Duration = Duration::from_secs(60);
/// How long an issuer of tokens may go on with what it knows after another replica has changed it.
pub const KEEP_UP_EVERY: Duration = Duration::from_secs(1);
/// How long finished work stays, for who looks into what happened.
const FINISHED_STAYS: TimeDelta = TimeDelta::days(7);

/// Does `work` now and after each pause, until the drain begins.
pub async fn every<F: Future<Output = ()>>(pause: Duration, drain: Drain, mut work: impl FnMut() -> F) {
    while !drain.has_begun() {
        work().await;
        tokio::select! {
            () = drain.begun() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Shows the open and dead work of these shards in the gauge `work_backlog`. Dead letters wait for an operator: an
/// alert looks at it.
pub async fn count(db: &Db, shards: impl IntoIterator<Item = i32>) {
    for shard in shards {
        match work::backlog(db, shard).await {
            Ok(work::Backlog { open, dead }) => {
                for (state, items) in [("open", open), ("dead", dead)] {
                    let gauge =
                        metrics::gauge!("work_backlog", "shard" => shard.to_string(), "state" => state);
                    gauge.set(items as f64);
                }
            }
            Err(error) => tracing::warn!(%error, shard, "waiting work could not be counted"),
        }
    }
}

/// Removes idempotency keys whose time is over, and work that finished a week ago, from these shards; and of the issuer
/// of tokens what has ended.
pub async fn forget(db: &Db, shards: impl IntoIterator<Item = i32>, now: DateTime<Utc>) {
    let before = now.checked_sub_signed(FINISHED_STAYS).unwrap_or(now);
    if let Err(error) = crate::oauth::forget_ended(db, now).await {
        tracing::warn!(%error, "what ended at the issuer of tokens could not be forgotten");
    }
    for shard in shards {
        if let Err(error) = crate::idempotency::system::forget_old(db, shard, now).await {
            tracing::warn!(%error, shard, "old idempotency keys could not be forgotten");
        }
        if let Err(error) = work::forget_finished(db, shard, before).await {
            tracing::warn!(%error, shard, "finished work could not be forgotten");
        }
    }
}

/// Wraps by the current root key what another one wraps. The gauge `keys_of_other_roots` shows how many are left.
pub async fn rewrap(keys: &Keys) {
    match keys.rewrap().await {
        Ok(left) => metrics::gauge!("keys_of_other_roots").set(left as f64),
        Err(error) => tracing::warn!(%error, "data keys could not be wrapped anew; the next run goes on"),
    }
}
