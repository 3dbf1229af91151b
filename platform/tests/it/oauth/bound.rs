//! Tokens that are worth nothing without a key or a certificate.

use chrono::TimeDelta;
use oauth_as::client_assertion::CLIENT_ASSERTION_TYPE;
use platform::ctx::Clock;
use platform::hash::sha256_base64url;
use platform::migrations::migrations;
use platform::oauth::{Presented, Proof, ProofError, Request};
use platform::testing::TestDb;
use platform::testing::oauth::{TestClient, issuer, issuer_in, opened};
use platform::token::TokenError;
use tenants::contract::{Binding, Method};
use tenants::environment::Mode;

use super::{clock, scope};

const SCOPES: [&str; 1] = ["accounts:read"];

#[tokio::test]
async fn a_token_bound_to_a_key_comes_with_a_proof_of_the_request() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let client = TestClient::register(&issuer, &clock, scope(1), Mode::Live, &SCOPES).await;
    let other = TestClient::register(&issuer, &clock, scope(1), Mode::Live, &SCOPES).await;
    let grant = client.token(&issuer, None).await.unwrap();
    assert!(grant.dpop);
    let token = &grant.token;
    let path = "/v1/accounts";
    let present = |dpop: bool, proof: Result<Option<&'static str>, ()>| Presented {
        token: token.clone().leak(),
        dpop,
        proof,
        certificate: None,
        method: "GET",
        path,
    };
    let leak = |proof: String| -> &'static str { proof.leak() };
    let good = leak(client.proof("GET", path, Some(token)));
    assert!(issuer.caller(&present(true, Ok(Some(good)))).await.is_ok());
    for (what, presented, expected) in [
        ("again", present(true, Ok(Some(good))), TokenError::Proof(ProofError::Replayed)),
        ("none", present(true, Ok(None)), TokenError::Proof(ProofError::Absent)),
        ("two", present(true, Err(())), TokenError::Proof(ProofError::Absent)),
        ("as Bearer", present(false, Ok(None)), TokenError::Unbound),
        (
            "as Bearer with a proof",
            present(false, Ok(Some(leak(client.proof("GET", path, Some(token)))))),
            TokenError::Unbound,
        ),
        (
            "another path",
            present(true, Ok(Some(leak(client.proof("GET", "/v1/parties", Some(token)))))),
            TokenError::Proof(ProofError::Wrong),
        ),
        (
            "another method",
            present(true, Ok(Some(leak(client.proof("POST", path, Some(token)))))),
            TokenError::Proof(ProofError::Wrong),
        ),
        (
            "another token",
            present(true, Ok(Some(leak(client.proof("GET", path, Some("x")))))),
            TokenError::Proof(ProofError::Token),
        ),
        (
            "another key",
            present(true, Ok(Some(leak(other.proof("GET", path, Some(token)))))),
            TokenError::Proof(ProofError::Key),
        ),
    ] {
        assert_eq!(issuer.caller(&presented).await.err(), Some(expected), "{what}");
    }
}

#[tokio::test]
async fn a_proof_is_wanted_and_used_once_where_the_token_is_issued() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let client = TestClient::register(&issuer, &clock, scope(1), Mode::Live, &SCOPES).await;
    let ask = async |dpop: Option<&str>| {
        let jwt = client.assertion(&client.claims());
        let proof = Proof::Assertion { jwt: &jwt, kind: Some(CLIENT_ASSERTION_TYPE) };
        issuer.token(Request { client_id: None, proof, scope: None, dpop, certificate: None }).await
    };
    assert_eq!(ask(None).await.unwrap_err().error, "invalid_dpop_proof");
    let proof = client.proof("POST", "/v1/oauth/token", None);
    assert!(ask(Some(&proof)).await.is_ok());
    assert_eq!(ask(Some(&proof)).await.unwrap_err().error, "invalid_dpop_proof", "again");
    let elsewhere = client.proof("POST", "/v1/accounts", None);
    assert_eq!(ask(Some(&elsewhere)).await.unwrap_err().error, "invalid_dpop_proof");
}

