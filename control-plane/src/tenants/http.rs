//! Routes of tenants.

use std::sync::Arc;

use axum::{
    extract::{FromRef, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use platform::{
    ctx::Ctx,
    db::Db,
    http::{DryRun, IfMatch, Json, MayMatch, Path, Query, tagged},
    idempotency::{Done, Keyed, Replayed},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page, PageQuery},
    plan::Plan,
    problem::{Catalogue, Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{
    environment::Condition,
    id::{OrganizationId, TenantId},
    jurisdiction::JurisdictionId,
    tenant::State as Life,
};
use utoipa::{IntoParams, ToSchema};

use super::{Error, Fault, Filter, Moved, Reason, Step, Tenant, acting, residency};
use crate::{
    caller::{self, EXTERNAL_ID_TAKEN, OPERATOR_ONLY},
    names::TEXT_UNUSABLE,
    organizations::{self, ORGANIZATION_NOT_FOUND},
};

platform::scopes! {
    /// Read tenants.
    TenantsRead = "tenants:read";
    /// Make and change tenants, and put conditions on record.
    TenantsWrite = "tenants:write";
    /// Approve, reject, restrict, suspend and resume tenants; of operators.
    TenantsApprove = "tenants:approve";
}

platform::problem_codes! {
    /// There is no such tenant that this caller may know of.
    TENANT_NOT_FOUND = 404 "tenant_not_found";
    /// The tenant's state does not allow it.
    TENANT_STATE = 409 "tenant_state";
    /// No profile of this build is for this jurisdiction.
    JURISDICTION_UNKNOWN = 422 "jurisdiction_unknown";
    /// The jurisdiction has no such licence.
    LICENCE_UNKNOWN = 422 "licence_unknown";
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Arc<Catalogue>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            tenant_create,
            &ORGANIZATION_NOT_FOUND,
            &EXTERNAL_ID_TAKEN,
            &TEXT_UNUSABLE,
            &JURISDICTION_UNKNOWN,
            &LICENCE_UNKNOWN,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(tenant_list, &ORGANIZATION_NOT_FOUND, &codes::INVALID_CURSOR))
        .routes(operation!(tenant_get, &TENANT_NOT_FOUND))
        .routes(operation!(
            tenant_update,
            &TENANT_NOT_FOUND,
            &codes::VERSION_MISMATCH,
            &TEXT_UNUSABLE,
            &LICENCE_UNKNOWN,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(tenant_move_list, &TENANT_NOT_FOUND, &codes::INVALID_CURSOR))
        .merge(moves())
        .merge(residency::http::router())
}

/// The routes that move a tenant's state.
fn moves<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
{
    macro_rules! moves {
        ($($handler:ident $(, $own:expr)*;)+) => {
            OpenApiRouter::new()$(.routes(operation!(
                $handler,
                $($own,)*
                &TENANT_NOT_FOUND,
                &TENANT_STATE,
                &codes::VERSION_MISMATCH,
                &TEXT_UNUSABLE,
                &codes::STORAGE_FULL
            )))+
        };
    }
    moves! {
        tenant_verify;
        tenant_approve, &OPERATOR_ONLY;
        tenant_reject, &OPERATOR_ONLY;
        tenant_restrict, &OPERATOR_ONLY;
        tenant_suspend, &OPERATOR_ONLY;
        tenant_resume, &OPERATOR_ONLY;
        tenant_offboard;
    }
}

/// A tenant to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantNew, example = json!({
    "organization_id": "org_01jd4q8e7xf2r9k3m5n7p0s4t6", "external_id": "tianguis-mx", "name": "Tianguis",
    "jurisdiction": "mx-cnbv", "licence": "IFPE"
}))]
struct New {
    /// Whose it is; an operator has to say, an organization's client need not.
    organization_id: Option<OrganizationId>,
    /// Your own id; used once per organization.
    #[schema(min_length = 1, max_length = 100)]
    external_id: Option<String>,
    /// As its customers know it.
    #[schema(min_length = 1, max_length = 140)]
    name: String,
    /// Under whose law it works; never changes.
    jurisdiction: JurisdictionId,
    /// A licence of that jurisdiction's profile.
    #[schema(example = "IFPE")]
    licence: String,
}

