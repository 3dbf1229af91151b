//! What a cell does without being asked: ends holds whose time is over, forgets old idempotency keys.

use std::{future::Future, time::Duration};

use platform::drain::Drain;
use tokio::task::JoinSet;

use crate::app::App;

/// How long a hold may stand after its end, in the view of everybody who only reads; a capture is refused at once.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Keys are kept for days: looking once an hour is enough.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

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
    Background(tasks)
}

async fn forget(app: App) {
    let shards: std::collections::BTreeSet<i32> = app.environments.iter().map(|one| one.shard).collect();
    for shard in shards {
        if let Err(error) = platform::idempotency::system::forget_old(&app.db, shard, app.clock.now()).await {
            tracing::warn!(%error, shard, "old idempotency keys could not be forgotten");
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
