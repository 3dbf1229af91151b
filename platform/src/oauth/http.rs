//! What the world sees of an issuer: the token endpoint, the keys, and the document that says where they are.
//!
//! The token endpoint speaks RFC 6749, not problems: a form in, `{"error": …}` out, so that ordinary client libraries
//! understand it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{FromRef, FromRequest, Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oauth_as::error::ErrorCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::issuer::{Grant, Issuer, Proof, Refused, Request};
use super::keys::KeySet;
use crate::http::{BodyLimit, Json, essence, read};
use crate::openapi::{Argument, Public};
use crate::operation;
use crate::tls::Peer;

/// Where tokens are asked for.
pub const TOKEN_PATH: &str = "/v1/oauth/token";
/// Where the keys are.
pub const KEYS_PATH: &str = "/v1/oauth/jwks";
/// The longest form.
const LONGEST_FORM: usize = 16 * 1024;

/// The routes of an issuer.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Issuer: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(token_issue))
        .routes(operation!(jwks_get))
        .routes(operation!(issuer_metadata))
}

/// What a client sends for a token. Either an assertion or a secret proves who it is, or its certificate alone.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"grant_type": "client_credentials", "scope": "accounts:read",
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJjbGlf…"}))]
#[expect(
    dead_code,
    reason = "only its schema is used: the form is read by hand, so that nothing stands in it twice"
)]
pub struct TokenForm {
    /// `client_credentials`.
    grant_type: String,
    /// What the token is for, separated by spaces; everything that the client may do, if nothing.
    scope: Option<String>,
    /// Who asks; an assertion or the header `Authorization` says it too.
    client_id: Option<String>,
    /// A secret; sandboxes only. It can also be sent by the header `Authorization: Basic`.
    client_secret: Option<String>,
    /// `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    client_assertion_type: Option<String>,
    /// A JWT signed by the client's key with ES256: `iss` and `sub` are the client, `aud` is the issuer, `exp` is at
    /// most ten minutes ahead, and `jti` was never used.
    client_assertion: Option<String>,
}

/// A token (RFC 6749 §5.1).
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"access_token": "eyJ0eXAiOiJhdCtqd3QiLCJhbGciOiJFUzI1NiJ9…", "token_type": "Bearer",
    "expires_in": 600, "scope": "accounts:read"}))]
pub struct TokenAnswer {
    /// The token: a JWT (RFC 9068). Its content is nobody's business but the issuer's.
    access_token: String,
    /// `Bearer`, or `DPoP` when it is bound to a key.
    token_type: &'static str,
    /// How long it lives, in seconds.
    expires_in: u64,
    /// What it is for, separated by spaces.
    scope: String,
}

/// Why there is no token (RFC 6749 §5.2).
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"error": "invalid_client"}))]
pub struct TokenRefusal {
    /// `invalid_request`, `invalid_client`, `invalid_scope`, `unauthorized_client`, `unsupported_grant_type`,
    /// `invalid_dpop_proof`, `temporarily_unavailable` or `server_error`.
    error: &'static str,
    /// What is wrong, in English, for developers.
    #[serde(skip_serializing_if = "String::is_empty")]
    error_description: String,
}

/// A form whose parameters stand there once.
#[derive(Debug)]
struct Form(BTreeMap<String, String>);

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = Response;
    async fn from_request(request: HttpRequest, _: &S) -> Result<Self, Response> {
        let refused = |text: &str| refuse(Refused::new(ErrorCode::InvalidRequest, text), false);
        if !essence(request.headers()).eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(refused("the body is a form: application/x-www-form-urlencoded"));
        }
        let (mut parts, body) = request.into_parts();
        parts.extensions.insert(BodyLimit(LONGEST_FORM));
        let body = read(&parts, body).await.map_err(|_| refused("the body is too long or broke off"))?;
        let mut form = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(&body) {
            if form.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(refused("a parameter stands there twice"));
            }
        }
        // An empty parameter counts as none (RFC 6749 §3.2).
        form.retain(|_, value: &mut String| !value.is_empty());
        Ok(Self(form))
    }
}

impl Argument for Form {}

/// Issue a token.
///
/// Answers in the form of RFC 6749, so errors are `{"error": …}` and not problems. Tokens live ten minutes; ask again
/// rather than keep a refresh token. With a header `DPoP` (RFC 9449) the token is bound to that key, with a client
/// certificate (RFC 8705) to that certificate.
#[utoipa::path(
    post,
    path = "/v1/oauth/token",
    operation_id = "token_issue",
    tag = "tokens",
    request_body(content = TokenForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, body = TokenAnswer),
        (status = 400, description = "The request or the scope is wrong", body = TokenRefusal),
        (status = 401, description = "The client is not who it says", body = TokenRefusal),
        (status = 500, description = "An error of ours", body = TokenRefusal),
        (status = 503, description = "Not now", body = TokenRefusal),
    )
)]
async fn token_issue(
    _: Public,
    State(issuer): State<Issuer>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    form: Form,
) -> Response {
    let certificate = peer.and_then(|Extension(Peer(certificate))| certificate);
    let basic = headers.contains_key(header::AUTHORIZATION);
    match issue(&issuer, certificate.as_deref(), &headers, &form).await {
        Ok(Grant { token, dpop, expires_in, scope }) => {
            let token_type = if dpop { "DPoP" } else { "Bearer" };
            let answer = TokenAnswer { access_token: token, token_type, expires_in, scope };
            unstored(Json(answer).into_response())
        }
        Err(refused) => refuse(refused, basic),
    }
}

