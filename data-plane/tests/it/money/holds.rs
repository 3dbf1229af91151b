//! Holds: placed once, ended once, whoever tries and however often.

use chrono::{DateTime, TimeDelta, Utc};

use super::*;

/// A hold on pesos that [`ANA`] will pay to [`BETO`].
fn hold(amount: i64) -> Value {
    json!({"debit_account_id": account(ANA), "credit_account_id": account(BETO), "amount": pesos(amount)})
}

impl Bank {
    /// Places a hold under this key; its path.
    async fn place(&self, key: &str, body: &Value) -> String {
        let shown = self.send("/v1/holds", key, body).await.ok(201);
        format!("/v1/holds/{}", shown["id"].as_str().unwrap())
    }

    async fn now(&self) -> DateTime<Utc> {
        serde_json::from_value(self.read("/v1/environment").await["now_at"].clone()).unwrap()
    }

    async fn sweep(&self) -> usize {
        self.app.ledger.expire_holds(&self.app.db, &self.app.clock).await.unwrap()
    }
}

#[tokio::test]
async fn a_hold_is_captured_in_part_and_the_rest_is_released() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let first = bank.send("/v1/holds", "hotel", &hold(600)).await;
        let shown = first.ok(201);
        assert_eq!(shown["status"], "held");
        assert_eq!(bank.balance(ANA).await, [1_000, 600, 400]);
        assert_eq!(bank.balance(BETO).await, [0, 0, 0], "not the payee's yet");
        let again = bank.send("/v1/holds", "hotel", &hold(600)).await;
        assert_eq!(again.ok(201), shown);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        bank.send("/v1/holds", "hotel", &hold(601))
            .await
            .is_problem("idempotency_mismatch", "another amount");
        bank.send("/v1/holds", "more", &hold(401)).await.is_problem("insufficient_funds", "what is left");
        let path = format!("/v1/holds/{}", shown["id"].as_str().unwrap());
        assert_eq!(bank.read(&path).await, shown);

        let captures = format!("{path}/captures");
        let capture = json!({"amount": pesos(450), "reference": "two nights"});
        let first = bank.send(&captures, "leaving", &capture).await;
        let captured = first.ok(201);
        assert_eq!([&captured["type"], &captured["hold_id"]], [&json!("capture"), &shown["id"]]);
        assert_eq!(captured["amount"], pesos(450));
        let again = bank.send(&captures, "leaving", &capture).await;
        assert_eq!(again.ok(201), captured);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(bank.balance(ANA).await, [550, 0, 550]);
        assert_eq!(bank.balance(BETO).await, [450, 0, 450]);
        let ended = bank.read(&path).await;
        assert_eq!(ended["status"], "captured");
        assert_eq!(ended["captured"], pesos(450));
        assert_eq!(ended["resolved_by_id"], captured["id"]);
        bank.send(&captures, "twice", &json!({})).await.is_problem("hold_already_captured", "captured");
        let voids = format!("{path}/voids");
        bank.send(&voids, "late", &json!({})).await.is_problem("hold_already_captured", "captured, voided");
        bank.transfers().await;
    }
}

