//! Routes of what a tenant has on record about where its data may lie.

use std::sync::Arc;

use axum::{
    extract::{FromRef, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, NaiveDate, Utc};
use platform::{
    db::Db,
    http::{DryRun, Json, Path, Query},
    idempotency::{Done, Key, Keyed, Replayed},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Page, PageQuery},
    plan::Plan,
    problem::{Arg, Catalogue, Code, Language, Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{
    environment::Mode,
    id::{ResidencyId, TenantId},
    region::RegionCode,
    residency::{Condition, Missing},
};
use utoipa::{IntoParams, ToSchema};

use super::{Error, Record, Verdict};
use crate::{
    names::TEXT_UNUSABLE,
    regions::REGION_UNKNOWN,
    tenants::{
        acting,
        http::{TENANT_NOT_FOUND, TenantsRead, TenantsWrite},
    },
};

platform::problem_codes! {
    /// Conditions for data in this region are not met.
    RESIDENCY_CONDITION_MISSING = 422 "residency_condition_missing";
    /// The jurisdiction does not let data lie in this region's country.
    RESIDENCY_REGION_FORBIDDEN = 422 "residency_region_forbidden";
    /// Of a region: the authority was not told.
    RESIDENCY_NOTICE_MISSING = 422 "residency_notice_missing";
    /// Of a region: no cell there has the certificates.
    RESIDENCY_CERTIFICATE_MISSING = 422 "residency_certificate_missing";
    /// Of a region: the authority has no access there.
    RESIDENCY_REGULATOR_ACCESS_MISSING = 422 "residency_regulator_access_missing";
    /// Of a region: no contract keeps the data there.
    RESIDENCY_LOCAL_ONLY_CONTRACT_MISSING = 422 "residency_local_only_contract_missing";
    /// Of a region: what is on record does not count yet.
    RESIDENCY_RECORD_TOO_YOUNG = 422 "residency_record_too_young";
    /// Cells meet this condition, not tenants.
    RESIDENCY_CONDITION_OF_CELL = 422 "residency_condition_of_cell";
    /// The condition is on record for this region.
    RESIDENCY_RECORD_EXISTS = 409 "residency_record_exists";
    /// The tenant has no such record.
    RESIDENCY_RECORD_NOT_FOUND = 404 "residency_record_not_found";
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
            residency_record_create,
            &TENANT_NOT_FOUND,
            &REGION_UNKNOWN,
            &TEXT_UNUSABLE,
            &RESIDENCY_CONDITION_OF_CELL,
            &RESIDENCY_RECORD_EXISTS,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(residency_record_list, &TENANT_NOT_FOUND, &codes::INVALID_CURSOR))
        .routes(operation!(
            residency_record_withdraw,
            &TENANT_NOT_FOUND,
            &RESIDENCY_RECORD_NOT_FOUND,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(residency_check, &TENANT_NOT_FOUND, &REGION_UNKNOWN))
}

/// A condition to be put on record.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ResidencyRecordNew, example = json!({
    "condition": "notice", "region": "us-east-1", "document_name": "Aviso a la CNBV 2026-114",
    "document_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "dated_on": "2026-10-01"
}))]
struct New {
    /// Not `certificate`, which cells meet.
    condition: Condition,
    /// The region that the document is about.
    region: RegionCode,
    /// What the document is called.
    #[schema(min_length = 1, max_length = 140)]
    document_name: String,
    /// Its SHA-256, hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    document_sha256: String,
    /// The date of the document; it counts from that day on, and some conditions later.
    dated_on: NaiveDate,
}

/// A condition that is on record.
#[derive(Serialize, ToSchema)]
#[schema(as = ResidencyRecord)]
struct Wire {
    #[schema(example = "res_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    id: ResidencyId,
    tenant_id: TenantId,
    condition: Condition,
    region: RegionCode,
    document_name: String,
    document_sha256: String,
    dated_on: NaiveDate,
    /// Who recorded it.
    recorded_by: String,
    created_at: DateTime<Utc>,
    /// When it ceased to count; null while it counts.
    withdrawn_at: Option<DateTime<Utc>>,
    withdrawn_by: Option<String>,
}

