//! A day in a cell, in which every operation of its served document succeeds at least once.
//!
//! What there is to cover is read from `/openapi.json`: a new operation fails this test, by name, until the day has it.

use std::{cell::RefCell, collections::BTreeSet};

use axum::http::Method;
use chrono::TimeDelta;
use platform::{
    openapi::{Operation, operations},
    testing::http::{Answer, Call},
};
use serde_json::{Value, json};

use crate::{accounts::pesos, cell::Cell};

/// Calls a cell and notes which operations have succeeded.
struct Tour<'a> {
    cell: &'a Cell,
    operations: Vec<Operation>,
    done: RefCell<BTreeSet<String>>,
    keys: RefCell<u32>,
}

impl<'a> Tour<'a> {
    async fn of(cell: &'a Cell) -> Self {
        let document = cell.get("/openapi.json").send().await.ok(200);
        let operations = operations(&serde_json::from_value(document).unwrap());
        assert!(!operations.is_empty());
        Self { cell, operations, done: RefCell::default(), keys: RefCell::default() }
    }

    async fn send(&self, method: Method, path: &str, prepare: impl FnOnce(Call<'a>) -> Call<'a>) -> Answer {
        let call = self.cell.request(method.clone(), path).token(&self.cell.token);
        self.call(method, path, prepare(call)).await
    }

    async fn call(&self, method: Method, path: &str, call: Call<'a>) -> Answer {
        let answer = call.send().await;
        assert!(answer.status.is_success(), "{method} {path}: {} {}", answer.status, answer.text());
        let plain = path.split('?').next().unwrap_or_default();
        let serving = self.operations.iter().filter(|operation| operation.serves(method.as_str(), plain));
        // Of `/things/search` and `/things/{id}` the first is meant, as the router would.
        let operation = serving.min_by_key(|operation| operation.path.matches('{').count());
        let operation = operation.unwrap_or_else(|| panic!("the document does not know {method} {path}"));
        self.done.borrow_mut().insert(operation.operation_id.clone());
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, |call| call).await
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let key = self.keys.replace_with(|key| *key + 1).to_string();
        self.send(Method::POST, path, |call| call.key(&key).json(&body)).await.json()
    }

    fn left(&self) -> Vec<&str> {
        let names = self.operations.iter().map(|operation| operation.operation_id.as_str());
        names.filter(|name| !self.done.borrow().contains(*name)).collect()
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}"))
}

#[tokio::test]
async fn every_operation_succeeds_on_a_tour_of_a_cell() {
    for cell in Cell::both().await {
        let tour = Tour::of(&cell).await;
        for path in ["/livez", "/readyz", "/metrics", "/problems", "/problems/not_found", "/v1/environment"] {
            tour.get(path).await;
        }
        tokens(&tour).await;
        let [ana, beto] = parties(&tour).await;
        let [salary, savings] = [accounts(&tour, &ana).await, accounts(&tour, &beto).await];
        let own = |name: &str, class: &str| json!({"name": name, "class": class, "may_overdraw": true});
        let cash = tour.post("/v1/internal-accounts", own("Cash", "asset")).await;
        let court = tour.post("/v1/internal-accounts", own("Court orders", "liability")).await;
        let [salary, savings, cash, court] =
            [&salary, &savings, &cash, &court].map(|account| text(account, "id"));
        transfers(&tour, cash, salary, savings).await;
        holds(&tour, salary, savings).await;
        let to_at = cell.ctx().now() + TimeDelta::hours(1);
        tour.post("/v1/simulations/clock", json!({"to_at": to_at})).await;
        states(&tour, salary, court).await;
        reads(&tour, salary).await;
        payments(&tour, salary, savings).await;
        assert_eq!(tour.left(), Vec::<&str>::new(), "operations that the tour leaves out");
    }
}

async fn tokens(tour: &Tour<'_>) {
    let issuer = tour.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(tour.get("/v1/oauth/jwks").await.json()["keys"].as_array().unwrap().len(), 1);
    let (path, now) = ("/v1/oauth/token", tour.cell.app.clock.now());
    let form = tour.cell.credential.token_form(text(&issuer, "issuer"), now).unwrap();
    let call = tour.cell.request(Method::POST, path).body(form);
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    let token = tour.call(Method::POST, path, call).await.json();
    tour.cell.get("/v1/environment").token(text(&token, "access_token")).send().await.ok(200);
}

async fn parties(tour: &Tour<'_>) -> [String; 2] {
    let ana = json!({"type": "natural", "given_names": "Ana", "family_names": "García"});
    let ana = tour.post("/v1/parties", ana).await;
    let ana = text(&ana, "id").to_owned();
    let path = format!("/v1/parties/{ana}");
    let etag = tour.get(&path).await.header("etag").unwrap().to_owned();
    let email = json!({"email": "ana@example.mx"});
    tour.send(Method::PATCH, &path, |call| call.key("mail").header("if-match", &etag).json(&email)).await;
    let file =
        "external_id,type,given_names,family_names,identifiers,email,phone\nc-2,natural,Beto,Ruiz,,,\n";
    let import = tour
        .send(Method::POST, "/v1/party-imports", |call| call.header("content-type", "text/csv").body(file));
    assert_eq!(import.await.json()["imported"], 1);
    let found = tour.get("/v1/parties?external_id=c-2").await.json();
    [ana, text(&found["data"][0], "id").to_owned()]
}

