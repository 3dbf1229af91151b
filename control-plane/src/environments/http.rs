//! Routes of environments.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{FromRef, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use platform::{
    clock::FARTHEST,
    ctx::Ctx,
    db::Db,
    http::{DryRun, IfMatch, Json, MayMatch, Path, Query, tagged},
    idempotency::{Done, Key, Keyed, Replayed},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page},
    plan::Plan,
    problem::{Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{
    environment::{Condition, Desired, EnvironmentState, Mode},
    id::{CellId, EnvironmentId, OrganizationId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
};
use tokio::sync::Notify;
use utoipa::{IntoParams, ToSchema};

use super::{Ask, ClockFault, Environment, Error, Filter, acting};
use crate::{
    cells::{self, Cell, OUT_OF_BOUNDS},
    operations::{OPERATION_RUNNING, Operation, Wire as WireOperation},
    organizations::ORGANIZATION_NOT_FOUND,
    regions::REGION_UNKNOWN,
    tenants::{
        self as slice, TENANT_NOT_FOUND,
        residency::{RESIDENCY_CONDITION_MISSING, RESIDENCY_REGION_FORBIDDEN},
    },
};

platform::scopes! {
    /// Read environments.
    EnvironmentsRead = "environments:read";
    /// Declare, change and remove environments.
    EnvironmentsWrite = "environments:write";
}

platform::problem_codes! {
    /// There is no such environment that this caller may know of.
    ENVIRONMENT_NOT_FOUND = 404 "environment_not_found";
    /// The tenant has an environment of this mode.
    ENVIRONMENT_EXISTS = 409 "environment_exists";
    /// The environment's state does not allow it.
    ENVIRONMENT_STATE = 409 "environment_state";
    /// The tenant is not approved, or no longer.
    TENANT_NOT_APPROVED = 409 "tenant_not_approved";
    /// A restricted tenant gets no new environments, and no new clients of those it has.
    TENANT_RESTRICTED = 409 "tenant_restricted";
    /// Environments of a suspended tenant answer when the tenant is resumed.
    TENANT_SUSPENDED = 409 "tenant_suspended";
    /// The jurisdiction's profile has no such version.
    PROFILE_VERSION_UNKNOWN = 422 "profile_version_unknown";
    /// A live environment has the wall clock.
    CLOCK_LIVE = 422 "clock_live";
    /// A sandbox's clock moves forward only.
    CLOCK_BACKWARDS = 422 "clock_backwards";
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Arc<Notify>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            environment_create,
            &TENANT_NOT_FOUND,
            &REGION_UNKNOWN,
            &RESIDENCY_CONDITION_MISSING,
            &RESIDENCY_REGION_FORBIDDEN,
            &TENANT_NOT_APPROVED,
            &TENANT_RESTRICTED,
            &ENVIRONMENT_EXISTS,
            &PROFILE_VERSION_UNKNOWN,
            &CLOCK_LIVE,
            &OUT_OF_BOUNDS,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(environment_list, &ORGANIZATION_NOT_FOUND, &codes::INVALID_CURSOR))
        .routes(operation!(environment_get, &ENVIRONMENT_NOT_FOUND))
        .routes(operation!(
            environment_update,
            &ENVIRONMENT_NOT_FOUND,
            &ENVIRONMENT_STATE,
            &OPERATION_RUNNING,
            &PROFILE_VERSION_UNKNOWN,
            &CLOCK_LIVE,
            &CLOCK_BACKWARDS,
            &OUT_OF_BOUNDS,
            &codes::VERSION_MISMATCH,
            &codes::STORAGE_FULL
        ))
        .merge(asked())
}

/// The routes that ask something of an environment without a body.
fn asked<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Arc<Notify>: FromRef<S>,
{
    macro_rules! asked {
        ($($handler:ident),+) => {
            OpenApiRouter::new()$(.routes(operation!(
                $handler,
                &ENVIRONMENT_NOT_FOUND,
                &ENVIRONMENT_STATE,
                &TENANT_SUSPENDED,
                &OPERATION_RUNNING,
                &codes::VERSION_MISMATCH,
                &codes::STORAGE_FULL
            )))+
        };
    }
    asked!(environment_suspend, environment_resume, environment_remove)
}

/// An environment to be declared.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EnvironmentNew, example = json!({"mode": "sandbox", "region": "mx-central-1"}))]
struct New {
    mode: Mode,
    /// Where its data are to lie; there is no default.
    region: RegionCode,
    /// Which version of the profile is to rule it; the newest, if absent.
    #[schema(example = "2026.11")]
    profile_version: Option<String>,
    /// How far a sandbox's clock is to be ahead at least, in milliseconds; not at all, if absent.
    #[schema(minimum = 0, maximum = 3_153_600_000_000_i64, example = 86_400_000)]
    clock_offset_ms: Option<i64>,
}

/// A tenant's sandbox or its live world: what is wanted of it, and what became of that.
#[derive(Serialize, ToSchema)]
#[schema(as = Environment)]
struct Wire {
    #[schema(example = "env_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    id: EnvironmentId,
    organization_id: OrganizationId,
    tenant_id: TenantId,
    mode: Mode,
    jurisdiction: JurisdictionId,
    region: RegionCode,
    #[schema(example = "2026.11")]
    profile_version: String,
    /// How far a sandbox's clock is to be ahead at least, in milliseconds: in its cell it may have been moved further. 0 of
    /// a live one.
    clock_offset_ms: i64,
    /// What is wanted.
    desired: Desired,
    state: EnvironmentState,
    /// The cell it was placed in; null before that.
    cell_id: Option<CellId>,
    /// Where its tenant reaches it; null before it is placed.
    #[schema(example = "https://mx-1.example.com")]
    cell_url: Option<String>,
    /// When its cell was last heard of.
    seen_at: Option<DateTime<Utc>>,
    /// Whether what is shown may be old: nothing was heard of its cell for 90 seconds. The cell goes on without us.
    stale: Option<bool>,
    /// Counts what was wanted of it.
    generation: i64,
    /// The generation that its cell has brought about.
    observed_generation: i64,
    /// What was looked at on the way.
    conditions: Vec<Condition>,
    /// Counts the environment's changes; also its `ETag`.
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Wire {
    /// With what is known of its cell.
    fn of(environment: Environment, cells: &HashMap<CellId, Cell>, now: DateTime<Utc>) -> Self {
        let cell = environment.cell.and_then(|id| cells.get(&id));
        Self {
            cell_url: cell.and_then(|cell| Some(cell.enrolled.as_ref()?.url.clone())),
            seen_at: cell.and_then(|cell| cell.seen.at),
            stale: cell.map(|cell| cell.is_stale(now)),
            ..Self::from(environment)
        }
    }
}

impl From<Environment> for Wire {
    fn from(environment: Environment) -> Self {
        Self {
            id: environment.id,
            organization_id: environment.organization,
            tenant_id: environment.tenant,
            mode: environment.mode,
            jurisdiction: environment.jurisdiction,
            region: environment.region,
            profile_version: environment.profile_version,
            clock_offset_ms: environment.clock_offset_ms,
            desired: environment.desired,
            state: environment.state,
            cell_id: environment.cell,
            cell_url: None,
            seen_at: None,
            stale: None,
            generation: environment.generation,
            observed_generation: environment.observed_generation,
            conditions: environment.conditions,
            version: environment.version,
            created_at: environment.created_at,
            updated_at: environment.updated_at,
        }
    }
}

/// The operation that was begun, or the plan of a dry run.
fn begun(result: Result<Done<Operation>, Error>, waker: &Notify) -> Result<Response, Problem> {
    match result {
        Ok(Done { what, replayed }) => {
            waker.notify_one();
            let answer = (StatusCode::ACCEPTED, Json(WireOperation::from(what)));
            Ok(Replayed::when(replayed, answer))
        }
        Err(Error::Planned(planned)) => {
            let (before, after) = *planned;
            let plan = Plan::between(before.map(Wire::from).as_ref(), &Wire::from(after));
            Ok(Json(plan).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// Declares an environment of a tenant; the operation that makes it begins.
///
/// A dry run answers 200 with a plan and declares nothing. A region has to be named; if conditions for it are missing, the
/// problem names them, and nothing is made.
#[utoipa::path(post, path = "/v1/tenants/{id}/environments", operation_id = "environment_create",
    tag = "environments", params(("id" = TenantId, Path, description = "The tenant")), request_body = New,
    responses((status = 202, description = "The operation", body = WireOperation),
        (status = 200, description = "Of a dry run: what would be declared", body = Plan)))]
async fn environment_create(
    ctx: Authorized<EnvironmentsWrite>,
    State(db): State<Db>,
    State(waker): State<Arc<Notify>>,
    Path(id): Path<TenantId>,
    DryRun(dry_run): DryRun,
    Keyed { key, body: New { mode, region, profile_version, clock_offset_ms } }: Keyed<New>,
) -> Result<Response, Problem> {
    let ctx = slice::acting(&db, &ctx, id).await?;
    let new = super::New { mode, region, profile_version, clock_offset_ms };
    begun(super::create(&db, &ctx, &key, id, &new, dry_run).await, &waker)
}

const LIST: &str = "environments";

/// Which environments to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// How many items at most: 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// Those of this organization; an operator who names none sees all.
    #[param(value_type = Option<String>)]
    organization_id: Option<OrganizationId>,
    /// Those of this tenant.
    #[param(value_type = Option<String>)]
    tenant_id: Option<TenantId>,
    /// Those in this state.
    #[param(inline)]
    state: Option<EnvironmentState>,
}

/// Lists environments, the oldest first; removed ones too.
#[utoipa::path(get, path = "/v1/environments", operation_id = "environment_list", tag = "environments",
    params(Which), responses((status = 200, description = "A page of environments", body = Page<Wire>)))]
async fn environment_list(
    ctx: Authorized<EnvironmentsRead>,
    State(db): State<Db>,
    Query(which): Query<Which>,
) -> Result<Json<Page<Wire>>, Problem> {
    let Which { limit, cursor, organization_id, tenant_id, state } = which;
    let after = cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let filter = Filter { after, tenant: tenant_id, state };
    let environments = super::list(&db, &ctx, organization_id, &filter, limit.rows()).await?;
    let page = Page::of(LIST, environments, limit, |environment| environment.id);
    let placed: Vec<CellId> = page.data.iter().filter_map(|environment| environment.cell).collect();
    let (known, now) = (cells::of_ids(&db, &placed).await?, ctx.wall());
    Ok(Json(page.map(|environment| Wire::of(environment, &known, now))))
}

/// Reads an environment.
#[utoipa::path(get, path = "/v1/environments/{id}", operation_id = "environment_get", tag = "environments",
    params(("id" = EnvironmentId, Path, description = "The environment")),
    responses((status = 200, description = "The environment", body = Wire)))]
