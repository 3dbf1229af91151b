//! Bearer tokens: who calls, in which environment, with which scopes.
//!
//! [`Access`] is given what verifies them: an [`Issuer`], or for now one static development key: JWT (RFC 7519) with
//! HS256 (RFC 7515) by ring. No other algorithm is accepted, `none` least of all. A verified token is cached by its full
//! text, so that the hot path neither hashes nor parses; its expiry is checked on every call, by the wall clock.

use crate::clock::Offsets;
use crate::ctx::{Actor, Clock, Ctx, EnvironmentClock, Scope};
use crate::layers::RequestId;
use crate::oauth::{Issuer, Presented, ProofError};
use crate::openapi::{Description, Guard};
use crate::problem::{Problem, codes};
use crate::tls::Peer;
use axum::extract::{FromRef, FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};
use tenants::environment::Mode;
use tenants::id::{ClientId, EnvironmentId};

/// Tokens longer than this are refused unread.
pub(crate) const LONGEST: usize = 4096;
/// How many verified tokens are kept.
const CACHED: u64 = 10_000;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The client that calls.
    pub sub: ClientId,
    /// The environment it may act in.
    pub env: EnvironmentId,
    /// What it may do.
    pub scope: Scopes,
    /// When the token ends, seconds since 1970.
    pub exp: i64,
    /// The token's own name, for the log.
    pub jti: String,
}

/// Scopes such as `accounts:read`; on the wire one text, separated by spaces (RFC 6749 §3.3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Scopes(Vec<Box<str>>);

impl Scopes {
    /// Whether this one is among them.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.iter().any(|held| &**held == scope)
    }

    /// Those that are also in `others`.
    #[must_use]
    pub fn both(&self, others: &Self) -> Self {
        Self(self.0.iter().filter(|scope| others.contains(scope)).cloned().collect())
    }
}

impl From<String> for Scopes {
    fn from(text: String) -> Self {
        text.split_ascii_whitespace().collect()
    }
}
impl From<Scopes> for String {
    fn from(scopes: Scopes) -> Self {
        scopes.0.join(" ")
    }
}
impl<'a> FromIterator<&'a str> for Scopes {
    fn from_iter<I: IntoIterator<Item = &'a str>>(scopes: I) -> Self {
        Self(scopes.into_iter().map(Into::into).collect())
    }
}

/// Why a token is not accepted. For the log: the caller learns only that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// No `Authorization: Bearer …`.
    #[error("there is no bearer token")]
    Absent,
    /// Not three parts of base64url, or not the JSON of a token.
    #[error("the token is malformed")]
    Malformed,
    /// Signed by another algorithm, or not at all.
    #[error("the token is not signed with the one algorithm that is accepted")]
    Algorithm,
    /// Not an access token (RFC 9068).
    #[error("the token is not an access token")]
    Type,
    /// Signed by a key that is not ours.
    #[error("the token names a key that is not ours")]
    UnknownKey,
    /// Not signed by our key.
    #[error("the token's signature does not match")]
    Signature,
    /// Of another issuer, or for another audience.
    #[error("the token is not ours and for us")]
    Audience,
    /// Its end has passed.
    #[error("the token has expired")]
    Expired,
    /// Of a client that is not registered here.
    #[error("the token is of a client that is not registered here")]
    UnknownClient,
    /// Its client was revoked, or all its tokens of that time were.
    #[error("the token was revoked")]
    Revoked,
    /// It is not bound to what its client's tokens are bound to, or presented otherwise.
    #[error("the token is not bound as it has to be, or not presented as what it is")]
    Unbound,
    /// It is bound to a key, and the request does not prove to have it.
    #[error("the request does not prove to have the token's key: {0}")]
    Proof(#[source] ProofError),
    /// It is bound to another certificate than the connection's.
    #[error("the token is bound to another certificate")]
    Certificate,
    /// Its environment is not here, or not ready.
    #[error("the token is of an environment that this cell does not have")]
    Elsewhere,
}

/// Issues and verifies tokens. Clones share the cache.
#[derive(Clone)]
pub struct Tokens {
    key: Arc<hmac::Key>,
    verified: moka::sync::Cache<Box<str>, Arc<Claims>, std::hash::RandomState>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

#[derive(Deserialize)]
struct JoseHeader {
    alg: String,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

impl Tokens {
    /// The shortest key that is fit, in bytes (RFC 7518 §3.2). Whoever reads a key from a configuration checks it.
    pub const SHORTEST_KEY: usize = 32;