/// One licence of an organization in one jurisdiction.
#[derive(Serialize, ToSchema)]
#[schema(as = Tenant)]
struct Wire {
    #[schema(example = "tnt_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    id: TenantId,
    organization_id: OrganizationId,
    external_id: Option<String>,
    name: String,
    jurisdiction: JurisdictionId,
    #[schema(example = "IFPE")]
    licence: String,
    state: Life,
    /// Why it is in this state; null for a draft.
    state_reason: Option<Reason>,
    /// Counts what was wanted of it.
    generation: i64,
    /// The last generation that all its environments have come to.
    observed_generation: i64,
    /// What was looked at on the way: `EnvironmentsReady` names those that are not.
    conditions: Vec<Condition>,
    /// Counts the tenant's changes; also its `ETag`.
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Tenant> for Wire {
    fn from(tenant: Tenant) -> Self {
        Self {
            id: tenant.id,
            organization_id: tenant.organization,
            external_id: tenant.external_id,
            name: tenant.name,
            jurisdiction: tenant.jurisdiction,
            licence: tenant.licence,
            state: tenant.state,
            state_reason: tenant.reason,
            generation: tenant.generation,
            observed_generation: tenant.observed_generation,
            conditions: tenant.conditions,
            version: tenant.version,
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        }
    }
}

/// The tenant with its `ETag`.
fn answer(status: StatusCode, done: Done<Tenant>) -> Response {
    let Done { what: tenant, replayed } = done;
    Replayed::when(replayed, tagged(tenant.version, (status, Json(Wire::from(tenant)))))
}

/// Makes a tenant, as a draft.
///
/// A dry run answers 200 with a plan and makes nothing.
#[utoipa::path(post, path = "/v1/tenants", operation_id = "tenant_create", tag = "tenants", request_body = New,
    responses((status = 201, description = "The tenant", body = Wire),
        (status = 200, description = "Of a dry run: what would be made", body = Plan)))]
async fn tenant_create(
    ctx: Authorized<TenantsWrite>,
    State(db): State<Db>,
    DryRun(dry_run): DryRun,
    Keyed { key, body }: Keyed<New>,
) -> Result<Response, Problem> {
    let New { organization_id, external_id, name, jurisdiction, licence } = body;
    let ctx = organizations::resolve(&db, &ctx, organization_id).await?;
    let new = super::New { external_id, name, jurisdiction, licence };
    let done = super::create(&db, &ctx, &key, &new, dry_run).await?;
    if dry_run {
        return Ok(Json(Plan::between(None, &Wire::from(done.what))).into_response());
    }
    Ok(answer(StatusCode::CREATED, done))
}

const LIST: &str = "tenants";

/// Which tenants to list.
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
    /// Those with this id of yours.
    external_id: Option<String>,
    /// Those in this state.
    #[param(inline)]
    state: Option<Life>,
}

/// Lists tenants, the oldest first.
#[utoipa::path(get, path = "/v1/tenants", operation_id = "tenant_list", tag = "tenants", params(Which),
    responses((status = 200, description = "A page of tenants", body = Page<Wire>)))]
async fn tenant_list(
    ctx: Authorized<TenantsRead>,
    State(db): State<Db>,
    Query(which): Query<Which>,
) -> Result<Json<Page<Wire>>, Problem> {
    let Which { limit, cursor, organization_id, external_id, state } = which;
    let after = cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let filter = Filter { after, external_id, state };
    let tenants = super::list(&db, &ctx, organization_id, &filter, limit.rows()).await?;
    Ok(Json(Page::of(LIST, tenants, limit, |tenant| tenant.id).map(Wire::from)))
}

/// Reads a tenant.
#[utoipa::path(get, path = "/v1/tenants/{id}", operation_id = "tenant_get", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant")),
    responses((status = 200, description = "The tenant", body = Wire)))]
