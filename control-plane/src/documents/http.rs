//! Routes of documents.

use std::collections::BTreeMap;

use axum::{
    extract::{FromRef, State},
    http::StatusCode,
    response::Response,
};
use chrono::{DateTime, Utc};
use platform::{
    db::Db,
    http::{Json, Path, Query},
    idempotency::{Done, Key, Keyed, Replayed},
    objects::Link,
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Page, PageQuery},
    problem::{Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{DocumentId, TenantId},
    region::RegionCode,
};
use utoipa::ToSchema;

use super::{ContentType, Document, Error, Fault, Kind, LARGEST, Stores, acting};
use crate::{
    cells::OUT_OF_BOUNDS,
    names::TEXT_UNUSABLE,
    tenants::{self as slice, TENANT_NOT_FOUND},
};

platform::scopes! {
    /// Read what documents there are, and get links to get them.
    DocumentsRead = "documents:read";
    /// Record documents, and get links to put them.
    DocumentsWrite = "documents:write";
}

platform::problem_codes! {
    /// There is no such document that this caller may know of.
    DOCUMENT_NOT_FOUND = 404 "document_not_found";
    /// The jurisdiction has no store for documents in its country.
    DOCUMENT_STORE_MISSING = 409 "document_store_missing";
    /// The document lies in another region than the jurisdiction's store does now.
    DOCUMENT_ELSEWHERE = 409 "document_elsewhere";
    /// The access key of the store cannot be used to sign.
    DOCUMENT_STORE_UNUSABLE = 503 "document_store_unusable", retryable;
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Stores: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            document_create,
            &TENANT_NOT_FOUND,
            &TEXT_UNUSABLE,
            &OUT_OF_BOUNDS,
            &DOCUMENT_STORE_MISSING,
            &DOCUMENT_ELSEWHERE,
            &DOCUMENT_STORE_UNUSABLE,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(document_list, &TENANT_NOT_FOUND, &codes::INVALID_CURSOR))
        .routes(operation!(document_get, &DOCUMENT_NOT_FOUND))
        .routes(operation!(
            document_link,
            &DOCUMENT_NOT_FOUND,
            &DOCUMENT_STORE_MISSING,
            &DOCUMENT_ELSEWHERE,
            &DOCUMENT_STORE_UNUSABLE,
            &codes::STORAGE_FULL
        ))
}

/// A document to be recorded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DocumentNew, example = json!({
    "name": "Acta constitutiva", "kind": "incorporation", "content_type": "application/pdf", "bytes": 482_113,
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
}))]
struct New {
    /// What it is called; nothing personal.
    #[schema(min_length = 1, max_length = 140)]
    name: String,
    /// What it is about.
    kind: Kind,
    /// What its bytes are.
    content_type: ContentType,
    /// How many there are, at most 20 MiB.
    #[schema(minimum = 1, maximum = 20_971_520)]
    bytes: u64,
    /// Their SHA-256, hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    sha256: String,
}

/// A document about a tenant. Its bytes are in the store of the tenant's jurisdiction, if somebody has put them there.
#[derive(Serialize, ToSchema)]
#[schema(as = Document)]
struct Wire {
    #[schema(example = "doc_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    id: DocumentId,
    tenant_id: TenantId,
    name: String,
    kind: Kind,
    content_type: ContentType,
    bytes: u64,
    sha256: String,
    /// Where the store was when the document was recorded.
    region: RegionCode,
    /// Who recorded it.
    recorded_by: String,
    created_at: DateTime<Utc>,
    /// How to put it, once; only in the answer to who recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<WireLink>,
}

/// A request that is good without a token until it expires: a secret.
#[derive(Serialize, ToSchema)]
#[schema(as = DocumentLink)]
struct WireLink {
    /// How.
    #[schema(example = "PUT")]
    method: String,
    /// Where.
    #[schema(example = "https://s3.mx-central-1.example.com/documents/…")]
    url: String,
    /// What has to be sent along, word for word.
    headers: BTreeMap<String, String>,
    /// Until when it is good.
    expires_at: DateTime<Utc>,
}

impl From<Link> for WireLink {
    fn from(Link { method, url, headers, expires_at }: Link) -> Self {
        Self { method, url, headers: headers.into_iter().collect(), expires_at }
    }
}

