//! Routes of cells, for operators.

use std::sync::Arc;

use axum::{
    extract::{FromRef, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use platform::{
    ctx::Clock,
    db::Db,
    http::{DryRun, IfMatch, Json, Path, Query, tagged},
    idempotency::{Done, Key, Keyed, Replayed},
    join::Join,
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page, PageQuery},
    pki::Ca,
    plan::Plan,
    problem::{Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Deserializer, Serialize};
use tenants::{
    environment::Mode,
    id::{CellId, JoinTokenId, TenantId},
    jurisdiction::JurisdictionId,
    profile,
    region::RegionCode,
};
use utoipa::{IntoParams, ToSchema};

use super::{Attestation, Cell, Error, JOIN_TOKEN_LIVES, JoinToken, State as Life};
use crate::{
    caller::{self, OPERATOR_ONLY},
    names::{LONGEST_NAME, TEXT_UNUSABLE},
    regions::REGION_UNKNOWN,
};

platform::scopes! {
    /// Read cells.
    CellsRead = "cells:read";
    /// Make, change, drain and retire cells, and let them join.
    CellsWrite = "cells:write";
}

platform::problem_codes! {
    /// There is no such cell.
    CELL_NOT_FOUND = 404 "cell_not_found";
    /// Another cell has this name.
    CELL_NAME_TAKEN = 409 "cell_name_taken";
    /// The name is none of a cell.
    CELL_NAME_UNUSABLE = 422 "cell_name_unusable";
    /// Environments are in it.
    CELL_IN_USE = 409 "cell_in_use";
    /// The cell's state does not allow it.
    CELL_STATE = 409 "cell_state";
    /// No profile is of this jurisdiction.
    CELL_JURISDICTION_UNKNOWN = 422 "cell_jurisdiction_unknown";
    /// Of one field: out of its bounds.
    OUT_OF_BOUNDS = 422 "out_of_bounds";
}

/// What join tokens say besides their secret: where links are taken, and which root to trust.
#[derive(Debug, Clone)]
pub struct JoinSite {
    /// `https://host:port`.
    pub url: Arc<str>,
    /// The authority.
    pub ca: Arc<Ca>,
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Clock: FromRef<S>,
    JoinSite: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            cell_create,
            &OPERATOR_ONLY,
            &CELL_NAME_TAKEN,
            &CELL_NAME_UNUSABLE,
            &CELL_JURISDICTION_UNKNOWN,
            &REGION_UNKNOWN,
            &OUT_OF_BOUNDS,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(cell_list, &OPERATOR_ONLY, &codes::INVALID_CURSOR))
        .routes(operation!(cell_get, &OPERATOR_ONLY, &CELL_NOT_FOUND))
        .routes(operation!(
            cell_update,
            &OPERATOR_ONLY,
            &CELL_NOT_FOUND,
            &CELL_IN_USE,
            &OUT_OF_BOUNDS,
            &codes::VERSION_MISMATCH,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(
            cell_join_token_create,
            &OPERATOR_ONLY,
            &CELL_NOT_FOUND,
            &CELL_STATE,
            &OUT_OF_BOUNDS,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(
            cell_attestation_put,
            &OPERATOR_ONLY,
            &CELL_NOT_FOUND,
            &TEXT_UNUSABLE,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(cell_attestation_list, &OPERATOR_ONLY, &CELL_NOT_FOUND, &codes::INVALID_CURSOR))
        .routes(operation!(cell_drain, &OPERATOR_ONLY, &CELL_NOT_FOUND, &CELL_STATE, &codes::STORAGE_FULL))
        .routes(operation!(cell_resume, &OPERATOR_ONLY, &CELL_NOT_FOUND, &CELL_STATE, &codes::STORAGE_FULL))
        .routes(operation!(
            cell_retire,
            &OPERATOR_ONLY,
            &CELL_NOT_FOUND,
            &CELL_STATE,
            &CELL_IN_USE,
            &codes::STORAGE_FULL
        ))
}

/// A cell to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CellNew, example = json!({
    "name": "mx-1", "jurisdiction": "mx-cnbv", "region": "mx-central-1", "mode": "sandbox", "capacity": 1000
}))]
struct New {
    /// Used once; lower-case letters, digits and hyphens.
    #[schema(pattern = "^[a-z0-9-]{1,63}$")]
    name: String,
    /// Under whose law it is; never changes.
    jurisdiction: JurisdictionId,
    /// Where it stands; never changes.
    region: RegionCode,
    /// Never changes.
    mode: Mode,
    /// How many environments it may have.
    #[schema(minimum = 1, maximum = 100_000)]
    capacity: i32,
    /// The tenant that has it for itself.
    dedicated_tenant_id: Option<TenantId>,
}

