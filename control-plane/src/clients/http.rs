//! Routes of clients.

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
    idempotency::{Done, Key, Keyed, Replayed},
    oauth::Issuer,
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page},
    plan::Plan,
    problem::{Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{
    contract::{Binding, Method, PublicKey},
    id::{ClientId, EnvironmentId, OrganizationId},
};
use tokio::sync::Notify;
use utoipa::{IntoParams, ToSchema};

use super::{Change, Client, Credentials, Error, Fault, Filter, Made, acting, named};
use crate::{
    environments::{self, ENVIRONMENT_NOT_FOUND, ENVIRONMENT_STATE, TENANT_RESTRICTED},
    names::{LONGEST_NAME, TEXT_UNUSABLE},
    organizations::{self, ORGANIZATION_NOT_FOUND},
};

platform::scopes! {
    /// Read clients.
    ClientsRead = "clients:read";
    /// Make, change, rotate and revoke clients.
    ClientsWrite = "clients:write";
}

platform::problem_codes! {
    /// There is no such client that this caller may know of.
    CLIENT_NOT_FOUND = 404 "client_not_found";
    /// The client is revoked, for ever.
    CLIENT_REVOKED = 409 "client_revoked";
    /// There are as many clients as there may be.
    CLIENT_LIMIT = 409 "client_limit";
    /// The credentials are not those that the method needs, or none at all.
    CLIENT_CREDENTIALS_UNUSABLE = 422 "client_credentials_unusable";
    /// Secrets are for sandboxes.
    CLIENT_SECRET_FORBIDDEN = 422 "client_secret_forbidden";
    /// In live mode tokens are bound.
    CLIENT_UNBOUND = 422 "client_unbound";
    /// The scopes are none, too many or no words, or beyond the maker's.
    CLIENT_SCOPES_UNUSABLE = 422 "client_scopes_unusable";
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Registrar: FromRef<S>,
{
    macro_rules! made {
        ($handler:ident, $($code:expr),+) => {
            operation!(
                $handler,
                $($code,)+
                &CLIENT_LIMIT,
                &CLIENT_CREDENTIALS_UNUSABLE,
                &CLIENT_SECRET_FORBIDDEN,
                &CLIENT_UNBOUND,
                &CLIENT_SCOPES_UNUSABLE,
                &TEXT_UNUSABLE,
                &codes::STORAGE_FULL
            )
        };
    }
    OpenApiRouter::new()
        .routes(made!(
            environment_client_create,
            &ENVIRONMENT_NOT_FOUND,
            &ENVIRONMENT_STATE,
            &TENANT_RESTRICTED
        ))
        .routes(made!(organization_client_create, &ORGANIZATION_NOT_FOUND))
        .routes(operation!(client_list, &ORGANIZATION_NOT_FOUND, &codes::INVALID_CURSOR))
        .routes(operation!(client_get, &CLIENT_NOT_FOUND))
        .routes(operation!(
            client_change,
            &CLIENT_NOT_FOUND,
            &CLIENT_REVOKED,
            &CLIENT_SCOPES_UNUSABLE,
            &TEXT_UNUSABLE,
            &codes::VERSION_MISMATCH,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(
            client_rotate,
            &CLIENT_NOT_FOUND,
            &CLIENT_REVOKED,
            &CLIENT_CREDENTIALS_UNUSABLE,
            &CLIENT_SCOPES_UNUSABLE,
            &codes::VERSION_MISMATCH,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(
            client_revoke,
            &CLIENT_NOT_FOUND,
            &CLIENT_REVOKED,
            &codes::VERSION_MISMATCH,
            &codes::STORAGE_FULL
        ))
}

/// A public key on P-256, for ES256 (RFC 7517).
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientKey, example = json!({"kty": "EC", "crv": "P-256", "kid": "first",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}))]
struct Jwk {
    /// Always `EC`.
    kty: Kty,
    /// Always `P-256`.
    crv: Crv,
    /// What assertions name it by; its thumbprint (RFC 7638), if absent.
    kid: Option<String>,
    /// The coordinate, base64url.
    x: String,
    /// The coordinate, base64url.
    y: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
enum Kty {
    #[serde(rename = "EC")]
    Ec,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
enum Crv {
    #[serde(rename = "P-256")]
    P256,
}

impl From<Jwk> for PublicKey {
    fn from(Jwk { kid, x, y, .. }: Jwk) -> Self {
        named(kid, x, y)
    }
}

impl From<PublicKey> for Jwk {
    fn from(PublicKey { kid, x, y }: PublicKey) -> Self {
        Self { kty: Kty::Ec, crv: Crv::P256, kid: Some(kid), x, y }
    }
}

/// A client to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientNew, example = json!({"name": "core", "method": "private_key_jwt", "scopes": ["accounts:read"],
    "keys": [{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}))]
struct New {
    /// For people.
    #[schema(min_length = 1, max_length = 140)]
    name: String,
    /// How it proves who it is.
    method: Method,
    /// Its public keys, for `private_key_jwt`: one to three.
    #[serde(default)]
    #[schema(max_items = 3)]
    keys: Vec<Jwk>,
    /// SHA-256 of its certificates, base64url; for `tls`, and where tokens are bound to a certificate.
    #[serde(default)]
    #[schema(max_items = 3)]
    thumbprints: Vec<String>,
    /// What it may do at most.
    #[schema(min_items = 1, max_items = 64)]
    scopes: Vec<String>,
    /// What its tokens are bound to; in live mode something.
    #[serde(default = "unbound")]
    binding: Binding,
}

const fn unbound() -> Binding {
    Binding::None
}

impl From<New> for super::New {
    fn from(New { name, method, keys, thumbprints, scopes, binding }: New) -> Self {
        let credentials = Credentials { keys: keys.into_iter().map(Into::into).collect(), thumbprints };
        Self { name, method, credentials, scopes, binding }
    }
}

/// Who may ask for tokens of an environment's cell, or of the control plane.
#[derive(Serialize, ToSchema)]
#[schema(as = Client)]
struct Wire {
    #[schema(example = "cli_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    id: ClientId,
    organization_id: OrganizationId,
    /// In whose cell it asks for tokens; null: it asks the control plane.
    environment_id: Option<EnvironmentId>,
    name: String,
    method: Method,
    keys: Vec<Jwk>,
    thumbprints: Vec<String>,
    /// What it may do at most.
    scopes: Vec<String>,
    binding: Binding,
    /// Tokens issued before this second (since 1970) are not accepted.
    epoch: i64,
    /// Whether it gets no more tokens, for ever.
    revoked: bool,
    /// Of a client with a secret: shown when it was made or rotated, and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "r4nd0m-of-256-bits")]
    secret: Option<String>,
    /// Counts the client's changes; also its `ETag`.
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Made> for Wire {
    fn from((client, secret): Made) -> Self {
        Self {
            id: client.id,
            organization_id: client.organization,
            environment_id: client.environment,
            name: client.name,
            method: client.proof.method,
            keys: client.proof.keys.into_iter().map(Into::into).collect(),
            thumbprints: client.proof.thumbprints,
            scopes: client.scopes,
            binding: client.binding,
            epoch: client.epoch,
            revoked: client.revoked,
            secret,
            version: client.version,
            created_at: client.created_at,
            updated_at: client.updated_at,
        }
    }
}

impl From<Client> for Wire {
    fn from(client: Client) -> Self {
        (client, None).into()
    }
}

/// Who lets issuers hear of clients.
#[derive(Debug, Clone)]
pub struct Registrar {
    /// That of this plane.
    pub issuer: Issuer,
    /// Wakes the work after a commit that enqueued.
    pub waker: Arc<Notify>,
}

impl Registrar {
    /// The client with its `ETag`, known where it asks for tokens or about to be; or the plan of a dry run.
    async fn answer(
        &self,
        db: &Db,
        ctx: &Ctx,
        status: StatusCode,
        done: Result<Done<Made>, Error>,
    ) -> Result<Response, Problem> {
        let Done { what, replayed } = match done {
            Ok(done) => done,
            Err(Error::Planned(planned)) => {
                let (before, after) = *planned;
                let plan = Plan::between(before.map(Wire::from).as_ref(), &Wire::from(after));
                return Ok(Json(plan).into_response());
            }
            Err(error) => return Err(error.into()),
        };
        self.waker.notify_one();
        if what.0.environment.is_none()
            && let Err(error) = super::register(db, &self.issuer, ctx.scope).await
        {
            tracing::warn!(%error, "a client is registered a moment later, by the work that is enqueued");
        }
        Ok(Replayed::when(replayed, tagged(what.0.version, (status, Json(Wire::from(what))))))
    }
}

/// Makes a client of an environment.
///
/// Its cell hears of it like of anything that is wanted, and issues its tokens from then on (`POST /v1/oauth/token` there),
/// whether the control plane is up or not. A dry run answers 200 with a plan and makes nothing. A client with a secret,
/// for sandboxes, gets it in this answer and never again.
#[utoipa::path(post, path = "/v1/environments/{id}/clients", operation_id = "environment_client_create",
    tag = "clients", params(("id" = EnvironmentId, Path, description = "The environment")), request_body = New,
    responses((status = 201, description = "The client", body = Wire),
        (status = 200, description = "Of a dry run: what would be made", body = Plan)))]
async fn environment_client_create(
    caller: Authorized<ClientsWrite>,
    State(db): State<Db>,
    State(registrar): State<Registrar>,
    Path(id): Path<EnvironmentId>,
    DryRun(dry_run): DryRun,
    Keyed { key, body }: Keyed<New>,
) -> Result<Response, Problem> {
    let ctx = environments::acting(&db, &caller, id).await?;
    let held = &caller.claims().scope;
    let made =
        super::create(&db, &ctx, &key, (Some(id), registrar.issuer.mode()), &body.into(), held, dry_run)
            .await;
    registrar.answer(&db, &ctx, StatusCode::CREATED, made).await
}

/// Makes a client of an organization itself: it asks the control plane for its tokens.
///
/// It may do no more than who makes it. A dry run answers 200 with a plan and makes nothing.
#[utoipa::path(post, path = "/v1/organizations/{id}/clients", operation_id = "organization_client_create",
    tag = "clients", params(("id" = OrganizationId, Path, description = "The organization")), request_body = New,
    responses((status = 201, description = "The client", body = Wire),
        (status = 200, description = "Of a dry run: what would be made", body = Plan)))]
