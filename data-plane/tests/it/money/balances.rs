//! Reading: balances now and then, why they are what they are, limits, lists, reversals, imports.

use ledger::limit::{Direction, NewLimit, Window};
use sea_orm::ConnectionTrait;

use super::*;

/// The amounts of the changes on the pages of an explanation, and whether every page agreed with the books.
async fn explained(bank: &Bank, number: u128, limit: usize) -> (Vec<i64>, bool) {
    let path = format!("/v1/accounts/{}/balance/explanation?limit={limit}", account(number));
    let (mut changes, mut agrees, mut cursor) = (Vec::new(), true, String::new());
    let mut opening = json!(0);
    loop {
        let page = bank.read(&format!("{path}{cursor}")).await;
        assert_eq!(page["opening_balance"]["amount"], opening, "pages join");
        opening = page["closing_balance"]["amount"].clone();
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= limit);
        changes.extend(data.iter().map(|step| step["change"]["amount"].as_i64().unwrap()));
        agrees &= page["agrees"].as_bool().unwrap();
        if page["has_more"] == false {
            assert_eq!(page["next_cursor"], Value::Null);
            assert_eq!(opening, page["balance"]["amount"]);
            return (changes, agrees);
        }
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap());
    }
}

#[tokio::test]
async fn a_balance_is_its_transfers() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        bank.send("/v1/transfers", "1", &transfer(ANA, BETO, 300)).await.ok(201);
        let fee = with(transfer(ANA, FEES, 7), json!({"type": "fee"}));
        bank.send("/v1/transfers", "2", &fee).await.ok(201);
        let hold = json!({"debit_account_id": account(ANA), "credit_account_id": account(BETO), "amount": pesos(50)});
        bank.send("/v1/holds", "3", &hold).await.ok(201);
        bank.send("/v1/transfers", "4", &transfer(BETO, ANA, 20)).await.ok(201);
        for limit in [1, 2, 200] {
            assert_eq!(explained(&bank, ANA, limit).await, (vec![1_000, -300, -7, 0, 20], true));
        }
        assert_eq!(explained(&bank, CASH, 1).await, (vec![1_000], true), "an asset grows by debits");
        assert_eq!(explained(&bank, DOLLARS, 1).await, (vec![], true));
        let page = bank.read(&format!("/v1/accounts/{}/balance/explanation?limit=1", account(ANA))).await;
        let cursor = page["next_cursor"].as_str().unwrap();
        for path in [
            format!("/v1/accounts/{}/balance/explanation?cursor={cursor}", account(BETO)),
            format!("/v1/transfers?cursor={cursor}"),
        ] {
            bank.get(&path).token(&bank.token).send().await.is_problem("invalid_cursor", &path);
        }
        let nobody = format!("/v1/accounts/{}/balance/explanation", account(NOBODY));
        bank.get(&nobody).token(&bank.token).send().await.is_problem("not_found", "nobody's");
    }
}

#[tokio::test]
async fn lists_are_in_order_and_paged() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        for number in 0..5 {
            let to = if number % 2 == 0 { BETO } else { FEES };
            bank.send("/v1/transfers", &number.to_string(), &transfer(ANA, to, 10 + number)).await.ok(201);
        }
        let listed = async |query: &str| {
            let (mut amounts, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = bank.read(&format!("/v1/transfers?limit=2{query}{cursor}")).await;
                let data = page["data"].as_array().unwrap();
                amounts.extend(data.iter().map(|one| one["amount"]["amount"].as_i64().unwrap()));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => return amounts,
                }
            }
        };
        assert_eq!(listed("").await, [1_000, 10, 11, 12, 13, 14]);
        assert_eq!(listed(&format!("&account_id={}", account(BETO))).await, [10, 12, 14]);
        assert_eq!(listed(&format!("&account_id={}", account(NOBODY))).await, [0_i64; 0]);
        let page = bank.read("/v1/transfers?limit=1").await;
        let other = format!(
            "/v1/transfers?account_id={}&cursor={}",
            account(ANA),
            page["next_cursor"].as_str().unwrap()
        );
        bank.get(&other).token(&bank.token).send().await.is_problem("invalid_cursor", "another filter");
        for (query, parameter) in
            [("limit=0", "limit"), ("limit=201", "limit"), ("account_id=x", "account_id")]
        {
            let answer = bank.get(&format!("/v1/transfers?{query}")).token(&bank.token).send().await;
            let problem = answer.is_problem("invalid_parameter", query);
            assert_eq!(problem["errors"][0]["pointer"], parameter);
        }
    }
}

