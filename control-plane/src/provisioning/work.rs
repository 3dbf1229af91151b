//! The work of convergence: environments, tenants, cancellations.

use std::{fmt::Display, str::FromStr};

use chrono::TimeDelta;
use platform::{
    ctx::{Actor, Clock, Ctx, EnvironmentClock},
    db::Db,
    work::{Done, Retry, Runner, Store, WorkItem},
};
use tenants::environment::Mode;

use super::{Outcome, cancel, converge, converge_tenant};
use crate::{environments, links::Waiters, operations, tenants as slice};

/// Registers the handlers.
pub fn register<S: Store + 'static>(runner: &mut Runner<S>, db: &Db, waiters: &Waiters, clock: &Clock) {
    let (of, told, at) = (db.clone(), waiters.clone(), clock.clone());
    runner.handle(environments::CONVERGE, move |item| {
        let (db, waiters, ctx) = (of.clone(), told.clone(), ctx(&item, &at));
        async move {
            match converge(&db, &waiters, &ctx, key(&item)?).await? {
                Outcome::Settled => Ok(Done::Finished),
                Outcome::Again(run_at) => Ok(Done::Next { step: "look".to_owned(), run_at }),
            }
        }
    });
    let (of, at) = (db.clone(), clock.clone());
    runner.handle(slice::CONVERGE, move |item| {
        let (db, ctx) = (of.clone(), ctx(&item, &at));
        async move {
            converge_tenant(&db, &ctx, key(&item)?).await?;
            Ok(Done::Finished)
        }
    });
    let (of, at) = (db.clone(), clock.clone());
    runner.handle(operations::CANCEL, move |item| {
        let (db, ctx) = (of.clone(), ctx(&item, &at));
        async move {
            cancel(&db, &ctx, key(&item)?).await?;
            Ok(Done::Finished)
        }
    });
}

/// What an item is about.
fn key<T: FromStr<Err: Display>>(item: &WorkItem) -> Result<T, Retry> {
    item.key.parse().map_err(|error| Retry::never(format!("{}: {error}", item.key)))
}

fn ctx(item: &WorkItem, clock: &Clock) -> Ctx {
    Ctx {
        scope: item.scope(),
        // The control plane has no mode, and its clock does not move.
        mode: Mode::Live,
        actor: Actor::System("provisioning"),
        request_id: item.lease.id.to_string().into(),
        clock: EnvironmentClock::new(clock.clone(), TimeDelta::zero()),
    }
}
