//! Clients and tokens of the real issuer.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use oauth_as::client_assertion::CLIENT_ASSERTION_TYPE;
use serde_json::{Value, json};
use tenants::contract::{Binding, ClientIntent, Method, PublicKey};
use tenants::environment::Mode;
use tenants::id::{ClientId, Id};

use crate::ctx::{Clock, Scope};
use crate::db::Db;
use crate::hash::sha256_base64url;
use crate::keys::{DataKey, HOME};
use crate::oauth::keys::{Rotation, SigningKey};
use crate::oauth::{Grant, Issuer, IssuerOptions, Proof, Refused, Registration, Request};
use crate::random;

/// What the issuers of tests are called.
pub const ISSUER: &str = "https://issuer.example";

/// An issuer called [`ISSUER`] on this database, with the usual rotation, that takes secrets.
///
/// # Panics
/// The database failed.
pub async fn issuer(db: &Db, clock: Clock) -> Issuer {
    issuer_in(Mode::Sandbox, db, clock).await
}

/// [`issuer`], of a plane in this mode.
///
/// # Panics
/// The database failed.
pub async fn issuer_in(mode: Mode, db: &Db, clock: Clock) -> Issuer {
    let options = IssuerOptions { url: ISSUER.to_owned(), mode, secrets: true, rotation: Rotation::USUAL };
    let keys = DataKey::fixed(HOME.id, [0x5a; 32]);
    Issuer::start(db.clone(), Arc::new(keys), clock, options).await.expect("the issuer starts")
}

/// A token with these scopes in `scope`, of a client that was made for it. In live mode it is bound to a key that is
/// gone: use a [`TestClient`] there.
///
/// # Panics
/// The issuer refuses.
pub async fn token(issuer: &Issuer, clock: &Clock, scope: Scope, mode: Mode, scopes: &[&str]) -> String {
    let client = TestClient::register(issuer, clock, scope, mode, scopes).await;
    client.token(issuer, None).await.expect("a registered client gets a token").token
}

/// A token of the client with this id, which is made, or gets another key, for it; otherwise as [`token`].
///
/// # Panics
/// The issuer refuses.
pub async fn token_as(
    issuer: &Issuer,
    clock: &Clock,
    id: ClientId,
    (scope, mode): (Scope, Mode),
    scopes: &[&str],
) -> String {
    let mut client = TestClient::new(clock, scope, mode, scopes);
    client.registration.client.id = id;
    issuer.register(&client.registration).await.expect("the client can be registered");
    client.token(issuer, None).await.expect("a registered client gets a token").token
}

/// A client with a key of its own, by which it proves who it is; in live mode its tokens are bound to that key.
#[derive(Debug)]
pub struct TestClient {
    /// What the issuer knows of it.
    pub registration: Registration,
    key: SigningKey,
    clock: Clock,
    held: Mutex<Option<(String, DateTime<Utc>)>>,
}

impl TestClient {
    /// A client that nobody knows yet.
    ///
    /// # Panics
    /// The system has no randomness.
    #[must_use]
    pub fn new(clock: &Clock, scope: Scope, mode: Mode, scopes: &[&str]) -> Self {
        let (key, _) = SigningKey::make().expect("the system has randomness");
        let public = key.public();
        let client = ClientIntent {
            id: ClientId::from_parts(clock.now(), random::bits()),
            name: "test".to_owned(),
            method: Method::PrivateKeyJwt,
            keys: vec![PublicKey { kid: public.kid, x: public.x, y: public.y }],
            thumbprints: Vec::new(),
            secret_sha256: None,
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            binding: if mode == Mode::Live { Binding::Dpop } else { Binding::None },
            epoch: 0,
            revoked: false,
            changed_at: None,
        };
        let registration = Registration { scope, mode, client };
        Self { registration, key, clock: clock.clone(), held: Mutex::default() }
    }

    /// A client that the issuer knows.
    ///
    /// # Panics
    /// The issuer refuses.
    pub async fn register(issuer: &Issuer, clock: &Clock, scope: Scope, mode: Mode, scopes: &[&str]) -> Self {
        let client = Self::new(clock, scope, mode, scopes);
        issuer.register(&client.registration).await.expect("the client can be registered");
        client
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.registration.client.id
    }

    /// What was never used, by no client with this id.
    fn fresh() -> String {
        format!("{:032x}", random::bits())
    }

    /// The claims of an assertion that is good, for tests that spoil it.
    #[must_use]
    pub fn claims(&self) -> Value {
        let (id, now) = (self.id().to_string(), self.clock.now().timestamp());
        json!({"iss": id, "sub": id, "aud": ISSUER, "iat": now, "exp": now + 60, "jti": Self::fresh()})
    }

    /// An assertion of these claims, signed by its key.
    ///
    /// # Panics
    /// The system has no randomness.
    #[must_use]
    pub fn assertion(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.key.kid()});
        self.key.sign_jws(&header, claims).expect("the system has randomness")
    }

    /// A proof of its key for a request of `method` and `path` at [`ISSUER`], and for `token` if there is one.
    ///
    /// # Panics
    /// The system has no randomness.
    #[must_use]
    pub fn proof(&self, method: &str, path: &str, token: Option<&str>) -> String {
        let PublicKey { x, y, .. } = &self.registration.client.keys[0];
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y});
        let mut claims = json!({"htm": method, "htu": format!("{ISSUER}{path}"),
            "iat": self.clock.now().timestamp(), "jti": Self::fresh()});
        if let Some(token) = token {
            claims["ath"] = sha256_base64url(token).into();
        }
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        self.key.sign_jws(&header, &claims).expect("the system has randomness")
    }

    /// A token for all that it may and that has minutes to live, by its clock: the same one for so long.
    ///
    /// # Panics
    /// The issuer refuses.
    pub async fn current(&self, issuer: &Issuer) -> String {
        let now = self.clock.now();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((token, since)) = held
            && (now - since).abs() < TimeDelta::minutes(5)
        {
            return token;
        }
        let token = self.token(issuer, None).await.expect("a registered client gets a token").token;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.clone(), now));
        token
    }

    /// A token for `scope`, or for all that it may; with a proof of its key if its tokens are bound to one.
    ///
    /// # Errors
    /// The issuer refuses.
    pub async fn token(&self, issuer: &Issuer, scope: Option<&str>) -> Result<Grant, Refused> {
        let bound = self.registration.client.binding == Binding::Dpop;
        let proof = bound.then(|| self.proof("POST", crate::oauth::http::TOKEN_PATH, None));
        let mut claims = self.claims();
        claims["aud"] = issuer.url().into();
        let jwt = self.assertion(&claims);
        let by = Proof::Assertion { jwt: &jwt, kind: Some(CLIENT_ASSERTION_TYPE) };
        let request =
            Request { client_id: None, proof: by, scope, dpop: proof.as_deref(), certificate: None };
        issuer.token(request).await
    }
}

/// The header and the claims of a token, unverified.
///
/// # Panics
/// It is none.
#[must_use]
pub fn opened(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| {
        let json = URL_SAFE_NO_PAD.decode(part).expect("parts are base64url");
        serde_json::from_slice(&json).unwrap_or(Value::Null)
    });
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
