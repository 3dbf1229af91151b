//! What the ledger refuses: each a named problem that points at the field, and nothing half-done.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use ledger::transfer::derived_id;
use tenants::money::MAX_AMOUNT;

use super::*;

/// What makes the transfer of one peso from [`ANA`] to [`BETO`] wrong, the problem, and the field it points at.
fn wrong() -> Vec<(Value, &'static str, &'static str)> {
    let cents = |amount: i64| json!({"amount": pesos(amount)});
    let between =
        |debit, credit| json!({"debit_account_id": account(debit), "credit_account_id": account(credit)});
    let now = chrono::DateTime::UNIX_EPOCH + TimeDelta::days(365 * 200);
    vec![
        (cents(0), "amount_not_positive", "/amount/amount"),
        (cents(-1), "amount_not_positive", "/amount/amount"),
        (cents(MAX_AMOUNT + 1), "amount_too_large", "/amount/amount"),
        (cents(i64::MAX), "amount_too_large", "/amount/amount"),
        (cents(1_001), "insufficient_funds", "/amount/amount"),
        (json!({"amount": {"amount": 1.5, "currency": "MXN"}}), "invalid_field", "/amount/amount"),
        (json!({"amount": {"amount": "1", "currency": "MXN"}}), "invalid_field", "/amount/amount"),
        (json!({"amount": {"amount": u64::MAX, "currency": "MXN"}}), "invalid_field", "/amount/amount"),
        (json!({"amount": {"amount": 1, "currency": "QQQ"}}), "invalid_field", "/amount/currency"),
        (json!({"amount": {"amount": 1, "currency": "USD"}}), "currency_mismatch", "/amount/currency"),
        (between(ANA, DOLLARS), "currency_mismatch", "/amount/currency"),
        (between(ANA, ANA), "accounts_identical", "/credit_account_id"),
        (between(NOBODY, ANA), "debit_account_not_found", "/debit_account_id"),
        (between(ANA, NOBODY), "credit_account_not_found", "/credit_account_id"),
        (between(CLOSED, ANA), "debit_account_closed", "/debit_account_id"),
        (between(ANA, CLOSED), "credit_account_closed", "/credit_account_id"),
        (between(FROZEN, ANA), "debit_account_frozen", "/debit_account_id"),
        (between(ANA, FROZEN_CASH), "credit_account_frozen", "/credit_account_id"),
        (with(between(CASH, RICH), cents(MAX_AMOUNT)), "balance_overflow", "/amount/amount"),
        (json!({"type": "deposit"}), "account_class_mismatch", "/type"),
        (json!({"balancing": "credit"}), "balancing_side_mismatch", "/balancing"),
        (json!({"balancing": "both"}), "invalid_field", "/balancing"),
        (json!({"type": "payout"}), "invalid_field", "/type"),
        (json!({"linked": true}), "chain_open", "/linked"),
        (json!({"effective_at": now}), "effective_in_future", "/effective_at"),
        (json!({"effective_at": "2001-01-01T00:00:00Z"}), "effective_out_of_order", "/effective_at"),
        (json!({"effective_at": "+12001-01-01T00:00:00Z"}), "invalid_field", "/effective_at"),
        (json!({"effective_at": "yesterday"}), "invalid_field", "/effective_at"),
        (json!({"reference": "x".repeat(141)}), "invalid_field", "/reference"),
        (json!({"reference": "two\nlines"}), "invalid_field", "/reference"),
        (json!({"reference": ""}), "invalid_field", "/reference"),
        (json!({"id": "trf_1"}), "invalid_field", "/id"),
        (json!({"id": account(1)}), "invalid_field", "/id"),
        // What stands for no id, and the ids that the ledger derives: the expiry of a hold must stay free for it.
        (json!({"id": TransferId::from_uuid(Uuid::nil())}), "invalid_field", "/id"),
        (json!({"id": derived_id(Uuid::from_u128(7), "expiry")}), "invalid_field", "/id"),
        (json!({"colour": "red"}), "invalid_field", "/colour"),
    ]
}