#[tokio::test]
async fn a_token_of_before_is_not_enough_when_a_client_has_to_be_bound() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let mut client = TestClient::register(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
    let token = client.token(&issuer, None).await.unwrap().token;
    assert!(issuer.caller(&Presented::bearer(&token)).await.is_ok());
    let as_dpop = Presented { dpop: true, ..Presented::bearer(&token) };
    assert_eq!(issuer.caller(&as_dpop).await.err(), Some(TokenError::Unbound));
    client.registration.client.binding = Binding::Dpop;
    issuer.register(&client.registration).await.unwrap();
    assert_eq!(issuer.caller(&Presented::bearer(&token)).await.err(), Some(TokenError::Unbound));
}

#[tokio::test]
async fn a_client_of_before_a_plane_was_live_gets_nothing_and_nowhere() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let before = issuer(&db, clock.clone()).await;
    let client = TestClient::register(&before, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
    let token = client.token(&before, None).await.unwrap().token;
    assert!(before.caller(&Presented::bearer(&token)).await.is_ok());
    let live = issuer_in(Mode::Live, &db, clock.clone()).await;
    assert_eq!(live.caller(&Presented::bearer(&token)).await.err(), Some(TokenError::Unbound));
    assert_eq!(client.token(&live, None).await.unwrap_err().error, "invalid_client");
}

/// A certificate that its owner signed itself, good from and until so many days from now.
fn certificate(clock: &Clock, from: i64, until: i64) -> Vec<u8> {
    let day = |days: i64| {
        let at = (clock.now() + TimeDelta::days(days)).timestamp();
        time::OffsetDateTime::from_unix_timestamp(at).unwrap()
    };
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    (params.not_before, params.not_after) = (day(from), day(until));
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

#[tokio::test]
async fn a_token_bound_to_a_certificate_comes_over_its_connection() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let (ours, theirs) = (&*certificate(&clock, 0, 2), &*certificate(&clock, 0, 2));
    for method in [Method::PrivateKeyJwt, Method::Tls] {
        let mut client = TestClient::new(&clock, scope(1), Mode::Live, &SCOPES);
        client.registration.client.method = method;
        client.registration.client.binding = Binding::Certificate;
        client.registration.client.thumbprints = vec![sha256_base64url(ours)];
        issuer.register(&client.registration).await.unwrap();
        let id = client.id().to_string();
        let ask = async |client: &TestClient, certificate: Option<&[u8]>| {
            let jwt = client.assertion(&client.claims());
            let proof = match method {
                Method::Tls => Proof::Certificate,
                _ => Proof::Assertion { jwt: &jwt, kind: Some(CLIENT_ASSERTION_TYPE) },
            };
            let request = Request { client_id: Some(&id), proof, scope: None, dpop: None, certificate };
            issuer.token(request).await
        };
        assert_eq!(ask(&client, None).await.unwrap_err().error, "invalid_client");
        assert_eq!(ask(&client, Some(theirs)).await.unwrap_err().error, "invalid_client");
        let token = ask(&client, Some(ours)).await.unwrap().token;
        assert_eq!(opened(&token).1["cnf"]["x5t#S256"], sha256_base64url(ours).as_str());
        let present = |certificate| Presented { certificate, ..Presented::bearer(&token) };
        assert!(issuer.caller(&present(Some(ours))).await.is_ok());
        for certificate in [None, Some(theirs)] {
            assert_eq!(issuer.caller(&present(certificate)).await.err(), Some(TokenError::Certificate));
        }
        // What it may hold is not enough while it is not valid; the token of a minute ago is worth nothing then.
        let ended = &*certificate(&clock, -2, -1);
        client.registration.client.thumbprints = [ours, ended].map(sha256_base64url).to_vec();
        issuer.register(&client.registration).await.unwrap();
        assert!(ask(&client, Some(ours)).await.is_ok());
        let refused = ask(&client, Some(ended)).await.unwrap_err();
        assert!(
            refused.error == "invalid_client" && refused.description.contains("certificate"),
            "{refused}"
        );
        let later = clock.now();
        clock.advance(TimeDelta::days(3));
        let again = ask(&client, Some(ours)).await.unwrap_err();
        assert_eq!(again.error, "invalid_client", "it has ended meanwhile");
        clock.set(later);
        // A certificate that the client does not have any more is not enough, though the token names it.
        client.registration.client.thumbprints = vec![sha256_base64url(theirs)];
        issuer.register(&client.registration).await.unwrap();
        assert_eq!(issuer.caller(&present(Some(ours))).await.err(), Some(TokenError::Certificate));
    }
}
