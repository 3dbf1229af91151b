//! What a client keeps, its id, its private key and perhaps a certificate, and what it proves with them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use oauth_as::client_assertion::CLIENT_ASSERTION_TYPE;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tenants::contract::{Binding, PublicKey};
use tenants::id::ClientId;

use super::keys::{BadKey, SigningKey};
use crate::hash::sha256_base64url;
use crate::{pki, random};

/// How long an assertion is good, in seconds.
const ASSERTED_S: i64 = 60;
/// How long a certificate that a client makes itself is good.
const CERTIFIED: TimeDelta = TimeDelta::days(365);
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const END: &str = "-----END PRIVATE KEY-----\n";
/// RFC 7468 §2.
const LINE: usize = 64;

/// A client's id and private key, and what its tokens are bound to: nothing, that key, or a certificate for it.
pub struct Credential {
    id: ClientId,
    key: SigningKey,
    der: Vec<u8>,
    binding: Binding,
    certificate_pem: Option<String>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({})", self.id)
    }
}

/// A text that is no [`Credential::written`].
#[derive(Debug, thiserror::Error)]
#[error(
    "a client's file is JSON: `client_id`, `private_key`, a PKCS #8 key on P-256 as PEM, and where its tokens are bound \
     `binding`: `dpop`, or `certificate` with that `certificate` for the key as PEM"
)]
pub struct BadCredential;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    client_id: ClientId,
    private_key: String,
    #[serde(default = "unbound", skip_serializing_if = "is_unbound")]
    binding: Binding,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
}

const fn unbound() -> Binding {
    Binding::None
}

fn is_unbound(binding: &Binding) -> bool {
    *binding == Binding::None
}

impl Credential {
    /// A fresh key for a client.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn make(id: ClientId) -> Result<Self, BadKey> {
        let (key, der) = SigningKey::make()?;
        Ok(Self { id, key, der, binding: Binding::None, certificate_pem: None })
    }

    /// The credential in this text.
    ///
    /// # Errors
    /// There is none.
    pub fn read(text: &str) -> Result<Self, BadCredential> {
        let written = serde_json::from_str(text).map_err(|_| BadCredential)?;
        let Written { client_id, private_key, binding, certificate } = written;
        let body = private_key.trim_start().strip_prefix(BEGIN.trim_end());
        let body = body.and_then(|body| body.trim_end().strip_suffix(END.trim_end())).ok_or(BadCredential)?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| BadCredential)?;
        let key = SigningKey::read(&der).map_err(|_| BadCredential)?;
        let held = certificate.as_deref().map(pki::der).transpose().map_err(|_| BadCredential)?;
        let fits = match binding {
            Binding::None | Binding::Dpop => true,
            Binding::Certificate => held.is_some(),
            Binding::Unknown => false,
        };
        if !fits {
            return Err(BadCredential);
        }
        Ok(Self { id: client_id, key, der, binding, certificate_pem: certificate })
    }

    /// The text of the file that a client keeps: JSON.
    #[must_use]
    pub fn written(&self) -> String {
        let (private_key, certificate) = (self.key_pem(), self.certificate_pem.clone());
        let written = Written { client_id: self.id, private_key, binding: self.binding, certificate };
        serde_json::to_string_pretty(&written).expect("texts have a JSON form")
    }

    fn key_pem(&self) -> String {
        let mut pem = BEGIN.to_owned();
        let body = STANDARD.encode(&self.der);
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE));
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        pem.push_str(END);
        pem
    }

    /// The same key, to which tokens are bound (RFC 9449).
    #[must_use]
    pub fn with_dpop(self) -> Self {
        Self { binding: Binding::Dpop, ..self }
    }

    /// The same key with a certificate that it signed itself, good for a year, to which tokens are bound (RFC 8705).
    ///
    /// # Errors
    /// The certificate could not be made.
    pub fn with_certificate(self, now: DateTime<Utc>) -> Result<Self, BadKey> {
        let until = now.checked_add_signed(CERTIFIED).unwrap_or(now);
        let made = pki::self_signed(&self.der, "tambo client", now, until).map_err(|_| BadKey)?;
        Ok(Self { binding: Binding::Certificate, certificate_pem: Some(made), ..self })
    }

    /// What its tokens are bound to.
    #[must_use]
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// Its certificate, DER; if it has one.
    #[must_use]
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.certificate_pem.as_deref().and_then(|pem| pki::der(pem).ok())
    }

    /// The thumbprint of its certificate, as a client is registered with; if it has one.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        self.certificate().map(sha256_base64url)
    }

    /// Its key and its certificate, PEM, as TLS clients take them; if it has one.
    #[must_use]
    pub fn identity_pem(&self) -> Option<String> {
        Some(format!("{}{}", self.key_pem(), self.certificate_pem.as_ref()?))
    }

    /// The same key, of the client with this id.
    #[must_use]
    pub fn of(self, id: ClientId) -> Self {
        Self { id, ..self }
    }

    /// Whose it is.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// The public part, as the client is registered with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let super::keys::PublicKey { kid, x, y } = self.key.public();
        PublicKey { kid, x, y }
    }

    /// An assertion for the issuer of this name (RFC 7523), good for a minute and once.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn assertion(&self, issuer: &str, now: DateTime<Utc>) -> Result<String, BadKey> {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.key.kid()});
        let (id, now) = (self.id.to_string(), now.timestamp());
        let claims =
            json!({"iss": id, "sub": id, "aud": issuer, "iat": now, "exp": now + ASSERTED_S, "jti": fresh()});
        self.key.sign_jws(&header, &claims)
    }

    /// A proof of the key for one request, and for `token` if it has one (RFC 9449 §4.2).
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn proof(
        &self,
        method: &str,
        url: &str,
        token: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<String, BadKey> {
        let PublicKey { x, y, .. } = self.public();
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let mut claims = json!({"htm": method, "htu": url, "iat": now.timestamp(), "jti": fresh()});
        if let Some(token) = token {
            claims["ath"] = sha256_base64url(token).into();
        }
        self.key.sign_jws(&header, &claims)
    }

    /// The form that asks the issuer of this name for a token with all scopes.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn token_form(&self, issuer: &str, now: DateTime<Utc>) -> Result<String, BadKey> {
        let assertion = self.assertion(issuer, now)?;
        let pairs = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", CLIENT_ASSERTION_TYPE),
            ("client_assertion", &assertion),
        ];
        Ok(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
    }
}

