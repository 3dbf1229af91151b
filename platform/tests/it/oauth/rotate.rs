//! What changes under living tokens: keys, clients, epochs; and what other replicas see of it.

use chrono::TimeDelta;
use platform::migrations::migrations;
use platform::oauth::Issuer;
use platform::oauth::keys::Stage;
use platform::testing::oauth::{TestClient, issuer, opened, token};
use platform::testing::{TestDb, label};
use platform::token::TokenError;
use sea_orm::{ConnectionTrait, Statement};
use tenants::environment::Mode;

use super::{clock, refusal, scope};

const SCOPES: [&str; 2] = ["accounts:read", "transfers:write"];

fn kid(token: &str) -> String {
    opened(token).0["kid"].as_str().unwrap().to_owned()
}

fn published(issuer: &Issuer) -> Vec<String> {
    issuer.key_set().keys.into_iter().map(|key| key.kid).collect()
}

#[tokio::test]
async fn keys_overlap() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let issuer = issuer(&db, clock.clone()).await;
        let first = issuer.active_key().unwrap();
        clock.advance(TimeDelta::days(30) - TimeDelta::hours(1));
        issuer.keep_up().await;
        assert_eq!(issuer.active_key().unwrap(), first, "announced, and does not sign yet");
        assert_eq!(published(&issuer).len(), 2);
        clock.advance(TimeDelta::minutes(59));
        let old = token(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        assert_eq!(kid(&old), first);
        clock.advance(TimeDelta::minutes(1));
        issuer.keep_up().await;
        let second = issuer.active_key().unwrap();
        assert_ne!(second, first);
        let new = token(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        assert_eq!(kid(&new), second);
        for token in [&old, &new] {
            assert_eq!(refusal(&issuer, token).await, None, "{}", label(db.backend()));
        }
        clock.advance(TimeDelta::seconds(899));
        issuer.keep_up().await;
        assert!(published(&issuer).contains(&first), "kept until its last token has ended");
        clock.advance(TimeDelta::seconds(1));
        issuer.keep_up().await;
        assert_eq!(published(&issuer), [second]);
        assert!(refusal(&issuer, &old).await.is_some());
    }
}

async fn stages(db: &TestDb) -> Vec<(String, i64)> {
    let root = db.root().await;
    let sql = "SELECT state, count(*) FROM oauth_key GROUP BY state ORDER BY state";
    let rows = root.query_all_raw(Statement::from_string(root.get_database_backend(), sql)).await.unwrap();
    rows.iter().map(|row| (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_rotate_at_once_have_one_active_key() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let mut replicas = Vec::new();
        let starts: Vec<_> = (0..4).map(|_| issuer(&db, clock.clone())).collect();
        for replica in futures::future::join_all(starts).await {
            replicas.push(replica);
        }
        assert_eq!(stages(&db).await, [("active".to_owned(), 1)], "one made the first");
        for (elapsed, expected) in [
            (TimeDelta::days(30), vec![("active", 1), ("next", 1)]),
            (TimeDelta::hours(1), vec![("active", 1), ("retired", 1)]),
            (TimeDelta::minutes(15), vec![("active", 1)]),
        ] {
            clock.advance(elapsed);
            futures::future::join_all(replicas.iter().map(Issuer::keep_up)).await;
            let expected: Vec<_> =
                expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
            assert_eq!(stages(&db).await, expected, "{}", label(db.backend()));
        }
        for replica in &replicas {
            replica.keep_up().await;
        }
        let active: Vec<_> = replicas.iter().map(Issuer::active_key).collect();
        assert!(active.iter().all(|key| key.is_some() && *key == active[0]), "{active:?}");
    }
}

#[tokio::test]
async fn somebody_may_want_a_new_key_at_once() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let old = token(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
    let first = issuer.active_key();
    issuer.rotate_now(TimeDelta::zero()).await.unwrap();
    assert_ne!(issuer.active_key(), first);
    assert_eq!(refusal(&issuer, &old).await, None);
    issuer.rotate_now(TimeDelta::minutes(5)).await.unwrap();
    assert_eq!(published(&issuer).len(), 3, "{:?}", Stage::Next);
}

#[tokio::test]
async fn a_key_that_leaked_is_replaced_and_its_tokens_are_refused_by_every_replica() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let (here, there) = (issuer(&db, clock.clone()).await, issuer(&db, clock.clone()).await);
        let client = TestClient::register(&here, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        let old = client.token(&here, None).await.unwrap().token;
        here.rotate_now(TimeDelta::hours(1)).await.unwrap();
        let before = published(&here);
        assert_eq!(before.len(), 2, "one signs, one is announced");
        assert_eq!(refusal(&there, &old).await, None, "and it is cached");

        here.replace_keys().await.unwrap();
        there.keep_up().await;
        let new = client.token(&there, None).await.unwrap().token;
        for replica in [&here, &there] {
            let [only] = &published(replica)[..] else { panic!("{:?}", published(replica)) };
            assert!(!before.contains(only), "{}", label(db.backend()));
            assert!(refusal(replica, &old).await.is_some());
            assert_eq!((refusal(replica, &new).await, kid(&new)), (None, only.clone()));
        }
    }
}

