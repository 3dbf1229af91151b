//! Documents that an issuer signs, and that nobody takes for tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use platform::migrations::migrations;
use platform::oauth::Signed;
use platform::testing::TestDb;
use platform::testing::oauth::{issuer, opened, token};
use tenants::environment::Mode;

use super::{clock, refusal, scope};

const KIND: &str = "paper+jws";

#[tokio::test]
async fn a_signed_document_is_its_issuers_its_kinds_and_no_token() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let issuer = issuer(&db, clock.clone()).await;
        let document = b"{\"claims\": \"nothing\"}\n";
        let Signed { jws, kid } = issuer.sign(KIND, document).unwrap();
        assert_eq!(Some(&kid), issuer.active_key().as_ref());
        assert_eq!(issuer.signed(KIND, &jws, document), Some(kid.clone()));
        assert_eq!(issuer.signed("other+jws", &jws, document), None);
        assert_eq!(issuer.signed(KIND, &jws, b"another"), None);
        let (header, _) = opened(&jws);
        assert_eq!(header["kid"], kid);
        assert_eq!(
            platform::oauth::keys::thumbprint(text(&header["jwk"]["x"]), text(&header["jwk"]["y"])),
            kid
        );
        for at in 0..jws.len() {
            let mut changed = jws.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            // Of the last sign only some bits count.
            if at + 1 < jws.len() {
                assert_eq!(issuer.signed(KIND, &changed, document), None, "{at}");
            }
        }
        for none in ["", ".", "..", "a.b", "e30.e30.e30"] {
            assert_eq!(issuer.signed(KIND, none, document), None, "{none}");
        }
        assert!(refusal(&issuer, &jws).await.is_some(), "a document is no token");
        let token = token(&issuer, &clock, scope(7), Mode::Sandbox, &["accounts:read"]).await;
        let claims = payload(&token);
        assert_eq!(issuer.signed("at+jwt", &token, &claims), Some(kid.clone()));
        assert_eq!(issuer.signed(KIND, &token, &claims), None, "a token is no document of another kind");

        // The next key signs the next document; the one before is known while it is kept.
        issuer.rotate_now(TimeDelta::zero()).await.unwrap();
        let next = issuer.sign(KIND, document).unwrap();
        assert_ne!(next.kid, kid);
        assert_eq!(issuer.signed(KIND, &jws, document), Some(kid));
    }
}

fn text(json: &serde_json::Value) -> &str {
    json.as_str().unwrap()
}

fn payload(token: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()
}
