//! Payments: shown, committed once, and where they end.

pub mod dying;

use axum::http::Method;
use chrono::{DateTime, Utc};
use data_plane::background;
use ledger::movements::{Deposit, PlainTransfer, Void};
use platform::{drain::Drain, testing::http::Answer, work::Tick};
use serde_json::{Value, json};
use std::time::Duration;

use crate::{
    accounts::{freeze, fresh, id, pesos},
    cell::Cell,
};

/// Two customers' accounts, the first with money in it.
struct Two<'a> {
    cell: &'a Cell,
    payer: Value,
    payee: Value,
    cash: Value,
}

impl<'a> Two<'a> {
    async fn with(cell: &'a Cell, amount: i64) -> Self {
        let (payer, payee) = (cell.customer().await, cell.customer().await);
        let cash = cell.internal("asset").await;
        let deposit = Deposit { id: fresh(), debit: id(&cash), credit: id(&payer), money: pesos(amount) };
        assert!(cell.post_direct(deposit).await.posted().is_some());
        Self { cell, payer, payee, cash }
    }

    fn order(&self, amount: i64) -> Value {
        json!({
            "debit_account_id": self.payer["id"], "credit_account_id": self.payee["id"],
            "amount": {"amount": amount, "currency": "MXN"}, "reference": "Invoice 4711",
        })
    }

    async fn preview(&self, amount: i64) -> Value {
        self.cell.act("/v1/payment-previews", &self.order(amount)).await.ok(201)
    }

    /// Shows and commits; the payment's path.
    async fn pay(&self, amount: i64) -> String {
        let preview = self.preview(amount).await;
        let payment = self.cell.act("/v1/payments", &json!({"preview_id": preview["id"]})).await.ok(202);
        assert_eq!((&payment["status"], &payment["hold_id"]), (&json!("created"), &Value::Null));
        format!("/v1/payments/{}", payment["id"].as_str().unwrap())
    }

    /// Posted, held and available of the payer; posted and incoming of the payee.
    async fn balances(&self) -> [i64; 5] {
        let path = |account: &Value| format!("/v1/accounts/{}", account["id"].as_str().unwrap());
        let payer = self.cell.read(&path(&self.payer)).await["balance"].clone();
        let payee = self.cell.read(&path(&self.payee)).await["balance"].clone();
        let amount = |balance: &Value, of: &str| balance[of]["amount"].as_i64().unwrap();
        [
            amount(&payer, "posted"),
            amount(&payer, "held"),
            amount(&payer, "available"),
            amount(&payee, "posted"),
            amount(&payee, "incoming"),
        ]
    }
}

impl Cell {
    /// Runs what is due `seconds` from now by the wall clock: leases that ended by then are over.
    pub async fn work_at(&self, seconds: i64) -> Tick {
        let wall: DateTime<Utc> = self.app.clock.now() + chrono::TimeDelta::seconds(seconds);
        self.app.work.tick(wall).await.unwrap()
    }

    async fn status(&self, payment: &str) -> String {
        self.read(payment).await["status"].as_str().unwrap().to_owned()
    }

    async fn move_clock(&self, minutes: i64) {
        let now: DateTime<Utc> =
            self.read("/v1/environment").await["now_at"].as_str().unwrap().parse().unwrap();
        let to = now + chrono::TimeDelta::minutes(minutes);
        self.act("/v1/simulations/clock", &json!({"to_at": to})).await.ok(200);
    }
}

