//! Routes of organizations.

use axum::{
    extract::{FromRef, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use platform::{
    db::Db,
    http::{DryRun, Json, Path, Query, tagged},
    idempotency::{Done, Keyed, Replayed},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page},
    plan::Plan,
    problem::{Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{id::OrganizationId, jurisdiction::Country};
use utoipa::{IntoParams, ToSchema};

use super::{Error, Filter, Organization};
use crate::{
    caller::{self, EXTERNAL_ID_TAKEN, OPERATOR_ONLY},
    names::TEXT_UNUSABLE,
};

platform::scopes! {
    /// Read organizations.
    OrganizationsRead = "organizations:read";
    /// Make organizations.
    OrganizationsWrite = "organizations:write";
}

platform::problem_codes! {
    /// There is no such organization that this caller may know of.
    ORGANIZATION_NOT_FOUND = 404 "organization_not_found";
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            organization_create,
            &OPERATOR_ONLY,
            &EXTERNAL_ID_TAKEN,
            &TEXT_UNUSABLE,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(organization_list, &OPERATOR_ONLY, &codes::INVALID_CURSOR))
        .routes(operation!(organization_get, &ORGANIZATION_NOT_FOUND))
}

/// An organization to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrganizationNew, example = json!({
    "external_id": "tianguis", "name": "Tianguis Pagos, S.A. de C.V.", "country": "MX"
}))]
struct New {
    /// Your own id; used once.
    #[schema(min_length = 1, max_length = 100)]
    external_id: Option<String>,
    /// As registered.
    #[schema(min_length = 1, max_length = 140)]
    name: String,
    /// Where it is registered; ISO 3166-1.
    #[schema(value_type = String, example = "MX")]
    country: Country,
}

/// A legal person that pays.
#[derive(Serialize, ToSchema)]
#[schema(as = Organization)]
struct Wire {
    #[schema(example = "org_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    id: OrganizationId,
    external_id: Option<String>,
    name: String,
    #[schema(value_type = String, example = "MX")]
    country: Country,
    /// Counts the organization's changes; also its `ETag`.
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Organization> for Wire {
    fn from(organization: Organization) -> Self {
        let Organization { id, external_id, name, country, version, created_at, updated_at } = organization;
        Self { id, external_id, name, country, version, created_at, updated_at }
    }
}

/// Makes an organization.
///
/// For operators. A dry run answers 200 with a plan and makes none.
#[utoipa::path(post, path = "/v1/organizations", operation_id = "organization_create", tag = "organizations",
    request_body = New, responses((status = 201, description = "The organization", body = Wire),
        (status = 200, description = "Of a dry run: what would be made", body = Plan)))]
async fn organization_create(
    ctx: Authorized<OrganizationsWrite>,
    State(db): State<Db>,
    DryRun(dry_run): DryRun,
    Keyed { key, body: New { external_id, name, country } }: Keyed<New>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    let new = super::New { external_id, name, country };
    let Done { what, replayed } = super::create(&db, &ctx, &key, &new, dry_run).await?;
    if dry_run {
        return Ok(Json(Plan::between(None, &Wire::from(what))).into_response());
    }
    Ok(Replayed::when(replayed, tagged(what.version, (StatusCode::CREATED, Json(Wire::from(what))))))
}

const LIST: &str = "organizations";

/// Which organizations to list.
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
    /// The one with this id of yours.
    external_id: Option<String>,
}

/// Lists organizations, the oldest first.
///
/// For operators.
#[utoipa::path(get, path = "/v1/organizations", operation_id = "organization_list", tag = "organizations",
    params(Which), responses((status = 200, description = "A page of organizations", body = Page<Wire>)))]
async fn organization_list(
    ctx: Authorized<OrganizationsRead>,
    State(db): State<Db>,
    Query(Which { limit, cursor, external_id }): Query<Which>,
) -> Result<Json<Page<Wire>>, Problem> {
    caller::operator(&ctx)?;
    let after = cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let organizations = super::list(&db, &Filter { after, external_id }, limit.rows()).await?;
    Ok(Json(Page::of(LIST, organizations, limit, |one| one.id).map(Wire::from)))
}

/// Reads an organization: an operator any, a client its own.
#[utoipa::path(get, path = "/v1/organizations/{id}", operation_id = "organization_get", tag = "organizations",
    params(("id" = OrganizationId, Path, description = "The organization")),
    responses((status = 200, description = "The organization", body = Wire)))]
async fn organization_get(
    ctx: Authorized<OrganizationsRead>,
    State(db): State<Db>,
    Path(id): Path<OrganizationId>,
) -> Result<Response, Problem> {
    let organization = super::get(&db, &ctx, id).await?;
    Ok(tagged(organization.version, Json(Wire::from(organization))))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Text { field, limit } => Problem::new(&TEXT_UNUSABLE).arg("limit", limit).on(field),
            Error::ExternalIdTaken => Problem::new(&EXTERNAL_ID_TAKEN).on("/external_id"),
            Error::NotFound => Problem::new(&ORGANIZATION_NOT_FOUND),
            Error::Unnamed => Problem::new(&codes::INVALID_FIELD).at("/organization_id", &codes::MISSING),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
