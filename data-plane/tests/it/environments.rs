//! The caller's environment and its clock.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::cell::Cell;

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
