//! The clients of an issuer: how they are registered, and who is who when a token comes in.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth_as::client::{Client, ClientAuth, ClientId as Name, SecretHash};
use oauth_as::client_assertion::AssertionKeys;
use oauth_as::grant::GrantType;
use oauth_as::jwt::{Jwk, JwsAlg};
use oauth_as::mtls::{CertificateThumbprint, MtlsClientRegistration, RegisteredCertificates};
use oauth_as::scope::ScopeSet;
use serde::{Deserialize, Serialize};
use tenants::contract::{Binding, ClientIntent, Method};
use tenants::environment::Mode;
use tenants::id::ClientId;
use uuid::Uuid;

use super::rows;
use crate::ctx::Scope;
use crate::token::Scopes;

/// A client as it is to be known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Where it may act.
    pub scope: Scope,
    /// What it is there: in live mode no secret is taken, and tokens are bound.
    pub mode: Mode,
    /// The client.
    pub client: ClientIntent,
}

/// Why a client is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// In live mode a client proves who it is by a key.
    #[error("in live mode a client has no secret")]
    SecretInLive,
    /// In live mode a token is worth nothing without its key.
    #[error("in live mode tokens are bound to a key or a certificate")]
    UnboundInLive,
    /// The method needs a key, a certificate or a secret that is not there, or what is there is none.
    #[error("the client has no usable {0}")]
    Credential(&'static str),
    /// A scope is not a word.
    #[error("the client's scopes are malformed")]
    Scopes,
    /// The method or the binding is one that this build does not know.
    #[error("the client's method or binding is unknown to this build")]
    Unknown,
    /// The id is another client's, elsewhere.
    #[error("the client is registered for another scope")]
    Elsewhere,
    /// The tables could not be read or written.
    #[error("the registration could not be stored")]
    Store(#[from] super::store::StoreError),
}

impl From<sea_orm::DbErr> for RegistrationError {
    fn from(error: sea_orm::DbErr) -> Self {
        Self::Store(error.into())
    }
}

/// A registration as its column holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    shard: i32,
    scope: Uuid,
    mode: Mode,
    client: ClientIntent,
    /// The epoch that was asked for last, by the clock of who asked; the client's own is by the issuer's.
    asked: i64,
}

/// Whether this build knows the client's method and binding.
#[must_use]
pub fn is_known(client: &ClientIntent) -> bool {
    client.method != Method::Unknown && client.binding != Binding::Unknown
}

impl Registration {
    /// The text of its column; `asked` is the epoch that was asked for last.
    pub(super) fn written(&self, asked: i64) -> String {
        let Scope { shard, id } = self.scope;
        let written = Written { shard, scope: id, mode: self.mode, client: self.client.clone(), asked };
        serde_json::to_string(&written).expect("texts and numbers have a JSON form")
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        Self::read_asked(text).map(|(known, _)| known)
    }

    /// What [`Registration::written`] wrote.
    pub(super) fn read_asked(text: &str) -> Option<(Self, i64)> {
        let Written { shard, scope, mode, client, asked } = serde_json::from_str(text).ok()?;
        Some((Self { scope: Scope::new(shard, scope), mode, client }, asked))
    }