async fn organization_client_create(
    caller: Authorized<ClientsWrite>,
    State(db): State<Db>,
    State(registrar): State<Registrar>,
    Path(id): Path<OrganizationId>,
    DryRun(dry_run): DryRun,
    Keyed { key, body }: Keyed<New>,
) -> Result<Response, Problem> {
    let ctx = organizations::resolve(&db, &caller, Some(id)).await?;
    let held = &caller.claims().scope;
    let made =
        super::create(&db, &ctx, &key, (None, registrar.issuer.mode()), &body.into(), held, dry_run).await;
    registrar.answer(&db, &ctx, StatusCode::CREATED, made).await
}

const LIST: &str = "clients";

/// Which clients to list.
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
    /// Those of this environment.
    #[param(value_type = Option<String>)]
    environment_id: Option<EnvironmentId>,
}

/// Lists clients, the oldest first; revoked ones too.
#[utoipa::path(get, path = "/v1/clients", operation_id = "client_list", tag = "clients", params(Which),
    responses((status = 200, description = "A page of clients", body = Page<Wire>)))]
async fn client_list(
    ctx: Authorized<ClientsRead>,
    State(db): State<Db>,
    Query(which): Query<Which>,
) -> Result<Json<Page<Wire>>, Problem> {
    let Which { limit, cursor, organization_id, environment_id } = which;
    let after = cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let filter = Filter { after, environment: environment_id };
    let clients = super::list(&db, &ctx, organization_id, &filter, limit.rows()).await?;
    Ok(Json(Page::of(LIST, clients, limit, |client| client.id).map(Wire::from)))
}

