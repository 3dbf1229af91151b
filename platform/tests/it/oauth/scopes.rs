//! The clients of a scope as one list, and the probe of an issuer.

use chrono::TimeDelta;
use platform::ctx::Clock;
use platform::migrations::migrations;
use platform::oauth::{Issuer, RegistrationError, forget_ended};
use platform::testing::TestDb;
use platform::testing::oauth::{TestClient, issuer};
use platform::token::TokenError;
use sea_orm::{ConnectionTrait, Statement};
use tenants::contract::{ClientIntent, Method};
use tenants::environment::Mode;

use super::{clock, refusal, scope};

async fn both() -> [(TestDb, Clock, Issuer); 2] {
    let on = async |db: TestDb| {
        let clock = clock();
        let issuer = issuer(&db, clock.clone()).await;
        (db, clock, issuer)
    };
    [on(TestDb::sqlite(migrations).await).await, on(TestDb::postgres(migrations).await).await]
}

fn clients(clock: &Clock, mode: Mode) -> [TestClient; 2] {
    [(); 2].map(|()| TestClient::new(clock, scope(3), mode, &["things:read"]))
}

fn intents(clients: &[TestClient]) -> Vec<ClientIntent> {
    clients.iter().map(|client| client.registration.client.clone()).collect()
}

#[tokio::test]
async fn who_is_not_on_the_list_any_more_is_gone_with_its_tokens_and_nobody_else_is() {
    for (_db, clock, issuer) in both().await {
        let [stays, goes] = clients(&clock, Mode::Sandbox);
        let other = TestClient::register(&issuer, &clock, scope(4), Mode::Sandbox, &["things:read"]).await;
        let all = intents(&[stays, goes]);
        issuer.ensure_clients(scope(3), Mode::Sandbox, &all).await.unwrap();
        let mut all = all;
        let gone = TestClient::register(&issuer, &clock, scope(3), Mode::Sandbox, &["things:read"]).await;
        let (token, others) = (gone.current(&issuer).await, other.current(&issuer).await);
        assert_eq!(refusal(&issuer, &token).await, None);
        issuer.ensure_clients(scope(3), Mode::Sandbox, &all).await.unwrap();
        assert_eq!(refusal(&issuer, &token).await, Some(TokenError::UnknownClient));
        assert_eq!(gone.token(&issuer, None).await.unwrap_err().error, "invalid_client");
        assert_eq!(refusal(&issuer, &others).await, None, "another scope's client");

        all[0].scopes = vec!["two words".to_owned()];
        all.remove(1);
        let refused = issuer.ensure_clients(scope(3), Mode::Sandbox, &all).await;
        assert!(matches!(refused, Err(RegistrationError::Scopes)), "{refused:?}");
        let theirs = RegistrationError::Elsewhere.to_string();
        all[0] = other.registration.client.clone();
        let refused = issuer.ensure_clients(scope(3), Mode::Sandbox, &all).await.unwrap_err();
        assert_eq!(refused.to_string(), theirs, "a client of another scope");

        // Who comes again is another one: what it had before is over.
        issuer.ensure_clients(scope(3), Mode::Sandbox, &intents(&[gone])).await.unwrap();
        assert_eq!(refusal(&issuer, &token).await, Some(TokenError::Revoked));
    }
}

#[tokio::test]
async fn a_client_of_an_unknown_kind_is_in_nobodys_way() {
    for (db, clock, issuer) in both().await {
        let [comes, odd] = clients(&clock, Mode::Sandbox);
        let gone = TestClient::register(&issuer, &clock, scope(3), Mode::Sandbox, &["things:read"]).await;
        let token = gone.current(&issuer).await;
        let mut wanted = intents(&[odd, comes]);
        wanted[0].method = Method::Unknown;
        let whole = issuer.ensure_clients(scope(3), Mode::Sandbox, &wanted).await;
        assert!(matches!(whole, Err(RegistrationError::Unknown)), "{whole:?}");
        let tx = db.begin_system().await.unwrap();
        let whose = (scope(3), Mode::Sandbox);
        assert!(issuer.store().ensure_clients_in_tx(&tx, whose, &wanted, clock.now()).await.unwrap());
        tx.commit().await.unwrap();
        issuer.refresh().await.unwrap();
        assert_eq!(refusal(&issuer, &token).await, Some(TokenError::UnknownClient));
        assert!(issuer.store().registration(wanted[1].id).await.unwrap().is_some());
        assert!(issuer.store().registration(wanted[0].id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_probe_comes_in_as_a_sandboxs_client_and_as_one_whose_tokens_are_bound() {
    for (db, clock, issuer) in both().await {
        let count = async |sql: &str| -> i64 {
            let query = Statement::from_string(db.worker().get_database_backend(), sql);
            let row = db.worker().query_one_raw(query).await.unwrap().unwrap();
            row.try_get_by_index(0).unwrap()
        };
        let changes = "SELECT version FROM oauth_issuer";
        let before = count(changes).await;
        for mode in [Mode::Sandbox, Mode::Live] {
            issuer.round_trip(scope(3), mode).await.unwrap();
        }
        // It is registered and removed; nothing else remembers it for longer than a token lives.
        assert_eq!(count(changes).await, before + 4);
        for table in ["oauth_replay", "oauth_record"] {
            assert_eq!(count(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
        assert_eq!(count("SELECT count(*) FROM oauth_client").await, 2);
        forget_ended(&db, clock.now() + TimeDelta::hours(1)).await.unwrap();
        for table in ["oauth_client", "oauth_barrier"] {
            assert_eq!(count(&format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
        }
    }
}