const CLOSED: u128 = 10;
const FROZEN: u128 = 11;
const FROZEN_CASH: u128 = 12;
const RICH: u128 = 13;

/// A thousand cents with [`ANA`], and accounts in every state.
async fn prepared(bank: &Bank) {
    bank.fund(ANA, 1_000).await;
    for (number, class) in [
        (CLOSED, Class::Liability),
        (FROZEN, Class::Liability),
        (FROZEN_CASH, Class::Asset),
        (RICH, Class::Liability),
    ] {
        bank.open(number, class, "MXN", number == FROZEN_CASH).await;
    }
    bank.fund(FROZEN, 500).await;
    bank.fund(RICH, 1).await;
    bank.move_state(CLOSED, State::Open, State::Closed).await;
    bank.move_state(FROZEN, State::Open, State::DebitsFrozen).await;
    bank.move_state(FROZEN_CASH, State::Open, State::CreditsFrozen).await;
}

#[tokio::test]
async fn wrong_transfers_are_refused_at_the_field_and_leave_nothing() {
    for bank in Bank::both().await {
        prepared(&bank).await;
        let before = (bank.transfers().await, bank.balance(ANA).await);
        for (number, (fields, code, pointer)) in wrong().into_iter().enumerate() {
            let of = fields.to_string();
            let body = with(transfer(ANA, BETO, 100), fields);
            let key = format!("wrong-{number}");
            let problem = bank.send("/v1/transfers", &key, &body).await.is_problem(code, &of);
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{of}");
            assert!(!problem["remedy"].as_str().unwrap().is_empty(), "{of}");
            assert_eq!((bank.transfers().await, bank.balance(ANA).await), before, "{of}");
        }
    }
}

#[tokio::test]
async fn each_of_a_batch_is_refused_for_the_reason_it_has_alone() {
    for bank in Bank::both().await {
        prepared(&bank).await;
        let before = (bank.transfers().await, bank.balance(ANA).await);
        // What cannot be read at all spoils the batch, and a chain goes on with what follows: not these.
        let wrong: Vec<_> = wrong()
            .into_iter()
            .filter(|(_, code, _)| !["invalid_field", "chain_open"].contains(code))
            .collect();
        let bodies: Vec<Value> =
            wrong.iter().map(|(fields, ..)| with(transfer(ANA, BETO, 100), fields.clone())).collect();
        let answer = bank.send("/v1/transfer-batches", "wrong", &json!({"transfers": bodies})).await;
        assert_eq!(answer.header("idempotency-replayed"), None);
        let shown = answer.ok(200);
        assert_eq!(shown["rejected"], wrong.len());
        for (item, (fields, code, pointer)) in shown["data"].as_array().unwrap().iter().zip(&wrong) {
            assert_eq!([&item["code"], &item["pointer"]], [code, pointer], "{fields}");
        }
        assert_eq!((bank.transfers().await, bank.balance(ANA).await), before);
    }
}

#[tokio::test]
async fn a_batch_that_cannot_be_taken_is_refused_whole() {
    let bank = Bank::sqlite().await;
    bank.fund(ANA, 100_000).await;
    let batch = async |transfers: Vec<Value>| {
        bank.send("/v1/transfer-batches", "batch", &json!({"transfers": transfers})).await
    };
    let problem = batch(vec![transfer(ANA, BETO, 1); 8_001]).await.is_problem("batch_too_large", "8,001");
    assert!(problem["detail"].as_str().unwrap().contains("8000"), "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/transfers");
    let problem = batch(vec![]).await.is_problem("invalid_field", "none");
    assert_eq!(problem["errors"][0]["pointer"], "/transfers");
    let problem = batch(vec![transfer(ANA, BETO, 1), json!({"type": "transfer"})]).await;
    let problem = problem.is_problem("invalid_field", "no accounts");
    assert_eq!(problem["errors"][0]["pointer"], "/transfers/1/debit_account_id");
    assert_eq!(bank.transfers().await, 1);
    let linked = |to| with(transfer(ANA, to, 1), json!({"linked": true}));
    let shown = batch(vec![transfer(ANA, BETO, 1), linked(BETO), linked(FEES)]).await.ok(200);
    let codes: Vec<&Value> = shown["data"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, [&Value::Null, &json!("linked_transfer_failed"), &json!("chain_open")]);
    let shown = bank
        .send("/v1/transfer-batches", "full", &json!({"transfers": vec![transfer(ANA, BETO, 1); 8_000]}))
        .await
        .ok(200);
    assert_eq!(shown["posted"], 8_000, "the largest batch fits");
}

