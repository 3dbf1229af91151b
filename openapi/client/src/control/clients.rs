//! Clients: who may ask for tokens.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    contract::{Binding, Method, PublicKey},
    id::{ClientId, EnvironmentId, OrganizationId},
};

/// A public key on P-256, for ES256 (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    /// Always `EC`.
    pub kty: String,
    /// Always `P-256`.
    pub crv: String,
    /// What assertions name it by.
    pub kid: String,
    /// The coordinate, base64url.
    pub x: String,
    /// The coordinate, base64url.
    pub y: String,
}

impl From<PublicKey> for Jwk {
    fn from(PublicKey { kid, x, y }: PublicKey) -> Self {
        Self { kty: "EC".to_owned(), crv: "P-256".to_owned(), kid, x, y }
    }
}

/// A client to be made.
#[derive(Debug, Clone, Serialize)]
pub struct ClientNew {
    /// For people.
    pub name: String,
    /// How it proves who it is.
    pub method: Method,
    /// Its public keys.
    pub keys: Vec<Jwk>,
    /// SHA-256 of its certificates, base64url.
    pub thumbprints: Vec<String>,
    /// What it may do at most.
    pub scopes: Vec<String>,
    /// What its tokens are bound to.
    pub binding: Binding,
}

/// What a client is to prove who it is by from now on.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClientRotation {
    /// Its public keys.
    pub keys: Vec<Jwk>,
    /// SHA-256 of its certificates, base64url.
    pub thumbprints: Vec<String>,
    /// Whether the tokens that it has end.
    pub revoke_tokens: bool,
}

/// What is to be different about a client; what is absent stays.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClientChange {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// Who may ask for tokens of an environment's cell, or of the control plane.
#[derive(Debug, Clone, Deserialize)]
pub struct OauthClient {
    /// Its id.
    pub id: ClientId,
    /// Who pays.
    pub organization_id: OrganizationId,
    /// In whose cell it asks for tokens; none: it asks the control plane.
    pub environment_id: Option<EnvironmentId>,
    /// For people.
    pub name: String,
    /// How it proves who it is.
    pub method: Method,
    /// Its public keys.
    pub keys: Vec<Jwk>,
    /// SHA-256 of its certificates, base64url.
    pub thumbprints: Vec<String>,
    /// What it may do at most.
    pub scopes: Vec<String>,
    /// What its tokens are bound to.
    pub binding: Binding,
    /// Tokens issued before this second are not accepted.
    pub epoch: i64,
    /// Whether it gets no more tokens.
    pub revoked: bool,
    /// Its secret; only where it was made just now.
    pub secret: Option<String>,
    /// Its `ETag`.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// Which clients to list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ClientsWhich {
    /// Those of this organization.
    pub organization_id: Option<OrganizationId>,
    /// Those of this environment.
    pub environment_id: Option<EnvironmentId>,
}
