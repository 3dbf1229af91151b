//! The keys that an issuer signs with: ES256 by ring.
//!
//! At any time one key is active. Before it is too old the next one is made and published, so that whoever keeps our
//! key set has it before it signs anything; the retired one stays published until nothing that it signed is alive.
//! Replicas that rotate at once wait for each other, and the second finds nothing to do.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use oauth_as::jwt::{Jwk, JwsAlg, JwsSignature, JwsSigner, JwsVerifier, SignerError};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use serde::Serialize;

use crate::hash::sha256_base64url;

/// A key could not be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signing key is not one of ES256")]
pub struct BadKey;

/// A private key, and what it is called.
pub struct SigningKey {
    kid: String,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.kid)
    }
}

impl SigningKey {
    /// A fresh key, and its PKCS #8 form for storage.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn make() -> Result<(Self, Vec<u8>), BadKey> {
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let der = der.map_err(|_| BadKey)?.as_ref().to_vec();
        Ok((Self::read(&der)?, der))
    }

    /// The key of this PKCS #8 form.
    ///
    /// # Errors
    /// It is none.
    pub fn read(der: &[u8]) -> Result<Self, BadKey> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random);
        let pair = pair.map_err(|_| BadKey)?;
        let (x, y) = coordinates(&pair)?;
        Ok(Self { kid: thumbprint(&x, &y), pair, random })
    }

    /// What it is called: the thumbprint of its public part (RFC 7638).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The public part.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let (x, y) = coordinates(&self.pair).unwrap_or_default();
        PublicKey { kid: self.kid.clone(), x, y }
    }

    /// A compact JWS of this header and these claims, both JSON.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn sign_jws(&self, header: &serde_json::Value, claims: &serde_json::Value) -> Result<String, BadKey> {
        self.sign_bytes(header, claims.to_string().as_bytes())
    }

    /// A compact JWS of this header, JSON, and these bytes.
    ///
    /// # Errors
    /// As [`SigningKey::sign_jws`].
    pub fn sign_bytes(&self, header: &serde_json::Value, payload: &[u8]) -> Result<String, BadKey> {
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let mut text = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(&self.random, text.as_bytes()).map_err(|_| BadKey)?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Ok(text)
    }
}

/// The coordinates of the public point, base64url; ring gives it uncompressed: 4, x, y.
fn coordinates(pair: &EcdsaKeyPair) -> Result<(String, String), BadKey> {
    let point = pair.public_key().as_ref();
    let (x, y) = point.get(1..).and_then(|both| both.split_at_checked(32)).ok_or(BadKey)?;
    Ok((URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
}

/// RFC 7638 of a key on P-256.
#[must_use]
pub fn thumbprint(x: &str, y: &str) -> String {
    sha256_base64url(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#))
}

impl JwsSigner for SigningKey {
    fn alg(&self) -> JwsAlg {
        JwsAlg::Es256
    }

    async fn sign(&self, input: &[u8]) -> Result<JwsSignature, SignerError> {
        let signature = self.pair.sign(&self.random, input).map_err(|_| SignerError::new("ring"))?;
        JwsSignature::from_wire(JwsAlg::Es256, signature.as_ref()).ok_or_else(|| SignerError::new("length"))
    }

    fn public_jwk(&self) -> Jwk {
        let PublicKey { kid, x, y } = self.public();
        Jwk::from_coordinates(&x, &y).expect("ring gives coordinates of 32 bytes").with_kid(&kid)
    }
}

/// A public key on P-256, as in a key set (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// What it is called.
    pub kid: String,
    /// The coordinate, base64url.
    pub x: String,
    /// The coordinate, base64url.
    pub y: String,
}

impl PublicKey {
    /// Whether this key made this signature (64 bytes).
    #[must_use]
    pub fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        let mut point = vec![4];
        let whole = URL_SAFE_NO_PAD.decode_vec(&self.x, &mut point).is_ok()
            && URL_SAFE_NO_PAD.decode_vec(&self.y, &mut point).is_ok();
        whole && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature).is_ok()
    }
}

/// A key of a key set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(example = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig",
    "kid": "oct0pU5rc9XT7cS6uBtdvgnfRqgFQ7fTWfJ9ZJ4fVVk", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}))]
pub struct KeyOfSet {
    /// Always `EC`.
    pub kty: &'static str,
    /// Always `P-256`.
    pub crv: &'static str,
    /// Always `ES256`.
    pub alg: &'static str,
    /// Always `sig`.
    #[serde(rename = "use")]
    pub purpose: &'static str,
    /// What tokens name it by.
    pub kid: String,
    /// The coordinate, base64url.
    pub x: String,
    /// The coordinate, base64url.
    pub y: String,
}

/// The keys that tokens of this issuer are verified with (RFC 7517).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct KeySet {
    /// The one that signs, the next one, and those of tokens that may still be alive.
    pub keys: Vec<KeyOfSet>,
}

impl FromIterator<PublicKey> for KeySet {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        let key = |PublicKey { kid, x, y }| KeyOfSet {
            kty: "EC",
            crv: "P-256",
            alg: "ES256",
            purpose: "sig",
            kid,
            x,
            y,
        };
        Self { keys: keys.into_iter().map(key).collect() }
    }
}

/// ES256 for the engine.
#[derive(Debug)]
pub(super) struct Es256;

impl JwsVerifier for Es256 {
    fn alg(&self) -> JwsAlg {
        JwsAlg::Es256
    }

    fn verify(&self, key: &Jwk, input: &[u8], signature: &[u8]) -> bool {
        // A key of another kind has empty coordinates.
        key.crv().is_some()
            && PublicKey { kid: String::new(), x: key.x().to_owned(), y: key.y().to_owned() }
                .verifies(input, signature)
    }
}