    /// With this key: at least [`Tokens::SHORTEST_KEY`] random bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        Self {
            key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, key)),
            verified: moka::sync::Cache::new(CACHED),
        }
    }

    /// A token with these claims.
    #[must_use]
    pub fn issue(&self, claims: &Claims) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        // Claims are texts and numbers: they have a JSON form.
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap_or_default());
        let mut token = format!("{header}.{claims}");
        let signature = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }

    /// What the token says, if our key signed it and it has not ended.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Arc<Claims>, TokenError> {
        let claims = match self.verified.get(token) {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.check(token)?);
                self.verified.insert(token.into(), Arc::clone(&claims));
                claims
            }
        };
        if claims.exp > now.timestamp() {
            return Ok(claims);
        }
        self.verified.invalidate(token);
        Err(TokenError::Expired)
    }

    fn check(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let header: JoseHeader =
            serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        if header.alg != "HS256" || header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        hmac::verify(&self.key, signed.as_bytes(), &decode(signature)?).map_err(|_| TokenError::Signature)?;
        serde_json::from_slice(&decode(claims)?).map_err(|_| TokenError::Malformed)
    }
}

/// The scope of an operation, as a type; declare them with [`scopes!`](crate::scopes).
pub trait ScopeName: Send + Sync + 'static {
    /// The name in tokens, `resource:action`.
    const NAME: &'static str;
}

/// Declares scopes: `scopes! { /// Read accounts. AccountsRead = "accounts:read"; }`, and `SCOPES`, their names.
#[macro_export]
macro_rules! scopes {
    ($($(#[$doc:meta])+ $name:ident = $text:literal;)+) => {
        $(
            $(#[$doc])+
            #[derive(Debug, Clone, Copy)]
            pub struct $name;
            impl $crate::token::ScopeName for $name {
                const NAME: &'static str = $text;
            }
        )+
        /// The names of the scopes declared here.
        pub const SCOPES: &[&str] = &[$($text),+];
    };
}

/// The token of a request, and whether it came as `DPoP` (RFC 9449 §7.1) or as `Bearer` (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<(&str, bool)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let dpop = scheme.eq_ignore_ascii_case("dpop");
    (dpop || scheme.eq_ignore_ascii_case("bearer")).then(|| (token.trim(), dpop))
}

/// What a request presents, its token and what may prove that it is the caller's.
fn presented(parts: &Parts) -> Option<Presented<'_>> {
    let (token, dpop) = bearer(&parts.headers)?;
    let mut proofs = parts.headers.get_all("dpop").iter();
    let proof = match (proofs.next(), proofs.next()) {
        (None, _) => Ok(None),
        (Some(proof), None) => proof.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    };
    let peer = parts.extensions.get::<Peer>().and_then(|Peer(certificate)| certificate.as_ref());
    let path = parts.extensions.get::<OriginalUri>().map_or(&parts.uri, |OriginalUri(uri)| uri).path();
    let certificate = peer.map(|certificate| &**certificate);
    Some(Presented { token, dpop, proof, certificate, method: parts.method.as_str(), path })
}

fn unauthenticated(error: TokenError) -> Problem {
    const ABSENT: HeaderValue = HeaderValue::from_static("Bearer");
    const INVALID: HeaderValue = HeaderValue::from_static("Bearer error=\"invalid_token\"");
    const PROOF: HeaderValue = HeaderValue::from_static("DPoP error=\"invalid_dpop_proof\", algs=\"ES256\"");
    let challenge = match error {
        TokenError::Absent => ABSENT,
        TokenError::Proof(_) => PROOF,
        _ => INVALID,
    };
    Problem::new(&codes::UNAUTHENTICATED).header(header::WWW_AUTHENTICATE, challenge).cause(error)
}

fn out_of_scope(scope: &'static str) -> Problem {
    const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer error=\"insufficient_scope\"");
    Problem::new(&codes::INSUFFICIENT_SCOPE).header(header::WWW_AUTHENTICATE, CHALLENGE).arg("scope", scope)
}

