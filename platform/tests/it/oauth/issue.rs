//! Who gets a token, and whose token is accepted.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use oauth_as::client_assertion::CLIENT_ASSERTION_TYPE;
use platform::ctx::Clock;
use platform::hash::sha256_base64url;
use platform::keys::{DataKey, HOME};
use platform::migrations::migrations;
use platform::oauth::keys::{Rotation, SigningKey};
use platform::oauth::{
    Grant, Issuer, IssuerError, IssuerOptions, Proof, Refused, RegistrationError, Request,
};
use platform::testing::oauth::{ISSUER, TestClient, issuer, opened, token};
use platform::testing::{TestDb, label};
use platform::token::{Claims, TokenError};
use ring::hmac;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use tenants::contract::{Binding, Method};
use tenants::environment::Mode;
use tenants::id::EnvironmentId;

use super::{clock, refusal, scope};

const SCOPES: [&str; 2] = ["accounts:read", "transfers:write"];

async fn ask(issuer: &Issuer, jwt: &str) -> Result<Grant, Refused> {
    let proof = Proof::Assertion { jwt, kind: Some(CLIENT_ASSERTION_TYPE) };
    issuer.token(Request { client_id: None, proof, scope: None, dpop: None, certificate: None }).await
}

async fn ask_with_secret(issuer: &Issuer, id: &str, secret: &str) -> Result<Grant, Refused> {
    let proof = Proof::Secret(secret);
    issuer.token(Request { client_id: Some(id), proof, scope: None, dpop: None, certificate: None }).await
}

/// The error of a refusal.
fn error(refused: Result<Grant, Refused>) -> &'static str {
    refused.unwrap_err().error
}

#[tokio::test]
async fn a_token_says_who_its_client_is_and_nothing_else() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let issuer = issuer(&db, clock.clone()).await;
        let client = TestClient::register(&issuer, &clock, scope(7), Mode::Sandbox, &SCOPES).await;
        let grant = client.token(&issuer, None).await.unwrap();
        assert_eq!(
            (grant.expires_in, grant.dpop, &*grant.scope),
            (600, false, "accounts:read transfers:write")
        );
        let (header, body) = opened(&grant.token);
        assert_eq!(header, json!({"alg": "ES256", "typ": "at+jwt", "kid": issuer.active_key().unwrap()}));
        let (id, now) = (client.id().to_string(), clock.now().timestamp());
        let jti = body["jti"].clone();
        assert_eq!(
            body,
            json!({"iss": ISSUER, "aud": ISSUER, "sub": id, "client_id": id, "iat": now, "exp": now + 600,
                "scope": "accounts:read transfers:write", "jti": jti})
        );
        let claims = issuer.caller(&platform::oauth::Presented::bearer(&grant.token)).await.unwrap();
        let expected = Claims {
            sub: client.id(),
            env: EnvironmentId::from_uuid(scope(7).id),
            scope: SCOPES.into_iter().collect(),
            exp: now + 600,
            jti: jti.as_str().unwrap().to_owned(),
        };
        assert_eq!(*claims, expected, "{}", label(db.backend()));
    }
}

/// The public key of a key set as PEM: the fixed beginning of a key on P-256 (RFC 5480), and the point.
fn pem(key: &Value) -> String {
    const BEGINNING: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let der = [hex::decode(BEGINNING).unwrap(), vec![4], part("x"), part("y")].concat();
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

/// A signature of two numbers of 32 bytes as DER, which openssl wants.
fn der(signature: &[u8]) -> Vec<u8> {
    let number = |bytes: &[u8]| {
        let start = bytes.iter().position(|byte| *byte != 0).unwrap();
        let mut digits = bytes[start..].to_vec();
        if digits[0] >= 0x80 {
            digits.insert(0, 0);
        }
        [vec![2, u8::try_from(digits.len()).unwrap()], digits].concat()
    };
    let both = [number(&signature[..32]), number(&signature[32..])].concat();
    [vec![0x30, u8::try_from(both.len()).unwrap()], both].concat()
}

/// Whether `openssl`, which shares no code with us, finds the token signed by a key of the set.
fn openssl_agrees(token: &str, key: &Value) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(content).unwrap();
        path
    };
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let key = file("key", pem(key).as_bytes());
    let signature = file("signature", &der(&URL_SAFE_NO_PAD.decode(signature).unwrap()));
    let signed = file("signed", signed.as_bytes());
    let run = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(key)
        .arg("-signature")
        .arg(signature)
        .arg(signed)
        .output();
    run.expect("openssl is installed (Debian: apt install openssl)").status.success()
}

