//! What a cell does without being asked: carries out work, ends holds whose time is over, forgets what is old.

use std::time::Duration;

use platform::{
    drain::Drain,
    tls::{TlsFiles, TlsServer},
    upkeep::{self, COUNT_EVERY, FORGET_EVERY, KEEP_UP_EVERY, SHOW_EVERY, every},
};
use tokio::task::JoinSet;

use crate::app::App;

/// How long a hold may stand after its end, in the view of everybody who only reads; a capture is refused at once.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How long a process may go on with what it knows of environments after another has changed them.
const RELOAD_EVERY: Duration = Duration::from_secs(1);
/// How long an environment whose work was lost, or cannot be done, is left alone.
const CONVERGE_EVERY: Duration = Duration::from_secs(60);

/// How often what is in the bucket is compared with the environments.
const COMPARE_EVERY: Duration = Duration::from_secs(3_600);
/// How many folders of no environment are named; there are none.
const SHOWN: usize = 20;

/// The tasks; they end when the drain begins.
pub struct Background(JoinSet<()>);

impl Background {
    /// Waits until all of them have ended.
    pub async fn ended(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Starts the tasks on the current runtime; `shown` is the certificate of the listener for callers, and its files.
pub fn start(app: &App, shown: Option<(TlsFiles, TlsServer)>, drain: &Drain) -> Background {
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
    tasks.spawn(every(FORGET_EVERY, drain.clone(), move || {
        let app = forgetting.clone();
        async move { upkeep::forget(&app.db, shards(&app), app.clock.now()).await }
    }));
    let counting = app.clone();
    tasks.spawn(every(COUNT_EVERY, drain.clone(), move || {
        let app = counting.clone();
        async move { upkeep::count(&app.db, shards(&app)).await }
    }));
    let reloading = app.clone();
    tasks.spawn(every(RELOAD_EVERY, drain.clone(), move || {
        let app = reloading.clone();
        async move {
            if let Err(error) = app.environments.reload(&app.db).await {
                tracing::warn!(%error, "environments could not be looked at; the next look goes on");
            }
        }
    }));
    let converging = app.clone();
    tasks.spawn(every(CONVERGE_EVERY, drain.clone(), move || {
        let app = converging.clone();
        async move {
            if let Err(error) = app.converger.sweep().await {
                tracing::warn!(%error, "environments could not be looked at; the next look goes on");
            }
        }
    }));
    let comparing = app.clone();
    tasks.spawn(every(COMPARE_EVERY, drain.clone(), move || {
        let app = comparing.clone();
        async move {
            match app.converger.orphans(SHOWN).await {
                Ok(orphans) if orphans.is_empty() => {}
                Ok(orphans) => {
                    tracing::warn!(?orphans, "the bucket has folders of no environment of this cell")
                }
                Err(error) => {
                    tracing::warn!(error, "the objects could not be looked at; the next look goes on")
                }
            }
        }
    }));
    let issuing = app.clone();
    tasks.spawn(every(KEEP_UP_EVERY, drain.clone(), move || {
        let app = issuing.clone();
        async move { app.issuer.keep_up().await }
    }));
    let wrapping = app.clone();
    tasks.spawn(every(FORGET_EVERY, drain.clone(), move || {
        let app = wrapping.clone();
        async move { upkeep::rewrap(&app.keys).await }
    }));
    if let Some((files, server)) = shown {
        tasks.spawn(every(SHOW_EVERY, drain.clone(), move || {
            files.show(&server);
            std::future::ready(())
        }));
    }
    Background(tasks)
}

/// All of the cell: an environment may come into any of them.
fn shards(app: &App) -> std::ops::Range<i32> {
    0..app.environments.home().shards
}