/// A data plane of one jurisdiction, region and mode.
#[derive(Serialize, ToSchema)]
#[schema(as = Cell)]
struct Wire {
    #[schema(example = "cell_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    id: CellId,
    #[schema(example = "mx-1")]
    name: String,
    jurisdiction: JurisdictionId,
    region: RegionCode,
    mode: Mode,
    state: Life,
    dedicated_tenant_id: Option<TenantId>,
    /// How many environments it may have.
    capacity: i32,
    /// How many are placed in it.
    placed: i32,
    /// Where its tenants reach it; null until it has enrolled.
    #[schema(example = "https://mx-1.example.com")]
    url: Option<String>,
    /// The build that it runs.
    software: Option<String>,
    /// The versions of the contract that it speaks, lowest and highest.
    contract: Option<[u16; 2]>,
    /// The version that is spoken.
    contract_spoken: Option<u16>,
    /// Items of work that wait in it; null before its first report.
    backlog: Option<u64>,
    /// Items of work that it gave up: somebody has to look.
    dead: Option<u64>,
    /// When its certificate for the link ends; it renews it by itself.
    certificate_not_after: Option<DateTime<Utc>>,
    /// How far its clock is ahead, in milliseconds.
    skew_ms: i64,
    /// When it was last heard of.
    seen_at: Option<DateTime<Utc>>,
    /// Whether what is shown may be old: nothing was heard for 90 seconds. The cell goes on without us.
    stale: bool,
    /// For how long nothing was heard, in milliseconds; null if nothing ever was.
    silent_for_ms: Option<i64>,
    /// When two were found to have its identity; until one of them joins anew with `replace_instance`.
    forked_at: Option<DateTime<Utc>>,
    /// Counts what operators changed; also its `ETag`.
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Wire {
    fn at(cell: Cell, now: DateTime<Utc>) -> Self {
        let (stale, silent) = (cell.is_stale(now), cell.silent_for(now));
        let (software, contract) = (cell.software().map(str::to_owned), cell.contract());
        let told = cell.seen.told.map(|told| told.heartbeat);
        Self {
            id: cell.id,
            name: cell.name,
            jurisdiction: cell.jurisdiction,
            region: cell.region,
            mode: cell.mode,
            state: cell.state,
            dedicated_tenant_id: cell.dedicated_tenant,
            capacity: cell.capacity,
            placed: cell.placed,
            url: cell.enrolled.map(|enrolled| enrolled.url),
            software,
            contract,
            backlog: told.as_ref().map(|told| told.backlog),
            dead: told.as_ref().map(|told| told.dead),
            certificate_not_after: told.map(|told| told.certificate_not_after),
            contract_spoken: cell.seen.spoken,
            skew_ms: cell.seen.skew_ms,
            seen_at: cell.seen.at,
            stale,
            silent_for_ms: silent.map(|silent| silent.num_milliseconds()),
            forked_at: cell.seen.forked_at,
            version: cell.version,
            created_at: cell.created_at,
            updated_at: cell.updated_at,
        }
    }
}

/// The cell with its `ETag`.
fn answer(status: StatusCode, done: Done<Cell>, clock: &Clock) -> Response {
    let Done { what: cell, replayed } = done;
    Replayed::when(replayed, tagged(cell.version, (status, Json(Wire::at(cell, clock.now())))))
}

/// The cell after a change, or the plan of a dry run.
fn changed(done: Done<(Cell, Cell)>, dry_run: bool, clock: &Clock) -> Response {
    let Done { what: (before, after), replayed } = done;
    if dry_run {
        let now = clock.now();
        return Json(Plan::between(Some(&Wire::at(before, now)), &Wire::at(after, now))).into_response();
    }
    answer(StatusCode::OK, Done { what: after, replayed }, clock)
}

/// Declares a cell.
///
/// Nobody is it yet: a join token lets one in. A dry run answers 200 with a plan and declares none.
#[utoipa::path(post, path = "/v1/cells", operation_id = "cell_create", tag = "cells", request_body = New,
    responses((status = 201, description = "The cell", body = Wire),
        (status = 200, description = "Of a dry run: what would be declared", body = Plan)))]