#[tokio::test]
async fn a_capture_is_of_what_is_held() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let path = bank.place("hotel", &hold(600)).await;
        let captures = format!("{path}/captures");
        for (key, body, code, pointer) in [
            ("a", json!({"amount": pesos(601)}), "capture_exceeds_hold", "/amount/amount"),
            ("b", json!({"amount": pesos(0)}), "amount_not_positive", "/amount/amount"),
            ("c", json!({"amount": pesos(-5)}), "amount_not_positive", "/amount/amount"),
            ("d", json!({"amount": pesos(1 << 53)}), "amount_too_large", "/amount/amount"),
            (
                "e",
                json!({"amount": {"amount": 5, "currency": "USD"}}),
                "currency_mismatch",
                "/amount/currency",
            ),
            ("f", json!({"expires_at": "2030-01-01T00:00:00Z"}), "invalid_field", "/expires_at"),
        ] {
            let problem = bank.send(&captures, key, &body).await.is_problem(code, &body.to_string());
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
            if code == "capture_exceeds_hold" {
                assert!(problem["detail"].as_str().unwrap().contains("6.00 MXN"), "{problem}");
            }
        }
        assert_eq!(bank.balance(ANA).await, [1_000, 600, 400]);
        assert_eq!(bank.send(&captures, "whole", &json!({})).await.ok(201)["amount"], pesos(600));
        assert_eq!(bank.balance(BETO).await, [600, 0, 600]);
        let nowhere = format!("/v1/holds/{}", transfer_id(4711));
        bank.send(&format!("{nowhere}/captures"), "g", &json!({}))
            .await
            .is_problem("hold_not_found", "capture");
        bank.send(&format!("{nowhere}/voids"), "h", &json!({})).await.is_problem("hold_not_found", "void");
        bank.get(&nowhere).token(&bank.token).send().await.is_problem("hold_not_found", "read");
        let there = bank.token_of(2).await;
        bank.get(&path).token(&there).send().await.is_problem("hold_not_found", "of another environment");
        let void = bank.post(&format!("{path}/voids"), &json!({})).token(&there).key("i").send().await;
        void.is_problem("hold_not_found", "voided by another environment");
    }
}

#[tokio::test]
async fn a_void_releases_all_and_ends_the_hold() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let path = bank.place("hotel", &hold(600)).await;
        let voids = format!("{path}/voids");
        let shown = bank.send(&voids, "no-show", &json!({})).await.ok(201);
        assert_eq!([&shown["type"], &shown["amount"]], [&json!("void"), &pesos(600)]);
        assert_eq!(bank.balance(ANA).await, [1_000, 0, 1_000]);
        assert_eq!(bank.read(&path).await["status"], "voided");
        let again = bank.send(&voids, "no-show", &json!({})).await;
        again.ok(201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        bank.send(&voids, "twice", &json!({})).await.is_problem("hold_already_voided", "voided twice");
        let captures = format!("{path}/captures");
        bank.send(&captures, "late", &json!({})).await.is_problem("hold_already_voided", "captured");
    }
}

#[tokio::test]
async fn holds_are_listed_by_account_and_status() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        bank.fund(BETO, 1_000).await;
        let mut placed = Vec::new();
        for (number, amount) in [100, 200, 300].into_iter().enumerate() {
            placed.push(bank.place(&format!("night-{number}"), &hold(amount)).await);
        }
        let back = json!({
            "debit_account_id": account(BETO), "credit_account_id": account(ANA), "amount": pesos(50),
        });
        bank.place("back", &back).await;
        bank.send(&format!("{}/voids", placed[0]), "no-show", &json!({})).await.ok(201);
        let amounts = async |query: &str| {
            let page = bank.read(&format!("/v1/holds?{query}")).await;
            let amount = |one: &Value| one["amount"]["amount"].as_i64().unwrap();
            let mut amounts: Vec<_> = page["data"].as_array().unwrap().iter().map(amount).collect();
            amounts.sort_unstable();
            amounts
        };
        let ana = format!("account_id={}", account(ANA));
        assert_eq!(amounts("").await, [50, 100, 200, 300]);
        assert_eq!(amounts(&ana).await, [100, 200, 300], "what is set aside for Ana is not what she holds");
        assert_eq!(amounts(&format!("{ana}&status=held")).await, [200, 300]);
        assert_eq!(amounts("status=voided").await, [100]);
        assert!(amounts(&format!("account_id={}", account(4711))).await.is_empty());

        let mut seen = Vec::new();
        let mut page = bank.read(&format!("/v1/holds?{ana}&limit=2")).await;
        while let Some(cursor) = page["next_cursor"].as_str() {
            seen.extend(page["data"].as_array().unwrap().clone());
            page = bank.read(&format!("/v1/holds?{ana}&limit=2&cursor={cursor}")).await;
        }
        seen.extend(page["data"].as_array().unwrap().clone());
        let whole = bank.read(&format!("/v1/holds?{ana}")).await;
        assert_eq!((seen.len(), &json!(seen)), (3, &whole["data"]), "page by page as at once");
        for one in seen {
            assert_eq!(bank.read(&format!("/v1/holds/{}", one["id"].as_str().unwrap())).await, one);
        }

        let get = async |query: &str, token: &str| {
            bank.get(&format!("/v1/holds?{query}")).token(token).send().await
        };
        get("status=lost", &bank.token).await.is_problem("invalid_parameter", "no such status");
        get("cursor=4711", &bank.token).await.is_problem("invalid_cursor", "no cursor");
        let elsewhere = get("", &bank.token_of(2).await).await.ok(200);
        assert_eq!(elsewhere["data"], json!([]), "another environment's");
    }
}