async fn tenant_get(
    ctx: Authorized<TenantsRead>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let tenant = super::get(&db, &ctx, id).await?;
    Ok(answer(StatusCode::OK, Done { what: tenant, replayed: false }))
}

/// What may be changed of a tenant: a field that is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantChange, example = json!({"name": "Tianguis Digital"}))]
struct Change {
    /// As its customers know it.
    #[schema(min_length = 1, max_length = 140)]
    name: Option<String>,
    /// A licence of the jurisdiction's profile.
    licence: Option<String>,
}

/// Changes a tenant.
///
/// A dry run answers with a plan and changes nothing.
#[utoipa::path(patch, path = "/v1/tenants/{id}", operation_id = "tenant_update", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant")), request_body = Change,
    responses((status = 200, description = "The tenant after the change; of a dry run, the plan", body = Wire)))]
async fn tenant_update(
    ctx: Authorized<TenantsWrite>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    seen: IfMatch,
    DryRun(dry_run): DryRun,
    Keyed { key, body: Change { name, licence } }: Keyed<Change>,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let change = super::Change { name, licence };
    let admits = |version| seen.admits(version);
    let Done { what: (before, after), replayed } =
        super::update(&db, &ctx, &key, id, admits, &change, dry_run).await?;
    if dry_run {
        return Ok(Json(Plan::between(Some(&Wire::from(before)), &Wire::from(after))).into_response());
    }
    Ok(answer(StatusCode::OK, Done { what: after, replayed }))
}

/// Why a tenant is moved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantStep, example = json!({
    "reason": {"code": "licence_confirmed", "detail": "Found in the register of the authority"}
}))]
struct Why {
    /// Recorded for ever with the actor, and shown as `state_reason`.
    reason: Reason,
}

async fn take(
    db: &Db,
    ctx: &Ctx,
    id: TenantId,
    keyed: Keyed<Why>,
    step: Step,
    (seen, dry_run): (MayMatch, bool),
) -> Result<Response, Problem> {
    let Keyed { key, body: Why { reason } } = keyed;
    let ctx = acting(db, ctx, id).await?;
    let done =
        super::step(db, &ctx, &key, id, |version| seen.admits(version), (step, &reason), dry_run).await?;
    let Done { what: (before, after), replayed } = done;
    if dry_run {
        return Ok(Json(Plan::between(Some(&Wire::from(before)), &Wire::from(after))).into_response());
    }
    Ok(answer(StatusCode::OK, Done { what: after, replayed }))
}

/// Has a draft looked at: its licence and its papers.
///
/// A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{id}/verifications", operation_id = "tenant_verify", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant")), request_body = Why,
    responses((status = 200, description = "The tenant; of a dry run, the plan", body = Wire)))]
async fn tenant_verify(
    ctx: Authorized<TenantsWrite>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    keyed: Keyed<Why>,
) -> Result<Response, Problem> {
    take(&db, &ctx, id, keyed, Step::Verify, (seen, dry_run)).await
}

/// Approves a tenant: from then on it may have environments.
///
/// For operators. A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{id}/approvals", operation_id = "tenant_approve", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant")), request_body = Why,
    responses((status = 200, description = "The tenant; of a dry run, the plan", body = Wire)))]
async fn tenant_approve(
    ctx: Authorized<TenantsApprove>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    keyed: Keyed<Why>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    take(&db, &ctx, id, keyed, Step::Approve, (seen, dry_run)).await
}

/// Turns a tenant down, for ever.
///
/// For operators. A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{id}/rejections", operation_id = "tenant_reject", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant")), request_body = Why,
    responses((status = 200, description = "The tenant; of a dry run, the plan", body = Wire)))]
async fn tenant_reject(
    ctx: Authorized<TenantsApprove>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    keyed: Keyed<Why>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    take(&db, &ctx, id, keyed, Step::Reject, (seen, dry_run)).await
}

/// Restricts a tenant: what it has goes on, but it gets no new environments and no new clients of them.
///
/// For operators. A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{id}/restrictions", operation_id = "tenant_restrict", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant")), request_body = Why,
    responses((status = 200, description = "The tenant; of a dry run, the plan", body = Wire)))]
