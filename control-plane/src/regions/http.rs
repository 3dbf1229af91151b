//! Routes of regions.

use axum::{
    extract::{FromRef, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use platform::{
    db::{self, Db},
    http::{DryRun, Json, MayMatch, Path, Query, tagged},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Page, PageQuery},
    plan::Plan,
    problem::{Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{jurisdiction::Country, region::RegionCode};
use utoipa::ToSchema;

use super::{Error, Region};
use crate::{
    caller::{self, OPERATOR_ONLY},
    names::{LONGEST_NAME, TEXT_UNUSABLE},
};

platform::scopes! {
    /// Read regions.
    RegionsRead = "regions:read";
    /// Make and rename regions.
    RegionsWrite = "regions:write";
}

platform::problem_codes! {
    /// There is no region of this code.
    REGION_UNKNOWN = 422 "region_unknown";
    /// A region stays in its country.
    REGION_COUNTRY_FIXED = 409 "region_country_fixed";
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
            region_put,
            &OPERATOR_ONLY,
            &REGION_COUNTRY_FIXED,
            &TEXT_UNUSABLE,
            &codes::VERSION_MISMATCH,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(region_list, &codes::INVALID_CURSOR))
}

/// A region as it shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RegionPut, example = json!({"country": "MX", "name": "Querétaro"}))]
struct Put {
    /// ISO 3166-1; never changes.
    #[schema(value_type = String, example = "MX")]
    country: Country,
    /// For people.
    #[schema(min_length = 1, max_length = 140)]
    name: String,
}

/// Where machines stand.
#[derive(Serialize, ToSchema)]
#[schema(as = Region)]
struct Wire {
    code: RegionCode,
    /// ISO 3166-1.
    #[schema(value_type = String, example = "MX")]
    country: Country,
    name: String,
    /// Counts the region's changes; also its `ETag`.
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Region> for Wire {
    fn from(region: Region) -> Self {
        let Region { code, country, name, version, created_at, updated_at } = region;
        Self { code, country, name, version, created_at, updated_at }
    }
}

/// Makes a region, or gives it another name.
///
/// For operators. A region stays in its country, since what lies there was allowed for that country. With `If-Match` it is
/// only changed if it still has that version, and not made.
#[utoipa::path(put, path = "/v1/regions/{code}", operation_id = "region_put", tag = "regions",
    params(("code" = RegionCode, Path, description = "The region")), request_body = Put,
    responses((status = 200, description = "The region; or, of a dry run, the plan", body = Wire)))]
async fn region_put(
    ctx: Authorized<RegionsWrite>,
    State(db): State<Db>,
    Path(code): Path<RegionCode>,
    MayMatch(seen): MayMatch,
    DryRun(dry_run): DryRun,
    Json(Put { country, name }): Json<Put>,
) -> Result<Response, Problem> {
    caller::operator(&ctx)?;
    let admits = |version: Option<i64>| {
        seen.as_ref().is_none_or(|seen| version.is_some_and(|version| seen.admits(version)))
    };
    let (before, after) = super::put(&db, &ctx, &code, country, &name, admits, dry_run).await?;
    let (before, after) = (before.map(Wire::from), Wire::from(after));
    if dry_run {
        return Ok(Json(Plan::between(before.as_ref(), &after)).into_response());
    }
    Ok(tagged(after.version, (StatusCode::OK, Json(after))))
}

const LIST: &str = "regions";

/// Lists regions in the order of their codes.
#[utoipa::path(get, path = "/v1/regions", operation_id = "region_list", tag = "regions", params(PageQuery),
    responses((status = 200, description = "A page of regions", body = Page<Wire>)))]
async fn region_list(
    _ctx: Authorized<RegionsRead>,
    State(db): State<Db>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Wire>>, Problem> {
    let after: Option<RegionCode> = page.cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let regions = super::list(&db, after.as_ref(), page.limit.rows()).await?;
    Ok(Json(Page::of(LIST, regions, page.limit, |region| region.code.clone()).map(Wire::from)))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Unknown => Problem::new(&REGION_UNKNOWN),
            Error::CountryFixed(country) => {
                Problem::new(&REGION_COUNTRY_FIXED).arg("country", country.to_string()).on("/country")
            }
            Error::Changed => Problem::new(&codes::VERSION_MISMATCH),
            Error::Name => Problem::new(&TEXT_UNUSABLE).arg("limit", LONGEST_NAME).on("/name"),
            // Two made it at the same time: the second finds it when it asks again.
            Error::Database(error) if db::is_unique_violation(&error) => {
                Problem::new(&codes::DATABASE_BUSY).retry_after(1).cause(error)
            }
            Error::Database(error) => error.into(),
        }
    }
}
