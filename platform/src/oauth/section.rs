//! Clients that a configuration file names: for who has nobody to tell him.

use serde::Deserialize;
use tenants::contract::{Binding, ClientIntent, Method, PublicKey};
use tenants::id::ClientId;

use crate::config::Faults;

/// A client in a configuration: exactly one of `keys`, `thumbprints` and `secret_sha256` says how it proves who it is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSection {
    /// Its id.
    pub id: ClientId,
    /// Its name, for people.
    pub name: String,
    /// Its public keys on P-256.
    #[serde(default)]
    pub keys: Vec<PublicKey>,
    /// SHA-256 of its certificates, base64url.
    #[serde(default)]
    pub thumbprints: Vec<String>,
    /// SHA-256 of its secret, base64url.
    #[serde(default)]
    pub secret_sha256: Option<String>,
    /// What it may do; everything, if it is not said.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// What its tokens are bound to.
    #[serde(default = "unbound")]
    pub binding: Binding,
}

fn unbound() -> Binding {
    Binding::None
}

impl ClientSection {
    /// Adds what is wrong with it; `at` is its key in the file.
    pub fn check(&self, at: &str, secrets: bool, faults: &mut Faults) {
        let ways = [!self.keys.is_empty(), !self.thumbprints.is_empty(), self.secret_sha256.is_some()];
        let ways = ways.into_iter().filter(|there| *there).count();
        faults.unless(ways == 1, at, "have exactly one of `keys`, `thumbprints` and `secret_sha256`");
        if !secrets {
            let key = format!("{at}.secret_sha256");
            faults.unless(self.secret_sha256.is_none(), &key, "be absent: only sandboxes have secrets");
        }
    }

    /// The client as it is wanted; `all` are the scopes that there are.
    #[must_use]
    pub fn intent(&self, all: &[&str]) -> ClientIntent {
        let Self { id, name, keys, thumbprints, secret_sha256, scopes, binding } = self.clone();
        let method = match (keys.is_empty(), thumbprints.is_empty()) {
            (false, _) => Method::PrivateKeyJwt,
            (true, false) => Method::Tls,
            (true, true) => Method::Secret,
        };
        let every = || all.iter().map(|scope| (*scope).to_owned()).collect();
        let scopes = scopes.unwrap_or_else(every);
        ClientIntent {
            id,
            name,
            method,
            keys,
            thumbprints,
            secret_sha256,
            scopes,
            binding,
            epoch: 0,
            revoked: false,
        }
    }
}
