//! What the control plane does without being asked: carries out work, forgets what is old.

use std::time::Duration;

use chrono::TimeDelta;
use platform::{
    drain::Drain,
    tls::{TlsFiles, TlsServer},
    upkeep::{self, COUNT_EVERY, FORGET_EVERY, KEEP_UP_EVERY, SHOW_EVERY, every},
};
use tokio::task::JoinSet;

use crate::{PLATFORM, app::App, cells, config::PkiSection};

/// The link's own certificate lives a day.
const CERTIFY_EVERY: Duration = Duration::from_secs(3600);
/// How long before its end somebody has to see to the issuing certificate.
const SOON: TimeDelta = TimeDelta::days(30);

/// The tasks; they end when the drain begins.
pub struct Background(JoinSet<()>);

impl Background {
    /// Waits until all of them have ended.
    pub async fn ended(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Takes up the issuing certificate that is in the files by now; whether it is another.
fn take_up(app: &App, pki: &PkiSection) -> bool {
    let ca = &app.links.ca;
    let other = ca.take_up(&pki.issuing_certificate_file, &pki.issuing_key_file).unwrap_or_else(|error| {
        tracing::error!(%error, "the issuing certificate of the link could not be read anew");
        false
    });
    if other {
        tracing::info!(ends = %ca.ends(), "the link has another issuing certificate");
    }
    let left = ca.ends().signed_duration_since(app.clock.now());
    metrics::gauge!("link_issuing_left_seconds").set(left.num_seconds() as f64);
    other
}

/// Shows the listener of the links a fresh certificate.
fn certify(app: &App, tls: &TlsServer, names: &[String]) {
    let identity = match app.links.ca.server(names, app.clock.now()) {
        Ok(identity) => identity,
        Err(error) => {
            tracing::error!(%error, "the link's own certificate could not be made");
            return;
        }
    };
    if let Err(error) = tls.replace(&identity) {
        tracing::error!(%error, "the link's own certificate could not be used");
    }
    let ends = app.links.ca.ends();
    if ends.signed_duration_since(app.clock.now()) < SOON {
        tracing::warn!(%ends, "the issuing certificate of the link ends soon: `tambo control-plane reissue`");
    }
}

/// Starts the tasks on the current runtime; `names` are those by which cells reach the listener `tls`, which the authority
/// of `pki` certifies, and `shown` is the certificate of the listener for callers, and its files.
pub fn start(
    app: &App,
    (tls, names, pki): (TlsServer, Vec<String>, PkiSection),
    shown: Option<(TlsFiles, TlsServer)>,
    drain: &Drain,
) -> Background {
    let mut tasks = JoinSet::new();
    let (working, until) = (app.clone(), drain.clone());
    tasks.spawn(async move { working.work.run(&working.clock, &until).await });
    let forgetting = app.clone();
    tasks.spawn(every(FORGET_EVERY, drain.clone(), move || {
        let app = forgetting.clone();
        async move {
            let now = app.clock.now();
            upkeep::forget(&app.db, [PLATFORM.shard], now).await;
            if let Err(error) = cells::forget(&app.db, now).await {
                tracing::warn!(%error, "old credentials of cells could not be forgotten");
            }
        }
    }));
    let counting = app.clone();
    tasks.spawn(every(COUNT_EVERY, drain.clone(), move || {
        let app = counting.clone();
        async move { upkeep::count(&app.db, [PLATFORM.shard]).await }
    }));
    let issuing = app.clone();
    tasks.spawn(every(KEEP_UP_EVERY, drain.clone(), move || {
        let app = issuing.clone();
        async move { app.issuer.keep_up().await }
    }));
    tasks.spawn(every(CERTIFY_EVERY, drain.clone(), {
        let (app, tls, names) = (app.clone(), tls.clone(), names.clone());
        move || {
            certify(&app, &tls, &names);
            std::future::ready(())
        }
    }));
    let signing = app.clone();
    tasks.spawn(every(SHOW_EVERY, drain.clone(), move || {
        if take_up(&signing, &pki) {
            certify(&signing, &tls, &names);
        }
        std::future::ready(())
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
