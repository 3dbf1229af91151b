//! What a client is to the control plane; pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use platform::oauth::keys::thumbprint;
use tenants::{
    contract::{Binding, ClientIntent, Method, PublicKey},
    environment::Mode,
    id::{ClientId, EnvironmentId, OrganizationId},
};

/// How many scopes a client has at most, and how long one is.
pub const SCOPES: (usize, usize) = (64, 64);
/// How many keys or certificates a client has at most: the one in use, the next, and one to spare.
pub const CREDENTIALS: usize = 3;
/// How many clients that are not revoked an environment, or an organization itself, has at most.
pub const CLIENTS: usize = 100;
/// How many of the clients that were revoked last an environment's cell is told of. It forgets none of them; they are told
/// so that what it reports reminds a control plane which was restored from an older backup.
pub const TOMBSTONES: u64 = 50;

/// A client: who may ask for tokens, of which issuer, and what for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its id; also its name at the issuer.
    pub id: ClientId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// In whose cell it asks for tokens; nothing: here, for the organization itself.
    pub environment: Option<EnvironmentId>,
    /// For people.
    pub name: String,
    /// How it proves who it is, and by what.
    pub proof: Proof,
    /// What it may do at most.
    pub scopes: Vec<String>,
    /// What its tokens are bound to.
    pub binding: Binding,
    /// Tokens issued before this second are not accepted.
    pub epoch: i64,
    /// Whether it gets no more tokens, for ever.
    pub revoked: bool,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// How a client proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Proof {
    /// In which way.
    pub method: Method,
    /// Its public keys.
    pub keys: Vec<PublicKey>,
    /// SHA-256 of its certificates, base64url.
    pub thumbprints: Vec<String>,
    /// SHA-256 of its secret, base64url.
    pub secret_sha256: Option<String>,
}

/// What a caller says of a client.
#[derive(Debug, Clone)]
pub struct New {
    /// For people.
    pub name: String,
    /// In which way it proves who it is.
    pub method: Method,
    /// What it proves that by; of a secret nothing, which is made here.
    pub credentials: Credentials,
    /// What it may do at most.
    pub scopes: Vec<String>,
    /// What its tokens are bound to.
    pub binding: Binding,
}

/// What a client proves who it is by.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Public keys.
    pub keys: Vec<PublicKey>,
    /// SHA-256 of certificates, base64url.
    pub thumbprints: Vec<String>,
}

impl Client {
    /// The client as its issuer is told.
    #[must_use]
    pub fn intent(&self) -> ClientIntent {
        let Self { id, name, scopes, binding, epoch, revoked, .. } = self.clone();
        let Proof { method, keys, thumbprints, secret_sha256 } = self.proof.clone();
        let changed_at = Some(self.updated_at);
        ClientIntent {
            id,
            name,
            method,
            keys,
            thumbprints,
            secret_sha256,
            scopes,
            binding,
            epoch,
            revoked,
            changed_at,
        }
    }