#[tokio::test]
async fn an_id_or_a_key_is_for_one_content() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let chosen = with(transfer(ANA, BETO, 100), json!({"id": transfer_id(77)}));
        let post = async |body: &Value| bank.post("/v1/transfers", body).token(&bank.token).send().await;
        assert_eq!(post(&chosen).await.ok(201)["id"], json!(transfer_id(77)));
        let again = post(&chosen).await;
        again.ok(201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        for other in [
            json!({"amount": pesos(101)}),
            json!({"credit_account_id": account(FEES)}),
            json!({"reference": "x"}),
            json!({"balancing": "debit"}),
        ] {
            let problem = post(&with(chosen.clone(), other.clone())).await;
            let problem = problem.is_problem("id_reused", &other.to_string());
            assert_eq!(problem["errors"][0]["pointer"], "/id");
        }
        post(&transfer(ANA, BETO, 1)).await.is_problem("idempotency_key_missing", "neither id nor key");
        bank.send("/v1/transfers", "rent", &transfer(ANA, BETO, 100)).await.ok(201);
        let problem = bank.send("/v1/transfers", "rent", &transfer(ANA, BETO, 200)).await;
        let problem = problem.is_problem("idempotency_mismatch", "another amount");
        assert_eq!(problem["errors"][0]["pointer"], "idempotency-key");
        // The same key of another operation, and of another client's environment, stands for itself.
        let reversal = format!("/v1/transfers/{}/reversals", transfer_id(77));
        bank.send(&reversal, "rent", &json!({})).await.ok(201);
        assert_eq!(bank.balance(ANA).await, [900, 0, 900]);
    }
}

#[tokio::test]
async fn a_batchs_key_is_for_one_batch() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let batch = async |transfers: &[Value]| {
            bank.send("/v1/transfer-batches", "payday", &json!({"transfers": transfers})).await
        };
        let plain = |amount| transfer(ANA, BETO, amount);
        let linked = |amount| with(plain(amount), json!({"linked": true}));
        let own = |number| with(plain(10), json!({"id": transfer_id(number)}));
        // Nothing is left of what follows from the request alone: it may be mended.
        assert_eq!(batch(&[plain(0)]).await.ok(200)["data"][0]["code"], "amount_not_positive");
        // The second is refused, the third and fourth posted as a chain.
        let first = [plain(100), plain(5_000), linked(20), plain(30)];
        assert_eq!(batch(&first).await.ok(200)["posted"], 3);
        let before = (bank.transfers().await, bank.balance(ANA).await);
        for (other, what) in [
            (vec![plain(100), plain(5_000), linked(20), plain(30), plain(40)], "longer"),
            (vec![plain(100)], "shorter"),
            (vec![plain(100), plain(5_000), plain(20), plain(30)], "not linked"),
            (vec![linked(100), plain(5_000), linked(20), plain(30)], "linked otherwise"),
            (vec![plain(101), plain(5_000), linked(20), plain(30)], "another amount"),
            (vec![own(70), plain(5_000), linked(20), plain(30)], "an id of its own"),
        ] {
            let answer = batch(&other).await;
            assert_eq!(answer.header("idempotency-replayed"), None, "{what}");
            let shown = answer.ok(200);
            for (place, (item, asked)) in shown["data"].as_array().unwrap().iter().zip(&other).enumerate() {
                let expected = match place {
                    _ if asked["id"].is_string() => Value::Null,
                    0 => json!("idempotency_mismatch"),
                    _ if other[place - 1]["linked"] == true => json!("linked_transfer_failed"),
                    _ => json!("idempotency_mismatch"),
                };
                assert_eq!(item["code"], expected, "{what}, {place}");
            }
        }
        // The one with an id of its own is not the key's.
        assert_eq!(bank.transfers().await, before.0 + 1);
        assert_eq!(bank.balance(ANA).await[0], before.1[0] - 10);
        let again = batch(&first).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.ok(200)["replayed"], 3);
    }
}