async fn environment_get(
    ctx: Authorized<EnvironmentsRead>,
    State(db): State<Db>,
    Path(id): Path<EnvironmentId>,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let environment = super::get(&db, &ctx, id).await?;
    let (version, known) = (environment.version, cells::of_ids(&db, environment.cell.as_slice()).await?);
    Ok(tagged(version, Json(Wire::of(environment, &known, ctx.wall()))))
}

/// What may be changed of an environment: a field that is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EnvironmentChange, example = json!({"profile_version": "2026.11"}))]
struct Change {
    /// Which version of the profile is to rule it.
    profile_version: Option<String>,
    /// How far a sandbox's clock is to be ahead at least, in milliseconds: forward only.
    #[schema(minimum = 0, maximum = 3_153_600_000_000_i64)]
    clock_offset_ms: Option<i64>,
}

/// Moves an environment to another version of its profile, or a sandbox's clock forward; the operation that does it begins.
///
/// A dry run answers 200 with a plan and changes nothing.
#[utoipa::path(patch, path = "/v1/environments/{id}", operation_id = "environment_update", tag = "environments",
    params(("id" = EnvironmentId, Path, description = "The environment")), request_body = Change,
    responses((status = 202, description = "The operation", body = WireOperation),
        (status = 200, description = "Of a dry run: what would change", body = Plan)))]
