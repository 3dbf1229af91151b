//! Tokens that come back: what one says is verified once and kept by its full text, so that the hot path neither hashes
//! nor parses. Its end, its client, the client's epoch and what it is bound to are looked at on every call.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tenants::contract::Binding;
use tenants::environment::Mode;
use tenants::id::{ClientId, EnvironmentId};

use super::certificate::held;
use super::directory::Entry;
use super::issuer::{Issuer, State};
use crate::token::{Claims, LONGEST, Scopes, TokenError};

/// How many verified tokens are kept.
const CACHED: u64 = 10_000;

/// What a request presents.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// The token.
    pub token: &'a str,
    /// Whether it came as `DPoP`, not as `Bearer`.
    pub dpop: bool,
    /// The headers `DPoP`: the proof, or too many.
    pub proof: Result<Option<&'a str>, ()>,
    /// The certificate of the connection, DER.
    pub certificate: Option<&'a [u8]>,
    /// The request's method.
    pub method: &'a str,
    /// The request's path, without its query.
    pub path: &'a str,
}

impl<'a> Presented<'a> {
    /// A bare token, of no request: for tests and measurements.
    #[must_use]
    pub const fn bearer(token: &'a str) -> Self {
        Self { token, dpop: false, proof: Ok(None), certificate: None, method: "GET", path: "/" }
    }
}

/// What a token says, verified.
#[derive(Debug)]
struct Verified {
    /// What handlers see of it, as of `entry`.
    claims: Arc<Claims>,
    entry: Arc<Entry>,
    /// What it was issued for, whatever its client may do now.
    scopes: Scopes,
    issued_at: i64,
    jkt: Option<Box<str>>,
    x5t: Option<Box<str>>,
}

/// Verified tokens by their full text.
pub(super) struct Cached(moka::sync::Cache<Box<str>, Arc<Verified>, std::hash::RandomState>);

impl Default for Cached {
    fn default() -> Self {
        Self(moka::sync::Cache::new(CACHED))
    }
}