async fn cell_create(
    ctx: Authorized<CellsWrite>,
    State(db): State<Db>,
    State(clock): State<Clock>,
    DryRun(dry_run): DryRun,
    Keyed { key, body }: Keyed<New>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    let New { name, jurisdiction, region, mode, capacity, dedicated_tenant_id } = body;
    let new =
        super::New { name, jurisdiction, region, mode, capacity, dedicated_tenant: dedicated_tenant_id };
    let done = super::create(&db, &ctx, &key, &new, dry_run).await?;
    if dry_run {
        return Ok(Json(Plan::between(None, &Wire::at(done.what, clock.now()))).into_response());
    }
    Ok(answer(StatusCode::CREATED, done, &clock))
}

const LIST: &str = "cells";

/// Which cells to list.
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
    /// The one of this name.
    name: Option<String>,
}

/// Lists cells, the oldest first.
#[utoipa::path(get, path = "/v1/cells", operation_id = "cell_list", tag = "cells", params(Which),
    responses((status = 200, description = "A page of cells", body = Page<Wire>)))]
async fn cell_list(
    ctx: Authorized<CellsRead>,
    State(db): State<Db>,
    State(clock): State<Clock>,
    Query(Which { limit, cursor, name }): Query<Which>,
) -> Result<Json<Page<Wire>>, Problem> {
    caller::operator(&ctx)?;
    let after = cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let cells = super::list(&db, after, name.as_deref(), limit.rows()).await?;
    let now = clock.now();
    Ok(Json(Page::of(LIST, cells, limit, |cell| cell.id).map(|cell| Wire::at(cell, now))))
}

/// Reads a cell.
#[utoipa::path(get, path = "/v1/cells/{id}", operation_id = "cell_get", tag = "cells",
    params(("id" = CellId, Path, description = "The cell")),
    responses((status = 200, description = "The cell", body = Wire)))]
async fn cell_get(
    ctx: Authorized<CellsRead>,
    State(db): State<Db>,
    State(clock): State<Clock>,
    Path(id): Path<CellId>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    let what = super::get(&db, id).await?;
    Ok(answer(StatusCode::OK, Done { what, replayed: false }, &clock))
}

/// What may be changed of a cell: a field that is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CellChange, example = json!({"capacity": 2000}))]
struct Change {
    /// How many environments it may have; at least as many as are placed in it.
    #[schema(minimum = 1, maximum = 100_000)]
    capacity: Option<i32>,
    /// The tenant that has it for itself; null for nobody.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<TenantId>)]
    dedicated_tenant_id: Option<Option<TenantId>>,
}

/// Tells null from absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes a cell.
///
/// A dry run answers with a plan and changes nothing.
#[utoipa::path(patch, path = "/v1/cells/{id}", operation_id = "cell_update", tag = "cells",
    params(("id" = CellId, Path, description = "The cell")), request_body = Change,
    responses((status = 200, description = "The cell after the change; of a dry run, the plan", body = Wire)))]
async fn cell_update(
    ctx: Authorized<CellsWrite>,
    State(db): State<Db>,
    State(clock): State<Clock>,
    Path(id): Path<CellId>,
    seen: IfMatch,
    DryRun(dry_run): DryRun,
    Keyed { key, body: Change { capacity, dedicated_tenant_id } }: Keyed<Change>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    let change = super::Change { capacity, dedicated_tenant: dedicated_tenant_id };
    let admits = |version| seen.admits(version);
    let done = super::update(&db, &ctx, &key, id, admits, &change, dry_run).await?;
    Ok(changed(done, dry_run, &clock))
}

/// A join token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = JoinTokenNew, example = json!({"expires_in_s": 3600}))]
struct NewToken {
    /// How long it is good, in seconds.
    #[serde(default = "usual_life")]
    #[schema(minimum = 60, maximum = 86_400, default = 3600)]
    expires_in_s: u32,
    /// Whether who enrols with it takes the place of who has enrolled: all certificates of the cell are revoked then.
    #[serde(default)]
    replace_instance: bool,
}

