//! Provisioning: makes environments what is wanted of them, by telling their cells and looking at what they report.
//!
//! **Promise.** Level-triggered: a run reads what is wanted and what is, does the first thing that is missing, and looks
//! again. It may die anywhere and run twice; what it did is found and not done again. It never waits for a cell: the
//! cell's report enqueues the next run. What nothing reports, such as a place that becomes free, is looked at again after
//! a pause.
//!
//! A tenant follows its environments: with the first one declared it is `provisioning`, with the first one ready
//! `active`; one that is offboarding has all of them removed, is `archived` when nothing of them runs and what is left is only
//! kept as the law says, and `erased` when nothing is left. And they follow it: a suspended tenant's answer nobody, and when
//! it is resumed, those that answered before do again. Of a tenant that is renamed all of them hear.

mod model;
mod system;
pub mod work;

use chrono::{DateTime, TimeDelta, Utc};
use platform::{
    ctx::Ctx,
    db::{self, Db},
    problem::Problem,
};
use sea_orm::DbErr;
use tenants::{
    contract::{Body, ClientIntent, Document, EnvironmentIntent},
    environment::{Desired, EnvironmentState, Status, observe},
    id::{EnvironmentId, OperationId, TenantId},
    tenant::State,
};

use crate::{
    cells::{NoPlace, Want},
    clients::{self, Told},
    environments::{self, Ask, Environment},
    links::{self, Waiters},
    operations::{self, Kind, Operation, StepState},
    tenants::{self as slice, residency},
};
use model::{Next, TENANT_SUSPENDED};

/// When to look again at what nothing reports: a place that becomes free, a condition that is put on record.
const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(30);
/// The step of a cell from which on a provisioning is not undone by a cancellation.
const LAST_TO_CANCEL: &str = "verify";