#[tokio::test]
async fn private_keys_are_sealed() {
    let db = TestDb::sqlite(migrations).await;
    let issuer = issuer(&db, clock()).await;
    let root = db.root().await;
    let sql = "SELECT hex(body) FROM oauth_key";
    let row = root.query_one_raw(Statement::from_string(root.get_database_backend(), sql)).await.unwrap();
    let body: String = row.unwrap().try_get_by_index(0).unwrap();
    // What PKCS #8 of a key on P-256 holds in clear, raw or in base64.
    let name = "2a8648ce3d030107";
    assert!(!body.to_lowercase().contains(name) && body.len() > 300, "{issuer:?}");
}

async fn revoke(issuer: &Issuer, db: &TestDb, client: &TestClient, now: chrono::DateTime<chrono::Utc>) {
    let tx = db.begin_system().await.unwrap();
    assert!(issuer.store().revoke_tokens_in_tx(&tx, client.id(), now).await.unwrap());
    tx.commit().await.unwrap();
    issuer.refresh().await.unwrap();
}

#[tokio::test]
async fn an_epoch_ends_earlier_tokens_at_once() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let issuer = issuer(&db, clock.clone()).await;
        let client = TestClient::register(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        let other = token(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        let old = client.token(&issuer, None).await.unwrap().token;
        assert_eq!(refusal(&issuer, &old).await, None, "and it is cached");
        revoke(&issuer, &db, &client, clock.now()).await;
        assert_eq!(refusal(&issuer, &old).await, Some(TokenError::Revoked), "{}", label(db.backend()));
        assert_eq!(refusal(&issuer, &other).await, None, "of another client");
        // The clock stands, so the second of the revocation does not end by waiting.
        let early = client.token(&issuer, None).await.unwrap_err();
        assert_eq!(early.error, "temporarily_unavailable");
        clock.advance(TimeDelta::seconds(1));
        let new = client.token(&issuer, None).await.unwrap().token;
        assert_eq!(refusal(&issuer, &new).await, None);
        assert_eq!(refusal(&issuer, &old).await, Some(TokenError::Revoked));
        // An older wish does not bring the old tokens back.
        assert_eq!(client.registration.client.epoch, 0);
        issuer.register(&client.registration).await.unwrap();
        assert_eq!(refusal(&issuer, &old).await, Some(TokenError::Revoked));
    }
}

