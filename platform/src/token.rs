//! Bearer tokens: who calls, in which environment, with which scopes.
//!
//! An [`Issuer`] of one's own verifies them. What a token says is verified once and kept by its full text, so that the hot
//! path neither hashes nor parses; its end and whether its client is still good are looked at on every call, in memory.

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
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};
use tenants::environment::Mode;
use tenants::id::{ClientId, EnvironmentId};

/// Tokens longer than this are refused unread.
pub(crate) const LONGEST: usize = 4096;

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
    /// It is bound to another certificate than the connection's, or to one that is not valid now.
    #[error("the token is bound to another certificate, or to one that is not valid now")]
    Certificate,
    /// Its environment is not here, or not ready.
    #[error("the token is of an environment that this cell does not have")]
    Elsewhere,
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
    const UNBOUND: HeaderValue = HeaderValue::from_static("DPoP error=\"invalid_token\", algs=\"ES256\"");
    let (code, challenge) = match error {
        TokenError::Absent => (&codes::UNAUTHENTICATED, ABSENT),
        TokenError::Proof(ProofError::Absent) => (&codes::BINDING_REQUIRED, PROOF),
        TokenError::Proof(ProofError::Crowded) => return Problem::new(&codes::OVERLOADED).cause(error),
        TokenError::Proof(_) => (&codes::UNAUTHENTICATED, PROOF),
        TokenError::Unbound => (&codes::BINDING_REQUIRED, UNBOUND),
        TokenError::Certificate => (&codes::BINDING_REQUIRED, INVALID),
        _ => (&codes::UNAUTHENTICATED, INVALID),
    };
    Problem::new(code).header(header::WWW_AUTHENTICATE, challenge).cause(error)
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
    issuer: Issuer,
    clock: Clock,
    cell: Option<(Offsets, Places)>,
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

    /// It is there from now on, or nowhere.
    pub fn put(&self, id: EnvironmentId, place: Option<Place>) {
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match place {
            Some(place) => places.insert(id, place),
            None => places.remove(&id),
        };
    }
}

impl Access {
    /// Callers with tokens of this issuer; environment time is this clock, the issuer's own: so in the control plane, where
    /// no clock moves.
    #[must_use]
    pub fn new(issuer: Issuer, clock: Clock) -> Self {
        Self(Arc::new(Checks { issuer, clock, cell: None }))
    }

    /// Like [`Access::new`], for these environments only and with their own clocks: so in a cell, which knows itself
    /// where they are.
    #[must_use]
    pub fn of_cell(issuer: Issuer, clock: Clock, offsets: Offsets, places: Places) -> Self {
        Self(Arc::new(Checks { issuer, clock, cell: Some((offsets, places)) }))
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
            &codes::BINDING_REQUIRED,
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
        let Checks { issuer, clock, cell } = &*access.0;
        let presented = presented(parts).ok_or_else(|| unauthenticated(TokenError::Absent))?;
        let claims = issuer.caller(&presented).await.map_err(unauthenticated)?;
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
