//! What a client is to the control plane; pure.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
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
/// How many clients an environment, or an organization itself, has at most with those that were revoked: its issuer forgets
/// none of them.
pub const CLIENTS_EVER: u64 = 2_000;
/// How far a cell's word of when something was granted may be ahead of this plane's clock.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

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
    /// When its credentials or its scopes were changed last; never goes back.
    pub granted_at: DateTime<Utc>,
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
        let changed_at = Some(self.granted_at);
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
            granted_at: intent.changed_at.unwrap_or(now),
        }
    }

    /// The client, given what its cell was told of it, perhaps by a control plane that knew more: what was changed last
    /// counts, an epoch never goes back, and a revocation is final.
    #[must_use]
    pub fn reconciled(self, told: &ClientIntent, now: DateTime<Utc>) -> Self {
        let mut after = self.clone();
        if let Some(granted_at) = later(told, self.granted_at, now) {
            let ClientIntent { name, method, keys, thumbprints, secret_sha256, scopes, .. } = told.clone();
            let proof = Proof { method, keys, thumbprints, secret_sha256 };
            after = Self { name, scopes, proof, granted_at, ..after };
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

    /// The same client with other credentials or scopes since `now`.
    #[must_use]
    pub fn granted(self, now: DateTime<Utc>) -> Self {
        // Also if the clock was put back: its cell takes what was granted later.
        let least = self.granted_at.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(now);
        Self { granted_at: now.max(least), ..self }
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

/// When a cell was told of credentials or scopes of a client that are later than those of `ours`. Nobody was told of them in
/// the future.
fn later(told: &ClientIntent, ours: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    told.changed_at.filter(|at| *at > ours && at.signed_duration_since(now) <= AHEAD && is_readable(told))
}

/// What a cell was told of an environment's clients, against what is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The same; what is for people does not count.
    Same,
    /// Others, or otherwise.
    Otherwise,
    /// Credentials or scopes of one of them that are later than those known here.
    Later,
}

/// Compares them.
#[must_use]
pub fn told(told: &[ClientIntent], ours: &[ClientIntent], now: DateTime<Utc>) -> Told {
    let plain =
        |client: &ClientIntent| ClientIntent { name: String::new(), changed_at: None, ..client.clone() };
    let known: BTreeMap<ClientId, &ClientIntent> = ours.iter().map(|client| (client.id, client)).collect();
    let is_later = |client: &ClientIntent| {
        let own = known.get(&client.id).and_then(|own| own.changed_at);
        own.is_some_and(|own| later(client, own, now).is_some())
    };
    let is_other = |client: &ClientIntent| match known.get(&client.id) {
        Some(own) => is_readable(client) && plain(client) != plain(own),
        None => true,
    };
    if told.iter().any(is_later) {
        Told::Later
    } else if told.len() != known.len() || told.iter().any(is_other) {
        Told::Otherwise
    } else {
        Told::Same
    }
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

    fn client(now: DateTime<Utc>) -> Client {
        Client {
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
            granted_at: now,
        }
    }

    #[test]
    fn what_was_granted_later_counts_and_not_what_is_of_the_future() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let minutes = |minutes: i64| now + TimeDelta::minutes(minutes);
        let client = client(now);
        assert!(client.clone().granted(minutes(-1)).granted_at > now, "a clock that was put back");
        for (granted_at, expected) in [
            (minutes(-1), Told::Otherwise),
            (now, Told::Otherwise),
            (minutes(1), Told::Later),
            (minutes(6), Told::Otherwise),
        ] {
            let told_of = Client { scopes: vec!["a".into()], granted_at, ..client.clone() }.intent();
            assert_eq!(
                told(std::slice::from_ref(&told_of), &[client.intent()], now),
                expected,
                "{granted_at}"
            );
            let after = client.clone().reconciled(&told_of, now);
            assert_eq!(after != client, expected == Told::Later, "{granted_at}");
        }
        let renamed = Client { name: "other".into(), updated_at: minutes(1), ..client.clone() };
        assert_eq!(told(&[renamed.intent()], &[client.intent()], now), Told::Same);
    }

    #[test]
    fn an_epoch_never_goes_back() {
        let now = DateTime::UNIX_EPOCH;
        let client = client(now);
        assert_eq!(client.clone().without_tokens(now).epoch, 9);
        let later = DateTime::from_timestamp(9, 5).unwrap();
        assert_eq!(client.without_tokens(later).epoch, 10);
    }
}