impl Cached {
    pub(super) fn clear(&self) {
        self.0.invalidate_all();
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Body {
    iss: String,
    aud: String,
    sub: String,
    client_id: ClientId,
    iat: i64,
    exp: i64,
    jti: String,
    #[serde(default)]
    scope: Scopes,
    #[serde(default)]
    cnf: Confirmation,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    jkt: Option<Box<str>>,
    #[serde(rename = "x5t#S256")]
    x5t: Option<Box<str>>,
}

impl Issuer {
    /// Who calls, by what the request presents.
    ///
    /// # Errors
    /// Why it is nobody.
    pub async fn caller(&self, presented: &Presented<'_>) -> Result<Arc<Claims>, TokenError> {
        let now = self.0.clock.now();
        match self.known(presented, now) {
            // Perhaps another replica registered the client, or made the key, a moment ago.
            Err(TokenError::UnknownKey | TokenError::UnknownClient) => {
                Box::pin(self.look_again()).await;
                self.known(presented, now)
            }
            done => done,
        }
    }

    fn known(&self, presented: &Presented<'_>, now: DateTime<Utc>) -> Result<Arc<Claims>, TokenError> {
        let state = self.state();
        let token = presented.token;
        let verified = match self.0.verified.0.get(token) {
            Some(verified) => verified,
            None => self.remember(token, self.check(&state, token)?),
        };
        if verified.claims.exp <= now.timestamp() {
            self.0.verified.0.invalidate(token);
            return Err(TokenError::Expired);
        }
        let entry = state.clients.get(verified.claims.sub).ok_or(TokenError::UnknownClient)?;
        // The usual case: nothing has changed about the client since the token was verified.
        let verified = if Arc::ptr_eq(entry, &verified.entry) {
            verified
        } else {
            self.remember(token, verified.under(entry))
        };
        if !entry.active || verified.issued_at < entry.epoch {
            return Err(TokenError::Revoked);
        }
        if verified.jkt.is_some()
            || verified.x5t.is_some()
            || presented.dpop
            || entry.binding != Binding::None
            || self.mode() == Mode::Live
        {
            self.bound(&verified, presented, now)?;
        }
        Ok(Arc::clone(&verified.claims))
    }

    fn remember(&self, token: &str, verified: Verified) -> Arc<Verified> {
        let verified = Arc::new(verified);
        self.0.verified.0.insert(token.into(), Arc::clone(&verified));
        verified
    }

    /// Whether the request proves to come from whom the token was given to.
    fn bound(
        &self,
        verified: &Verified,
        presented: &Presented<'_>,
        now: DateTime<Utc>,
    ) -> Result<(), TokenError> {
        let Verified { entry, jkt, x5t, .. } = verified;
        let asked = match entry.binding {
            // Issued while this plane was a sandbox.
            Binding::None => self.mode() != Mode::Live || jkt.is_some() || x5t.is_some(),
            Binding::Dpop => jkt.is_some(),
            Binding::Certificate => x5t.is_some(),
            Binding::Unknown => false,
        };
        // A token that was issued before the client had to be bound is not enough; one that is bound to a key is no
        // bearer token, and one that is not is nothing else (RFC 9449 §7.1).
        if !asked || presented.dpop != jkt.is_some() {
            return Err(TokenError::Unbound);
        }
        if let Some(jkt) = jkt {
            let Ok(Some(proof)) = presented.proof else {
                return Err(TokenError::Proof(super::dpop::ProofError::Absent));
            };
            let url = format!("{}{}", self.0.url, presented.path);
            let Presented { method, token, .. } = *presented;
            self.0.proofs.accept(proof, (method, &url), token, jkt, now).map_err(TokenError::Proof)?;
        }
        if let Some(x5t) = x5t {
            let held = presented.certificate.and_then(|der| held(der, now));
            let registered = entry.binding != Binding::Certificate
                || held.as_ref().is_some_and(|held| entry.thumbprints.contains(held));
            if held.as_deref() != Some(&**x5t) || !registered {
                return Err(TokenError::Certificate);
            }
        }
        Ok(())
    }

    /// What a token says, if it is one of ours: by the name of our key, and nothing else that it says of itself.
    fn check(&self, state: &State, token: &str) -> Result<Verified, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, body) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        if header.alg != "ES256" || header.crit.is_some() {
            return Err(TokenError::Algorithm);
        }
        if header.typ.as_deref() != Some("at+jwt") {
            return Err(TokenError::Type);
        }
        let key = header.kid.as_deref().and_then(|kid| state.key(kid)).ok_or(TokenError::UnknownKey)?;
        if !key.verifies(signed.as_bytes(), &decode(signature)?) {
            return Err(TokenError::Signature);
        }
        let body: Body = serde_json::from_slice(&decode(body)?).map_err(|_| TokenError::Malformed)?;
        if *body.iss != *self.0.url || *body.aud != *self.0.url {
            return Err(TokenError::Audience);
        }
        if body.sub != body.client_id.to_string() {
            return Err(TokenError::Malformed);
        }
        let entry = state.clients.get(body.client_id).ok_or(TokenError::UnknownClient)?;
        Ok(Verified {
            claims: Arc::new(claims(entry, &body.scope, body.client_id, body.exp, body.jti)),
            entry: Arc::clone(entry),
            scopes: body.scope,
            issued_at: body.iat,
            jkt: body.cnf.jkt,
            x5t: body.cnf.x5t,
        })
    }
}

impl Verified {
    /// The same token of a client of which more is known now.
    fn under(&self, entry: &Arc<Entry>) -> Self {
        let Claims { sub, exp, jti, .. } = &*self.claims;
        Self {
            claims: Arc::new(claims(entry, &self.scopes, *sub, *exp, jti.clone())),
            entry: Arc::clone(entry),
            scopes: self.scopes.clone(),
            issued_at: self.issued_at,
            jkt: self.jkt.clone(),
            x5t: self.x5t.clone(),
        }
    }
}

/// What handlers see: the place is the client's, and of the token's scopes those that the client still has.
fn claims(entry: &Entry, scopes: &Scopes, client: ClientId, exp: i64, jti: String) -> Claims {
    Claims {
        sub: client,
        env: EnvironmentId::from_uuid(entry.scope.id),
        scope: scopes.both(&entry.scopes),
        exp,
        jti,
    }
}