#[tokio::test]
async fn a_refusal_stays_under_its_id() {
    for bank in Bank::both().await {
        let asked = transfer(ANA, BETO, 300);
        let first = bank.send("/v1/transfers", "rent", &asked).await;
        first.is_problem("insufficient_funds", "nothing there");
        assert_eq!(first.header("idempotency-replayed"), None);
        bank.fund(ANA, 1_000).await;
        let again = bank.send("/v1/transfers", "rent", &asked).await;
        let problem = again.is_problem("insufficient_funds", "the first answer again");
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert!(problem["detail"].as_str().unwrap().contains("0.00 MXN"), "{problem}");
        bank.send("/v1/transfers", "rent-2", &asked).await.ok(201);
    }
}

#[tokio::test]
async fn another_environment_sees_and_moves_nothing() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let there = bank.token_of(2).await;
        let asked = with(transfer(ANA, BETO, 100), json!({"id": transfer_id(77)}));
        let posted = bank.send("/v1/transfers", "key", &asked).await.ok(201);
        let get = async |path: &str| bank.get(path).token(&there).send().await;
        get(&format!("/v1/transfers/{}", transfer_id(77))).await.is_problem("not_found", "transfer");
        let ana = account(ANA);
        for path in ["balance", "balance/explanation", "limits"] {
            get(&format!("/v1/accounts/{ana}/{path}")).await.is_problem("not_found", path);
        }
        assert_eq!(get("/v1/transfers").await.ok(200)["data"], json!([]));
        assert_eq!(get("/v1/trial-balance").await.ok(200)["data"], json!([]));
        let post =
            async |path: &str, body: &Value| bank.post(path, body).token(&there).key("key").send().await;
        // The id is free there; the accounts are not.
        post("/v1/transfers", &asked).await.is_problem("debit_account_not_found", "their account");
        let reversal = format!("/v1/transfers/{}/reversals", posted["id"].as_str().unwrap());
        post(&reversal, &json!({})).await.is_problem("original_not_found", "their transfer");
        assert_eq!(bank.balance(ANA).await, [900, 0, 900]);
    }
}

#[tokio::test]
async fn past_dates_need_a_scope_of_their_own() {
    let bank = Bank::sqlite().await;
    let token = bank.token_with(&["transfers:write"]).await;
    let past = with(transfer(CASH, ANA, 100), json!({"effective_at": "2020-01-01T00:00:00Z"}));
    let post =
        async |path: &str, body: &Value| bank.post(path, body).token(&token).key("import").send().await;
    post("/v1/transfers", &past).await.is_problem("insufficient_scope", "an import");
    post("/v1/transfer-batches", &json!({"transfers": [past]}))
        .await
        .is_problem("insufficient_scope", "imports");
    assert_eq!(bank.transfers().await, 0);
}

#[tokio::test]
async fn a_refusal_speaks_the_callers_language() {
    let bank = Bank::sqlite().await;
    bank.fund(ANA, 700).await;
    let mut said = BTreeSet::new();
    for (number, language) in ["en", "es-MX", "pt-BR"].into_iter().enumerate() {
        let call = bank.post("/v1/transfers", &transfer(ANA, BETO, 701)).token(&bank.token);
        let answer = call.key(&format!("language-{number}")).header("accept-language", language).send().await;
        let problem = answer.is_problem("insufficient_funds", language);
        let detail = problem["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("7.00 MXN"), "{language}: {detail}");
        said.insert([detail, problem["remedy"].as_str().unwrap().to_owned()]);
    }
    assert_eq!(said.len(), 3);
}