/// When keys change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// How long a key signs.
    pub every: TimeDelta,
    /// How long it is published before.
    pub announced: TimeDelta,
    /// How long it is published after: no less than its tokens live.
    pub kept: TimeDelta,
}

impl Rotation {
    /// A month, an hour before, and five minutes longer than a token lives after.
    pub const USUAL: Self = Self {
        every: TimeDelta::days(30),
        announced: TimeDelta::hours(1),
        kept: TimeDelta::seconds(super::TTL_S as i64 + 300),
    };
}

/// What a key is for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Published, and signs from its time on.
    Next,
    /// Signs.
    Active,
    /// Published until what it signed has ended.
    Retired,
}

impl Stage {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Next, Self::Active, Self::Retired].into_iter().find(|stage| stage.name() == name)
    }
}

/// What is known of a key in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The public part.
    pub public: PublicKey,
    /// What it is for.
    pub stage: Stage,
    /// Since when it signs, or from when on it will.
    pub active_at: DateTime<Utc>,
    /// Since when it does not any more.
    pub retired_at: Option<DateTime<Utc>>,
}

/// A step of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the first key, which signs at once.
    First,
    /// Make the next key, which signs from this instant on.
    Announce(DateTime<Utc>),
    /// Retire this key.
    Retire(String),
    /// Let this key sign.
    Activate(String),
    /// Remove this key.
    Forget(String),
}

/// What has to be done at `now`; `at_once` wants a new key whatever the age of the one that signs, and published no
/// longer than asked.
#[must_use]
pub fn plan(keys: &[Kept], rotation: &Rotation, now: DateTime<Utc>, at_once: Option<TimeDelta>) -> Vec<Step> {
    let of = |stage: Stage| keys.iter().find(|key| key.stage == stage);
    let later = |at: DateTime<Utc>, by: TimeDelta| at.checked_add_signed(by).unwrap_or(at);
    let mut steps: Vec<Step> = keys
        .iter()
        .filter(|key| key.retired_at.is_some_and(|at| later(at, rotation.kept) <= now))
        .map(|key| Step::Forget(key.public.kid.clone()))
        .collect();
    match (of(Stage::Active), of(Stage::Next)) {
        (None, None) => steps.push(Step::First),
        (None, Some(next)) => steps.push(Step::Activate(next.public.kid.clone())),
        (Some(active), Some(next)) if next.active_at <= now || at_once == Some(TimeDelta::zero()) => {
            steps.push(Step::Retire(active.public.kid.clone()));
            steps.push(Step::Activate(next.public.kid.clone()));
        }
        (Some(active), None) => {
            let due = later(active.active_at, rotation.every - rotation.announced) <= now;
            if let Some(announced) = at_once.or(due.then_some(rotation.announced)) {
                steps.push(Step::Announce(later(now, announced)));
            }
        }
        (Some(_), Some(_)) => {}
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn key(kid: &str, stage: Stage, age: TimeDelta, retired: Option<TimeDelta>) -> Kept {
        let public = PublicKey { kid: kid.to_owned(), x: String::new(), y: String::new() };
        Kept { public, stage, active_at: now() - age, retired_at: retired.map(|ago| now() - ago) }
    }

    fn steps(keys: &[Kept]) -> Vec<Step> {
        plan(keys, &Rotation::USUAL, now(), None)
    }

    #[test]
    fn a_key_is_announced_then_signs_then_is_kept_then_forgotten() {
        let days = TimeDelta::days;
        assert_eq!(steps(&[]), [Step::First]);
        let young = key("a", Stage::Active, days(3), None);
        assert_eq!(steps(std::slice::from_ref(&young)), []);
        let old = key("a", Stage::Active, days(30) - TimeDelta::hours(1), None);
        assert_eq!(steps(std::slice::from_ref(&old)), [Step::Announce(now() + TimeDelta::hours(1))]);
        let soon = key("b", Stage::Next, TimeDelta::seconds(-1), None);
        assert_eq!(steps(&[old.clone(), soon]), []);
        let due = key("b", Stage::Next, days(0), None);
        assert_eq!(steps(&[old, due]), [Step::Retire("a".into()), Step::Activate("b".into())]);
        let kept = key("c", Stage::Retired, days(40), Some(TimeDelta::seconds(899)));
        assert_eq!(steps(&[young.clone(), kept]), []);
        let over = key("c", Stage::Retired, days(40), Some(TimeDelta::seconds(900)));
        assert_eq!(steps(&[young, over]), [Step::Forget("c".into())]);
    }

    #[test]
    fn a_key_is_called_by_its_thumbprint() {
        // RFC 7638 has no vector on P-256; the values are those of `openssl dgst` over the canonical JSON.
        let (key, der) = SigningKey::make().unwrap();
        let again = SigningKey::read(&der).unwrap();
        assert_eq!(key.kid(), again.kid());
        assert_eq!(key.public_jwk().thumbprint(), key.kid(), "as the engine computes it");
        assert!(SigningKey::read(&der[1..]).is_err());
    }

    #[test]
    fn a_signature_is_the_keys_and_the_texts() {
        let (key, _) = SigningKey::make().unwrap();
        let (other, _) = SigningKey::make().unwrap();
        let jws = key.sign_jws(&serde_json::json!({}), &serde_json::json!({})).unwrap();
        let (signed, signature) = jws.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.public().verifies(signed.as_bytes(), &signature));
        assert!(!other.public().verifies(signed.as_bytes(), &signature));
        assert!(!key.public().verifies(b"other", &signature));
        assert!(!key.public().verifies(signed.as_bytes(), &[0; 64]));
        let broken = PublicKey { x: "AA".into(), ..key.public() };
        assert!(!broken.verifies(signed.as_bytes(), &signature));
    }
}