    /// Whether an issuer would take it.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), RegistrationError> {
        self.engines().map(drop)
    }

    /// The client as the protocol engine knows it.
    ///
    /// # Errors
    /// It cannot be one.
    pub(super) fn engines(&self) -> Result<Client, RegistrationError> {
        let ClientIntent { id, name, method, keys, thumbprints, secret_sha256, scopes, binding, .. } =
            &self.client;
        if self.mode == Mode::Live {
            if *method == Method::Secret || secret_sha256.is_some() {
                return Err(RegistrationError::SecretInLive);
            }
            if *binding == Binding::None {
                return Err(RegistrationError::UnboundInLive);
            }
        }
        if *binding == Binding::Unknown {
            return Err(RegistrationError::Unknown);
        }
        let certificates = || -> Result<Vec<CertificateThumbprint>, RegistrationError> {
            let read = |text: &String| CertificateThumbprint::from_base64url(text);
            let read: Result<Vec<_>, _> = thumbprints.iter().map(read).collect();
            read.ok().filter(|all| !all.is_empty()).ok_or(RegistrationError::Credential("certificate"))
        };
        if *binding == Binding::Certificate {
            certificates()?;
        }
        let auth = match method {
            Method::PrivateKeyJwt => {
                let read = |key: &tenants::contract::PublicKey| {
                    Ok(Jwk::from_coordinates(&key.x, &key.y)?.with_kid(&key.kid))
                };
                let keys: Result<Vec<Jwk>, oauth_as::jwt::VerifyError> = keys.iter().map(read).collect();
                let keys = keys.ok().filter(|all| !all.is_empty());
                let keys = keys.ok_or(RegistrationError::Credential("key"))?;
                ClientAuth::ConfidentialAssertion {
                    keys: AssertionKeys::PublicKeys { alg: JwsAlg::Es256, keys },
                }
            }
            Method::Tls => {
                let certificates = RegisteredCertificates::from_thumbprints(certificates()?)
                    .map_err(|_| RegistrationError::Credential("certificate"))?;
                ClientAuth::Mtls {
                    registration: MtlsClientRegistration::SelfSignedTlsClientAuth(certificates),
                }
            }
            Method::Secret => {
                let hash = secret_sha256.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
                let hash = hash.filter(|hash| hash.len() == 32);
                let hash = hash.ok_or(RegistrationError::Credential("secret"))?;
                ClientAuth::ConfidentialSecretHash {
                    hash: SecretHash::custom(SecretHash::SHA256_HEX, hex::encode(hash)),
                }
            }
            Method::Unknown => return Err(RegistrationError::Unknown),
        };
        let allowed = ScopeSet::from_tokens(scopes.iter().cloned()).map_err(|_| RegistrationError::Scopes)?;
        // A client that was revoked proves who it is and gets nothing.
        let grants = if self.client.revoked { Vec::new() } else { vec![GrantType::ClientCredentials] };
        Ok(Client {
            client_id: Name::new(id.to_string()),
            auth,
            grant_types: grants,
            redirect_uris: Vec::new(),
            default_scopes: allowed.clone(),
            allowed_scopes: allowed,
            name: Some(name.clone()),
            registration: None,
        })
    }
}

/// What a token's client is.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it may act.
    pub scope: Scope,
    /// What it is there.
    pub mode: Mode,
    /// What it may do at most.
    pub scopes: Scopes,
    /// What its tokens are bound to.
    pub binding: Binding,
    /// The certificates that it may hold, as `x5t#S256` writes them.
    pub thumbprints: Vec<String>,
    /// Tokens issued before this second are not accepted.
    pub epoch: i64,
    /// Whether its tokens are accepted at all.
    pub active: bool,
}

impl From<Registration> for Entry {
    fn from(Registration { scope, mode, client }: Registration) -> Self {
        Self {
            scope,
            mode,
            scopes: client.scopes.iter().map(String::as_str).collect(),
            binding: client.binding,
            thumbprints: client.thumbprints,
            epoch: client.epoch,
            active: !client.revoked,
        }
    }
}

/// Every client of an issuer, in memory.
#[derive(Debug, Clone, Default)]
pub struct Directory(HashMap<ClientId, Arc<Entry>>);

impl Directory {
    /// What is known of a client.
    #[must_use]
    pub fn get(&self, client: ClientId) -> Option<&Arc<Entry>> {
        self.0.get(&client)
    }

    /// How many clients there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes up what changed; entries that did not change stay the same ones.
    pub(super) fn take_up(&mut self, changed: Vec<rows::client::Model>) {
        for row in changed {
            let Ok(id) = row.client_id.parse::<ClientId>() else { continue };
            // What cannot be read is nobody: its tokens are refused, and the log says why they were.
            match row.entry.as_deref().and_then(Registration::read) {
                Some(registration) => {
                    let entry = Entry::from(registration);
                    if self.0.get(&id).is_none_or(|known| **known != entry) {
                        self.0.insert(id, Arc::new(entry));
                    }
                }
                None => {
                    self.0.remove(&id);
                }
            }
        }
    }
}

/// What a client is called in the tables.
pub(super) fn name(id: ClientId) -> Name {
    Name::new(id.to_string())
}