async fn tenant_restrict(
    ctx: Authorized<TenantsApprove>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    keyed: Keyed<Why>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    take(&db, &ctx, id, keyed, Step::Restrict, (seen, dry_run)).await
}

/// Suspends a tenant: those of its environments that answer do not any more.
///
/// For operators. A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{id}/suspensions", operation_id = "tenant_suspend", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant")), request_body = Why,
    responses((status = 200, description = "The tenant; of a dry run, the plan", body = Wire)))]
async fn tenant_suspend(
    ctx: Authorized<TenantsApprove>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    keyed: Keyed<Why>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    take(&db, &ctx, id, keyed, Step::Suspend, (seen, dry_run)).await
}

/// Ends a suspension or a restriction; after a suspension the tenant is what it was before, and the environments that it
/// has suspended answer again.
///
/// For operators. A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{id}/resumptions", operation_id = "tenant_resume", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant")), request_body = Why,
    responses((status = 200, description = "The tenant; of a dry run, the plan", body = Wire)))]
async fn tenant_resume(
    ctx: Authorized<TenantsApprove>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    keyed: Keyed<Why>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    take(&db, &ctx, id, keyed, Step::Resume, (seen, dry_run)).await
}

/// Ends a tenant: its environments are exported and removed. There is no way back.
///
/// It is `archived` when nothing runs any more and the rest is only kept as the law says, and `erased` when nothing is left.
/// A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{id}/offboardings", operation_id = "tenant_offboard", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant")), request_body = Why,
    responses((status = 200, description = "The tenant; of a dry run, the plan", body = Wire)))]
async fn tenant_offboard(
    ctx: Authorized<TenantsWrite>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    keyed: Keyed<Why>,
) -> Result<Response, Problem> {
    take(&db, &ctx, id, keyed, Step::Offboard, (seen, dry_run)).await
}

/// One move of a tenant's state.
#[derive(Serialize, ToSchema)]
#[schema(as = TenantMove)]
struct WireMove {
    /// The tenant's version after it.
    seq: i64,
    from: Life,
    to: Life,
    /// Who moved it.
    #[schema(example = "cli_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    actor: String,
    reason: Reason,
    at: DateTime<Utc>,
}

const MOVES: &str = "tenant-moves";

/// Lists the moves of a tenant's state, the oldest first.
#[utoipa::path(get, path = "/v1/tenants/{id}/moves", operation_id = "tenant_move_list", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant"), PageQuery),
    responses((status = 200, description = "A page of moves", body = Page<WireMove>)))]
async fn tenant_move_list(
    ctx: Authorized<TenantsRead>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    Query(PageQuery { limit, cursor }): Query<PageQuery>,
) -> Result<Json<Page<WireMove>>, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let after = cursor.map(|cursor| cursor.key(MOVES)).transpose()?.unwrap_or_default();
    let moves = super::moves(&db, &ctx, id, after, limit.rows()).await?;
    let wire = |Moved { seq, from, to, actor, reason, at }| WireMove { seq, from, to, actor, reason, at };
    Ok(Json(Page::of(MOVES, moves, limit, |moved| moved.seq).map(wire)))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(Fault::Text { field, limit }) => {
                Problem::new(&TEXT_UNUSABLE).arg("limit", limit).on(field)
            }
            Error::Invalid(Fault::Jurisdiction(known)) => {
                Problem::new(&JURISDICTION_UNKNOWN).arg("known", known).on("/jurisdiction")
            }
            Error::Invalid(Fault::Licence(known)) => {
                Problem::new(&LICENCE_UNKNOWN).arg("known", known).on("/licence")
            }
            Error::ExternalIdTaken => Problem::new(&EXTERNAL_ID_TAKEN).on("/external_id"),
            Error::NotFound => Problem::new(&TENANT_NOT_FOUND),
            Error::Changed => Problem::new(&codes::VERSION_MISMATCH),
            Error::State { from, to } => {
                Problem::new(&TENANT_STATE).arg("from", from.as_str()).arg("to", to.as_str())
            }
            Error::Organization(error) => error.into(),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