#[tokio::test]
async fn another_implementation_verifies_our_tokens_with_our_key_set() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let set = serde_json::to_value(issuer.key_set()).unwrap();
    let key = &set["keys"][0];
    for _ in 0..3 {
        let token = token(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        assert!(openssl_agrees(&token, key));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        assert!(!openssl_agrees(&format!("{signed}x.{signature}"), key), "the oracle can say no");
    }
}

/// A JWS with this header, signed by HMAC with these bytes.
fn hmac_jws(header: &Value, body: &str, secret: &[u8]) -> String {
    let signed = format!("{}.{body}", URL_SAFE_NO_PAD.encode(header.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

#[tokio::test]
async fn what_is_not_signed_by_our_key_is_refused() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let good = token(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (_, body) = signed.split_once('.').unwrap();
    let (header, claims) = opened(&good);
    let kid = header["kid"].clone();
    let with = |name: &str, value: Value| {
        let mut changed = header.clone();
        changed[name] = value;
        format!("{}.{body}.{signature}", URL_SAFE_NO_PAD.encode(changed.to_string()))
    };
    let (stranger, _) = SigningKey::make().unwrap();
    let public = stranger.public();
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": public.x, "y": public.y});
    let by_stranger = |header: Value| stranger.sign_jws(&header, &claims).unwrap();
    let set = serde_json::to_value(issuer.key_set()).unwrap();
    let mut more = claims.clone();
    more["scope"] = "accounts:read transfers:write payments:write".into();
    let more = URL_SAFE_NO_PAD.encode(more.to_string());
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[9] ^= 1;
    let flipped = URL_SAFE_NO_PAD.encode(flipped);
    use TokenError as E;
    for (token, expected) in [
        (format!("{signed}."), E::Signature),
        (format!("{signed}.{flipped}"), E::Signature),
        (signed.replace(body, &more) + "." + signature, E::Signature),
        (by_stranger(json!({"alg": "ES256", "typ": "at+jwt", "kid": kid})), E::Signature),
        (by_stranger(json!({"alg": "ES256", "typ": "at+jwt", "kid": stranger.kid()})), E::UnknownKey),
        (by_stranger(json!({"alg": "ES256", "typ": "at+jwt", "jwk": jwk, "kid": kid})), E::Signature),
        (by_stranger(json!({"alg": "ES256", "typ": "at+jwt", "jwk": jwk})), E::UnknownKey),
        (
            by_stranger(json!({"alg": "ES256", "typ": "at+jwt", "jku": "https://x.example", "kid": "x"})),
            E::UnknownKey,
        ),
        (with("alg", json!("none")), E::Algorithm),
        (format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"at+jwt"}"#)), E::Algorithm),
        (with("alg", json!("ES384")), E::Algorithm),
        (with("crit", json!(["exp"])), E::Algorithm),
        (with("typ", json!("JWT")), E::Type),
        (with("typ", json!("dpop+jwt")), E::Type),
        // The public key as if it were a shared secret.
        (
            hmac_jws(
                &json!({"alg": "HS256", "typ": "at+jwt", "kid": kid}),
                body,
                pem(&set["keys"][0]).as_bytes(),
            ),
            E::Algorithm,
        ),
        (
            hmac_jws(
                &json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}),
                body,
                pem(&set["keys"][0]).as_bytes(),
            ),
            E::Signature,
        ),
        (signed.to_owned(), E::Malformed),
        (format!("{good}="), E::Malformed),
        ("x".repeat(5000), E::Malformed),
        (String::new(), E::Malformed),
    ] {
        assert_eq!(refusal(&issuer, &token).await, Some(expected), "{token}");
    }
    assert_eq!(refusal(&issuer, &good).await, None);
}

async fn called(db: &TestDb, clock: Clock, url: &str) -> Result<Issuer, IssuerError> {
    let keys = Arc::new(DataKey::fixed(HOME.id, [0x5a; 32]));
    let options =
        IssuerOptions { url: url.to_owned(), mode: Mode::Sandbox, secrets: false, rotation: Rotation::USUAL };
    Issuer::start(db.db().clone(), keys, clock, options).await
}

#[tokio::test]
async fn a_token_is_for_its_issuer_only() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let ours = issuer(&db, clock.clone()).await;
    // Of the same keys and clients, so that nothing but its name differs.
    let other = called(&db, clock.clone(), "https://other.example").await.unwrap();
    let token = token(&ours, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
    assert_eq!(refusal(&ours, &token).await, None);
    assert_eq!(refusal(&other, &token).await, Some(TokenError::Audience));
    for url in ["cell.example", "https://cell.example/", "https://cell.example/x", "ftp://x.example", ""] {
        assert!(matches!(called(&db, clock.clone(), url).await, Err(IssuerError::Url(_))), "{url}");
    }
}

#[tokio::test]
async fn a_token_ends() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let token = token(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
    clock.advance(TimeDelta::seconds(599));
    assert_eq!(refusal(&issuer, &token).await, None);
    clock.advance(TimeDelta::seconds(1));
    for _ in 0..2 {
        assert_eq!(refusal(&issuer, &token).await, Some(TokenError::Expired));
    }
}

#[tokio::test]
async fn an_assertion_is_the_clients_for_us_now_and_once() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let issuer = issuer(&db, clock.clone()).await;
        let client = TestClient::register(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        let other = TestClient::register(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        let good = client.assertion(&client.claims());
        assert!(ask(&issuer, &good).await.is_ok());
        assert_eq!(error(ask(&issuer, &good).await), "invalid_client", "a second time");
        let now = clock.now().timestamp();
        for (name, value) in [
            ("aud", json!(format!("{ISSUER}/v1/oauth/token"))),
            ("aud", json!("https://other.example")),
            ("aud", json!([ISSUER, "https://other.example"])),
            ("exp", json!(now)),
            ("exp", json!(now + 700)),
            ("iat", json!(now + 120)),
            ("iss", json!(other.id().to_string())),
            ("jti", json!("")),
            ("exp", Value::Null),
        ] {
            let mut claims = client.claims();
            claims[name] = value;
            let refused = ask(&issuer, &client.assertion(&claims)).await;
            assert_eq!(error(refused), "invalid_client", "{name} {claims}");
        }
        assert_eq!(
            error(ask(&issuer, &other.assertion(&client.claims())).await),
            "invalid_client",
            "its key"
        );
        let body = URL_SAFE_NO_PAD.encode(client.claims().to_string());
        let public = pem(&serde_json::to_value(&client.registration.client.keys[0]).unwrap());
        for header in [json!({"alg": "HS256"}), json!({"alg": "ES256"})] {
            let jwt = hmac_jws(&header, &body, public.as_bytes());
            assert_eq!(error(ask(&issuer, &jwt).await), "invalid_client", "{header}");
        }
        let unsigned = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
        assert_eq!(error(ask(&issuer, &unsigned).await), "invalid_client");
        let unknown = TestClient::new(&clock, scope(1), Mode::Sandbox, &SCOPES);
        assert_eq!(error(ask(&issuer, &unknown.assertion(&unknown.claims())).await), "invalid_client");
        let wrong_type = Proof::Assertion { jwt: &client.assertion(&client.claims()), kind: Some("x") };
        let request =
            Request { client_id: None, proof: wrong_type, scope: None, dpop: None, certificate: None };
        assert!(issuer.token(request).await.is_err(), "{}", label(db.backend()));
    }
}

#[tokio::test]
async fn a_stranger_is_refused_without_the_tables() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let stranger = TestClient::new(&clock, scope(1), Mode::Sandbox, &SCOPES);
    // Whoever begins a transaction of the worker now waits in vain.
    let held = db.begin_system().await.unwrap();
    assert_eq!(error(stranger.token(&issuer, None).await), "invalid_client");
    held.commit().await.unwrap();
}

