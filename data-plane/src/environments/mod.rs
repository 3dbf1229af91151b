//! The environments of this cell, and their clocks.
//!
//! **Promise.** Whoever asks for an environment gets the profile of its jurisdiction with it, so that nobody has to know
//! which country it is. A sandbox's clock moves forward only, by its own tenant; a live one shows the wall clock.

pub mod http;

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use platform::{
    clock::{self, ClockError, Offsets},
    ctx::Ctx,
    db::Db,
    idempotency::{Key, Outcome, begin_in_tx},
    problem::Problem,
    token::Place,
};
use sea_orm::DbErr;
use tenants::{
    environment::Mode,
    id::EnvironmentId,
    profile::{self, Profile},
};
use uuid::Uuid;

use crate::config::CellConfig;

/// One environment.
#[derive(Debug, Clone, Copy)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Its home shard.
    pub shard: i32,
    /// Sandbox or live.
    pub mode: Mode,
    /// What its regulator asks for.
    pub profile: &'static Profile,
}

/// All of them. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct Environments(Arc<BTreeMap<Uuid, Environment>>);

impl Environments {
    /// Those of a checked configuration.
    #[must_use]
    pub fn of(config: &CellConfig) -> Self {
        let profile = profile::profile(&config.cell.jurisdiction);
        let all = profile.into_iter().flat_map(|profile| {
            config.environments.iter().map(move |section| {
                let environment =
                    Environment { id: section.id, shard: section.shard, mode: config.cell.mode, profile };
                (section.id.uuid(), environment)
            })
        });
        Self(Arc::new(all.collect()))
    }

    /// The environment that a caller's context is in.
    ///
    /// # Errors
    /// An internal problem: tokens of other environments are refused before.
    pub fn of_ctx(&self, ctx: &Ctx) -> Result<&Environment, Problem> {
        self.0
            .get(&ctx.scope.id)
            .ok_or_else(|| Problem::internal("a context of an environment that is not here"))
    }

    /// Where each one is, for the check of tokens.
    #[must_use]
    pub fn places(&self) -> BTreeMap<EnvironmentId, Place> {
        self.0.values().map(|one| (one.id, Place { shard: one.shard, mode: one.mode })).collect()
    }

    /// The ones there are, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Environment> {
        self.0.values()
    }
}

/// Why a clock was not moved, or a request not made anew.
pub enum MoveError {
    /// The clock's own reason.
    Clock(ClockError),
    /// The key's or the database's.
    Problem(Problem),
}

impl From<DbErr> for MoveError {
    fn from(error: DbErr) -> Self {
        Self::Problem(error.into())
    }
}

/// Moves a sandbox's clock forward to an instant, once per key; whether it was done before.
///
/// # Errors
/// Live environments, instants in the past or more than a hundred years ahead; keys used for something else.
pub async fn move_clock(
    db: &Db,
    offsets: &Offsets,
    ctx: &Ctx,
    key: &Key,
    to: DateTime<Utc>,
) -> Result<bool, MoveError> {
    let tx = db.begin(ctx.scope).await?;
    let begun = begin_in_tx(&tx, ctx, key, ctx.scope.id).await.map_err(MoveError::Problem)?;
    let replayed = match begun {
        Outcome::Replay(_) => true,
        Outcome::New => {
            clock::advance_in_tx(&tx, ctx.scope, ctx.mode, ctx.wall(), to).await.map_err(MoveError::Clock)?;
            false
        }
    };
    tx.commit().await?;
    offsets.forget(ctx.scope).await;
    Ok(replayed)
}