async fn environment_update(
    ctx: Authorized<EnvironmentsWrite>,
    State(db): State<Db>,
    State(waker): State<Arc<Notify>>,
    Path(id): Path<EnvironmentId>,
    seen: IfMatch,
    DryRun(dry_run): DryRun,
    Keyed { key, body: Change { profile_version, clock_offset_ms } }: Keyed<Change>,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let ask = Ask::Change(super::Change { profile_version, clock_offset_ms });
    let admits = |version| seen.admits(version);
    begun(super::ask(&db, &ctx, &key, id, admits, &ask, dry_run).await, &waker)
}

async fn ask(
    db: &Db,
    waker: &Notify,
    ctx: &Ctx,
    id: EnvironmentId,
    key: &Key,
    ask: Ask,
    (seen, dry_run): (MayMatch, bool),
) -> Result<Response, Problem> {
    let ctx = acting(db, ctx, id).await?;
    begun(super::ask(db, &ctx, key, id, |version| seen.admits(version), &ask, dry_run).await, waker)
}

/// Suspends an environment: it answers nobody; the operation that does it begins.
///
/// A dry run answers 200 with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/environments/{id}/suspensions", operation_id = "environment_suspend",
    tag = "environments", params(("id" = EnvironmentId, Path, description = "The environment")),
    responses((status = 202, description = "The operation", body = WireOperation),
        (status = 200, description = "Of a dry run: what would change", body = Plan)))]