impl From<Document> for Wire {
    fn from(document: Document) -> Self {
        Self {
            id: document.id,
            tenant_id: document.tenant,
            name: document.name,
            kind: document.kind,
            content_type: document.content_type,
            bytes: document.bytes,
            sha256: hex::encode(document.sha256),
            region: document.region,
            recorded_by: document.recorded_by,
            created_at: document.created_at,
            upload: None,
        }
    }
}

/// Records a document and answers how to put it: a link for these bytes, this type and once.
///
/// The same request again gives the same document and a fresh link. Whether the document was put is not known here.
#[utoipa::path(post, path = "/v1/tenants/{id}/documents", operation_id = "document_create", tag = "documents",
    params(("id" = TenantId, Path, description = "The tenant")), request_body = New,
    responses((status = 201, description = "The document, with `upload`", body = Wire)))]
async fn document_create(
    ctx: Authorized<DocumentsWrite>,
    State(db): State<Db>,
    State(stores): State<Stores>,
    Path(id): Path<TenantId>,
    Keyed { key, body: New { name, kind, content_type, bytes, sha256 } }: Keyed<New>,
) -> Result<Response, Problem> {
    let ctx = slice::acting(&db, &ctx, id).await?;
    let new = super::New { name, kind, content_type, bytes, sha256 };
    let Done { what: (document, link), replayed } = super::create(&db, &stores, &ctx, &key, id, &new).await?;
    let wire = Wire { upload: Some(link.into()), ..document.into() };
    Ok(Replayed::when(replayed, (StatusCode::CREATED, Json(wire))))
}

const LIST: &str = "documents";

/// Lists the documents of a tenant, the oldest first.
#[utoipa::path(get, path = "/v1/tenants/{id}/documents", operation_id = "document_list", tag = "documents",
    params(("id" = TenantId, Path, description = "The tenant"), PageQuery),
    responses((status = 200, description = "A page of documents", body = Page<Wire>)))]
async fn document_list(
    ctx: Authorized<DocumentsRead>,
    State(db): State<Db>,
    Path(id): Path<TenantId>,
    Query(PageQuery { limit, cursor }): Query<PageQuery>,
) -> Result<Json<Page<Wire>>, Problem> {
    let ctx = slice::acting(&db, &ctx, id).await?;
    let after = cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let documents = super::list(&db, &ctx, id, after, limit.rows()).await?;
    Ok(Json(Page::of(LIST, documents, limit, |document| document.id).map(Wire::from)))
}

/// Reads what is known of a document.
#[utoipa::path(get, path = "/v1/documents/{id}", operation_id = "document_get", tag = "documents",
    params(("id" = DocumentId, Path, description = "The document")),
    responses((status = 200, description = "The document", body = Wire)))]
async fn document_get(
    ctx: Authorized<DocumentsRead>,
    State(db): State<Db>,
    Path(id): Path<DocumentId>,
) -> Result<Json<Wire>, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    Ok(Json(super::get(&db, &ctx, id).await?.into()))
}

/// Gives a link to get a document, good for five minutes; that it was given is kept, with who and when.
///
/// Where nobody has put the document, the store answers the link with 404.
#[utoipa::path(post, path = "/v1/documents/{id}/links", operation_id = "document_link", tag = "documents",
    params(("id" = DocumentId, Path, description = "The document")),
    responses((status = 201, description = "The link", body = WireLink)))]
async fn document_link(
    ctx: Authorized<DocumentsRead>,
    State(db): State<Db>,
    State(stores): State<Stores>,
    Path(id): Path<DocumentId>,
    key: Key,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let Done { what, replayed } = super::link(&db, &stores, &ctx, &key, id).await?;
    Ok(Replayed::when(replayed, (StatusCode::CREATED, Json(WireLink::from(what)))))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(Fault::Text { field, limit }) => {
                Problem::new(&TEXT_UNUSABLE).arg("limit", limit).on(field)
            }
            Error::Invalid(Fault::Size) => {
                Problem::new(&OUT_OF_BOUNDS).arg("lowest", 1).arg("highest", LARGEST).on("/bytes")
            }
            Error::NotFound => Problem::new(&DOCUMENT_NOT_FOUND),
            Error::NoStore(jurisdiction) => {
                Problem::new(&DOCUMENT_STORE_MISSING).arg("jurisdiction", jurisdiction.to_string())
            }
            Error::Elsewhere(region) => Problem::new(&DOCUMENT_ELSEWHERE).arg("region", region.to_string()),
            Error::Link(error) => Problem::new(&DOCUMENT_STORE_UNUSABLE).cause(error),
            Error::Tenant(error) => error.into(),
            Error::Region(error) => error.into(),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