#[tokio::test]
async fn a_payment_is_shown_committed_and_settled_once() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 1_000).await;
        let shown =
            cell.post("/v1/payment-previews", &two.order(300)).token(&cell.token).key("p").send().await;
        let preview = shown.ok(201);
        let money = |amount: i64| json!({"amount": amount, "currency": "MXN"});
        for (field, amount) in [
            ("amount", 300),
            ("fee", 0),
            ("total", 300),
            ("available_before", 1_000),
            ("available_after", 700),
        ] {
            assert_eq!(preview[field], money(amount), "{field}");
        }
        assert_eq!((&preview["status"], &preview["payment_id"]), (&json!("open"), &Value::Null));
        assert_eq!(preview["payee_name"], "Tienda SA de CV");
        let time = |field: &str| preview[field].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        assert_eq!(time("expires_at") - time("created_at"), chrono::TimeDelta::minutes(5));
        assert_eq!(two.balances().await, [1_000, 0, 1_000, 0, 0], "nothing is set aside");
        let again =
            cell.post("/v1/payment-previews", &two.order(300)).token(&cell.token).key("p").send().await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.ok(201), preview);

        let commit = async |key: &str, body: Value| {
            cell.post("/v1/payments", &body).token(&cell.token).key(key).send().await
        };
        let body = json!({"preview_id": preview["id"], "external_id": "order-1"});
        let payment = commit("c", body.clone()).await.ok(202);
        let again = commit("c", body.clone()).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.ok(202), payment);
        let other = json!({"preview_id": preview["id"]});
        commit("c", other.clone()).await.is_problem("idempotency_mismatch", "another body");
        let used = commit("d", other).await.is_problem("preview_used", "used twice");
        assert!(used["detail"].as_str().unwrap().contains(payment["id"].as_str().unwrap()));
        assert_eq!(two.balances().await, [1_000, 0, 1_000, 0, 0], "committed and not yet carried out");

        assert_eq!(cell.work_at(0).await, Tick { taken: 1, done: 1, ..Tick::default() });
        let settled = cell.read(&format!("/v1/payments/{}", payment["id"].as_str().unwrap())).await;
        assert_eq!((&settled["status"], &settled["status_reason"]), (&json!("settled"), &Value::Null));
        assert_eq!(settled["settled_amount"], money(300));
        assert_eq!(two.balances().await, [700, 0, 700, 300, 0]);
        let transfer =
            cell.read(&format!("/v1/transfers/{}", settled["transfer_id"].as_str().unwrap())).await;
        assert_eq!((&transfer["type"], &transfer["hold_id"]), (&json!("capture"), &settled["hold_id"]));
        assert_eq!((&transfer["amount"], &transfer["reference"]), (&money(300), &json!("Invoice 4711")));
        assert_eq!(transfer["effective_at"], settled["ended_at"]);

        assert_eq!(cell.work_at(3_600).await, Tick::default(), "nothing is left to do");
        let late = commit("c", body).await;
        assert_eq!(late.header("idempotency-replayed"), Some("true"));
        assert_eq!(late.ok(202), settled, "as it stands now");
        let preview = cell.read(&format!("/v1/payment-previews/{}", preview["id"].as_str().unwrap())).await;
        assert_eq!((&preview["status"], &preview["payment_id"]), (&json!("committed"), &payment["id"]));
        assert_eq!(preview["available_before"], money(1_000), "as it was shown");
    }
}

#[tokio::test]
async fn a_stranger_is_shown_by_the_first_letters() {
    let cell = Cell::sqlite().await;
    let two = Two::with(&cell, 10).await;
    let ana = json!({"type": "natural", "given_names": "Ana Lucía", "family_names": "García"});
    let party = cell.act("/v1/parties", &ana).await.ok(201);
    let payee = cell.act("/v1/accounts", &json!({"party_id": party["id"]})).await.ok(201);
    let preview = Two { payee, ..two }.preview(1).await;
    assert_eq!(preview["payee_name"], "An*** Luc*** Gar***");
}