/// Reads a client.
#[utoipa::path(get, path = "/v1/clients/{id}", operation_id = "client_get", tag = "clients",
    params(("id" = ClientId, Path, description = "The client")),
    responses((status = 200, description = "The client", body = Wire)))]
async fn client_get(
    ctx: Authorized<ClientsRead>,
    State(db): State<Db>,
    Path(id): Path<ClientId>,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let client = super::get(&db, &ctx, id).await?;
    Ok(tagged(client.version, Json(Wire::from(client))))
}

/// What is to be different about a client; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientChange, example = json!({"name": "core banking", "scopes": ["accounts:read"]}))]
struct Description {
    /// For people.
    #[schema(min_length = 1, max_length = 140)]
    name: Option<String>,
    /// What it may do at most.
    #[schema(min_items = 1, max_items = 64)]
    scopes: Option<Vec<String>>,
}

/// Changes a client's name, or what it may do.
///
/// Where it loses a scope, the tokens that it has end, and it asks for new ones. A client of an organization itself gets
/// nothing that who changes it does not have. A dry run answers with a plan and changes nothing.
#[utoipa::path(patch, path = "/v1/clients/{id}", operation_id = "client_change", tag = "clients",
    params(("id" = ClientId, Path, description = "The client")), request_body = Description,
    responses((status = 200, description = "The client after it; of a dry run, the plan", body = Wire)))]
