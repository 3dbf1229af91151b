//! Blocks of amounts by authorities.

use ledger::{
    movements::{Deposit, PlainTransfer, Void},
    outcome::Reason,
};
use serde_json::{Value, json};

use crate::{
    accounts::{because, freeze, fresh, funded, id, path, pesos, refusal},
    cell::Cell,
    payments::dying::Planted,
};

fn order(amount: i64, beneficiary: &Value) -> Value {
    json!({
        "amount": pesos(amount), "authority": "SAT", "reference": "500-05-2026-4711",
        "beneficiary_account_id": beneficiary["id"],
    })
}

#[tokio::test]
async fn a_block_holds_what_is_available_until_it_is_released() {
    for cell in Cell::both().await {
        let (account, cash) = funded(&cell, 1_000).await;
        let court = cell.internal("liability").await;
        let block = async |key: &str, body: &Value| {
            cell.post(&path(&account, "/blocks"), body).token(&cell.token).key(key).send().await
        };
        let first = block("k1", &order(300, &court)).await.ok(201);
        assert_eq!((&first["ordered"], &first["blocked"]), (&json!(pesos(300)), &json!(pesos(300))));
        let again = block("k1", &order(300, &court)).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.ok(201), first);
        block("k1", &order(301, &court)).await.is_problem("idempotency_mismatch", "another amount");
        let rest = block("k2", &order(5_000, &court)).await.ok(201);
        assert_eq!((&rest["ordered"], &rest["blocked"]), (&json!(pesos(5_000)), &json!(pesos(700))));
        block("k3", &order(1, &court)).await.is_problem("nothing_to_block", "all is blocked");
        let deposit = Deposit { id: fresh(), debit: id(&cash), credit: id(&account), money: pesos(50) };
        assert_eq!(refusal(&cell.post_direct(deposit).await), None);
        block("k3", &order(1, &court))
            .await
            .is_problem("nothing_to_block", "a refusal stays one under its key");
        let balance = cell.read(&path(&account, "")).await["balance"].clone();
        assert_eq!((&balance["held"], &balance["available"]), (&json!(pesos(1_000)), &json!(pesos(50))));
        cell.act(&path(&account, "/closures"), &because("customer_request"))
            .await
            .is_problem("account_not_empty", "blocks");

        let release = path(&account, &format!("/blocks/{}/releases", rest["hold_id"].as_str().unwrap()));
        let release = async |key: &str| {
            cell.post(&release, &because("authority_order")).token(&cell.token).key(key).send().await
        };
        let released = release("r1").await.ok(200);
        assert_eq!(released["released"], json!(pesos(700)));
        let again = release("r1").await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.ok(200), released);
        release("r2").await.is_problem("block_ended", "it was released");
        let balance = cell.read(&path(&account, "")).await["balance"].clone();
        assert_eq!((&balance["held"], &balance["available"]), (&json!(pesos(300)), &json!(pesos(750))));
    }
}

#[tokio::test]
async fn a_block_is_no_hold_of_the_holders() {
    for cell in Cell::both().await {
        let (account, _) = funded(&cell, 1_000).await;
        let court = cell.internal("liability").await;
        let block = cell.act(&path(&account, "/blocks"), &order(300, &court)).await.ok(201);
        let id = block["hold_id"].as_str().unwrap();
        let hold = format!("/v1/holds/{id}");
        for way in ["captures", "voids"] {
            let call = cell.post(&format!("{hold}/{way}"), &json!({})).token(&cell.token).key("k");
            call.send().await.is_problem("hold_is_block", way);
        }
        let part = cell.act(&format!("{hold}/captures"), &json!({"amount": pesos(1)})).await;
        part.is_problem("hold_is_block", "of a part");
        assert_eq!(cell.read(&hold).await["status"], "blocked");
        assert_eq!(cell.read(&path(&account, "")).await["balance"]["held"], json!(pesos(300)));
        let release = path(&account, &format!("/blocks/{id}/releases"));
        cell.act(&release, &because("authority_order")).await.ok(200);
        assert_eq!(cell.read(&hold).await["status"], "voided");
        let void = cell.act(&format!("{hold}/voids"), &json!({})).await;
        void.is_problem("hold_already_voided", "it was released");
    }
}