    /// The client of an environment whose cell was told this of it.
    #[must_use]
    pub fn recovered(
        intent: &ClientIntent,
        organization: OrganizationId,
        environment: EnvironmentId,
        now: DateTime<Utc>,
    ) -> Self {
        let ClientIntent { id, name, scopes, binding, epoch, revoked, .. } = intent.clone();
        let ClientIntent { method, keys, thumbprints, secret_sha256, .. } = intent.clone();
        Self {
            id,
            organization,
            environment: Some(environment),
            name,
            proof: Proof { method, keys, thumbprints, secret_sha256 },
            scopes,
            binding,
            epoch,
            revoked,
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// The client, given what its cell was told of it, perhaps by a control plane that knew more: what was changed last
    /// counts, an epoch never goes back, and a revocation is final.
    #[must_use]
    pub fn reconciled(self, told: &ClientIntent, now: DateTime<Utc>) -> Self {
        let mut after = self.clone();
        if told.changed_at.is_some_and(|at| at > self.updated_at) && is_readable(told) {
            let ClientIntent { name, method, keys, thumbprints, secret_sha256, scopes, .. } = told.clone();
            after = Self { name, scopes, proof: Proof { method, keys, thumbprints, secret_sha256 }, ..after };
        }
        after.epoch = after.epoch.max(told.epoch);
        after.revoked |= told.revoked;
        if after == self { self } else { after.changed(now) }
    }

    /// The client after a change at `now`.
    #[must_use]
    pub fn changed(self, now: DateTime<Utc>) -> Self {
        Self { version: self.version.saturating_add(1), updated_at: now, ..self }
    }

    /// The same client, none of whose tokens of before `now` are accepted.
    #[must_use]
    pub fn without_tokens(self, now: DateTime<Utc>) -> Self {
        Self { epoch: now.timestamp().saturating_add(1).max(self.epoch), ..self }
    }
}

/// Who issues tokens to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssuerKind {
    /// The cell of an environment of this mode.
    Cell(Mode),
    /// This plane, which is in this mode; it takes no secrets in any.
    Plane(Mode),
}

impl IssuerKind {
    /// In live mode tokens are bound.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::Cell(mode) | Self::Plane(mode) => mode,
        }
    }
}

/// Whether all of it was read: a cell of another build may have had words that this one does not know.
fn is_readable(told: &ClientIntent) -> bool {
    told.method != Method::Unknown && told.binding != Binding::Unknown
}

/// Whether a cell was told to let in others than these, or otherwise; what is for people does not count.
#[must_use]
pub fn differ(told: &[ClientIntent], ours: &[ClientIntent]) -> bool {
    let plain =
        |client: &ClientIntent| ClientIntent { name: String::new(), changed_at: None, ..client.clone() };
    let known: BTreeMap<ClientId, &ClientIntent> = ours.iter().map(|client| (client.id, client)).collect();
    told.len() != known.len()
        || told.iter().any(|client| match known.get(&client.id) {
            Some(own) => is_readable(client) && plain(client) != plain(own),
            None => true,
        })
}

/// What is wrong with a client; each names the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The scopes are too many, none, or no words.
    Scopes,
    /// The credentials are not those that the method needs.
    Credentials,
    /// Secrets are for sandboxes.
    Secret,
    /// In live mode tokens are bound.
    Unbound,
}

impl New {
    /// The first thing that is wrong with it at this issuer.
    ///
    /// # Errors
    /// The fault.
    pub fn check(&self, issuer: IssuerKind) -> Result<(), Fault> {
        let (most, longest) = SCOPES;
        let word = |scope: &String| {
            (1..=longest).contains(&scope.len())
                && scope
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b':' | b'_' | b'-' | b'.'))
        };
        if !(1..=most).contains(&self.scopes.len()) || !self.scopes.iter().all(word) {
            return Err(Fault::Scopes);
        }
        let Credentials { keys, thumbprints } = &self.credentials;
        if self.method == Method::Secret && issuer != IssuerKind::Cell(Mode::Sandbox) {
            return Err(Fault::Secret);
        }
        let counts = (keys.len(), thumbprints.len());
        let bound_to_certificate = self.binding == Binding::Certificate;
        let fits = match self.method {
            // A certificate may also be what tokens are bound to.
            Method::PrivateKeyJwt => {
                (1..=CREDENTIALS).contains(&counts.0) && (counts.1 > 0) == bound_to_certificate
            }
            Method::Tls => counts.0 == 0 && counts.1 > 0,
            Method::Secret => counts.0 == 0 && (counts.1 > 0) == bound_to_certificate,
            Method::Unknown => false,
        };
        let named = keys.iter().all(|key| !key.kid.is_empty() && key.kid.len() <= SCOPES.1);
        let apart =
            keys.iter().enumerate().all(|(at, key)| keys[..at].iter().all(|other| other.kid != key.kid));
        if !fits || counts.1 > CREDENTIALS || !named || !apart {
            return Err(Fault::Credentials);
        }
        match self.binding {
            Binding::None if issuer.mode() == Mode::Live => Err(Fault::Unbound),
            Binding::Unknown => Err(Fault::Unbound),
            _ => Ok(()),
        }
    }
}