async fn client_change(
    ctx: Authorized<ClientsWrite>,
    State(db): State<Db>,
    State(registrar): State<Registrar>,
    Path(id): Path<ClientId>,
    seen: IfMatch,
    DryRun(dry_run): DryRun,
    Keyed { key, body: Description { name, scopes } }: Keyed<Description>,
) -> Result<Response, Problem> {
    let held = ctx.claims().scope.clone();
    let ctx = acting(&db, &ctx, id).await?;
    let change = Change::Describe { name, scopes, held, home: registrar.issuer.mode() };
    let admits = |version| seen.admits(version);
    let done = super::change(&db, &ctx, &key, id, admits, &change, dry_run).await;
    registrar.answer(&db, &ctx, StatusCode::OK, done).await
}

/// What a client is to prove who it is by from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClientRotation, example = json!({"keys": [{"kty": "EC", "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}))]
struct Rotation {
    /// Its public keys; the old one among them, as long as it is in use.
    #[serde(default)]
    #[schema(max_items = 3)]
    keys: Vec<Jwk>,
    /// SHA-256 of its certificates, base64url.
    #[serde(default)]
    #[schema(max_items = 3)]
    thumbprints: Vec<String>,
    /// Whether the tokens that it has end.
    #[serde(default)]
    revoke_tokens: bool,
}

/// Gives a client other credentials of the same kind.
///
/// A client with a secret gets a new one, in this answer and never again; the old one ends at once. A client of an
/// organization itself may do no more than who rotates it. A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/clients/{id}/rotations", operation_id = "client_rotate", tag = "clients",
    params(("id" = ClientId, Path, description = "The client")), request_body = Rotation,
    responses((status = 200, description = "The client after it; of a dry run, the plan", body = Wire)))]
async fn client_rotate(
    ctx: Authorized<ClientsWrite>,
    State(db): State<Db>,
    State(registrar): State<Registrar>,
    Path(id): Path<ClientId>,
    seen: IfMatch,
    DryRun(dry_run): DryRun,
    Keyed { key, body: Rotation { keys, thumbprints, revoke_tokens } }: Keyed<Rotation>,
) -> Result<Response, Problem> {
    let held = ctx.claims().scope.clone();
    let ctx = acting(&db, &ctx, id).await?;
    let credentials = Credentials { keys: keys.into_iter().map(Into::into).collect(), thumbprints };
    let change = Change::Rotate { credentials, revoke_tokens, held, home: registrar.issuer.mode() };
    let admits = |version| seen.admits(version);
    let done = super::change(&db, &ctx, &key, id, admits, &change, dry_run).await;
    registrar.answer(&db, &ctx, StatusCode::OK, done).await
}

/// Revokes a client: it gets no more tokens, and those that it has end, at its cell when that hears of it.
///
/// There is no way back. A dry run answers with a plan and changes nothing.
#[utoipa::path(post, path = "/v1/clients/{id}/revocations", operation_id = "client_revoke", tag = "clients",
    params(("id" = ClientId, Path, description = "The client")),
    responses((status = 200, description = "The client after it; of a dry run, the plan", body = Wire)))]
async fn client_revoke(
    ctx: Authorized<ClientsWrite>,
    State(db): State<Db>,
    State(registrar): State<Registrar>,
    Path(id): Path<ClientId>,
    seen: MayMatch,
    DryRun(dry_run): DryRun,
    key: Key,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let admits = |version| seen.admits(version);
    let done = super::change(&db, &ctx, &key, id, admits, &Change::Revoke, dry_run).await;
    registrar.answer(&db, &ctx, StatusCode::OK, done).await
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Problem::new(&CLIENT_NOT_FOUND),
            Error::Fault(Fault::Scopes) | Error::Wider => Problem::new(&CLIENT_SCOPES_UNUSABLE).on("/scopes"),
            Error::Fault(Fault::Credentials) => Problem::new(&CLIENT_CREDENTIALS_UNUSABLE),
            Error::Fault(Fault::Secret) => Problem::new(&CLIENT_SECRET_FORBIDDEN).on("/method"),
            Error::Fault(Fault::Unbound) => Problem::new(&CLIENT_UNBOUND).on("/binding"),
            Error::Name => Problem::new(&TEXT_UNUSABLE).arg("limit", LONGEST_NAME).on("/name"),
            Error::Full => Problem::new(&CLIENT_LIMIT).arg("limit", super::model::CLIENTS),
            Error::Revoked => Problem::new(&CLIENT_REVOKED),
            Error::Changed => Problem::new(&codes::VERSION_MISMATCH),
            // Answered before; a plan is no problem.
            Error::Planned(_) => Problem::internal("a plan was taken for a problem"),
            Error::Environment(error) => error.into(),
            Error::Organization(error) => error.into(),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