#[tokio::test]
async fn a_secret_is_for_sandboxes_where_they_are_wanted() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let mut client = TestClient::new(&clock, scope(1), Mode::Sandbox, &SCOPES);
    client.registration.client.method = Method::Secret;
    client.registration.client.secret_sha256 = Some(sha256_base64url("a secret of a sandbox"));
    issuer.register(&client.registration).await.unwrap();
    let id = client.id().to_string();
    let token = ask_with_secret(&issuer, &id, "a secret of a sandbox").await.unwrap().token;
    assert_eq!(refusal(&issuer, &token).await, None);
    assert_eq!(error(ask_with_secret(&issuer, &id, "another").await), "invalid_client");
    assert_eq!(error(ask_with_secret(&issuer, &id, "").await), "invalid_client");
    assert_eq!(error(ask(&issuer, &client.assertion(&client.claims())).await), "invalid_client");

    let strict = called(&db, clock.clone(), ISSUER).await.unwrap();
    assert_eq!(error(ask_with_secret(&strict, &id, "a secret of a sandbox").await), "invalid_client");

    let mut live = TestClient::new(&clock, scope(2), Mode::Live, &SCOPES);
    live.registration.client.secret_sha256 = Some(sha256_base64url("a secret in live"));
    let refused = issuer.register(&live.registration).await;
    assert!(matches!(refused, Err(RegistrationError::SecretInLive)), "{refused:?}");
    live.registration.client.secret_sha256 = None;
    live.registration.client.binding = Binding::None;
    let refused = issuer.register(&live.registration).await;
    assert!(matches!(refused, Err(RegistrationError::UnboundInLive)), "{refused:?}");
}