#[tokio::test]
async fn what_cannot_be_paid_is_named_before() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 1_000).await;
        let unknown = "acct_01jd4q8e7xf2r9k3m5n7p0s4t6";
        let stranger = cell.token_of(2).await;
        for (change, code, pointer) in [
            (json!({"amount": {"amount": 0, "currency": "MXN"}}), "amount_not_positive", "/amount/amount"),
            (json!({"amount": {"amount": -1, "currency": "MXN"}}), "amount_not_positive", "/amount/amount"),
            (
                json!({"amount": {"amount": 9_007_199_254_740_992_i64, "currency": "MXN"}}),
                "amount_too_large",
                "/amount/amount",
            ),
            (json!({"amount": {"amount": 1, "currency": "USD"}}), "currency_mismatch", "/amount/currency"),
            (json!({"amount": {"amount": 1_001, "currency": "MXN"}}), "insufficient_funds", "/amount/amount"),
            (json!({"credit_account_id": two.payer["id"]}), "accounts_identical", "/credit_account_id"),
            (json!({"debit_account_id": unknown}), "debit_account_not_found", "/debit_account_id"),
            (json!({"credit_account_id": unknown}), "credit_account_not_found", "/credit_account_id"),
            (json!({"debit_account_id": two.cash["id"]}), "payment_account_internal", "/debit_account_id"),
            (json!({"credit_account_id": two.cash["id"]}), "payment_account_internal", "/credit_account_id"),
            (json!({"debit_account_id": "x"}), "invalid_field", "/debit_account_id"),
            (json!({"reference": ""}), "invalid_field", "/reference"),
            (json!({"reference": "a\nb"}), "invalid_field", "/reference"),
            (json!({"reference": "x".repeat(141)}), "invalid_field", "/reference"),
            (json!({"fee": 1}), "invalid_field", "/fee"),
        ] {
            let mut order = two.order(1);
            order.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let answer = cell.act("/v1/payment-previews", &order).await;
            let problem = answer.is_problem(code, &change.to_string());
            assert_eq!(problem["errors"][0]["pointer"], pointer, "{change}");
        }
        let call = cell.post("/v1/payment-previews", &two.order(1)).token(&stranger).key("k");
        call.send().await.is_problem("debit_account_not_found", "another environment's accounts");
        let because = json!({"reason": {"code": "customer_request", "detail": "of the test"}});
        let path =
            |account: &Value, way: &str| format!("/v1/accounts/{}/{way}", account["id"].as_str().unwrap());
        cell.act(&path(&two.payer, "freezes"), &freeze("customer_request")).await.ok(200);
        let frozen = cell.act("/v1/payment-previews", &two.order(1)).await;
        frozen.is_problem("debit_account_frozen", "a frozen payer");
        cell.act(&path(&two.payer, "unfreezes"), &because).await.ok(200);
        cell.act(&path(&two.payee, "closures"), &because).await.ok(200);
        let closed = cell.act("/v1/payment-previews", &two.order(1)).await;
        closed.is_problem("credit_account_closed", "a closed payee");
        assert_eq!(cell.work_at(0).await, Tick::default());
    }
}

#[tokio::test]
async fn a_preview_is_committed_in_time_and_by_whom_it_was_shown_to() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 1_000).await;
        let preview = two.preview(100).await;
        let body = json!({"preview_id": preview["id"]});
        let path = format!("/v1/payment-previews/{}", preview["id"].as_str().unwrap());
        for (token, who) in
            [(cell.token_of(2).await, "another environment"), (cell.token_as(8).await, "another client")]
        {
            let foreign = cell.post("/v1/payments", &body).token(&token).key("k").send().await;
            foreign.is_problem("preview_unknown", who);
            cell.get(&path).token(&token).send().await.is_problem("not_found", who);
        }
        let none = cell.act("/v1/payments", &json!({"preview_id": "prv_01jd4q8e7xf2r9k3m5n7p0s4t6"})).await;
        none.is_problem("preview_unknown", "no such preview");
        cell.move_clock(5).await;
        assert_eq!(cell.read(&path).await["status"], "expired");
        cell.act("/v1/payments", &body).await.is_problem("preview_expired", "five minutes later");
        let preview = two.preview(100).await;
        cell.move_clock(4).await;
        cell.act("/v1/payments", &json!({"preview_id": preview["id"]})).await.ok(202);
        assert_eq!(cell.work_at(0).await.done, 1);
        assert_eq!(two.balances().await, [900, 0, 900, 100, 0], "only the one in time");
    }
}

