//! The link as it runs: one poll and one report at a time, certificates renewed in between.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use platform::{drain::Drain, random};
use tenants::{
    contract::{EnvironmentObserved, Heartbeat, MOST_ENVIRONMENTS, Observed, Poll, SPOKEN, Taken},
    id::EnvironmentId,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Call, Error, Failure, Link, Session,
    model::{State, fitting},
    software,
};
use crate::environments::{self, Counts};

/// How old the age of the last contact may be in the metrics.
const SHOW_EVERY: Duration = Duration::from_secs(5);
/// An answer to a poll that has nothing to say and comes sooner than this was not waited for.
const SOON: Duration = Duration::from_secs(1);

/// The most environments of a report.
const PAGE: u32 = MOST_ENVIRONMENTS as u32;
/// The most bytes of a report's environments; the control plane takes twice as much.
const MOST_BYTES: usize = 4 * 1024 * 1024;

type Sessions = watch::Sender<Arc<Session>>;

/// How one kind of call fares.
struct Tries<'a> {
    link: &'a Link,
    call: Call,
    failures: u32,
    refused: Option<String>,
}

impl<'a> Tries<'a> {
    fn of(link: &'a Link, call: Call) -> Self {
        Self { link, call, failures: 0, refused: None }
    }

    /// It was answered.
    fn fine(&mut self) {
        if self.failures > 0 {
            tracing::info!(call = self.call.as_str(), "the link is up again");
        }
        self.failures = 0;
        self.show(None);
    }

    /// It was not; how long to wait.
    fn failed(&mut self, error: &Error) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let call = self.call.as_str();
        if let Error::Failure(Failure::Refused(refusal)) = error {
            if self.refused.as_ref() != Some(&refusal.code) {
                tracing::error!(call, %error, "the link is refused; the cell goes on serving");
            }
            self.show(Some(refusal.code.clone()));
            // What may heal by itself is tried as if there had been no answer.
            return match refusal.retryable {
                true => self.link.0.pace.back_off(self.failures, random::fraction()),
                false => self.link.0.pace.refused,
            };
        }
        if self.failures == 1 {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(call, %error, cause, "the link is down; the cell goes on serving");
        }
        self.show(None);
        self.link.0.pace.back_off(self.failures, random::fraction())
    }

    /// Keeps the status and the gauge `link_refused` up to date.
    fn show(&mut self, refused: Option<String>) {
        let gauge = |code: &str| metrics::gauge!("link_refused", "call" => self.call.as_str(), "code" => code.to_owned());
        if self.refused != refused {
            self.refused.iter().for_each(|code| gauge(code).set(0.0));
            refused.iter().for_each(|code| gauge(code).set(1.0));
        }
        self.refused = refused;
        self.link.note(|status| {
            match &self.refused {
                Some(code) => status.refused.insert(self.call, code.clone()),
                None => status.refused.remove(&self.call),
            };
            match self.failures {
                0 => status.lost.remove(&self.call),
                failures => status.lost.insert(self.call, failures),
            };
        });
    }
}

