//! The caller's environment and its clock.

use chrono::{DateTime, TimeDelta, Utc};
use data_plane::{migrations::migrations, router::scopes};
use platform::{
    db::cluster::{Cluster, Options},
    testing::{
        TestDb,
        http::Answer,
        oauth::{ISSUER, TestClient},
    },
};
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tenants::environment::Mode;

use crate::cell::{Cell, scope};

async fn now(cell: &Cell, token: &str) -> DateTime<Utc> {
    let shown = cell.get("/v1/environment").token(token).send().await.ok(200);
    serde_json::from_value(shown["now_at"].clone()).unwrap()
}

#[tokio::test]
async fn an_environment_knows_its_jurisdiction() {
    for cell in Cell::both().await {
        let shown = cell.get("/v1/environment").token(&cell.token).send().await.ok(200);
        assert_eq!(shown["currency"], "MXN");
        assert_eq!(shown["jurisdiction"], "mx-cnbv");
        assert_eq!(shown["mode"], "sandbox");
    }
}

#[tokio::test]
async fn a_sandbox_moves_its_own_clock_forward_once_per_key() {
    for cell in Cell::both().await {
        let before = now(&cell, &cell.token).await;
        let to = before + TimeDelta::days(40);
        let body = json!({"to_at": to});
        let post = async |key: &str, body: &Value| {
            cell.post("/v1/simulations/clock", body).token(&cell.token).key(key).send().await
        };
        post("first", &body).await.ok(200);
        assert!(now(&cell, &cell.token).await >= to);
        assert!(now(&cell, &cell.token_of(2).await).await < to, "another environment's clock stands");
        let again = post("first", &body).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        post("first", &json!({"to_at": to + TimeDelta::days(1)}))
            .await
            .is_problem("idempotency_mismatch", "another instant under the same key");
        let problem =
            post("second", &json!({"to_at": before})).await.is_problem("clock_backwards", "the past");
        assert_eq!(problem["errors"][0]["pointer"], "/to_at");
        post("third", &json!({"to_at": before + TimeDelta::days(40_000)}))
            .await
            .is_problem("clock_too_far", "2135");
        assert!(
            now(&cell, &cell.token).await < to + TimeDelta::days(1),
            "nothing of the refused moves stays"
        );
    }
}

#[tokio::test]
async fn a_live_environment_has_the_wall_clock_and_no_simulators() {
    // Live asks for a database that keeps what it has confirmed, which that of the other tests does not.
    let cluster = Cluster::start(Options { fsync: true, ..Options::default() }).unwrap();
    let database = cluster.create_database("cell").await.unwrap();
    let cell = Cell::with(TestDb::sqlite(migrations).await, |config| {
        config.database = database;
        config.cell.mode = Mode::Live;
        config.cell.public_url = ISSUER.to_owned();
        config.environments.iter_mut().for_each(|environment| environment.clients.clear());
    });
    let cell = cell.await;
    let issuer = &cell.app.issuer;
    let client = TestClient::register(issuer, &cell.app.clock, scope(1), Mode::Live, &scopes()).await;
    let token = client.current(issuer).await;
    let bound = format!("DPoP {token}");
    let path = "/v1/simulations/clock";
    let to_at = cell.app.clock.now() + TimeDelta::days(1);
    let proof = client.proof("POST", path, Some(&token));
    let call = cell.post(path, &json!({"to_at": to_at}));
    let call = call.header("authorization", &bound).header("dpop", &proof).key("k");
    call.send().await.is_problem("sandbox_only", "a live environment");
    let proof = client.proof("GET", "/v1/environment", Some(&token));
    let call = cell.get("/v1/environment").header("authorization", &bound).header("dpop", &proof);
    let shown = call.send().await.ok(200);
    assert_eq!(shown["mode"], "live");
    assert!(serde_json::from_value::<DateTime<Utc>>(shown["now_at"].clone()).unwrap() < to_at);
}

/// A conflict that the database tells of is nobody's fault: it is tried again, and told only if it does not end.
#[tokio::test]
async fn a_move_of_the_clock_that_meets_others_is_done_again() {
    let cell = Cell::postgres().await;
    // So many serialisation failures come of writing the clock; a sequence counts them, since it is not rolled back.
    let fail = async |times: i64| {
        let sql = format!(
            "DROP TRIGGER IF EXISTS planted ON scope_clock; DROP SEQUENCE IF EXISTS met; CREATE SEQUENCE met; \
             CREATE OR REPLACE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             AS $$ BEGIN IF nextval('met') <= {times} THEN RAISE EXCEPTION 'planted' USING ERRCODE = '40001'; \
             END IF; RETURN NEW; END $$; \
             CREATE TRIGGER planted BEFORE INSERT ON scope_clock FOR EACH ROW EXECUTE FUNCTION planted()"
        );
        cell.root().await.execute_unprepared(&sql).await.unwrap();
    };
    let before = now(&cell, &cell.token).await;
    let body = json!({"to_at": before + TimeDelta::days(1)});
    let post = async || -> Answer {
        cell.post("/v1/simulations/clock", &body).token(&cell.token).key("k").send().await
    };
    fail(i64::MAX).await;
    let busy = post().await;
    busy.is_problem("database_busy", "it never ends");
    assert_eq!((busy.status.as_u16(), busy.header("retry-after")), (503, Some("1")));
    assert!(now(&cell, &cell.token).await < before + TimeDelta::days(1), "nothing of it stays");
    fail(2).await;
    let moved = post().await;
    assert_eq!(moved.header("idempotency-replayed"), None);
    moved.ok(200);
    assert_eq!(post().await.header("idempotency-replayed"), Some("true"));
}