impl From<Record> for Wire {
    fn from(record: Record) -> Self {
        Self {
            id: record.id,
            tenant_id: record.tenant,
            condition: record.condition,
            region: record.region,
            document_name: record.document_name,
            document_sha256: record.document_sha256,
            dated_on: record.dated_on,
            recorded_by: record.recorded_by,
            created_at: record.created_at,
            withdrawn_at: record.withdrawn_at,
            withdrawn_by: record.withdrawn_by,
        }
    }
}

/// Puts on record that a condition for data in a region is met.
///
/// A dry run answers 200 with a plan and records nothing.
#[utoipa::path(post, path = "/v1/tenants/{id}/residency-records", operation_id = "residency_record_create",
    tag = "tenants", params(("id" = TenantId, Path, description = "The tenant")), request_body = New,
    responses((status = 201, description = "The record", body = Wire),
        (status = 200, description = "Of a dry run: what would be recorded", body = Plan)))]
async fn residency_record_create(
    ctx: Authorized<TenantsWrite>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    DryRun(dry_run): DryRun,
    Keyed { key, body }: Keyed<New>,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let New { condition, region, document_name, document_sha256, dated_on } = body;
    let new = super::New { condition, region, document_name, document_sha256, dated_on };
    let Done { what, replayed } = super::record(&db, &ctx, &key, id, &new, dry_run).await?;
    if dry_run {
        return Ok(Json(Plan::between(None, &Wire::from(what))).into_response());
    }
    Ok(Replayed::when(replayed, (StatusCode::CREATED, Json(Wire::from(what)))))
}

const LIST: &str = "residency-records";

/// Lists what a tenant has on record, withdrawn records too, the oldest first.
#[utoipa::path(get, path = "/v1/tenants/{id}/residency-records", operation_id = "residency_record_list",
    tag = "tenants", params(("id" = TenantId, Path, description = "The tenant"), PageQuery),
    responses((status = 200, description = "A page of records", body = Page<Wire>)))]
async fn residency_record_list(
    ctx: Authorized<TenantsRead>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    Query(PageQuery { limit, cursor }): Query<PageQuery>,
) -> Result<Json<Page<Wire>>, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let after = cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let records = super::list(&db, &ctx, id, after, limit.rows()).await?;
    Ok(Json(Page::of(LIST, records, limit, |record| record.id).map(Wire::from)))
}

/// Takes a record back: from then on it does not count.
///
/// A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/tenants/{id}/residency-records/{record_id}/withdrawals",
    operation_id = "residency_record_withdraw", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant"), ("record_id" = ResidencyId, Path, description = "The record")),
    responses((status = 200, description = "The record; of a dry run, the plan", body = Wire)))]
async fn residency_record_withdraw(
    ctx: Authorized<TenantsWrite>,
    State(db): State<Db>,
    Path((id, record)): Path<(TenantId, ResidencyId)>,
    DryRun(dry_run): DryRun,
    key: Key,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let Done { what: (before, after), replayed } =
        super::withdraw(&db, &ctx, &key, id, record, dry_run).await?;
    let after = Wire::from(after);
    if dry_run {
        return Ok(Json(Plan::between(Some(&Wire::from(before)), &after)).into_response());
    }
    Ok(Replayed::when(replayed, Json(after)))
}

/// Where data would lie.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Where {
    /// The region.
    #[param(value_type = String, example = "us-east-1")]
    region: RegionCode,
    /// Sandbox or live.
    #[param(inline)]
    mode: Mode,
}

/// Whether a tenant's data may lie in a region.
#[derive(Serialize, ToSchema)]
#[schema(as = ResidencyCheck)]
struct Checked {
    region: RegionCode,
    mode: Mode,
    /// Whether they may, today.
    allowed: bool,
    /// Whether the jurisdiction forbids it, so that no record helps.
    forbidden: bool,
    /// What is missing.
    missing: Vec<WireMissing>,
}