async fn environment_suspend(
    ctx: Authorized<EnvironmentsWrite>,
    State(db): State<Db>,
    State(waker): State<Arc<Notify>>,
    Path(id): Path<EnvironmentId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    key: Key,
) -> Result<Response, Problem> {
    ask(&db, &waker, &ctx, id, &key, Ask::Suspend, (seen, dry_run)).await
}

/// Ends a suspension; the operation that does it begins.
///
/// A dry run answers 200 with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/environments/{id}/resumptions", operation_id = "environment_resume",
    tag = "environments", params(("id" = EnvironmentId, Path, description = "The environment")),
    responses((status = 202, description = "The operation", body = WireOperation),
        (status = 200, description = "Of a dry run: what would change", body = Plan)))]
async fn environment_resume(
    ctx: Authorized<EnvironmentsWrite>,
    State(db): State<Db>,
    State(waker): State<Arc<Notify>>,
    Path(id): Path<EnvironmentId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    key: Key,
) -> Result<Response, Problem> {
    ask(&db, &waker, &ctx, id, &key, Ask::Resume, (seen, dry_run)).await
}

/// Removes an environment, also one that is being made; the operation that does it begins, and ends the one that runs.
///
/// There is no way back. A dry run answers 200 with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/environments/{id}/removals", operation_id = "environment_remove",
    tag = "environments", params(("id" = EnvironmentId, Path, description = "The environment")),
    responses((status = 202, description = "The operation", body = WireOperation),
        (status = 200, description = "Of a dry run: what would change", body = Plan)))]
async fn environment_remove(
    ctx: Authorized<EnvironmentsWrite>,
    State(db): State<Db>,
    State(waker): State<Arc<Notify>>,
    Path(id): Path<EnvironmentId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    key: Key,
) -> Result<Response, Problem> {
    ask(&db, &waker, &ctx, id, &key, Ask::Remove, (seen, dry_run)).await
}

fn clock(fault: ClockFault) -> Problem {
    match fault {
        ClockFault::Live => Problem::new(&CLOCK_LIVE),
        ClockFault::Bounds => {
            Problem::new(&OUT_OF_BOUNDS).arg("lowest", 0).arg("highest", FARTHEST.num_milliseconds())
        }
        ClockFault::Backwards(before) => Problem::new(&CLOCK_BACKWARDS).arg("offset", before),
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Problem::new(&ENVIRONMENT_NOT_FOUND),
            Error::Exists => Problem::new(&ENVIRONMENT_EXISTS),
            Error::NotApproved(state) => Problem::new(&TENANT_NOT_APPROVED).arg("state", state.as_str()),
            Error::TenantRestricted => Problem::new(&TENANT_RESTRICTED),
            Error::TenantSuspended => Problem::new(&TENANT_SUSPENDED),
            Error::State(state) => Problem::new(&ENVIRONMENT_STATE).arg("state", state.as_str()),
            Error::ProfileVersion(known) => {
                Problem::new(&PROFILE_VERSION_UNKNOWN).arg("known", known).on("/profile_version")
            }
            Error::Clock(fault) => clock(fault).on("/clock_offset_ms"),
            Error::Changed => Problem::new(&codes::VERSION_MISMATCH),
            // Answered before; a plan is no problem.
            Error::Planned(_) => Problem::internal("a plan was taken for a problem"),
            Error::Operation(error) => error.into(),
            Error::Tenant(error) => error.into(),
            Error::Residency(error) => error.into(),
            Error::Organization(error) => error.into(),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