/// Why a run ended early. The next one begins anew.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tenant's.
    #[error(transparent)]
    Tenant(#[from] slice::Error),
    /// The environment's.
    #[error(transparent)]
    Environment(#[from] environments::Error),
    /// Where the data may lie.
    #[error(transparent)]
    Residency(#[from] residency::Error),
    /// The cell's document.
    #[error(transparent)]
    Link(#[from] links::Error),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// Something else of ours.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Whether there is more to do without being told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A report, or a change of what is wanted, begins the next run.
    Settled,
    /// Look again then.
    Again(DateTime<Utc>),
}

/// One environment, as far as it goes without a cell's answer.
struct Run<'a> {
    db: &'a Db,
    waiters: &'a Waiters,
    ctx: &'a Ctx,
}

/// Makes an environment what is wanted of it, as far as it goes now.
///
/// # Errors
/// The database's, mostly; the run is to be repeated.
pub async fn converge(db: &Db, waiters: &Waiters, ctx: &Ctx, id: EnvironmentId) -> Result<Outcome, Error> {
    let run = Run { db, waiters, ctx };
    // Each round does one thing and is committed; the bound only keeps a mistake of ours from going round for ever.
    for _ in 0..16 {
        if let Some(outcome) = run.round(id).await? {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Again(soon(ctx)))
}

fn soon(ctx: &Ctx) -> DateTime<Utc> {
    let now = ctx.wall();
    now.checked_add_signed(LOOK_AGAIN).unwrap_or(now)
}

impl Run<'_> {
    /// Does the first thing that is missing; `None` if there may be more.
    async fn round(&self, id: EnvironmentId) -> Result<Option<Outcome>, Error> {
        let tx = self.db.begin_read(self.ctx.scope).await?;
        let environment = environments::get_in_tx(&tx, self.ctx, id).await?;
        let operation = operations::open_in_tx(&tx, self.ctx, &id.to_string()).await?;
        tx.commit().await?;
        let Some(environment) = environment else {
            return Ok(if self.recover(id).await? { None } else { Some(Outcome::Settled) });
        };
        let observed = match environment.cell {
            Some(cell) => system::observed(self.db, cell, id).await?,
            None => None,
        };
        let now = self.ctx.now();
        let told = match observed.as_ref().and_then(|seen| seen.intent.as_deref()) {
            // One that is to be removed has clients for nobody.
            Some(told) if environment.desired != Desired::Removed => {
                match self.told(&environment, &told.clients).await? {
                    Some(told) => told,
                    None => return Ok(None),
                }
            }
            _ => Told::Same,
        };
        match model::next(&environment, observed.as_ref(), told) {
            Next::Nothing => {
                let mut after = environment.clone();
                model::note_report(&mut after, observed.is_some(), now);
                if model::is_kept(&environment) {
                    // That its hold is over is to be seen before anything goes.
                    for condition in observed.into_iter().flat_map(|seen| seen.conditions) {
                        observe(&mut after.conditions, condition);
                    }
                }
                // One that wanted what was there already has nothing left to do; a later one was begun since we looked.
                let done = operation.filter(|one| one.generation <= environment.observed_generation);
                if after != environment || done.is_some() {
                    self.end(&environment, after, done.as_ref(), operations::State::Succeeded, None).await?;
                }
                Ok(Some(Outcome::Settled))
            }
            Next::Enter(state) => {
                let after = Environment { state, ..environment.clone() };
                self.write(&environment, after, operation.as_ref(), "begin", StepState::Done, None).await?;
                Ok(None)
            }
            Next::Adopt(generation) => {
                let intent = observed.and_then(|seen| seen.intent);
                self.adopt(&environment, generation, intent.as_deref()).await?;
                Ok(None)
            }
            Next::Place => self.place(&environment, operation.as_ref()).await,
            Next::Publish => {
                self.publish(&environment, operation.as_ref()).await?;
                let mut after = environment.clone();
                model::note_report(&mut after, observed.is_some(), now);
                let (mut step, mut progress) = (String::from("publish"), StepState::Done);
                if let Some(seen) =
                    observed.filter(|seen| i64::try_from(seen.generation) == Ok(after.generation))
                {
                    for condition in seen.conditions {
                        observe(&mut after.conditions, condition);
                    }
                    if let Some(at) = seen.step {
                        (step, progress) = (at, StepState::Running);
                    }
                }
                self.write(&environment, after, operation.as_ref(), &step, progress, None).await?;
                Ok(Some(Outcome::Settled))
            }
            Next::Arrive(state) => {
                let mut after =
                    Environment { state, observed_generation: environment.generation, ..environment.clone() };
                for condition in observed.into_iter().flat_map(|seen| seen.conditions) {
                    observe(&mut after.conditions, condition);
                }
                self.end(&environment, after, operation.as_ref(), operations::State::Succeeded, None).await?;
                Ok(None)
            }
            Next::Fail => {
                let mut after = environment.clone();
                let (code, detail) = observed.as_ref().map(model::failure).unwrap_or_default();
                for condition in observed.into_iter().flat_map(|seen| seen.conditions) {
                    observe(&mut after.conditions, condition);
                }
                let reason = operations::Reason { code, detail };
                let failed = operations::State::Failed;
                self.end(&environment, after, operation.as_ref(), failed, Some(&reason)).await?;
                Ok(Some(Outcome::Settled))
            }
            Next::Miss => {
                // Nor does it find there what was wanted of it before.
                system::withdraw(self.db, environment.cell, id).await?;
                let mut after = environment.clone();
                model::note_report(&mut after, false, now);
                if after != environment || operation.is_some() {
                    let failed = operations::State::Failed;
                    self.end(&environment, after, operation.as_ref(), failed, Some(&model::missing()))
                        .await?;
                }
                Ok(Some(Outcome::Settled))
            }
            Next::Keep => {
                let mut after =
                    Environment { observed_generation: environment.generation, ..environment.clone() };
                for condition in observed.into_iter().flat_map(|seen| seen.conditions) {
                    observe(&mut after.conditions, condition);
                }
                self.end(&environment, after, operation.as_ref(), operations::State::Succeeded, None).await?;
                Ok(None)
            }
            Next::Release if environment.cell.is_some() => {
                // Written down first: what comes next forgets what says that it may go.
                let after = Environment { cell: None, ..environment.clone() };
                self.write(&environment, after, operation.as_ref(), "release", StepState::Done, None).await?;
                Ok(None)
            }
            Next::Release => {
                system::release(self.db, id).await?;
                let mut after = Environment {
                    state: EnvironmentState::Removed,
                    observed_generation: environment.generation,
                    ..environment.clone()
                };
                let gone = model::condition("Placed", Status::False, "Removed", None, now);
                observe(&mut after.conditions, gone);
                // A provisioning that is undone was cancelled; a removal has done what it was to do.
                let ended = match operation.as_ref().map(|operation| operation.kind) {
                    Some(Kind::EnvironmentProvision) => operations::State::Cancelled,
                    _ => operations::State::Succeeded,
                };
                self.end(&environment, after, operation.as_ref(), ended, None).await?;
                Ok(None)
            }
        }
    }

    /// What a cell was told of this environment's clients; nothing, if it was changed meanwhile.
    async fn told(&self, environment: &Environment, told: &[ClientIntent]) -> Result<Option<Told>, Error> {
        let tx = self.db.begin_read(self.ctx.scope).await?;
        let now = environments::get_in_tx(&tx, self.ctx, environment.id).await?;
        let clients = clients::intents_in_tx(&tx, self.ctx, environment.id).await?;
        tx.commit().await?;
        Ok((now.as_ref() == Some(environment)).then(|| clients::told(told, &clients, self.ctx.now())))
    }

    /// Wants what is wanted anew, in a generation that the cell does not know yet.
    async fn adopt(
        &self,
        environment: &Environment,
        generation: i64,
        intent: Option<&EnvironmentIntent>,
    ) -> Result<(), Error> {
        let (known, id) = (generation.saturating_sub(1), environment.id);
        tracing::warn!(%id, known, ours = environment.generation, "a cell knows of later wishes than this database");
        let detail =
            format!("the cell knew generation {known}, and this database {}", environment.generation);
        let seen = model::condition("Adopted", Status::True, "Restored", Some(detail), self.ctx.now());
        let ahead = intent.map_or(0, |intent| intent.clock_offset_ms);
        db::retry(|| async {
            let tx = self.db.begin(self.ctx.scope).await?;
            let adopted =
                environments::adopt_in_tx(&tx, self.ctx, environment, generation, ahead, seen.clone())
                    .await?;
            if let (true, Some(intent)) = (adopted, intent) {
                // Whoever was let in stays so: what was wanted anew is the environment.
                clients::recover_in_tx(&tx, self.ctx, id, &intent.clients).await?;
            }
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Takes up an environment that a cell has and this database has lost; whether there was one.
    async fn recover(&self, id: EnvironmentId) -> Result<bool, Error> {
        let now = self.ctx.now();
        let Some((cell, seen)) = system::found(self.db, id, now).await? else { return Ok(false) };
        let (Some(intent), Ok(known)) = (&seen.intent, i64::try_from(seen.generation)) else {
            return Ok(false);
        };
        let recovered = model::recovered(intent, &cell, known, now);
        db::retry(|| async {
            let tx = self.db.begin(self.ctx.scope).await?;
            if slice::get_in_tx(&tx, self.ctx, recovered.tenant).await?.is_none() {
                tracing::error!(%id, tenant = %recovered.tenant, "a cell has an environment of an unknown tenant");
                return Ok(false);
            }
            if !environments::recover_in_tx(&tx, self.ctx, &recovered).await? {
                tracing::error!(%id, tenant = %recovered.tenant, "a cell has a second environment of a tenant");
                return Ok(false);
            }
            clients::recover_in_tx(&tx, self.ctx, id, &intent.clients).await?;
            slice::converge_in_tx(&tx, self.ctx, recovered.tenant).await?;
            tx.commit().await?;
            tracing::warn!(%id, cell = %cell.id, "an environment that this database had lost was taken up");
            Ok(true)
        })
        .await
    }

    /// Finds a cell, if the data may still lie where they shall.
    async fn place(
        &self,
        environment: &Environment,
        operation: Option<&Operation>,
    ) -> Result<Option<Outcome>, Error> {
        let now = self.ctx.now();
        let Environment { id, tenant, mode, .. } = *environment;
        let verdict = residency::check(self.db, self.ctx, tenant, &environment.region, mode).await?;
        let verdict = verdict.of_tenant();
        let mut after = environment.clone();
        let wait = async |after: Environment, step: &str, detail: &str| {
            self.write(environment, after, operation, step, StepState::Failed, Some(detail)).await?;
            Ok(Some(Outcome::Again(soon(self.ctx))))
        };
        if !verdict.allows() {
            let missing = verdict.outcome.unwrap_or_default();
            let missing: Vec<&str> = missing.iter().map(|one| one.condition.as_str()).collect();
            let detail = missing.join(", ");
            let seen = model::condition("ResidencyMet", Status::False, "Missing", Some(detail.clone()), now);
            observe(&mut after.conditions, seen);
            return wait(after, "allow", &detail).await;
        }
        observe(&mut after.conditions, model::condition("ResidencyMet", Status::True, "Met", None, now));
        let want = Want {
            environment: id,
            organization: environment.organization,
            tenant,
            jurisdiction: environment.jurisdiction.clone(),
            region: environment.region.clone(),
            mode,
            attestations: verdict.attestations,
        };
        match system::place(self.db, &want, now).await {
            Ok(cell) => {
                after.cell = Some(cell);
                observe(&mut after.conditions, model::condition("Placed", Status::True, "Placed", None, now));
                let detail = cell.to_string();
                self.write(environment, after, operation, "place", StepState::Done, Some(&detail)).await?;
                Ok(None)
            }
            Err(NoPlace::Lack(lack)) => {
                let detail = Some(lack.as_str().to_owned());
                let seen = model::condition("Placed", Status::False, "NoCapacity", detail, now);
                observe(&mut after.conditions, seen);
                wait(after, "place", lack.as_str()).await
            }
            Err(NoPlace::Database(error)) => Err(error.into()),
        }
    }

    /// Tells the cell what is wanted; again to no effect.
    async fn publish(&self, environment: &Environment, operation: Option<&Operation>) -> Result<(), Error> {
        let Some(cell) = environment.cell else { return Ok(()) };
        let tenant = slice::get(self.db, self.ctx, environment.tenant).await?;
        let clients = clients::intents(self.db, self.ctx, environment.id).await?;
        let generation = u64::try_from(environment.generation).unwrap_or(0);
        let intent = EnvironmentIntent {
            id: environment.id,
            organization: environment.organization,
            tenant: environment.tenant,
            tenant_name: tenant.name,
            mode: environment.mode,
            jurisdiction: environment.jurisdiction.clone(),
            profile_version: environment.profile_version.clone(),
            phase: environment.desired,
            hold_until: None,
            clock_offset_ms: environment.clock_offset_ms,
            clients,
            operation: operation.map(|operation| operation.id),
        };
        let document = Document {
            subject: environment.id.to_string(),
            generation,
            revision: 0,
            body: Body::Environment(Box::new(intent)),
        };
        system::publish(self.db, cell, environment.organization, &document, self.ctx.now()).await?;
        self.waiters.wake(cell);
        Ok(())
    }

    /// Writes what was done, with the operation's step. If somebody changed what is wanted meanwhile, nothing is
    /// written, and the next round looks again.
    async fn write(
        &self,
        before: &Environment,
        after: Environment,
        operation: Option<&Operation>,
        step: &str,
        state: StepState,
        detail: Option<&str>,
    ) -> Result<(), Error> {
        let cancellable = operation.is_some_and(|operation| operation.cancellable) && step != LAST_TO_CANCEL;
        db::retry(|| async {
            let tx = self.db.begin(self.ctx.scope).await?;
            if environments::converged_in_tx(&tx, self.ctx, before, after.clone()).await? {
                if let Some(operation) = operation {
                    operations::step_in_tx(&tx, self.ctx, operation, step, state, detail, cancellable)
                        .await?;
                }
                slice::converge_in_tx(&tx, self.ctx, before.tenant).await?;
                tx.commit().await?;
            }
            Ok(())
        })
        .await
    }

    /// Like [`Run::write`], and ends the operation.
    async fn end(
        &self,
        before: &Environment,
        after: Environment,
        operation: Option<&Operation>,
        state: operations::State,
        reason: Option<&operations::Reason>,
    ) -> Result<(), Error> {
        db::retry(|| async {
            let tx = self.db.begin(self.ctx.scope).await?;
            if environments::converged_in_tx(&tx, self.ctx, before, after.clone()).await? {
                if let Some(operation) = operation {
                    operations::end_in_tx(&tx, self.ctx, operation.id, state, reason).await?;
                }
                slice::converge_in_tx(&tx, self.ctx, before.tenant).await?;
                tx.commit().await?;
            }
            Ok(())
        })
        .await
    }
}

/// Lets a tenant follow its environments, and say which of them are not ready.
///
/// # Errors
/// The database's, mostly; the run is to be repeated.
pub async fn converge_tenant(db: &Db, ctx: &Ctx, id: TenantId) -> Result<(), Error> {
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let Some(tenant) = slice::get_in_tx(&tx, ctx, id).await? else { return Ok(()) };
        let all = environments::of_tenant_in_tx(&tx, ctx, id).await?;
        let stays = |one: &&Environment| one.desired != Desired::Removed;
        if tenant.is_renamed() {
            for one in all.iter().filter(stays) {
                environments::raise_in_tx(&tx, ctx, one.id).await?;
            }
            let mut after = tenant.clone();
            observe(&mut after.conditions, slice::name_told(Status::True, "Told", ctx.now()));
            slice::converged_in_tx(&tx, ctx, &tenant, after).await?;
            // What else there is to do comes next.
            slice::converge_in_tx(&tx, ctx, id).await?;
            return Ok(tx.commit().await?);
        }
        slice::converged_in_tx(&tx, ctx, &tenant, model::observed(&tenant, &all, ctx.now())).await?;
        let ready = all.iter().any(|one| one.state == EnvironmentState::Ready);
        let any_stays = all.iter().any(|one| stays(&one));
        let (to, reason) = match tenant.state {
            // Also of one that is gone: a cell may have one that this database did not know of.
            State::Offboarding | State::Archived | State::Erased if any_stays => {
                for one in all.iter().filter(stays) {
                    environments::remove_in_tx(&tx, ctx, one).await?;
                }
                return Ok(tx.commit().await?);
            }
            State::Approved if !all.is_empty() => (State::Provisioning, "environment_declared"),
            State::Provisioning if ready => (State::Active, "environment_ready"),
            State::Offboarding if all.is_empty() => (State::Archived, "environments_removed"),
            State::Offboarding if all.iter().all(model::is_kept) => (State::Archived, "environments_kept"),
            State::Archived if all.is_empty() => (State::Erased, "nothing_left"),
            State::Suspended => {
                let seen = || model::condition(TENANT_SUSPENDED, Status::True, "Suspended", None, ctx.now());
                for one in all.iter().filter(|one| one.desired == Desired::Present) {
                    environments::follow_in_tx(&tx, ctx, one, &Ask::Suspend, seen()).await?;
                }
                return Ok(tx.commit().await?);
            }
            State::Active | State::Restricted if all.iter().any(model::follows_tenant) => {
                let seen = || model::condition(TENANT_SUSPENDED, Status::False, "Resumed", None, ctx.now());
                for one in all.iter().filter(|one| model::follows_tenant(one)) {
                    environments::follow_in_tx(&tx, ctx, one, &Ask::Resume, seen()).await?;
                }
                return Ok(tx.commit().await?);
            }
            _ => return Ok(tx.commit().await?),
        };
        slice::move_in_tx(&tx, ctx, id, to, &slice::Reason::ours(reason)).await?;
        // One move may lead to the next.
        slice::converge_in_tx(&tx, ctx, id).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// Carries a cancellation out: what the operation makes is removed, and the operation ends with that.
///
/// # Errors
/// The database's, mostly; the run is to be repeated.
pub async fn cancel(db: &Db, ctx: &Ctx, id: OperationId) -> Result<(), Error> {
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let Some(operation) = operations::get_in_tx(&tx, ctx, id).await? else { return Ok(()) };
        let subject = operation.subject.parse::<EnvironmentId>();
        let (Ok(subject), None, Some(_)) = (subject, operation.ended_at, operation.cancel_asked_at) else {
            return Ok(());
        };
        let Some(before) = environments::get_in_tx(&tx, ctx, subject).await? else { return Ok(()) };
        if before.desired != Desired::Removed {
            environments::want_in_tx(&tx, ctx, &before, &Ask::Remove).await?;
        }
        environments::converge_in_tx(&tx, ctx, subject).await?;
        Ok(tx.commit().await?)
    })
    .await
}
