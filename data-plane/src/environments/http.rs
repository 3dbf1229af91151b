//! Routes of the caller's environment.

use axum::{
    extract::{FromRef, State},
    response::Response,
};
use chrono::{DateTime, SecondsFormat, Utc};
use platform::{
    clock::{ClockError, Offsets},
    db::Db,
    http::Json,
    idempotency::{Keyed, Replayed},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    problem::Problem,
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{environment::Mode, id::EnvironmentId, jurisdiction::JurisdictionId, money::Currency};
use utoipa::ToSchema;

use super::{Environments, MoveError, move_clock};

platform::scopes! {
    /// Read the environment.
    EnvironmentRead = "environment:read";
    /// Drive the simulators of a sandbox.
    SimulationsWrite = "simulations:write";
}

platform::problem_codes! {
    /// Simulators exist in sandboxes only.
    SANDBOX_ONLY = 409 "sandbox_only";
    /// A sandbox's clock moves forward only.
    CLOCK_BACKWARDS = 422 "clock_backwards";
    /// A sandbox's clock moves at most a hundred years ahead.
    CLOCK_TOO_FAR = 422 "clock_too_far";
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Offsets: FromRef<S>,
    Environments: FromRef<S>,
{
    OpenApiRouter::new().routes(operation!(environment_get)).routes(operation!(
        clock_move,
        &SANDBOX_ONLY,
        &CLOCK_BACKWARDS,
        &CLOCK_TOO_FAR
    ))
}

/// The environment that a token belongs to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Environment)]
struct Wire {
    id: EnvironmentId,
    mode: Mode,
    jurisdiction: JurisdictionId,
    /// The currency of its books.
    currency: Currency,
    /// The zone that business dates are reckoned in, an IANA name.
    #[schema(example = "America/Mexico_City")]
    time_zone: &'static str,
    /// Environment time: the wall clock, and in a sandbox what it was moved by.
    now_at: DateTime<Utc>,
}

/// Reads the environment that the caller's token belongs to.
#[utoipa::path(get, path = "/v1/environment", operation_id = "environment_get", tag = "environment",
    responses((status = 200, description = "The environment", body = Wire)))]
async fn environment_get(
    ctx: Authorized<EnvironmentRead>,
    State(environments): State<Environments>,
) -> Result<Json<Wire>, Problem> {
    let environment = environments.of_ctx(&ctx)?;
    let jurisdiction = &environment.profile.jurisdiction;
    Ok(Json(Wire {
        id: environment.id,
        mode: environment.mode,
        jurisdiction: jurisdiction.id.clone(),
        currency: jurisdiction.currency,
        time_zone: jurisdiction.time_zone.name(),
        now_at: ctx.now(),
    }))
}

/// Where to move a sandbox's clock.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClockMove)]
struct Move {
    /// The instant it shows then; not before what it shows now.
    to_at: DateTime<Utc>,
}

/// What a sandbox's clock shows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Clock)]
struct Shown {
    /// Environment time.
    now_at: DateTime<Utc>,
}

/// Moves a sandbox's clock forward; holds and work that are due by then happen.
#[utoipa::path(post, path = "/v1/simulations/clock", operation_id = "clock_move", tag = "simulations",
    request_body = Move, responses((status = 200, description = "The clock shows the instant", body = Shown)))]
async fn clock_move(
    ctx: Authorized<SimulationsWrite>,
    State(db): State<Db>,
    State(offsets): State<Offsets>,
    Keyed { key, body }: Keyed<Move>,
) -> Result<Response, Problem> {
    let replayed = move_clock(&db, &offsets, &ctx, &key, body.to_at).await.map_err(refused)?;
    let clock = offsets.clock(ctx.scope, ctx.mode).await?;
    let shown = Json(Shown { now_at: clock.now() });
    Ok(Replayed::when(replayed, shown))
}

fn refused(error: MoveError) -> Problem {
    match error {
        MoveError::Problem(problem) => problem,
        MoveError::Database(error) => error.into(),
        MoveError::Clock(ClockError::Live) => Problem::new(&SANDBOX_ONLY),
        MoveError::Clock(ClockError::Backwards { now }) => {
            let now = now.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            Problem::new(&CLOCK_BACKWARDS).arg("now", now.clone()).at_with(
                "/to_at",
                &CLOCK_BACKWARDS,
                "now",
                now,
            )
        }
        MoveError::Clock(ClockError::TooFar) => Problem::new(&CLOCK_TOO_FAR).at("/to_at", &CLOCK_TOO_FAR),
        MoveError::Clock(ClockError::Database(error)) => error.into(),
    }
}