#[tokio::test]
async fn imports_have_their_dates_in_order_and_balances_know_them() {
    for bank in Bank::both().await {
        let import = |amount: i64, day: &str| {
            let at = format!("{day}T12:00:00Z");
            with(transfer(CASH, ANA, amount), json!({"effective_at": at}))
        };
        bank.send("/v1/transfers", "1", &import(100, "2020-01-10")).await.ok(201);
        let shown = bank.send("/v1/transfers", "2", &import(50, "2020-02-10")).await.ok(201);
        assert_eq!(
            [&shown["imported"], &shown["effective_at"]],
            [&json!(true), &json!("2020-02-10T12:00:00Z")]
        );
        let late = bank.send("/v1/transfers", "3", &import(1, "2020-01-20")).await;
        let late = late.is_problem("effective_out_of_order", "between the two");
        assert_eq!(late["errors"][0]["pointer"], "/effective_at");
        let at = async |at: &str| {
            let path = format!("/v1/accounts/{}/balance?at={at}", account(ANA));
            let shown = bank.read(&path).await;
            assert_eq!(shown["at"], at);
            assert!(shown.get("available").is_none(), "holds are not part of it");
            shown["posted"]["amount"].as_i64().unwrap()
        };
        assert_eq!(at("2020-01-10T11:59:59Z").await, 0);
        assert_eq!(at("2020-01-10T12:00:00Z").await, 100);
        assert_eq!(at("2020-02-10T11:59:59Z").await, 100);
        assert_eq!(at("2020-02-10T12:00:00Z").await, 150);
        assert_eq!(bank.balance(ANA).await, [150, 0, 150]);
        let wrong = format!("/v1/accounts/{}/balance?at=today", account(ANA));
        bank.get(&wrong).token(&bank.token).send().await.is_problem("invalid_parameter", "today");
        let nobody = format!("/v1/accounts/{}/balance", account(NOBODY));
        bank.get(&nobody).token(&bank.token).send().await.is_problem("not_found", "nobody's");
    }
}

#[tokio::test]
async fn a_transfer_is_reversed_once_and_whole() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let original = bank.send("/v1/transfers", "1", &transfer(ANA, BETO, 300)).await.ok(201);
        let reversals = |shown: &Value| format!("/v1/transfers/{}/reversals", shown["id"].as_str().unwrap());
        let path = reversals(&original);
        bank.send("/v1/transfers", "spent", &transfer(BETO, FEES, 1)).await.ok(201);
        bank.send(&path, "early", &json!({})).await.is_problem("insufficient_funds", "not there any more");
        bank.send("/v1/transfers", "back", &transfer(ANA, BETO, 1)).await.ok(201);
        let why = json!({"reference": "Charged twice"});
        let reversed = bank.send(&path, "undo", &why).await.ok(201);
        assert_eq!([&reversed["type"], &reversed["reverses_id"]], [&json!("reversal"), &original["id"]]);
        assert_eq!(reversed["debit_account_id"], original["credit_account_id"]);
        let again = bank.send(&path, "undo", &why).await;
        assert_eq!(again.ok(201), reversed);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        bank.send(&path, "undo", &json!({}))
            .await
            .is_problem("idempotency_mismatch", "without the reference");
        bank.send(&path, "twice", &json!({})).await.is_problem("already_reversed", "reversed twice");
        bank.send(&reversals(&reversed), "re", &json!({})).await.is_problem("not_reversible", "a reversal");
        let hold =
            json!({"debit_account_id": account(ANA), "credit_account_id": account(BETO), "amount": pesos(5)});
        let hold = bank.send("/v1/holds", "hold", &hold).await.ok(201);
        bank.send(&reversals(&hold), "hold", &json!({})).await.is_problem("not_reversible", "a hold");
        let nothing = json!({"id": transfer_id(4711)});
        bank.send(&reversals(&nothing), "no", &json!({}))
            .await
            .is_problem("original_not_found", "no transfer");
        assert_eq!(bank.balance(ANA).await, [999, 5, 994]);
    }
}