#[tokio::test]
async fn the_blocks_of_an_account_are_listed() {
    for cell in Cell::both().await {
        let (account, _) = funded(&cell, 1_000).await;
        let court = cell.internal("liability").await;
        let at = path(&account, "/blocks");
        assert_eq!(cell.read(&at).await["data"], json!([]));
        let first = cell.act(&at, &order(300, &court)).await.ok(201);
        let second = cell.act(&at, &order(5_000, &court)).await.ok(201);
        cell.act(&at, &order(7, &court)).await.is_problem("nothing_to_block", "all is blocked");
        let release = format!("{at}/{}/releases", first["hold_id"].as_str().unwrap());
        let released = cell.act(&release, &because("authority_order")).await.ok(200);
        let page = cell.read(&format!("{at}?limit=2")).await;
        assert_eq!(page["has_more"], true);
        let expected = |block: &Value, ordered: i64| {
            json!({
                "hold_id": block["hold_id"], "account_id": account["id"], "authority": "SAT",
                "reference": "500-05-2026-4711", "beneficiary_account_id": court["id"],
                "ordered": pesos(ordered), "blocked": block["blocked"], "blocked_at": block["blocked_at"],
            })
        };
        let mut ended = expected(&first, 300);
        ended["released_at"] = released["released_at"].clone();
        ended["release_reason"] = because("authority_order")["reason"].clone();
        for (mut expected, found) in [ended, expected(&second, 5_000)].into_iter().zip([0, 1]) {
            let found = &page["data"][found];
            expected["ordered_at"] = found["ordered_at"].clone();
            assert!(found["ordered_at"].is_string() && *found == expected, "{found} is not {expected}");
        }
        let cursor = page["next_cursor"].as_str().unwrap();
        let rest = cell.read(&format!("{at}?limit=2&cursor={cursor}")).await;
        assert_eq!((&rest["has_more"], rest["data"].as_array().unwrap().len()), (&json!(false), 1));
        let refused = &rest["data"][0];
        assert_eq!((&refused["ordered"], &refused["blocked"]), (&json!(pesos(7)), &Value::Null));

        let get = async |path: &str, token: &str| cell.get(path).token(token).send().await;
        let other = path(&cell.customer().await, "/blocks");
        assert_eq!(cell.read(&other).await["data"], json!([]), "another account's");
        let answer = get(&format!("{other}?cursor={cursor}"), &cell.token).await;
        answer.is_problem("invalid_cursor", "of another account");
        get(&at, &cell.token_of(2).await).await.is_problem("not_found", "another tenant");
        get(&at, &cell.token_with(&["holds:read"]).await)
            .await
            .is_problem("insufficient_scope", "of holds only");
    }
}

#[tokio::test]
async fn of_many_releases_at_once_one_happens() {
    for cell in Cell::both().await {
        let (account, _) = funded(&cell, 100).await;
        let court = cell.internal("liability").await;
        let block = cell.act(&path(&account, "/blocks"), &order(60, &court)).await.ok(201);
        let at = path(&account, &format!("/blocks/{}/releases", block["hold_id"].as_str().unwrap()));
        let why = because("authority_order");
        let answers = futures::future::join_all((0..6).map(|_| cell.act(&at, &why))).await;
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            answer.is_problem("block_ended", "the others come too late");
        }
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        let balance = cell.read(&path(&account, "")).await["balance"].clone();
        assert_eq!((&balance["held"], &balance["available"]), (&json!(pesos(0)), &json!(pesos(100))));
    }
}

#[tokio::test]
async fn what_was_recorded_is_carried_out_when_the_request_broke_off() {
    for cell in Cell::both().await {
        let (account, _) = funded(&cell, 100).await;
        let court = cell.internal("liability").await;
        let block = async |key: &str| {
            cell.post(&path(&account, "/blocks"), &order(60, &court)).token(&cell.token).key(key).send().await
        };
        let held = async || cell.read(&path(&account, "")).await["balance"]["held"].clone();

        let planted = Planted::new(&cell, "ledger_transfer", "INSERT", "amount = 60").await;
        block("k1").await.is_problem("ledger_unavailable", "the order is recorded, the hold is not");
        planted.remove().await;
        assert_eq!(held().await, json!(pesos(0)));
        assert_eq!(cell.work_at(11).await.done, 1);
        assert_eq!(held().await, json!(pesos(60)));
        let again = block("k1").await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let hold = again.ok(201)["hold_id"].as_str().unwrap().to_owned();

        let release = async |hold: &str| {
            let at = path(&account, &format!("/blocks/{hold}/releases"));
            cell.act(&at, &because("authority_order")).await
        };
        let planted = Planted::new(&cell, "ledger_transfer", "INSERT", "hold_id IS NOT NULL").await;
        release(&hold)
            .await
            .is_problem("ledger_unavailable", "the release is recorded, the hold still there");
        planted.remove().await;
        assert_eq!(held().await, json!(pesos(60)));
        assert_eq!(cell.work_at(11).await.done, 1);
        assert_eq!(held().await, json!(pesos(0)));

        let planted = Planted::new(&cell, "ledger_transfer", "INSERT", "amount = 60").await;
        block("k2").await.is_problem("ledger_unavailable", "again");
        planted.remove().await;
        let listed = cell.read(&path(&account, "/blocks")).await["data"].clone();
        let hold = listed[1]["hold_id"].as_str().unwrap().to_owned();
        release(&hold).await.ok(200);
        assert_eq!(cell.work_at(11).await.done, 2);
        assert_eq!(held().await, json!(pesos(0)), "a block that was released does not come back");
    }
}