#[tokio::test]
async fn of_many_commits_at_once_one_pays() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 1_000).await;
        let preview = two.preview(100).await;
        let body = json!({"preview_id": preview["id"]});
        let commits = (0..6).map(|_| cell.act("/v1/payments", &body));
        let answers: Vec<Answer> = futures::future::join_all(commits).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1, "with keys of their own");
        for answer in answers.iter().filter(|answer| answer.status != 202) {
            answer.is_problem("preview_used", "the others");
        }
        let preview = two.preview(10).await;
        let body = json!({"preview_id": preview["id"]});
        let commits = (0..6).map(|_| cell.post("/v1/payments", &body).token(&cell.token).key("one").send());
        let payments: Vec<Value> =
            futures::future::join_all(commits).await.iter().map(|answer| answer.ok(202)).collect();
        assert!(payments.iter().all(|payment| payment["id"] == payments[0]["id"]), "with one key");
        let (one, other) = tokio::join!(cell.work_at(0), cell.work_at(40));
        assert!(one.taken + other.taken >= 2);
        assert_eq!(two.balances().await, [890, 0, 890, 110, 0]);
        assert_eq!(cell.read("/v1/payments?status=settled").await["data"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn an_external_id_names_one_payment() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 1_000).await;
        let (one, other) = (two.preview(1).await, two.preview(2).await);
        let body = |preview: &Value| json!({"preview_id": preview["id"], "external_id": "order-1"});
        let payment = cell.act("/v1/payments", &body(&one)).await.ok(202);
        let taken = cell.act("/v1/payments", &body(&other)).await;
        taken.is_problem("payment_external_id_taken", "the same external_id");
        let found = cell.read("/v1/payments?external_id=order-1").await;
        assert_eq!(found["data"], json!([payment]));
        cell.act("/v1/payments", &json!({"preview_id": other["id"]})).await.ok(202);
    }
}

#[tokio::test]
async fn payments_are_listed_by_page_and_filter_and_only_to_their_tenant() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 100).await;
        let mut paths = Vec::new();
        for amount in [10, 20, 30, 40] {
            paths.push(two.pay(amount).await);
        }
        // The second finds the account empty.
        let empty =
            PlainTransfer { id: fresh(), debit: id(&two.payer), credit: id(&two.payee), money: pesos(95) };
        assert!(cell.post_direct(empty).await.posted().is_some());
        cell.work_at(0).await;
        let count = async |query: &str| {
            cell.read(&format!("/v1/payments?{query}")).await["data"].as_array().unwrap().len()
        };
        assert_eq!(count("status=rejected").await, 4);
        assert_eq!(count("status=created").await, 0);
        for account in [&two.payer, &two.payee] {
            assert_eq!(count(&format!("account_id={}", account["id"].as_str().unwrap())).await, 4);
        }
        assert_eq!(count(&format!("account_id={}", two.cash["id"].as_str().unwrap())).await, 0);
        let first = cell.read(&paths[0]).await["created_at"].as_str().unwrap().to_owned();
        assert_eq!(
            (
                count(&format!("created_until_at={first}")).await,
                count(&format!("created_from_at={first}")).await
            ),
            (0, 4)
        );
        let (mut cursor, mut seen) = (String::new(), Vec::new());
        loop {
            let page = cell.read(&format!("/v1/payments?limit=3{cursor}")).await;
            for payment in page["data"].as_array().unwrap() {
                seen.push(format!("/v1/payments/{}", payment["id"].as_str().unwrap()));
            }
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        paths.sort();
        assert_eq!(seen, paths);
        let stranger = cell.token_of(2).await;
        let list = cell.get("/v1/payments").token(&stranger).send().await.ok(200);
        assert_eq!(list["data"], json!([]));
        cell.get(&paths[0]).token(&stranger).send().await.is_problem("not_found", "another environment");
        for (query, code) in [("status=gone", "invalid_parameter"), ("cursor=x", "invalid_cursor")] {
            let answer = cell.get(&format!("/v1/payments?{query}")).token(&cell.token).send().await;
            answer.is_problem(code, query);
        }
    }
}

#[tokio::test]
async fn a_payment_that_the_ledger_refuses_is_rejected_with_its_reason() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 100).await;
        let payment = two.pay(100).await;
        let away =
            PlainTransfer { id: fresh(), debit: id(&two.payer), credit: id(&two.payee), money: pesos(1) };
        assert!(cell.post_direct(away).await.posted().is_some());
        cell.work_at(0).await;
        let call = cell.request(Method::GET, &payment).token(&cell.token).header("accept-language", "es");
        let rejected = call.send().await.ok(200);
        assert_eq!(rejected["status"], "rejected");
        assert_eq!(rejected["status_reason"]["code"], "insufficient_funds");
        let detail = rejected["status_reason"]["detail"].as_str().unwrap();
        assert!(detail.contains("disponible") && detail.contains("0.99"), "{detail}");
        assert_eq!(rejected["hold_id"], Value::Null);
        assert_eq!(two.balances().await, [99, 0, 99, 1, 0]);
        let back =
            PlainTransfer { id: fresh(), debit: id(&two.payee), credit: id(&two.payer), money: pesos(1) };
        assert!(cell.post_direct(back).await.posted().is_some());
        assert_eq!(cell.work_at(3_600).await, Tick::default());
        assert_eq!(cell.status(&payment).await, "rejected", "final, also when there is money again");
    }
}