#[tokio::test]
async fn limits_are_shown_with_what_is_left_and_held_to() {
    for bank in Bank::both().await {
        bank.fund(ANA, 10_000).await;
        let limit = |direction, window, maximum| NewLimit {
            direction,
            window,
            maximum,
            time_zone: "America/Mexico_City".parse().unwrap(),
        };
        let limits = [limit(Direction::Out, Window::Day, 500), limit(Direction::In, Window::Balance, 10_100)];
        let tx = bank.app.db.begin(scope(1)).await.unwrap();
        books::set_limits_in_tx(&tx, scope(1), account(ANA), &limits).await.unwrap();
        tx.commit().await.unwrap();
        bank.send("/v1/transfers", "1", &transfer(ANA, BETO, 400)).await.ok(201);
        let problem = bank.send("/v1/transfers", "2", &transfer(ANA, BETO, 101)).await;
        let problem = problem.is_problem("limit_exceeded", "a day's limit");
        for part in ["going out", "per day", "5.00 MXN", "1.00 MXN"] {
            assert!(problem["detail"].as_str().unwrap().contains(part), "{part}: {problem}");
        }
        let batch = json!({"transfers": [transfer(BETO, ANA, 400), transfer(CASH, ANA, 101)]});
        let shown = bank.send("/v1/transfer-batches", "3", &batch).await.ok(200);
        let passed = json!({"direction": "in", "window": "balance", "maximum": 10_100, "remaining": 100});
        assert_eq!(shown["data"][1]["limit"], passed);
        let shown = bank.read(&format!("/v1/accounts/{}/limits", account(ANA))).await;
        let left: Vec<_> =
            shown["data"].as_array().unwrap().iter().map(|one| (&one["window"], &one["remaining"])).collect();
        assert_eq!(left, [(&json!("day"), &pesos(100)), (&json!("balance"), &pesos(100))]);
        assert_eq!(shown["data"][0]["time_zone"], "America/Mexico_City");
        assert_eq!(bank.read(&format!("/v1/accounts/{}/limits", account(BETO))).await["data"], json!([]));
    }
}

#[tokio::test]
async fn the_trial_balance_is_per_currency() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        bank.send("/v1/transfers", "1", &transfer(ANA, BETO, 300)).await.ok(201);
        let shown = bank.read("/v1/trial-balance").await;
        let line = |currency, total, accounts: u64| json!({"currency": currency, "debits": total, "credits": total, "accounts": accounts});
        assert_eq!(shown, json!({"balanced": true, "data": [line("MXN", "1300", 4), line("USD", "0", 1)]}));
    }
}

/// The sums are the database's, and no sum of 64 bits.
#[tokio::test]
async fn a_trial_balance_larger_than_any_account_is_exact() {
    for bank in Bank::both().await {
        let most = i64::MAX;
        let sql = format!("UPDATE ledger_account SET debits_posted = {most}, credits_posted = {most}");
        bank.cell.root().await.execute_unprepared(&sql).await.unwrap();
        let shown = bank.read("/v1/trial-balance").await;
        let total = |accounts: u64| (i128::from(most) * i128::from(accounts)).to_string();
        let line = |currency, accounts: u64| json!({"currency": currency, "debits": total(accounts), "credits": total(accounts), "accounts": accounts});
        assert_eq!(shown, json!({"balanced": true, "data": [line("MXN", 4), line("USD", 1)]}));
    }
}