/// A key's name, where its owner gave it none: its thumbprint (RFC 7638).
#[must_use]
pub fn named(kid: Option<String>, x: String, y: String) -> PublicKey {
    PublicKey { kid: kid.unwrap_or_else(|| thumbprint(&x, &y)), x, y }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(method: Method, keys: usize, thumbprints: usize) -> New {
        let key = |at: usize| named(Some(at.to_string()), String::new(), String::new());
        New {
            name: "till".to_owned(),
            method,
            credentials: Credentials {
                keys: (0..keys).map(key).collect(),
                thumbprints: vec![String::new(); thumbprints],
            },
            scopes: vec!["accounts:read".to_owned()],
            binding: Binding::None,
        }
    }

    #[test]
    fn a_client_has_what_its_method_needs_and_no_more() {
        let sandbox = IssuerKind::Cell(Mode::Sandbox);
        let (live, plane) = (IssuerKind::Cell(Mode::Live), IssuerKind::Plane);
        for (new, mode, expected) in [
            (new(Method::PrivateKeyJwt, 1, 0), sandbox, Ok(())),
            (new(Method::PrivateKeyJwt, 1, 0), plane(Mode::Sandbox), Ok(())),
            (new(Method::PrivateKeyJwt, 0, 0), sandbox, Err(Fault::Credentials)),
            (new(Method::PrivateKeyJwt, CREDENTIALS + 1, 0), sandbox, Err(Fault::Credentials)),
            (new(Method::PrivateKeyJwt, 1, 1), sandbox, Err(Fault::Credentials)),
            (New { binding: Binding::Certificate, ..new(Method::PrivateKeyJwt, 1, 1) }, sandbox, Ok(())),
            (new(Method::Tls, 0, 1), sandbox, Ok(())),
            (new(Method::Tls, 0, 0), sandbox, Err(Fault::Credentials)),
            (new(Method::Secret, 0, 0), sandbox, Ok(())),
            (new(Method::Secret, 1, 0), sandbox, Err(Fault::Credentials)),
            (new(Method::Secret, 0, 0), plane(Mode::Sandbox), Err(Fault::Secret)),
            (new(Method::Secret, 0, 0), live, Err(Fault::Secret)),
            (new(Method::PrivateKeyJwt, 1, 0), live, Err(Fault::Unbound)),
            (New { binding: Binding::Dpop, ..new(Method::PrivateKeyJwt, 1, 0) }, live, Ok(())),
            (
                New { binding: Binding::Unknown, ..new(Method::PrivateKeyJwt, 1, 0) },
                sandbox,
                Err(Fault::Unbound),
            ),
            (new(Method::PrivateKeyJwt, 1, 0), plane(Mode::Live), Err(Fault::Unbound)),
            (New { scopes: Vec::new(), ..new(Method::Tls, 0, 1) }, sandbox, Err(Fault::Scopes)),
            (New { scopes: vec!["a b".to_owned()], ..new(Method::Tls, 0, 1) }, sandbox, Err(Fault::Scopes)),
        ] {
            assert_eq!(new.check(mode), expected, "{new:?} {mode:?}");
        }
    }

    #[test]
    fn an_epoch_never_goes_back() {
        let now = DateTime::UNIX_EPOCH;
        let client = Client {
            id: ClientId::from_uuid(uuid::Uuid::from_u128(1)),
            organization: OrganizationId::from_uuid(uuid::Uuid::from_u128(2)),
            environment: None,
            name: String::new(),
            proof: Proof {
                method: Method::Tls,
                keys: Vec::new(),
                thumbprints: Vec::new(),
                secret_sha256: None,
            },
            scopes: Vec::new(),
            binding: Binding::None,
            epoch: 9,
            revoked: false,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        assert_eq!(client.clone().without_tokens(now).epoch, 9);
        let later = DateTime::from_timestamp(9, 5).unwrap();
        assert_eq!(client.without_tokens(later).epoch, 10);
    }
}