const fn usual_life() -> u32 {
    JOIN_TOKEN_LIVES.2
}

/// What a cell enrols with, once.
#[derive(Serialize, ToSchema)]
#[schema(as = JoinToken)]
struct WireToken {
    #[schema(example = "join_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    id: JoinTokenId,
    cell_id: CellId,
    /// The text for the cell: shown once, null when the request is repeated. Treat it as a password.
    #[schema(example = "tambo-join.v1.eyJ1cmwiOiJodHRwczovLzEyNy4wLjAuMTo4MDcxIn0")]
    token: Option<String>,
    expires_at: DateTime<Utc>,
    replace_instance: bool,
}

/// Makes a join token for a cell.
#[utoipa::path(post, path = "/v1/cells/{id}/join-tokens", operation_id = "cell_join_token_create", tag = "cells",
    params(("id" = CellId, Path, description = "The cell")), request_body = NewToken,
    responses((status = 201, description = "The token", body = WireToken)))]
async fn cell_join_token_create(
    ctx: Authorized<CellsWrite>,
    State(db): State<Db>,
    State(site): State<JoinSite>,
    Path(id): Path<CellId>,
    Keyed { key, body: NewToken { expires_in_s, replace_instance } }: Keyed<NewToken>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    let Done { what: (token, secret), replayed } =
        super::join_token(&db, &ctx, &key, id, expires_in_s, replace_instance).await?;
    let JoinToken { id, cell, expires_at, replace_instance } = token;
    let (url, root) = (site.url.to_string(), site.ca.root_der().clone());
    let token = secret.map(|secret| Join { url, root, cell, id, secret, expires_at }.text());
    let wire = WireToken { id, cell_id: cell, token, expires_at, replace_instance };
    Ok(Replayed::when(replayed, (StatusCode::CREATED, Json(wire))))
}

/// A certificate to be put on record.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CellAttestationPut, example = json!({
    "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2029-01-01T00:00:00Z",
    "document_name": "ISO 27001 certificate 4711",
    "document_sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
}))]
struct PutAttestation {
    valid_from: DateTime<Utc>,
    valid_until: DateTime<Utc>,
    #[schema(min_length = 1, max_length = 140)]
    document_name: String,
    /// SHA-256 of the document, hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    document_sha256: String,
}

/// What a cell was certified for.
#[derive(Serialize, ToSchema)]
#[schema(as = CellAttestation)]
struct WireAttestation {
    /// As profiles name it.
    #[schema(example = "iso27001")]
    kind: String,
    valid_from: DateTime<Utc>,
    valid_until: DateTime<Utc>,
    document_name: String,
    document_sha256: String,
}

impl From<Attestation> for WireAttestation {
    fn from(attestation: Attestation) -> Self {
        let Attestation { kind, valid_from, valid_until, document_name, document_sha256 } = attestation;
        Self { kind, valid_from, valid_until, document_name, document_sha256 }
    }
}

/// Puts on record that a cell was certified.
///
/// Placement asks for the kinds that a profile names, on the day. A later certificate of a kind replaces the earlier. A dry
/// run answers with a plan and changes nothing.
#[utoipa::path(put, path = "/v1/cells/{id}/attestations/{kind}", operation_id = "cell_attestation_put", tag = "cells",
    params(("id" = CellId, Path, description = "The cell"),
        ("kind" = String, Path, description = "What it was certified for", example = "iso27001")),
    request_body = PutAttestation,
    responses((status = 200, description = "What is on record; of a dry run, the plan", body = WireAttestation)))]
async fn cell_attestation_put(
    ctx: Authorized<CellsWrite>,
    State(db): State<Db>,
    Path((id, kind)): Path<(CellId, String)>,
    DryRun(dry_run): DryRun,
    Json(put): Json<PutAttestation>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    let PutAttestation { valid_from, valid_until, document_name, document_sha256 } = put;
    let put = Attestation { kind, valid_from, valid_until, document_name, document_sha256 };
    let before = super::attest(&db, id, &put, dry_run).await?;
    let after = WireAttestation::from(put);
    if dry_run {
        return Ok(Json(Plan::between(before.map(WireAttestation::from).as_ref(), &after)).into_response());
    }
    Ok(Json(after).into_response())
}

const ATTESTATIONS: &str = "cell_attestations";