async fn issue(
    issuer: &Issuer,
    certificate: Option<&[u8]>,
    headers: &HeaderMap,
    Form(form): &Form,
) -> Result<Grant, Refused> {
    let invalid = |text: &str| Refused::new(ErrorCode::InvalidRequest, text);
    let field = |name: &str| form.get(name).map(String::as_str);
    match field("grant_type") {
        Some("client_credentials") => {}
        Some(_) => return Err(Refused::new(ErrorCode::UnsupportedGrantType, "")),
        None => return Err(invalid("grant_type is missing")),
    }
    if field("resource").is_some_and(|resource| resource != issuer.url()) {
        return Err(Refused::new(ErrorCode::InvalidTarget, "tokens are for their issuer only"));
    }
    let basic = basic(headers)?;
    let proofs = [basic.is_some(), field("client_secret").is_some(), field("client_assertion").is_some()];
    if proofs.into_iter().filter(|given| *given).count() > 1 {
        return Err(invalid("a client proves who it is in one way"));
    }
    let mut client_id = field("client_id");
    let proof = if let Some((id, secret)) = &basic {
        if client_id.is_some_and(|named| named != id) {
            return Err(invalid("the header and the form name two clients"));
        }
        client_id = Some(id);
        Proof::Secret(secret)
    } else if let Some(secret) = field("client_secret") {
        Proof::Secret(secret)
    } else if let Some(jwt) = field("client_assertion") {
        Proof::Assertion { jwt, kind: field("client_assertion_type") }
    } else {
        Proof::Certificate
    };
    let mut proofs = headers.get_all("dpop").iter();
    let dpop = match (proofs.next(), proofs.next()) {
        (None, _) => None,
        (Some(proof), None) => Some(proof.to_str().map_err(|_| invalid("the header DPoP is not text"))?),
        (Some(_), Some(_)) => {
            return Err(Refused::new(ErrorCode::InvalidDpopProof, "there are two headers DPoP"));
        }
    };
    issuer.token(Request { client_id, proof, scope: field("scope"), dpop, certificate }).await
}

/// The id and secret of a header `Authorization: Basic`, both form-encoded (RFC 6749 §2.3.1).
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, Refused> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let malformed = || Refused::new(ErrorCode::InvalidClient, "the header Authorization is not Basic");
    let (scheme, text) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded = STANDARD.decode(text.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or_else(malformed)?;
    let (id, secret) = decoded.split_once(':').ok_or_else(malformed)?;
    let plain = |text: &str| -> String {
        let mut pairs = url::form_urlencoded::parse(text.as_bytes());
        pairs.next().map_or(Cow::Borrowed(""), |(name, _)| name).into_owned()
    };
    Ok(Some((plain(id), plain(secret))))
}

fn refuse(refused: Refused, basic: bool) -> Response {
    let Refused { status, error, description } = refused;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let answer = Json(TokenRefusal { error, error_description: description });
    let mut response = unstored((status, answer).into_response());
    if status == StatusCode::UNAUTHORIZED && basic {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    }
    response
}

/// Neither tokens nor refusals are kept on their way.
fn unstored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Read the keys that tokens are verified with.
///
/// The key that signs, the one that comes next, and those of tokens that may still be alive.
#[utoipa::path(get, path = "/v1/oauth/jwks", operation_id = "jwks_get", tag = "tokens", responses((status = 200, body = KeySet)))]
async fn jwks_get(_: Public, State(issuer): State<Issuer>) -> Response {
    let mut response = Json(issuer.key_set()).into_response();
    // Less than a key is announced before it signs.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=600"));
    response
}

/// What an issuer does (RFC 8414).
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"issuer": "https://cell.example", "token_endpoint": "https://cell.example/v1/oauth/token",
    "jwks_uri": "https://cell.example/v1/oauth/jwks", "grant_types_supported": ["client_credentials"],
    "response_types_supported": [], "token_endpoint_auth_methods_supported": ["private_key_jwt"],
    "token_endpoint_auth_signing_alg_values_supported": ["ES256"], "dpop_signing_alg_values_supported": ["ES256"],
    "tls_client_certificate_bound_access_tokens": true}))]
pub struct IssuerMetadata {
    /// Its name, and the audience of its tokens and of its clients' assertions.
    issuer: String,
    /// Where tokens are asked for.
    token_endpoint: String,
    /// Where the keys are.
    jwks_uri: String,
    /// `client_credentials`.
    grant_types_supported: [&'static str; 1],
    /// None: nobody is sent here by a browser.
    response_types_supported: [&'static str; 0],
    /// How clients prove who they are.
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    /// What assertions are signed with.
    token_endpoint_auth_signing_alg_values_supported: [&'static str; 1],
    /// What proofs of keys are signed with.
    dpop_signing_alg_values_supported: [&'static str; 1],
    /// Whether tokens are bound to certificates.
    tls_client_certificate_bound_access_tokens: bool,
}

/// Read what the issuer does.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "issuer_metadata",
    tag = "tokens",
    responses((status = 200, body = IssuerMetadata))
)]
async fn issuer_metadata(_: Public, State(issuer): State<Issuer>) -> Json<IssuerMetadata> {
    let url = issuer.url();
    let mut methods = vec!["private_key_jwt", "self_signed_tls_client_auth"];
    if issuer.takes_secrets() {
        methods.extend(["client_secret_basic", "client_secret_post"]);
    }
    Json(IssuerMetadata {
        issuer: url.to_owned(),
        token_endpoint: format!("{url}{TOKEN_PATH}"),
        jwks_uri: format!("{url}{KEYS_PATH}"),
        grant_types_supported: ["client_credentials"],
        response_types_supported: [],
        token_endpoint_auth_methods_supported: methods,
        token_endpoint_auth_signing_alg_values_supported: ["ES256"],
        dpop_signing_alg_values_supported: ["ES256"],
        tls_client_certificate_bound_access_tokens: true,
    })
}