#[tokio::test]
async fn a_registration_that_cannot_be_is_refused_whole() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    type Spoil = fn(&mut platform::oauth::Registration);
    let spoils: [Spoil; 7] = [
        |it| it.client.keys.clear(),
        |it| it.client.keys[0].x = "AA".to_owned(),
        |it| it.client.method = Method::Tls,
        |it| it.client.method = Method::Secret,
        |it| it.client.binding = Binding::Certificate,
        |it| it.client.scopes.push("two words".to_owned()),
        |it| it.client.binding = Binding::Unknown,
    ];
    for (at, spoil) in spoils.into_iter().enumerate() {
        let mut client = TestClient::new(&clock, scope(1), Mode::Sandbox, &SCOPES);
        spoil(&mut client.registration);
        assert!(issuer.register(&client.registration).await.is_err(), "{at}");
        assert!(issuer.store().registration(client.id()).await.unwrap().is_none(), "{at}");
    }
    let mut client = TestClient::register(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
    client.registration.scope = scope(2);
    let moved = issuer.register(&client.registration).await;
    assert!(matches!(moved, Err(RegistrationError::Elsewhere)), "{moved:?}");
}

/// A small generator, so that a run repeats.
struct Chance(u64);

impl Chance {
    fn subset<'a>(&mut self, of: &[&'a str]) -> Vec<&'a str> {
        let mut chosen = Vec::new();
        for item in of {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if self.0 >> 63 == 1 {
                chosen.push(*item);
            }
        }
        chosen
    }
}

#[tokio::test]
async fn no_client_gets_a_scope_or_a_place_of_another() {
    const ALL: [&str; 6] = [
        "accounts:read",
        "accounts:write",
        "parties:read",
        "parties:write",
        "payments:write",
        "transfers:write",
    ];
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let mut chance = Chance(7);
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut scopes = chance.subset(&ALL);
        scopes.push("everybody:read");
        let client = TestClient::register(&issuer, &clock, scope(number), Mode::Sandbox, &scopes).await;
        clients.push((client, scopes));
    }
    let (mut granted, mut refused) = (0, 0);
    for round in 0..60 {
        let (client, allowed) = &clients[round % clients.len()];
        let mut asked = chance.subset(&ALL);
        asked.push("everybody:read");
        let within = asked.iter().all(|scope| allowed.contains(scope));
        match client.token(&issuer, Some(&asked.join(" "))).await {
            Ok(grant) => {
                granted += 1;
                assert!(within, "{asked:?} of {allowed:?}");
                let claims = issuer.caller(&platform::oauth::Presented::bearer(&grant.token)).await.unwrap();
                assert_eq!(claims.env.uuid(), client.registration.scope.id);
                assert_eq!(claims.sub, client.id());
                for scope in ALL {
                    assert_eq!(claims.scope.contains(scope), asked.contains(&scope), "{scope} of {asked:?}");
                }
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.error, "invalid_scope");
                assert!(!within, "{asked:?} of {allowed:?}");
            }
        }
    }
    assert!(granted > 0 && refused > 0, "{granted} and {refused}");
}