#[tokio::test]
async fn of_many_ends_at_once_one_is_the_end() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let path = bank.place("hotel", &hold(600)).await;
        let tries = (0..16).map(|number| {
            let (api, token) = (bank.api.clone(), bank.token.clone());
            let path = format!("{path}/{}", if number % 2 == 0 { "captures" } else { "voids" });
            tokio::spawn(async move {
                api.post(&path, &json!({})).token(&token).key(&format!("try-{number}")).send().await
            })
        });
        let mut done = Vec::new();
        for (number, answer) in tries.collect::<Vec<_>>().into_iter().enumerate() {
            let answer = answer.await.unwrap();
            match answer.code().as_deref() {
                None => done.push((number, answer.ok(201))),
                Some("hold_already_captured" | "hold_already_voided") => {}
                Some(other) => panic!("{other}"),
            }
        }
        assert_eq!(done.len(), 1, "{done:?}");
        let moved = if done[0].0 % 2 == 0 { 600 } else { 0 };
        assert_eq!(bank.balance(ANA).await, [1_000 - moved, 0, 1_000 - moved]);
        assert_eq!(bank.balance(BETO).await, [moved, 0, moved]);
        assert_eq!(bank.transfers().await, 3);
    }
}

#[tokio::test]
async fn a_hold_that_is_over_ends_by_itself_once() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let now = bank.now().await;
        let expires = |at: DateTime<Utc>| with(hold(600), json!({"expires_at": at}));
        let past = bank.send("/v1/holds", "past", &expires(now)).await;
        let past = past.is_problem("expiry_not_in_future", "over before it begins");
        assert_eq!(past["errors"][0]["pointer"], "/expires_at");
        let end = now + TimeDelta::days(7);
        let path = bank.place("hotel", &expires(end)).await;
        assert_eq!(bank.sweep().await, 0, "its time is not over");
        let clock = json!({"to_at": end});
        bank.send("/v1/simulations/clock", "a-week-later", &clock).await.ok(200);
        let captures = format!("{path}/captures");
        bank.send(&captures, "late", &json!({})).await.is_problem("hold_expired", "before the sweep");
        assert_eq!(bank.balance(ANA).await, [1_000, 600, 400]);
        let (once, twice) = tokio::join!(bank.sweep(), bank.sweep());
        assert_eq!(once + twice, 1, "two sweeps at once end it once");
        assert_eq!(bank.read(&path).await["status"], "expired");
        assert_eq!(bank.balance(ANA).await, [1_000, 0, 1_000]);
        bank.send(&captures, "later", &json!({})).await.is_problem("hold_expired", "after the sweep");
        bank.send(&format!("{path}/voids"), "void", &json!({})).await.is_problem("hold_expired", "voided");
        // What was placed stays readable as it was answered, also after its end.
        let again = bank.send("/v1/holds", "hotel", &expires(end)).await;
        assert_eq!(again.ok(201)["status"], "held");
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
    }
}

#[tokio::test]
async fn a_frozen_account_keeps_its_holds_from_being_captured() {
    let bank = Bank::sqlite().await;
    bank.fund(ANA, 1_000).await;
    let path = bank.place("hotel", &hold(600)).await;
    bank.move_state(ANA, State::Open, State::Frozen).await;
    let captures = format!("{path}/captures");
    bank.send(&captures, "leaving", &json!({})).await.is_problem("debit_account_frozen", "captured");
    bank.send("/v1/holds", "another", &hold(1)).await.is_problem("debit_account_frozen", "held");
    bank.send(&format!("{path}/voids"), "release", &json!({})).await.ok(201);
    assert_eq!(bank.balance(ANA).await, [1_000, 0, 1_000]);
}