/// Where all scopes of the control plane are: one shard, and clocks that do not move.
const UNMOVED: Place = Place { shard: 0, mode: Mode::Live, suspended: false };

/// What the check of a caller needs, part of a router's state by `FromRef`. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Access(Arc<Checks>);

#[derive(Debug)]
struct Checks {
    verifier: Verifier,
    clock: Clock,
    cell: Option<(Offsets, Places)>,
}

/// What verifies tokens.
#[derive(Debug, Clone)]
pub enum Verifier {
    /// The static development key.
    Development(Tokens),
    /// An issuer of one's own.
    Issuer(Issuer),
}

impl From<Tokens> for Verifier {
    fn from(tokens: Tokens) -> Self {
        Self::Development(tokens)
    }
}
impl From<Issuer> for Verifier {
    fn from(issuer: Issuer) -> Self {
        Self::Issuer(issuer)
    }
}

impl Verifier {
    async fn claims(&self, presented: &Presented<'_>, now: DateTime<Utc>) -> Result<Arc<Claims>, TokenError> {
        match self {
            Self::Development(_) if presented.dpop => Err(TokenError::Unbound),
            Self::Development(tokens) => tokens.verify(presented.token, now),
            Self::Issuer(issuer) => issuer.caller(presented).await,
        }
    }
}

/// Where an environment is in its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its home shard.
    pub shard: i32,
    /// Its mode.
    pub mode: Mode,
    /// Whether its tokens are refused for now.
    pub suspended: bool,
}

/// Where the environments of a cell are that are made; the others have no place. Clones are the same one.
///
/// Cost of a look: a read lock that is held for one search, and taken for writing only when environments change.
#[derive(Debug, Clone, Default)]
pub struct Places(Arc<RwLock<HashMap<EnvironmentId, Place>>>);

impl Places {
    /// Where the environment is.
    #[must_use]
    pub fn get(&self, id: EnvironmentId) -> Option<Place> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    /// These, and no others.
    pub fn replace(&self, places: HashMap<EnvironmentId, Place>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = places;
    }
}

impl Access {
    /// Callers with these tokens; ends of tokens are judged by this clock, and environment time is the same one: so in
    /// the control plane, where no clock moves.
    #[must_use]
    pub fn new(verifier: impl Into<Verifier>, clock: Clock) -> Self {
        Self(Arc::new(Checks { verifier: verifier.into(), clock, cell: None }))
    }

    /// Like [`Access::new`], for these environments only and with their own clocks: so in a cell, which knows itself
    /// where they are.
    #[must_use]
    pub fn of_cell(verifier: impl Into<Verifier>, clock: Clock, offsets: Offsets, places: Places) -> Self {
        Self(Arc::new(Checks { verifier: verifier.into(), clock, cell: Some((offsets, places)) }))
    }

    /// The tokens of the development key, for who issues some.
    ///
    /// # Panics
    /// An issuer verifies them.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        match &self.0.verifier {
            Verifier::Development(tokens) => tokens,
            Verifier::Issuer(issuer) => panic!("tokens are those of {issuer:?}"),
        }
    }
}

/// The caller of an operation that needs the scope `S`: the first argument of its handler. It is the request's [`Ctx`].
#[derive(Debug, Clone)]
pub struct Authorized<S> {
    ctx: Ctx,
    claims: Arc<Claims>,
    scope: PhantomData<S>,
}

impl<S> Authorized<S> {
    /// What the caller's token says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }
}

impl<S> std::ops::Deref for Authorized<S> {
    type Target = Ctx;
    fn deref(&self) -> &Ctx {
        &self.ctx
    }
}

impl<S: ScopeName> Guard for Authorized<S> {
    fn describe(description: &mut Description) {
        description.scope(S::NAME);
        description.codes(&[
            &codes::UNAUTHENTICATED,
            &codes::INSUFFICIENT_SCOPE,
            &codes::ENVIRONMENT_SUSPENDED,
            &codes::DATABASE_UNAVAILABLE,
            &codes::DATABASE_BUSY,
        ]);
    }
}

