//! What the control plane does without being asked: carries out work, forgets what is old.

use platform::{
    drain::Drain,
    upkeep::{self, COUNT_EVERY, FORGET_EVERY, every},
};
use tokio::task::JoinSet;

use crate::{PLATFORM, app::App};

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
    let forgetting = app.clone();
    tasks.spawn(every(FORGET_EVERY, drain.clone(), move || {
        let app = forgetting.clone();
        async move { upkeep::forget(&app.db, [PLATFORM.shard], app.clock.now()).await }
    }));
    let counting = app.clone();
    tasks.spawn(every(COUNT_EVERY, drain.clone(), move || {
        let app = counting.clone();
        async move { upkeep::count(&app.db, [PLATFORM.shard]).await }
    }));
    Background(tasks)
}