/// What the ledger refuses for a reason that a block has no name of its own for is said with that reason.
#[tokio::test]
async fn a_block_that_the_ledger_refuses_says_why() {
    for cell in Cell::both().await {
        let (account, cash) = funded(&cell, 1_000).await;
        let court = cell.internal("liability").await;
        // A balance has at most 2^53 - 1 minor units, with what is on its way to it.
        let other = cell.internal("asset").await;
        let money = pesos((1 << 53) - 1 - 100);
        let deposit = Deposit { id: fresh(), debit: id(&other), credit: id(&court), money };
        assert_eq!(refusal(&cell.post_direct(deposit).await), None);
        let refused = cell.act(&path(&account, "/blocks"), &order(101, &court)).await;
        let problem = refused.is_problem("block_refused", "the beneficiary would have too much");
        assert!(problem["detail"].as_str().unwrap().contains("balance_overflow"), "{problem}");
        cell.act(&path(&account, "/blocks"), &order(100, &court)).await.ok(201);
        assert_eq!(cell.read(&path(&account, "")).await["balance"]["held"], json!(pesos(100)));
        assert_eq!(cell.read(&path(&cash, "")).await["balance"]["held"], json!(pesos(0)));
    }
}

#[tokio::test]
async fn what_cannot_be_blocked_is_named() {
    let cell = Cell::sqlite().await;
    let (account, cash) = funded(&cell, 1_000).await;
    let court = cell.internal("liability").await;
    let customer = cell.customer().await;
    let with = |change: Value| {
        let mut body = order(10, &court);
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    for (body, code) in [
        (with(json!({"amount": {"amount": 0, "currency": "MXN"}})), "invalid_field"),
        (with(json!({"amount": {"amount": 9_007_199_254_740_992_i64, "currency": "MXN"}})), "invalid_field"),
        (with(json!({"amount": {"amount": 10, "currency": "BRL"}})), "currency_not_offered"),
        (with(json!({"authority": ""})), "invalid_field"),
        (with(json!({"reference": "x".repeat(70)})), "invalid_field"),
        (order(10, &customer), "block_beneficiary"),
        (with(json!({"beneficiary_account_id": "acct_00000000000000000000000000"})), "block_beneficiary"),
    ] {
        cell.act(&path(&account, "/blocks"), &body).await.is_problem(code, &body.to_string());
    }
    let answer = cell.act(&path(&cash, "/blocks"), &order(10, &court)).await;
    answer.is_problem("not_a_customers_account", "the institution's own");
    cell.act(&path(&account, "/freezes"), &freeze("compliance")).await.ok(200);
    let answer = cell.act(&path(&account, "/blocks"), &order(10, &court)).await;
    answer.is_problem("account_state", "it pays nothing out anyway");
    cell.act(&path(&account, "/unfreezes"), &because("resolved")).await.ok(200);
    assert_eq!(cell.read(&path(&account, "")).await["balance"]["held"], json!(pesos(0)));

    let block = cell.act(&path(&account, "/blocks"), &order(10, &court)).await.ok(201);
    let hold = block["hold_id"].as_str().unwrap();
    let release = |account: &Value, hold: &str| path(account, &format!("/blocks/{hold}/releases"));
    let answer = cell.act(&release(&customer, hold), &because("resolved")).await;
    answer.is_problem("not_found", "another account's block");
    let answer = cell.act(&release(&account, &fresh().to_string()), &because("resolved")).await;
    answer.is_problem("not_found", "no block");
    let call =
        cell.post(&release(&account, hold), &because("resolved")).token(&cell.token_of(2).await).key("k");
    call.send().await.is_problem("not_found", "another tenant");
    let pay = PlainTransfer { id: fresh(), debit: id(&account), credit: id(&customer), money: pesos(991) };
    assert_eq!(refusal(&cell.post_direct(pay).await), Some(Reason::InsufficientFunds));
    let void = Void { id: fresh(), hold: hold.parse().unwrap() };
    assert_eq!(refusal(&cell.post_direct(void).await), Some(Reason::HoldIsBlock));
}