impl<S, State> FromRequestParts<State> for Authorized<S>
where
    S: ScopeName,
    State: Send + Sync,
    Access: FromRef<State>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, Problem> {
        let access = Access::from_ref(state);
        let Checks { verifier, clock, cell } = &*access.0;
        let presented = presented(parts).ok_or_else(|| unauthenticated(TokenError::Absent))?;
        let claims = verifier.claims(&presented, clock.now()).await.map_err(unauthenticated)?;
        let place = match cell {
            Some((_, places)) => {
                places.get(claims.env).ok_or(TokenError::Elsewhere).map_err(unauthenticated)?
            }
            None => UNMOVED,
        };
        if place.suspended {
            return Err(Problem::new(&codes::ENVIRONMENT_SUSPENDED));
        }
        if !claims.scope.contains(S::NAME) {
            return Err(out_of_scope(S::NAME));
        }
        let request_id =
            parts.extensions.get::<RequestId>().map_or_else(|| Arc::from("none"), |id| Arc::clone(&id.0));
        let scope = Scope::new(place.shard, claims.env.uuid());
        let clock = match cell {
            Some((offsets, _)) => offsets.clock(scope, place.mode).await?,
            None => EnvironmentClock::new(clock.clone(), TimeDelta::zero()),
        };
        let actor = Actor::Client(claims.sub);
        let ctx = Ctx { scope, mode: place.mode, actor, request_id, clock };
        Ok(Self { ctx, claims, scope: PhantomData })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NOW: i64 = 1_800_000_000;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(NOW, 0).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            sub: ClientId::from_uuid(Uuid::from_u128(1)),
            env: EnvironmentId::from_uuid(Uuid::from_u128(2)),
            scope: "accounts:read transfers:write".to_owned().into(),
            exp: NOW + 60,
            jti: "j".to_owned(),
        }
    }

    /// A token with another header, signed by the right key.
    fn with_header(tokens: &Tokens, header: &str) -> String {
        let issued = tokens.issue(&claims());
        let claims = issued.split('.').nth(1).unwrap();
        let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&tokens.key, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    #[test]
    fn what_is_issued_is_verified_twice_the_same() {
        let tokens = Tokens::new(&[7; 32]);
        let token = tokens.issue(&claims());
        for _ in 0..2 {
            assert_eq!(*tokens.verify(&token, now()).unwrap(), claims());
        }
    }

    #[test]
    fn a_cached_token_still_expires() {
        let tokens = Tokens::new(&[7; 32]);
        let token = tokens.issue(&claims());
        assert!(tokens.verify(&token, now()).is_ok());
        assert_eq!(tokens.verify(&token, now() + chrono::Duration::seconds(60)), Err(TokenError::Expired));
    }

    #[test]
    fn everything_else_is_refused() {
        let tokens = Tokens::new(&[7; 32]);
        let good = tokens.issue(&claims());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, body) = signed.split_once('.').unwrap();
        let other = URL_SAFE_NO_PAD.encode(
            String::from_utf8(URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap().replace("\"j\"", "\"k\""),
        );
        for (token, expected) in [
            (Tokens::new(&[8; 32]).issue(&claims()), TokenError::Signature),
            (format!("{header}.{other}.{signature}"), TokenError::Signature),
            (format!("{signed}."), TokenError::Signature),
            (with_header(&tokens, r#"{"alg":"none"}"#), TokenError::Algorithm),
            (with_header(&tokens, r#"{"alg":"HS512"}"#), TokenError::Algorithm),
            (with_header(&tokens, r#"{"alg":"RS256"}"#), TokenError::Algorithm),
            (with_header(&tokens, r#"{"alg":"HS256","crit":["exp"]}"#), TokenError::Algorithm),
            (with_header(&tokens, "{}"), TokenError::Malformed),
            (signed.to_owned(), TokenError::Malformed),
            (format!("{good}="), TokenError::Malformed),
            ("x".repeat(LONGEST + 1), TokenError::Malformed),
            (String::new(), TokenError::Malformed),
        ] {
            assert_eq!(tokens.verify(&token, now()), Err(expected), "{token}");
        }
    }

    #[test]
    fn a_scope_is_a_whole_word() {
        let scopes = Scopes::from("accounts:read transfers:write".to_owned());
        assert!(
            scopes.contains("accounts:read")
                && !scopes.contains("accounts")
                && !scopes.contains("read transfers")
        );
    }
}