#[tokio::test]
async fn a_revoked_or_removed_client_is_nobody() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let issuer = issuer(&db, clock.clone()).await;
        let mut client = TestClient::register(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        let token = client.token(&issuer, None).await.unwrap().token;
        client.registration.client.revoked = true;
        issuer.register(&client.registration).await.unwrap();
        assert_eq!(refusal(&issuer, &token).await, Some(TokenError::Revoked));
        assert_eq!(client.token(&issuer, None).await.unwrap_err().error, "invalid_client");
        client.registration.client.revoked = false;
        issuer.register(&client.registration).await.unwrap();
        assert_eq!(refusal(&issuer, &token).await, Some(TokenError::Revoked), "nobody takes it back");
        assert_eq!(client.token(&issuer, None).await.unwrap_err().error, "invalid_client");

        let tx = db.begin_system().await.unwrap();
        assert!(issuer.store().remove_client_in_tx(&tx, client.id(), clock.now()).await.unwrap());
        assert!(!issuer.store().remove_client_in_tx(&tx, client.id(), clock.now()).await.unwrap());
        tx.commit().await.unwrap();
        issuer.refresh().await.unwrap();
        assert_eq!(refusal(&issuer, &token).await, Some(TokenError::UnknownClient));
        assert_eq!(client.token(&issuer, None).await.unwrap_err().error, "invalid_client");
        // Registered again it starts anew: what it was given before stays dead.
        issuer.register(&client.registration).await.unwrap();
        assert_eq!(refusal(&issuer, &token).await, Some(TokenError::Revoked), "{}", label(db.backend()));
        clock.advance(TimeDelta::seconds(1));
        let new = client.token(&issuer, None).await.unwrap().token;
        assert_eq!(refusal(&issuer, &new).await, None);
    }
}

#[tokio::test]
async fn scopes_that_a_client_lost_are_lost_for_living_tokens() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let mut client = TestClient::register(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
    let token = client.token(&issuer, None).await.unwrap().token;
    let presented = platform::oauth::Presented::bearer(&token);
    assert!(issuer.caller(&presented).await.unwrap().scope.contains("transfers:write"));
    client.registration.client.scopes = vec!["accounts:read".to_owned(), "parties:read".to_owned()];
    issuer.register(&client.registration).await.unwrap();
    let claims = issuer.caller(&presented).await.unwrap();
    assert_eq!(claims.scope, ["accounts:read"].into_iter().collect(), "nor does it get new ones");
}

#[tokio::test]
async fn ensuring_twice_changes_nothing() {
    let db = TestDb::sqlite(migrations).await;
    let clock = clock();
    let issuer = issuer(&db, clock.clone()).await;
    let client = TestClient::new(&clock, scope(1), Mode::Sandbox, &SCOPES);
    assert!(issuer.store().ensure_client(&client.registration, clock.now()).await.unwrap());
    assert!(!issuer.store().ensure_client(&client.registration, clock.now()).await.unwrap());
}

#[tokio::test]
async fn another_replica_knows_at_once_or_within_a_second() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let (here, there) = (issuer(&db, clock.clone()).await, issuer(&db, clock.clone()).await);
        let client = TestClient::register(&here, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        let token = client.token(&here, None).await.unwrap().token;
        assert_eq!(refusal(&there, &token).await, None, "it looks when it does not know a client");
        revoke(&here, &db, &client, clock.now()).await;
        assert_eq!(refusal(&there, &token).await, None, "as of a second ago at most");
        there.keep_up().await;
        assert_eq!(refusal(&there, &token).await, Some(TokenError::Revoked), "{}", label(db.backend()));
    }
}

#[tokio::test]
async fn an_epoch_that_is_heard_of_late_ends_what_was_issued_until_then() {
    for db in TestDb::both(migrations).await {
        let clock = clock();
        let issuer = issuer(&db, clock.clone()).await;
        let mut client = TestClient::register(&issuer, &clock, scope(1), Mode::Sandbox, &SCOPES).await;
        let asked = clock.now().timestamp();
        clock.advance(TimeDelta::seconds(10));
        let late = client.token(&issuer, None).await.unwrap().token;
        client.registration.client.epoch = asked + 1;
        issuer.register(&client.registration).await.unwrap();
        assert_eq!(refusal(&issuer, &late).await, Some(TokenError::Revoked), "{}", label(db.backend()));
        clock.advance(TimeDelta::seconds(1));
        let new = client.token(&issuer, None).await.unwrap().token;
        issuer.register(&client.registration).await.unwrap();
        assert_eq!(refusal(&issuer, &new).await, None, "the same wish again is no other");
        client.registration.client.epoch = asked + 3;
        issuer.register(&client.registration).await.unwrap();
        assert_eq!(refusal(&issuer, &new).await, Some(TokenError::Revoked), "another wish, of a slow clock");
    }
}