/// Lists what a cell was certified for, by kind; also what has ended.
#[utoipa::path(get, path = "/v1/cells/{id}/attestations", operation_id = "cell_attestation_list", tag = "cells",
    params(("id" = CellId, Path, description = "The cell"), PageQuery),
    responses((status = 200, description = "A page of certificates", body = Page<WireAttestation>)))]
async fn cell_attestation_list(
    ctx: Authorized<CellsRead>,
    State(db): State<Db>,
    Path(id): Path<CellId>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<WireAttestation>>, Problem> {
    caller::operator(&ctx)?;
    let after: Option<String> = page.cursor.map(|cursor| cursor.key(ATTESTATIONS)).transpose()?;
    let found = super::attestations(&db, id, after.as_deref(), page.limit.rows()).await?;
    Ok(Json(Page::of(ATTESTATIONS, found, page.limit, |one| one.kind.clone()).map(WireAttestation::from)))
}

/// Gives a cell no new environments.
///
/// A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/cells/{id}/drains", operation_id = "cell_drain", tag = "cells",
    params(("id" = CellId, Path, description = "The cell")),
    responses((status = 200, description = "The cell; of a dry run, the plan", body = Wire)))]
async fn cell_drain(
    ctx: Authorized<CellsWrite>,
    State(db): State<Db>,
    State(clock): State<Clock>,
    Path(id): Path<CellId>,
    DryRun(dry_run): DryRun,
    key: Key,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    Ok(changed(super::step(&db, &ctx, &key, id, Life::Draining, dry_run).await?, dry_run, &clock))
}

/// Lets a draining cell take environments again.
///
/// A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/cells/{id}/resumptions", operation_id = "cell_resume", tag = "cells",
    params(("id" = CellId, Path, description = "The cell")),
    responses((status = 200, description = "The cell; of a dry run, the plan", body = Wire)))]
async fn cell_resume(
    ctx: Authorized<CellsWrite>,
    State(db): State<Db>,
    State(clock): State<Clock>,
    Path(id): Path<CellId>,
    DryRun(dry_run): DryRun,
    key: Key,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    Ok(changed(super::step(&db, &ctx, &key, id, Life::Ready, dry_run).await?, dry_run, &clock))
}

/// Retires a cell that has no environments, for ever: its certificates are revoked.
///
/// A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/cells/{id}/retirements", operation_id = "cell_retire", tag = "cells",
    params(("id" = CellId, Path, description = "The cell")),
    responses((status = 200, description = "The cell; of a dry run, the plan", body = Wire)))]
async fn cell_retire(
    ctx: Authorized<CellsWrite>,
    State(db): State<Db>,
    State(clock): State<Clock>,
    Path(id): Path<CellId>,
    DryRun(dry_run): DryRun,
    key: Key,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    Ok(changed(super::step(&db, &ctx, &key, id, Life::Retired, dry_run).await?, dry_run, &clock))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let state = |from: &str, to: &str| {
            Problem::new(&CELL_STATE).arg("from", from.to_owned()).arg("to", to.to_owned())
        };
        match error {
            Error::NotFound => Problem::new(&CELL_NOT_FOUND),
            Error::NameTaken => Problem::new(&CELL_NAME_TAKEN).on("/name"),
            Error::Name => Problem::new(&CELL_NAME_UNUSABLE).on("/name"),
            Error::Bounds { field, lowest, highest } => {
                Problem::new(&OUT_OF_BOUNDS).arg("lowest", lowest).arg("highest", highest).on(field)
            }
            Error::Text(field) => Problem::new(&TEXT_UNUSABLE).arg("limit", LONGEST_NAME).on(field),
            Error::Jurisdiction => {
                let known: Vec<&str> =
                    profile::all().iter().map(|one| one.jurisdiction.id.as_str()).collect();
                Problem::new(&CELL_JURISDICTION_UNKNOWN).arg("known", known.join(", ")).on("/jurisdiction")
            }
            Error::InUse(placed) => Problem::new(&CELL_IN_USE).arg("placed", placed),
            Error::State { from, to } => state(from.as_str(), to.as_str()),
            Error::Retired => state(Life::Retired.as_str(), Life::Ready.as_str()),
            Error::Changed => Problem::new(&codes::VERSION_MISMATCH),
            Error::Region(error) => error.into(),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