fn fresh() -> String {
    format!("{:032x}", random::bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let made = Credential::make(ClientId::from_uuid(Uuid::from_u128(7))).unwrap();
        let written = made.written();
        let read = Credential::read(&written).unwrap();
        assert_eq!((read.id(), read.public()), (made.id(), made.public()));
        assert!(written.split("\\n").all(|line| line.len() <= 120), "{written}");
        assert_eq!(format!("{made:?}"), format!("Credential({})", made.id()), "it does not show its key");
        assert_eq!((read.binding(), read.thumbprint(), read.identity_pem()), (Binding::None, None, None));
        let bound = Credential::read(&read.with_dpop().written()).unwrap();
        assert_eq!((bound.binding(), bound.public()), (Binding::Dpop, made.public()));
        let certified = bound.with_certificate(DateTime::from_timestamp(1_800_000_000, 0).unwrap()).unwrap();
        let again = Credential::read(&certified.written()).unwrap();
        assert_eq!(again.binding(), Binding::Certificate);
        assert_eq!(
            (again.thumbprint(), again.identity_pem()),
            (certified.thumbprint(), certified.identity_pem())
        );
        assert!(again.thumbprint().is_some_and(|text| text.len() == 43));
        let bare =
            certified.written().replace("\"certificate\": \"-----BEGIN", "\"certificate\": \"-----BEGUN");
        assert!(Credential::read(&bare).is_err());
        for spoiled in [
            written.replace("client_id", "client"),
            written.replace("BEGIN PRIVATE", "BEGIN PUBLIC"),
            written.replacen("\\nM", "\\nN", 1),
            String::new(),
        ] {
            assert!(Credential::read(&spoiled).is_err(), "{spoiled}");
        }
    }
}
