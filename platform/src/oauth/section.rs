//! Clients that a configuration file names: for who has nobody to tell him.

use serde::Deserialize;
use tenants::contract::{Binding, ClientIntent, Method, PublicKey};
use tenants::environment::Mode;
use tenants::id::ClientId;

use crate::config::Faults;

/// A client in a configuration: exactly one of `keys`, `thumbprints` and `secret_sha256` says how it proves who it is;
/// `thumbprints` beside one of the others are what its tokens are bound to.
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
    /// Adds what is wrong with it in this mode; `at` is its key in the file.
    pub fn check(&self, at: &str, mode: Mode, secrets: bool, faults: &mut Faults) {
        let (keys, certificates) = (!self.keys.is_empty(), !self.thumbprints.is_empty());
        // What proves who it is; a certificate may also be what the tokens of a key are bound to.
        let alone = certificates && self.binding != Binding::Certificate;
        let ways = [keys, alone, self.secret_sha256.is_some()].into_iter().filter(|there| *there).count();
        let one = ways == 1 || (ways == 0 && certificates);
        faults.unless(one, at, "have exactly one of `keys`, `thumbprints` and `secret_sha256`");
        let bound = self.binding != Binding::Certificate || certificates;
        let reason = "hold the certificates that tokens are bound to";
        faults.unless(bound, &format!("{at}.thumbprints"), reason);
        if !secrets {
            let key = format!("{at}.secret_sha256");
            faults.unless(self.secret_sha256.is_none(), &key, "be absent: only sandboxes have secrets");
        }
        if mode == Mode::Live {
            let bound = matches!(self.binding, Binding::Dpop | Binding::Certificate);
            let reason = "be \"dpop\" or \"certificate\": in live mode tokens are bound";
            faults.unless(bound, &format!("{at}.binding"), reason);
        }
    }

    /// The client as it is wanted; `all` are the scopes that there are.
    #[must_use]
    pub fn intent(&self, all: &[&str]) -> ClientIntent {
        let Self { id, name, keys, thumbprints, secret_sha256, scopes, binding } = self.clone();
        let method = match (keys.is_empty(), &secret_sha256) {
            (false, _) => Method::PrivateKeyJwt,
            (true, None) => Method::Tls,
            (true, Some(_)) => Method::Secret,
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
            changed_at: None,
        }
    }
}