#[tokio::test]
async fn a_payment_whose_time_is_over_before_it_is_carried_out_expires() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 100).await;
        let payment = two.pay(100).await;
        cell.move_clock(15).await;
        assert_eq!(cell.work_at(0).await.done, 1);
        let expired = cell.read(&payment).await;
        assert_eq!(expired["status"], "expired");
        assert_eq!(expired["status_reason"]["code"], "expiry_not_in_future");
        assert_eq!(two.balances().await, [100, 0, 100, 0, 0]);
    }
}

/// What becomes of a payment whose amount is set aside and whose capture then meets a changed world.
#[tokio::test]
async fn between_authorisation_and_settlement() {
    for case in ["frozen", "expired", "voided", "captured in part"] {
        for cell in Cell::both().await {
            let two = Two::with(&cell, 100).await;
            let payment = two.pay(60).await;
            let planted = dying::Planted::new(&cell, "ledger_transfer", "INSERT", "kind = 5").await;
            cell.work_at(0).await;
            assert_eq!(cell.status(&payment).await, "authorised", "{case}");
            assert_eq!(two.balances().await, [100, 60, 40, 0, 60], "{case}");
            planted.remove().await;
            let hold = cell.read(&payment).await["hold_id"].as_str().unwrap().to_owned();
            let (status, code, balances) = match case {
                "frozen" => {
                    let path = format!("/v1/accounts/{}/freezes", two.payer["id"].as_str().unwrap());
                    cell.act(&path, &freeze("suspected_fraud")).await.ok(200);
                    ("rejected", json!("debit_account_frozen"), [100, 0, 100, 0, 0])
                }
                "expired" => {
                    cell.move_clock(15).await;
                    ("expired", json!("hold_expired"), [100, 0, 100, 0, 0])
                }
                "voided" => {
                    let void = Void { id: fresh(), hold: hold.parse().unwrap() };
                    assert!(cell.post_direct(void).await.posted().is_some());
                    ("rejected", json!("hold_already_voided"), [100, 0, 100, 0, 0])
                }
                _ => {
                    let part = json!({"amount": {"amount": 25, "currency": "MXN"}});
                    cell.act(&format!("/v1/holds/{hold}/captures"), &part).await.ok(201);
                    ("settled", Value::Null, [75, 0, 75, 25, 0])
                }
            };
            assert_eq!(cell.work_at(60).await.done, 1, "{case}");
            cell.app.ledger.expire_holds(&cell.app.db, &cell.app.clock).await.unwrap();
            let ended = cell.read(&payment).await;
            assert_eq!(
                (&ended["status"], &ended["status_reason"]["code"]),
                (&json!(status), &code),
                "{case}"
            );
            assert_eq!(two.balances().await, balances, "{case}");
            if case == "captured in part" {
                assert_eq!(ended["settled_amount"]["amount"], 25);
            }
            assert_eq!(cell.work_at(3_600).await, Tick::default(), "{case}");
        }
    }
}

/// A cell's background carries out what is committed, and ends with the drain.
#[tokio::test]
async fn the_background_carries_out_what_was_committed_until_the_drain() {
    for cell in Cell::both().await {
        let two = Two::with(&cell, 100).await;
        let drain = Drain::new();
        let background = background::start(&cell.app, None, &drain);
        let payment = two.pay(100).await;
        let settled = async { while cell.status(&payment).await != "settled" {} };
        tokio::time::timeout(Duration::from_secs(60), settled).await.expect("it is carried out");
        drain.begin();
        tokio::time::timeout(Duration::from_secs(60), background.ended()).await.expect("it ends");
        assert_eq!(two.balances().await, [0, 0, 0, 100, 0]);
    }
}
