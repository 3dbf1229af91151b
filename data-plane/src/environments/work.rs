//! Makes each environment what is wanted of it, one step at a time.

use std::sync::Arc;

use chrono::TimeDelta;
use ledger::{
    Ledger,
    system::{CanaryError, canary},
};
use platform::{
    clock::{self, ClockError},
    ctx::{Clock, Scope},
    db::{self, Db, Migrations, StartError},
    keys::Keys,
    oauth::{Issuer, ProbeError, RegistrationError, StoreError, is_known},
    objects::Objects,
    work::{Done, Retry, Runner, Store, WorkItem},
};
use sea_orm::DbErr;
use tenants::{
    environment::{Condition, Desired, Mode, Phase, Status},
    id::EnvironmentId,
};

use super::{
    Environments, Remains, Source,
    model::{Access, LEDGER_POSTS, Record, SCHEMA_CURRENT, Step, TOKENS_ISSUED, condition},
    system,
};
use crate::config::EnvironmentSection;

/// The kind of work; its key is the environment's id.
pub const CONVERGE: &str = "environment.converge";
/// How long to wait for a database or a ledger that cannot answer. It is no fault of the environment, and never makes
/// its work a dead letter.
const PAUSE: TimeDelta = TimeDelta::seconds(2);
/// The most steps of an environment at start; more means that two of them undo each other.
const MOST_STEPS: usize = 32;

/// What makes environments. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Converger {
    /// The database.
    pub db: Db,
    /// What requests know of environments.
    pub environments: Environments,
    /// The schema of this build.
    pub migrations: Migrations,
    /// What the slices keep of environments, those that point at others first.
    pub remains: &'static [Remains],
    /// What ends holds.
    pub ledger: Ledger,
    /// How long what was let in before an environment was closed may go on, on any replica.
    pub settle: TimeDelta,
    /// What issues tokens to their clients.
    pub issuer: Issuer,
    /// Where their objects are.
    pub objects: Objects,
    /// What seals personal data.
    pub keys: Arc<Keys>,
    /// The files of an export, in their order.
    pub sources: &'static [Source],
    /// The wall clock.
    pub clock: Clock,
}

/// Why a run ended without having looked at everything.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The tables of the issuer failed.
    #[error("the issuer failed")]
    Issuer(#[from] StoreError),
}

/// Why the environments of the cell's configuration are not served.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// There is no profile of the cell's jurisdiction.
    #[error("there is no profile of the cell's jurisdiction")]
    Jurisdiction,
    /// The cell had another mode before.
    #[error("{0} was made while this cell had another mode, which never changes: set `cell.mode` back")]
    Mode(EnvironmentId),
    /// The configuration names another shard than the rows.
    #[error("{id} lives in shard {shard} for ever; set its `shard` in `environments` to that")]
    Moved {
        /// The environment.
        id: EnvironmentId,
        /// Where it is.
        shard: i32,
    },
    /// It cannot be made ready.
    #[error("{id} is not ready: {reason}")]
    NotReady {
        /// The environment.
        id: EnvironmentId,
        /// The first condition that does not hold.
        reason: String,
    },
    /// Its clients cannot be registered.
    #[error("the clients of {id}: {error}")]
    Clients {
        /// The environment.
        id: EnvironmentId,
        /// Why not.
        error: RegistrationError,
    },
    /// The issuer failed.
    #[error("the issuer failed")]
    Issuer(#[from] StoreError),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// What a run came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is what is wanted of it, or cannot be: the next run follows when something else is wanted.
    Settled,
    /// A step was done, or somebody else did something: look again.
    More,
    /// Something is not there now: look again in a while.
    Wait,
}

/// What a look at one step came to.
pub(super) enum Look {
    /// It was done before.
    There,
    /// Something else is wanted by now.
    Past,
    /// It was done now; the row as it is then.
    Made(Record),
    /// It cannot be done now; the row says why.
    Wait(Record),
    /// It cannot be done until something else is wanted; the row says why.
    Stuck(Record),
}

impl Converger {
    /// Gives the work of environments to `runner`.
    pub fn register<S: Store>(self, runner: &mut Runner<S>) {
        runner.handle(CONVERGE, move |item| {
            let converger = self.clone();
            async move { converger.handle(&item).await }
        });
    }