/// A condition that is not met.
#[derive(Serialize, ToSchema)]
#[schema(as = ResidencyMissing)]
struct WireMissing {
    condition: Condition,
    /// What has to be done, in the caller's language.
    detail: String,
    /// Where the rule was read.
    source: &'static str,
    /// The attestations that no cell there has.
    attestations: Vec<&'static str>,
    /// The first day on which what is on record counts, where it is only too young.
    met_on: Option<NaiveDate>,
}

/// Tells whether a tenant's data may lie in a region today, and what is missing.
#[utoipa::path(get, path = "/v1/tenants/{id}/residency", operation_id = "residency_check", tag = "tenants",
    params(("id" = TenantId, Path, description = "The tenant"), Where),
    responses((status = 200, description = "The verdict", body = Checked)))]
async fn residency_check(
    ctx: Authorized<TenantsRead>,
    State(db): State<Db>,
    State(catalogue): State<Arc<Catalogue>>,
    headers: HeaderMap,
    Path(id): Path<TenantId>,
    Query(Where { region, mode }): Query<Where>,
) -> Result<Json<Checked>, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let verdict = super::check(&db, &ctx, id, &region, mode).await?;
    let language = Language::negotiate(&headers, catalogue.default_language());
    let (allowed, forbidden) = (verdict.allows(), verdict.outcome.is_err());
    let missing = verdict.outcome.unwrap_or_default().into_iter().map(|missing| {
        let (code, name, value) = named(&missing);
        let detail = catalogue.texts(code, language, &[(name, value)]).detail.into_owned();
        let Missing { condition, source, attestations, met_on, .. } = missing;
        WireMissing { condition, detail, source, attestations, met_on }
    });
    Ok(Json(Checked { region, mode, allowed, forbidden, missing: missing.collect() }))
}

/// The code of a condition that is not met, and what its text mentions.
fn named(missing: &Missing<'_>) -> (&'static Code, &'static str, Arg) {
    if let Some(day) = missing.met_on {
        return (&RESIDENCY_RECORD_TOO_YOUNG, "met_on", day.to_string().into());
    }
    let source = || missing.source.to_owned().into();
    match missing.condition {
        Condition::Notice => (&RESIDENCY_NOTICE_MISSING, "source", source()),
        Condition::RegulatorAccess => (&RESIDENCY_REGULATOR_ACCESS_MISSING, "source", source()),
        Condition::LocalOnlyContract => (&RESIDENCY_LOCAL_ONLY_CONTRACT_MISSING, "source", source()),
        Condition::Certificate => {
            (&RESIDENCY_CERTIFICATE_MISSING, "attestations", missing.attestations.join(", ").into())
        }
    }
}

/// What a verdict that does not allow is to a caller.
fn refused(verdict: &Verdict) -> Problem {
    let about = |problem: Problem| {
        let problem = problem.arg("region", verdict.region.code.to_string());
        let problem = problem.arg("country", verdict.region.country.to_string());
        problem.arg("jurisdiction", verdict.jurisdiction.to_string())
    };
    match &verdict.outcome {
        Err(_) => about(Problem::new(&RESIDENCY_REGION_FORBIDDEN)).on("/region"),
        Ok(missing) => {
            let names: Vec<&str> = missing.iter().map(|one| one.condition.as_str()).collect();
            let problem =
                about(Problem::new(&RESIDENCY_CONDITION_MISSING)).arg("conditions", names.join(", "));
            missing.iter().fold(problem, |problem, one| {
                let (code, name, value) = named(one);
                problem.at_with("/region", code, name, value)
            })
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Text { field, limit } => Problem::new(&TEXT_UNUSABLE).arg("limit", limit).on(field),
            Error::OfCell => Problem::new(&RESIDENCY_CONDITION_OF_CELL).on("/condition"),
            Error::Open => Problem::new(&RESIDENCY_RECORD_EXISTS),
            Error::NotFound => Problem::new(&RESIDENCY_RECORD_NOT_FOUND),
            Error::Missing(verdict) => refused(&verdict),
            Error::Tenant(error) => error.into(),
            Error::Region(error) => error.into(),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
