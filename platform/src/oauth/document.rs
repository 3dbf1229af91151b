//! Documents that an issuer signs with the key of its tokens: whoever has its key set, or only the name of the key, can
//! check them, and nobody takes them for a token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{issuer::Issuer, keys::KeyOfSet, keys::KeySet};

/// A document that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The compact JWS (RFC 7515), with the public key in its header.
    pub jws: String,
    /// The name of the key: the thumbprint of its public part (RFC 7638).
    pub kid: String,
}

impl Issuer {
    /// Signs a document, ES256; nothing if there is no key that signs. `kind` is the `typ` of its header, which no token
    /// has.
    ///
    /// Keys of tokens are published for a month and forgotten, documents are kept for years: so the public key is in the
    /// header, and the name of the key is what has to be known from elsewhere.
    #[must_use]
    pub fn sign(&self, kind: &str, document: &[u8]) -> Option<Signed> {
        let key = self.state().signing.clone()?;
        let public: KeySet = [key.public()].into_iter().collect();
        let KeyOfSet { kty, crv, kid, x, y, .. } = public.keys.into_iter().next()?;
        let jwk = json!({"kty": kty, "crv": crv, "x": x, "y": y});
        let header = json!({"alg": "ES256", "typ": kind, "kid": kid, "jwk": jwk});
        Some(Signed { jws: key.sign_bytes(&header, document).ok()?, kid })
    }

    /// The name of the key with which this issuer signed this document, if it did, and has not forgotten the key.
    #[must_use]
    pub fn signed(&self, kind: &str, jws: &str, document: &[u8]) -> Option<String> {
        let (signed, signature) = jws.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let header: Value = serde_json::from_slice(&decoded(header)?).ok()?;
        if header["typ"] != kind || header["alg"] != "ES256" || decoded(payload)? != document {
            return None;
        }
        let state = self.state();
        let key = state.keys.iter().find(|key| header["kid"] == key.public.kid.as_str())?;
        let own = key.public.verifies(signed.as_bytes(), &decoded(signature)?);
        own.then(|| key.public.kid.clone())
    }
}