async fn accounts(tour: &Tour<'_>, party: &str) -> Value {
    let account = tour.post("/v1/accounts", json!({"party_id": party, "external_id": party})).await;
    let listed = tour.get(&format!("/v1/accounts?party_id={party}")).await.json();
    assert_eq!(listed["data"], json!([account]));
    let read = tour.get(&format!("/v1/accounts/{}", text(&account, "id"))).await.json();
    assert_eq!(read, account);
    account
}

fn transfer(kind: &str, debit: &str, credit: &str, amount: i64) -> Value {
    json!({"type": kind, "debit_account_id": debit, "credit_account_id": credit, "amount": pesos(amount)})
}

async fn transfers(tour: &Tour<'_>, cash: &str, salary: &str, savings: &str) {
    let paid = tour.post("/v1/transfers", transfer("deposit", cash, salary, 10_000)).await;
    let path = format!("/v1/transfers/{}", text(&paid, "id"));
    assert_eq!(tour.get(&path).await.json(), paid);
    let batch = [transfer("transfer", salary, savings, 300), transfer("transfer", salary, savings, 200)];
    let batch = tour.post("/v1/transfer-batches", json!({"transfers": batch})).await;
    assert_eq!(batch["posted"], 2);
    let wrong = tour.post("/v1/transfers", transfer("transfer", salary, savings, 77)).await;
    tour.post(&format!("/v1/transfers/{}/reversals", text(&wrong, "id")), json!({})).await;
    assert_eq!(tour.get("/v1/transfers").await.json()["data"].as_array().unwrap().len(), 5);
}

async fn holds(tour: &Tour<'_>, salary: &str, savings: &str) {
    for end in ["captures", "voids"] {
        let new = json!({"debit_account_id": salary, "credit_account_id": savings, "amount": pesos(100)});
        let hold = tour.post("/v1/holds", new).await;
        let path = format!("/v1/holds/{}", text(&hold, "id"));
        assert_eq!(tour.get(&path).await.json(), hold);
        tour.post(&format!("{path}/{end}"), json!({})).await;
    }
    assert_eq!(tour.get("/v1/holds").await.json()["data"].as_array().unwrap().len(), 2);
}

async fn states(tour: &Tour<'_>, salary: &str, court: &str) {
    let path = format!("/v1/accounts/{salary}");
    let reason = json!({"code": "authority_order", "detail": null});
    tour.post(&format!("{path}/freezes"), json!({"direction": "all", "reason": reason})).await;
    tour.post(&format!("{path}/unfreezes"), json!({"reason": reason})).await;
    let order = json!({
        "amount": pesos(500), "authority": "SAT", "reference": "4711", "beneficiary_account_id": court,
    });
    let block = tour.post(&format!("{path}/blocks"), order).await;
    let release = format!("{path}/blocks/{}/releases", text(&block, "hold_id"));
    tour.post(&release, json!({"reason": reason})).await;
    let blocks = tour.get(&format!("{path}/blocks")).await.json();
    assert_eq!(blocks["data"][0]["hold_id"], block["hold_id"]);
    tour.post(&format!("/v1/accounts/{court}/closures"), json!({"reason": reason})).await;
}

async fn reads(tour: &Tour<'_>, salary: &str) {
    let path = format!("/v1/accounts/{salary}");
    let balance = tour.get(&format!("{path}/balance")).await.json();
    assert_eq!(balance["available"], json!(pesos(9_400)));
    assert_eq!(tour.get(&format!("{path}/balance/explanation")).await.json()["agrees"], true);
    tour.get(&format!("{path}/limits")).await;
    tour.get("/v1/trial-balance").await;
    let now = tour.get("/v1/environment").await.json();
    let now: chrono::DateTime<chrono::Utc> = text(&now, "now_at").parse().unwrap();
    let today = now.with_timezone(&chrono_tz::America::Mexico_City).date_naive();
    let statement = tour.get(&format!("{path}/statements?from_on={today}&to_on={today}")).await.json();
    assert_eq!(statement["closing_balance"], json!(pesos(9_400)));
}

async fn payments(tour: &Tour<'_>, salary: &str, savings: &str) {
    let order = json!({"debit_account_id": salary, "credit_account_id": savings, "amount": pesos(100)});
    let preview = tour.post("/v1/payment-previews", order).await;
    assert_eq!(tour.get(&format!("/v1/payment-previews/{}", text(&preview, "id"))).await.json(), preview);
    let payment = tour.post("/v1/payments", json!({"preview_id": preview["id"]})).await;
    let path = format!("/v1/payments/{}", text(&payment, "id"));
    assert_eq!(tour.get(&path).await.json()["preview_id"], preview["id"]);
    assert_eq!(tour.get("/v1/payments").await.json()["data"][0]["id"], payment["id"]);
}