impl Link {
    fn note(&self, change: impl FnOnce(&mut super::Status)) {
        change(&mut self.0.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn contact(&self, state: &State) {
        self.note(|status| {
            status.contact_at = state.contact_at;
            if state.skew_ms != status.skew_ms {
                let (before, skew_ms) = (status.is_skewed(), state.skew_ms);
                status.skew_ms = skew_ms;
                if status.is_skewed() && !before {
                    tracing::warn!(skew_ms, "the clocks of cell and control plane are too far apart");
                }
            }
        });
    }

    /// Keeps the link until the drain begins, whenever no other process of this cell has it.
    pub async fn run(&self, drain: &Drain) {
        tokio::join!(self.hold(drain), self.show(drain));
    }

    async fn hold(&self, drain: &Drain) {
        let pause = self.0.pace.lease / 3;
        while !drain.has_begun() {
            match self.lease().await {
                Ok(true) => tokio::select! {
                    error = self.work() => tracing::info!(%error, "another process took the link over"),
                    () = self.keep(pause) => tracing::info!("the lease of the link was lost"),
                    () = drain.begun() => {}
                },
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "the lease of the link could not be taken"),
            }
            tokio::select! {
                () = drain.begun() => {}
                () = sleep(pause) => {}
            }
        }
        // Another process need not wait for its end.
        if let Err(error) = self.0.rows.release().await {
            tracing::warn!(%error, "the lease of the link was not given back; it runs out");
        }
    }

    /// Keeps the lease; ends when it is lost.
    async fn keep(&self, pause: Duration) {
        loop {
            sleep(pause).await;
            match self.lease().await {
                Ok(true) => {}
                Ok(false) => return,
                // What is written is conditional on the lease anyway.
                Err(error) => tracing::warn!(%error, "the lease of the link could not be kept"),
            }
        }
    }

    /// Shows how long nothing was heard of the control plane, whichever process hears it.
    async fn show(&self, drain: &Drain) {
        while !drain.has_begun() {
            if let Ok(Some(State { contact_at: Some(at), skew_ms, .. })) = self.stored().await {
                let age = self.0.clock.now().signed_duration_since(at).num_milliseconds().max(0);
                metrics::gauge!("link_contact_age_seconds").set(age as f64 / 1_000.0);
                metrics::gauge!("link_clock_skew_seconds").set(skew_ms as f64 / 1_000.0);
            }
            tokio::select! {
                () = drain.begun() => {}
                () = sleep(SHOW_EVERY) => {}
            }
        }
    }

    /// Everything that is done with the lease; ends when it is lost.
    async fn work(&self) -> Error {
        let mut tries = Tries::of(self, Call::Enrol);
        let first = loop {
            match self.begin().await {
                Ok(session) => break session,
                Err(Error::NotHeld) => return Error::NotHeld,
                Err(error) => sleep(tries.failed(&error)).await,
            }
        };
        tries.fine();
        let (sessions, told) = (watch::Sender::new(first), Notify::new());
        tokio::select! {
            error = self.polls(&sessions, &told) => error,
            error = self.reports(&sessions, &told) => error,
        }
    }

    async fn begin(&self) -> Result<Arc<Session>, Error> {
        let session = self.identify().await?;
        // A build that understands more asks again for what the one before has skipped.
        let ours = software();
        let state = self.0.rows.change(|state| {
            if state.software != ours {
                state.software.clone_from(&ours);
                state.cursor = 0;
            }
        });
        self.contact(&state.await?);
        Ok(session)
    }

    /// Asks what is wanted, again and again, once what is there was told: a cell that was restored from a backup would take
    /// the wish of before, for an environment that the backup does not have, and make that one empty.
    async fn polls(&self, sessions: &Sessions, told: &Notify) -> Error {
        told.notified().await;
        let mut tries = Tries::of(self, Call::Poll);
        let mut changed = sessions.subscribe();
        loop {
            let session = Arc::clone(&changed.borrow_and_update());
            let pause = if session.current.not_after <= self.0.clock.now() {
                // The certificate is good for renewal only.
                Some(self.0.pace.heartbeat)
            } else {
                match self.poll(&session).await {
                    Ok(pause) => {
                        tries.fine();
                        pause.then(|| self.0.pace.back_off(1, random::fraction()))
                    }
                    Err(Error::NotHeld) => return Error::NotHeld,
                    Err(error) => Some(tries.failed(&error)),
                }
            };
            if let Some(pause) = pause {
                tokio::select! {
                    () = sleep(pause) => {}
                    // Another identity may do better.
                    _ = changed.changed() => {}
                }
            }
        }
    }

    /// One poll; whether to pause after it.
    async fn poll(&self, session: &Session) -> Result<bool, Error> {
        let asked = self.0.rows.change(|_| {}).await?;
        let wait_ms = u32::try_from(self.0.pace.wait.as_millis()).unwrap_or(u32::MAX);
        let begun = Instant::now();
        let poll = Poll { after: asked.cursor, lineage: asked.lineage, wait_ms };
        let desired = session.wire.poll(&poll).await?;
        let now = self.0.clock.now();
        let (state, news) = self.0.rows.take(&self.0.environments, &asked, &desired, now).await?;
        self.contact(&state);
        if state.resync {
            self.0.again.notify_one();
        }
        if news {
            self.0.environments.reload(&self.0.db).await?;
            self.0.worker.notify_one();
        }
        Ok(!news && begun.elapsed() < SOON.min(self.0.pace.wait))
    }

    /// Reports what is new, or after a while that nothing is; renews the certificate when its time has come. Notifies
    /// `told` whenever there is nothing more to say.
    async fn reports(&self, sessions: &Sessions, told: &Notify) -> Error {
        let mut tries = Tries::of(self, Call::Report);
        let mut renewals = Tries::of(self, Call::Renew);
        let mut renew_from = Instant::now();
        let mut changes = self.0.environments.news();
        loop {
            let session = Arc::clone(&sessions.borrow());
            let now = self.0.clock.now();
            if session.current.renew_at <= now && renew_from <= Instant::now() {
                match self.renew(&session).await {
                    Ok(next) => {
                        renewals.fine();
                        sessions.send_replace(next);
                        continue;
                    }
                    Err(Error::NotHeld) => return Error::NotHeld,
                    Err(error) => {
                        renew_from = Instant::now() + renewals.failed(&error);
                        if self.anew(&error, sessions).await {
                            continue;
                        }
                    }
                }
            }
            if session.current.not_after <= now {
                sleep_until(renew_from.min(Instant::now() + self.0.pace.heartbeat)).await;
                continue;
            }
            match self.tell(&session).await {
                Ok(more) => {
                    tries.fine();
                    if !more {
                        told.notify_one();
                        self.news(&mut changes).await;
                    }
                }
                Err(Error::NotHeld) => return Error::NotHeld,
                Err(error) => {
                    let pause = tries.failed(&error);
                    if !self.anew(&error, sessions).await {
                        sleep(pause).await;
                    }
                }
            }
        }
    }

    /// Waits for something to report, or for the next heartbeat.
    async fn news(&self, changes: &mut watch::Receiver<i64>) {
        tokio::select! {
            _ = changes.changed() => sleep(self.0.pace.debounce).await,
            () = self.0.again.notified() => {}
            () = sleep(self.0.pace.heartbeat) => {}
        }
        changes.mark_unchanged();
    }

    /// After a refusal: whether an operator has left a new join token, and it was good.
    async fn anew(&self, error: &Error, sessions: &Sessions) -> bool {
        if !matches!(error, Error::Failure(Failure::Refused(_)) | Error::Ended) {
            return false;
        }
        match self.identify().await {
            Ok(session) if session.current.certificate_pem != sessions.borrow().current.certificate_pem => {
                sessions.send_replace(session);
                true
            }
            _ => false,
        }
    }

    /// One report, or a full one in pages; whether there is more to say.
    async fn tell(&self, session: &Session) -> Result<bool, Error> {
        let Self(inner) = self;
        let state = inner.rows.change(|_| {}).await?;
        // Before what is new: so the digest is of nothing that is not reported.
        let counts = environments::counts(&inner.db, &inner.environments).await?;
        if state.resync {
            return self.tell_all(session, &state, &counts).await;
        }
        let (new, whole) = fitting(environments::observed_since(&inner.db, 0, PAGE).await?, MOST_BYTES);
        let (told, environments) = apart(new);
        let more = !whole || environments.len() >= MOST_ENVIRONMENTS;
        let taken = self.send(session, environments, &counts, None).await?;
        if taken.lineage != state.lineage {
            return Ok(true);
        }
        inner.rows.reported(&told).await?;
        Ok(more || taken.resync)
    }

    async fn tell_all(&self, session: &Session, state: &State, counts: &Counts) -> Result<bool, Error> {
        let Self(inner) = self;
        let mut after = None;
        loop {
            let (page, _) = fitting(environments::observed_all(&inner.db, after, PAGE).await?, MOST_BYTES);
            let (told, environments) = apart(page);
            // The last page has none; that there is nothing is news too.
            let complete = environments.is_empty();
            let taken = self.send(session, environments, counts, Some(after)).await?;
            after = told.last().map(|(id, _)| *id).or(after);
            if taken.lineage != state.lineage {
                return Ok(true);
            }
            inner.rows.reported(&told).await?;
            if complete {
                break;
            }
        }
        inner.rows.change(|stored| stored.resync &= stored.lineage != state.lineage).await?;
        Ok(false)
    }

    /// Sends one report under a number of its own, that is counted before; of a full one the page after an environment.
    async fn send(
        &self,
        session: &Session,
        environments: Vec<EnvironmentObserved>,
        counts: &Counts,
        page: Option<Option<EnvironmentId>>,
    ) -> Result<Taken, Error> {
        let Self(inner) = self;
        let state = inner.rows.change(|state| state.seq = state.seq.saturating_add(1)).await?;
        let heartbeat = Heartbeat {
            software: software(),
            contract: SPOKEN.highest(),
            environments: counts.environments,
            ready: counts.ready,
            capacity: state.intent.as_ref().map_or(0, |(_, intent)| intent.capacity),
            backlog: counts.backlog,
            dead: counts.dead,
            skew_ms: state.skew_ms,
            certificate_not_after: session.current.not_after,
            digest: counts.digest.clone(),
        };
        let sent_at: DateTime<Utc> = inner.clock.now();
        let report = Observed {
            seq: state.seq,
            instance: state.instance,
            lineage: state.lineage,
            cursor: state.cursor,
            sent_at,
            heartbeat,
            environments,
            full: page.is_some(),
            after: page.flatten(),
        };
        let taken = session.wire.report(&report).await?;
        for refused in &taken.refused {
            tracing::warn!(environment = %refused.id, code = refused.code, "a report was not taken");
        }
        let now = inner.clock.now();
        let after = inner.rows.change(|state| {
            state.contact_at = Some(now);
            if taken.lineage != state.lineage {
                state.begin_anew(taken.lineage);
            } else if taken.resync && page.is_none() {
                state.resync = true;
            }
        });
        self.contact(&after.await?);
        Ok(taken)
    }
}

/// What was told, by id and the number of its last change, apart from the telling.
fn apart(seen: Vec<(i64, EnvironmentObserved)>) -> (Vec<(EnvironmentId, i64)>, Vec<EnvironmentObserved>) {
    seen.into_iter().map(|(version, seen)| ((seen.id, version), seen)).unzip()
}
