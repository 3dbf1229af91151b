//! What a cell does without being asked: carries out work, ends holds whose time is over, forgets what is old.

use std::{collections::BTreeSet, future::Future, time::Duration};

use chrono::TimeDelta;
use platform::{drain::Drain, work};
use tokio::task::JoinSet;

use crate::app::App;

/// How long a hold may stand after its end, in the view of everybody who only reads; a capture is refused at once.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Keys are kept for days: looking once an hour is enough.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// How old the counts of waiting work and dead letters may be in the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// How long finished work stays, for who looks into what happened.
const FINISHED_STAYS: TimeDelta = TimeDelta::days(7);

/// The tasks; they end when the drain begins.
pub struct Background(JoinSet<()>);

impl Background {
    /// Waits until all of them have ended.
    pub async fn ended(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Starts the tasks on the current runtime.
pub fn start(app: &App, drain: &Drain) -> Background {
    let mut tasks = JoinSet::new();
    let (working, until) = (app.clone(), drain.clone());
    tasks.spawn(async move { working.work.run(&working.clock, &until).await });
    let sweeping = app.clone();
    tasks.spawn(every(SWEEP_EVERY, drain.clone(), move || {
        let app = sweeping.clone();
        async move {
            if let Err(error) = app.ledger.expire_holds(&app.db, &app.clock).await {
                tracing::warn!(%error, "holds that are over could not be ended; the next sweep goes on");
            }
        }
    }));
    let forgetting = app.clone();
    tasks.spawn(every(FORGET_EVERY, drain.clone(), move || forget(forgetting.clone())));
    let counting = app.clone();
    tasks.spawn(every(COUNT_EVERY, drain.clone(), move || count(counting.clone())));
    Background(tasks)
}

fn shards(app: &App) -> BTreeSet<i32> {
    app.environments.iter().map(|one| one.shard).collect()
}

/// Dead letters wait for an operator: an alert looks at the gauge.
async fn count(app: App) {
    for shard in shards(&app) {
        match work::backlog(&app.db, shard).await {
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

async fn forget(app: App) {
    let now = app.clock.now();
    let before = now.checked_sub_signed(FINISHED_STAYS).unwrap_or(now);
    for shard in shards(&app) {
        if let Err(error) = platform::idempotency::system::forget_old(&app.db, shard, now).await {
            tracing::warn!(%error, shard, "old idempotency keys could not be forgotten");
        }
        if let Err(error) = work::forget_finished(&app.db, shard, before).await {
            tracing::warn!(%error, shard, "finished work could not be forgotten");
        }
    }
}

async fn every<F: Future<Output = ()>>(pause: Duration, drain: Drain, mut work: impl FnMut() -> F) {
    while !drain.has_begun() {
        work().await;
        tokio::select! {
            () = drain.begun() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