    async fn handle(&self, item: &WorkItem) -> Result<Done, Retry> {
        let id = item.key.parse().map_err(|_| Retry::never("the key is no environment's id"))?;
        let after = |pause: TimeDelta| {
            let now = item.now(self.clock.now());
            now.checked_add_signed(pause).unwrap_or(now)
        };
        match self.converge(id).await {
            Ok(Outcome::Settled) => Ok(Done::Finished),
            Ok(Outcome::More) => Ok(Done::Next { step: "more".to_owned(), run_at: after(TimeDelta::zero()) }),
            Ok(Outcome::Wait) => Ok(Done::Next { step: "wait".to_owned(), run_at: after(PAUSE) }),
            Err(Error::Database(error) | Error::Issuer(StoreError::Database(error))) if passes(&error) => {
                tracing::warn!(environment = %id, %error, "an environment waits for the database");
                Ok(Done::Next { step: "wait".to_owned(), run_at: after(PAUSE) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Does the first thing that is missing for what is wanted of an environment, and writes that it was done.
    ///
    /// # Errors
    /// The database's; the run is to be repeated.
    pub async fn converge(&self, id: EnvironmentId) -> Result<Outcome, Error> {
        let Some(record) = system::get(&self.db, id).await? else { return Ok(Outcome::Settled) };
        if record.is_settled(self.environments.home().profile, &self.schema()) {
            return Ok(Outcome::Settled);
        }
        for &step in record.steps() {
            match Box::pin(self.look(step, &record)).await? {
                Look::There => {}
                Look::Made(after) if step == Step::Objects => return self.write_place(&record, &after).await,
                Look::Past => return Ok(Outcome::More),
                Look::Made(after) => return self.write(&record, &after, Outcome::More).await,
                Look::Wait(after) => return self.write(&record, &after, Outcome::Wait).await,
                Look::Stuck(after) => return self.write(&record, &after, Outcome::Settled).await,
            }
        }
        self.write(&record, &record.arrived(self.clock.now()), Outcome::Settled).await
    }

    /// Writes that its objects have a place; who was too slow to be allowed to may have made it after its removal.
    async fn write_place(&self, before: &Record, after: &Record) -> Result<Outcome, Error> {
        let outcome = self.write(before, after, Outcome::More).await?;
        if let Some(record) = system::get(&self.db, before.id).await?
            && record.wanted == Desired::Removed
        {
            self.remove_objects(&record).await;
        }
        Ok(outcome)
    }

    /// Writes, and shows it to requests; looks again if somebody else has written.
    async fn write(&self, before: &Record, after: &Record, outcome: Outcome) -> Result<Outcome, Error> {
        let written = system::write(&self.db, before, after).await?;
        self.environments.reload(&self.db).await?;
        Ok(if written { outcome } else { Outcome::More })
    }

    /// Looks whether a step was done, and does it if not.
    async fn look(&self, step: Step, record: &Record) -> Result<Look, Error> {
        match step {
            Step::Suspend => Ok(access(record, step, Access::Suspended)),
            Step::Close => Ok(self.close(record)),
            Step::Fit => Ok(self.fit(record)),
            Step::Keys => self.keys(record).await,
            Step::Clock => self.clock(record).await,
            Step::Profile => Ok(self.profile(record)),
            Step::Withdraw | Step::Clients => self.clients(step, record).await,
            Step::Objects => Ok(self.place(record).await),
            Step::Verify => self.verify(record).await,
            Step::Drain => self.drain(record).await,
            Step::Export => self.export(record).await,
            Step::Hold => self.hold(record).await,
            Step::Clear => self.clear(record).await,
            Step::RemoveObjects => Ok(self.remove_objects(record).await),
            Step::Erase => self.erase(record).await,
        }
    }

    fn fit(&self, record: &Record) -> Look {
        let Some(reason) = record.misfit(self.environments.home()) else { return Look::There };
        Look::Stuck(failed(record, Step::Fit, self.seen("Fits", Status::False, reason, None)))
    }

    /// A sandbox's clock, forward only: who moved it further than is wanted has won.
    async fn clock(&self, record: &Record) -> Result<Look, Error> {
        let ahead = record.intent.as_ref().map_or(0, |intent| intent.clock_offset_ms);
        if record.mode == Mode::Live || ahead <= 0 {
            return Ok(Look::There);
        }
        let ahead = TimeDelta::milliseconds(ahead);
        let scope = scope(record);
        let tx = self.db.begin(scope).await?;
        if clock::offset_in_tx(&*tx, scope).await? >= ahead {
            return Ok(Look::There);
        }
        let wall = self.clock.now();
        let to = wall.checked_add_signed(ahead).unwrap_or(wall);
        match clock::advance_in_tx(&tx, scope, record.mode, wall, to).await {
            Ok(_) => {
                tx.commit().await?;
                let seen = self.seen("ClockMoved", Status::True, "Moved", None);
                Ok(Look::Made(record.after(Step::Clock, [seen])))
            }
            Err(ClockError::Database(error)) => Err(error.into()),
            Err(error) => {
                let seen = self.seen("ClockMoved", Status::False, "Refused", Some(error.to_string()));
                Ok(Look::Stuck(failed(record, Step::Clock, seen)))
            }
        }
    }

    fn profile(&self, record: &Record) -> Look {
        let home = self.environments.home();
        let wanted = record.wanted_profile(home);
        if wanted != home.profile.version {
            let detail = format!("{wanted} is wanted, this build has {}", home.profile.version);
            let seen = self.seen("ProfileKnown", Status::False, "ProfileUnknown", Some(detail));
            return Look::Stuck(failed(record, Step::Profile, seen));
        }
        let seen = self.seen("ProfileKnown", Status::True, "Compiled", None);
        let after = record.after(Step::Profile, [seen]);
        let after = Record { profile_version: wanted.to_owned(), ..after };
        let done = record.profile_version == wanted && record.conditions == after.conditions;
        if done { Look::There } else { Look::Made(after) }
    }

    async fn clients(&self, step: Step, record: &Record) -> Result<Look, Error> {
        let wanted = record.wanted_clients().unwrap_or_default();
        match system::ensure_clients(&self.db, &self.issuer, record, step, self.clock.now()).await {
            Ok(None) => Ok(Look::Past),
            // The others are there by now.
            Ok(Some(_))
                if step == Step::Clients && !wanted.iter().all(|one| one.revoked || is_known(one)) =>
            {
                Ok(self.refused(record, &RegistrationError::Unknown))
            }
            Ok(Some(false)) => Ok(Look::There),
            Ok(Some(true)) => {
                let seen = self.seen("ClientsKnown", Status::True, "Registered", None);
                Ok(Look::Made(record.after(step, (step == Step::Clients).then_some(seen))))
            }
            Err(RegistrationError::Store(error)) => Err(error.into()),
            Err(error) => Ok(self.refused(record, &error)),
        }
    }

    fn refused(&self, record: &Record, error: &RegistrationError) -> Look {
        let seen = self.seen("ClientsKnown", Status::False, "Refused", Some(error.to_string()));
        Look::Stuck(failed(record, Step::Clients, seen))
    }

    /// Looks, rather than trusts what was written: at the schema, whether the ledger would post, and whether
    /// a client would be let in.
    async fn verify(&self, record: &Record) -> Result<Look, Error> {
        let schema = self.schema();
        if record.is_verified(&schema) {
            return Ok(Look::There);
        }
        let fits = match self.db.check_schema(self.migrations).await {
            Ok(()) => self.seen(SCHEMA_CURRENT, Status::True, "Current", None),
            Err(StartError::Unreachable(error) | StartError::Refused(error)) => return Err(error.into()),
            Err(error) => self.seen(SCHEMA_CURRENT, Status::False, "Differs", Some(error.to_string())),
        };
        let currency = self.environments.home().profile.jurisdiction.currency;
        let posts = match canary(&self.db, scope(record), currency, self.clock.now()).await {
            Ok(()) => self.seen(LEDGER_POSTS, Status::True, "Posts", None),
            Err(error @ CanaryError::NoShard) => {
                self.seen(LEDGER_POSTS, Status::False, "NoShard", Some(error.to_string()))
            }
            Err(error @ CanaryError::Store(_)) => {
                self.seen(LEDGER_POSTS, Status::False, "Refused", Some(error.to_string()))
            }
        };
        let issued = match self.issuer.round_trip(scope(record), record.mode).await {
            Ok(()) => self.seen(TOKENS_ISSUED, Status::True, "Accepted", None),
            Err(ProbeError::Store(error)) => return Err(error.into()),
            Err(error) => self.seen(TOKENS_ISSUED, Status::False, "Refused", Some(error.to_string())),
        };
        let looked = [fits, posts, issued];
        let holds = looked.iter().all(|seen| seen.status == Status::True);
        let after = record.after(Step::Verify, looked);
        Ok(if holds { Look::Made(Record { schema, ..after }) } else { Look::Wait(after) })
    }

    /// The newest migration of this build.
    fn schema(&self) -> String {
        (self.migrations)().last().map(|newest| newest.name().to_owned()).unwrap_or_default()
    }

    pub(super) fn seen(&self, name: &str, status: Status, reason: &str, detail: Option<String>) -> Condition {
        condition(name, status, reason, detail, self.clock.now())
    }

    /// Makes the environments that the cell's configuration names, and no others of its, ready; enqueues the work of
    /// all others that are not what is wanted of them.
    ///
    /// # Errors
    /// One that answers is of another mode, one of them has another shard, or cannot be made ready, or its clients cannot be registered.
    pub async fn seed(&self, sections: &[EnvironmentSection], scopes: &[&str]) -> Result<(), SeedError> {
        let home = self.environments.home();
        if let Some(other) = system::open_in_another_mode(&self.db, home.mode).await? {
            return Err(SeedError::Mode(other));
        }
        for section in sections {
            let record =
                system::ensure_row(&self.db, home, section.id, section.shard, self.clock.now()).await?;
            if record.shard != section.shard {
                return Err(SeedError::Moved { id: section.id, shard: record.shard });
            }
            self.settle(section.id, Phase::Ready).await?;
            let scope = scope(&record);
            let wanted: Vec<_> = section.clients.iter().map(|client| client.intent(scopes)).collect();
            let registered = self.issuer.ensure_clients(scope, record.mode, &wanted).await;
            registered.map_err(|error| SeedError::Clients { id: section.id, error })?;
        }
        for record in system::named(&self.db).await? {
            if sections.iter().all(|section| section.id != record.id) {
                system::suspend(&self.db, record.id).await?;
                self.settle(record.id, Phase::Suspended).await?;
            }
        }
        self.sweep().await?;
        Ok(self.environments.reload(&self.db).await?)
    }

    /// Enqueues the work of all environments that are not what is wanted of them.
    ///
    /// # Errors
    /// The database's.
    pub async fn sweep(&self) -> Result<(), DbErr> {
        let home = self.environments.home();
        system::enqueue_unsettled(&self.db, home, &self.schema(), self.clock.now()).await
    }

    async fn settle(&self, id: EnvironmentId, goal: Phase) -> Result<(), SeedError> {
        for _ in 0..MOST_STEPS {
            match self.converge(id).await {
                Ok(Outcome::More) => {}
                Ok(Outcome::Settled | Outcome::Wait) => break,
                Err(Error::Database(error)) => return Err(error.into()),
                Err(Error::Issuer(error)) => return Err(error.into()),
            }
        }
        let record = system::get(&self.db, id).await?;
        match record {
            Some(record) if record.phase == goal => Ok(()),
            record => {
                let conditions = record.into_iter().flat_map(|record| record.conditions);
                let failed = conditions.into_iter().find(|one| one.status == Status::False);
                let reason = failed.and_then(|one| one.detail).unwrap_or_default();
                Err(SeedError::NotReady { id, reason })
            }
        }
    }
}

fn scope(record: &Record) -> Scope {
    Scope::new(record.shard, record.id.uuid())
}

fn access(record: &Record, step: Step, access: Access) -> Look {
    if record.access == access {
        return Look::There;
    }
    Look::Made(Record { access, ..record.after(step, []) })
}

/// The row of an environment that cannot be what is wanted.
pub(super) fn failed(record: &Record, step: Step, seen: Condition) -> Record {
    Record { phase: Phase::Failed, ..record.after(step, [seen]) }
}

/// Whether the same statement may succeed later, whatever the environment is.
fn passes(error: &DbErr) -> bool {
    db::is_conflict(error) || db::is_unavailable(error) || matches!(error, DbErr::Conn(_))
}
