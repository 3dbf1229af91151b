//! Accounts: opened, found, frozen, blocked, closed; by two at once, and against the ledger's writer.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::Method;
use futures::future::join_all;
use ledger::{
    movements::{Deposit, Hold, PlainTransfer, Void, Withdrawal},
    outcome::{Outcome, Reason},
    transfer::Transfer,
};
use platform::{
    ctx::{Actor, Ctx, EnvironmentClock},
    db::Backend,
    testing::http::Answer,
};
use serde_json::{Value, json};
use tenants::{
    environment::Mode,
    id::{AccountId, TransferId},
    money::Money,
};
use uuid::Uuid;

use crate::cell::{Cell, scope};

impl Cell {
    /// The context in which the first environment's ledger is used directly.
    pub fn ctx(&self) -> Ctx {
        Ctx {
            scope: scope(1),
            mode: Mode::Sandbox,
            actor: Actor::System("test"),
            request_id: "test".into(),
            clock: EnvironmentClock::new(self.app.clock.clone(), chrono::TimeDelta::zero()),
        }
    }

    /// Posts past the interface.
    pub async fn post_direct(&self, transfer: impl Into<Transfer>) -> Outcome {
        self.app.ledger.post_one(&self.ctx(), transfer).await.unwrap()
    }

    async fn party(&self, token: &str) -> String {
        let body = json!({"type": "legal", "legal_name": "Tienda SA de CV"});
        let key = number().to_string();
        let party = self.post("/v1/parties", &body).token(token).key(&key).send().await.ok(201);
        party["id"].as_str().unwrap().to_owned()
    }

    /// Opens a customer's account of a new party.
    pub async fn customer(&self) -> Value {
        let party = self.party(&self.token).await;
        self.act("/v1/accounts", &json!({"party_id": party})).await.ok(201)
    }

    /// Opens an internal account that may be overdrawn.
    pub async fn internal(&self, class: &str) -> Value {
        let body = json!({"name": class, "class": class, "may_overdraw": true});
        self.act("/v1/internal-accounts", &body).await.ok(201)
    }

    /// Posts under a key of its own.
    pub async fn act(&self, path: &str, body: &Value) -> Answer {
        let key = number().to_string();
        self.post(path, body).token(&self.token).key(&key).send().await
    }

    /// Reads.
    pub async fn read(&self, path: &str) -> Value {
        self.get(path).token(&self.token).send().await.ok(200)
    }
}

pub fn id(account: &Value) -> AccountId {
    account["id"].as_str().unwrap().parse().unwrap()
}

/// One that no other call has got.
fn number() -> Uuid {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Uuid::from_u128(NEXT.fetch_add(1, Ordering::Relaxed).into())
}

/// An id that no transfer of the test has.
pub fn fresh() -> TransferId {
    TransferId::from_uuid(number())
}

pub fn pesos(amount: i64) -> Money {
    Money::new(amount, "MXN".parse().unwrap())
}

/// A customer's account with money in it, and the settlement account it came from.
pub async fn funded(cell: &Cell, amount: i64) -> (Value, Value) {
    let (account, cash) = (cell.customer().await, cell.internal("asset").await);
    if amount > 0 {
        let deposit = Deposit { id: fresh(), debit: id(&cash), credit: id(&account), money: pesos(amount) };
        assert!(matches!(cell.post_direct(deposit).await, Outcome::Posted(_)));
    }
    (account, cash)
}

pub fn path(account: &Value, rest: &str) -> String {
    format!("/v1/accounts/{}{rest}", account["id"].as_str().unwrap())
}

/// A freeze of debits.
pub fn freeze(code: &str) -> Value {
    json!({"direction": "debit", "reason": {"code": code, "detail": "of the test"}})
}

pub fn because(code: &str) -> Value {
    json!({"reason": {"code": code, "detail": "of the test"}})
}

/// The body of an action on an account.
fn why(action: &str) -> Value {
    if action == "/freezes" { freeze("compliance") } else { because("compliance") }
}

pub fn refusal(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Outcome::Rejected(rejection) => Some(rejection.reason),
        Outcome::Posted(_) | Outcome::Replayed(_) => None,
    }
}

#[tokio::test]
async fn an_account_is_opened_once_per_key() {
    for cell in Cell::both().await {
        let party = cell.party(&cell.token).await;
        let body = json!({"party_id": party, "external_id": "core-1", "metadata": {"branch": "Roma"}});
        let open = async |key: &str, body: &Value| {
            cell.post("/v1/accounts", body).token(&cell.token).key(key).send().await
        };
        let account = open("k1", &body).await.ok(201);
        assert_eq!((&account["kind"], &account["class"]), (&json!("customer"), &json!("liability")));
        assert_eq!((&account["state"], &account["currency"]), (&json!("open"), &json!("MXN")));
        assert_eq!(account["balance"]["available"], json!({"amount": 0, "currency": "MXN"}));
        assert_eq!(account["metadata"], json!({"branch": "Roma"}));
        assert_eq!(cell.read(&path(&account, "")).await, account);

        let again = open("k1", &body).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.ok(201), account);
        open("k1", &json!({"party_id": party})).await.is_problem("idempotency_mismatch", "another body");
        open("k2", &body).await.is_problem("account_external_id_taken", "the same external_id");
        let other = open("k2", &json!({"party_id": party})).await.ok(201);
        assert_ne!(other["id"], account["id"], "nothing of the refused request stays, not even its key");
    }
}

#[tokio::test]
async fn one_external_id_of_many_at_once_wins() {
    for cell in Cell::both().await {
        let party = cell.party(&cell.token).await;
        let body = json!({"party_id": party, "external_id": "core-1"});
        let answers = join_all((0..6).map(|_| cell.act("/v1/accounts", &body))).await;
        let opened = answers.iter().filter(|answer| answer.status == 201).count();
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            answer.is_problem("account_external_id_taken", "the others");
        }
        assert_eq!(opened, 1);
        let all = cell.read("/v1/accounts").await;
        assert_eq!(all["data"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let cell = Cell::sqlite().await;
    let party = cell.party(&cell.token).await;
    let stranger = cell.party(&cell.token_of(2).await).await;
    for (body, code, pointer) in [
        (json!({"party_id": stranger}), "account_party_unknown", "/party_id"),
        (json!({"party_id": party, "currency": "COP"}), "currency_not_offered", "/currency"),
        (json!({"party_id": party, "external_id": ""}), "invalid_field", "/external_id"),
        (json!({"party_id": party, "metadata": {"": "x"}}), "invalid_field", "/metadata/"),
        (json!({"party_id": "acct_1"}), "invalid_field", "/party_id"),
        (json!({}), "invalid_field", "/party_id"),
        (json!({"party_id": party, "overdraft": 1}), "invalid_field", "/overdraft"),
    ] {
        let problem = cell.act("/v1/accounts", &body).await.is_problem(code, &body.to_string());
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    for (body, pointer) in [
        (json!({"name": "  ", "class": "asset"}), "/name"),
        (json!({"name": "Cash", "class": "gold"}), "/class"),
        (json!({"name": "Cash", "class": "asset", "party_id": party}), "/party_id"),
    ] {
        let problem = cell.act("/v1/internal-accounts", &body).await.is_problem("invalid_field", pointer);
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{body}");
    }
    let call = cell.post("/v1/accounts", &json!({"party_id": party})).token(&cell.token);
    call.send().await.is_problem("idempotency_key_missing", "no key");
    assert_eq!(cell.read("/v1/accounts").await["data"], json!([]));
}

#[tokio::test]
async fn accounts_are_listed_by_page_and_filter_and_only_to_their_tenant() {
    for cell in Cell::both().await {
        let mut ids = Vec::new();
        for number in 0..5 {
            let body = json!({"name": "Fees", "class": "income", "external_id": format!("f{number}")});
            ids.push(cell.act("/v1/internal-accounts", &body).await.ok(201));
        }
        let customer = cell.customer().await;
        ids.push(customer.clone());
        let mut seen = Vec::new();
        let mut next = "/v1/accounts?limit=4".to_owned();
        loop {
            let page = cell.read(&next).await;
            seen.extend(page["data"].as_array().unwrap().iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            next = format!("/v1/accounts?limit=4&cursor={cursor}");
        }
        assert_eq!(seen, ids);

        cell.act(&path(&ids[1], "/freezes"), &freeze("suspected_fraud")).await.ok(200);
        let opened = customer["opened_at"].as_str().unwrap();
        for (filter, expected) in [
            (format!("party_id={}", customer["party_id"].as_str().unwrap()), &ids[5..]),
            ("external_id=f3".to_owned(), &ids[3..4]),
            ("external_id=none".to_owned(), &[]),
            ("state=frozen".to_owned(), &ids[1..2]),
            (format!("opened_from_at={opened}"), &ids[5..]),
            (format!("opened_until_at={opened}"), &ids[..5]),
        ] {
            let found = cell.read(&format!("/v1/accounts?{filter}")).await;
            let found: Vec<&Value> = found["data"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
            assert_eq!(found, expected.iter().map(|one| &one["id"]).collect::<Vec<_>>(), "{filter}");
        }
        for bad in ["limit=0", "limit=201", "state=melted", "party_id=x", "colour=red"] {
            let answer = cell.get(&format!("/v1/accounts?{bad}")).token(&cell.token).send().await;
            answer.is_problem("invalid_parameter", bad);
        }
        let answer = cell.get("/v1/accounts?cursor=bm9uZQ").token(&cell.token).send().await;
        answer.is_problem("invalid_cursor", "a cursor of nobody");

        let stranger = cell.token_of(2).await;
        let theirs = cell.get("/v1/accounts").token(&stranger).send().await.ok(200);
        assert_eq!(theirs["data"], json!([]));
        cell.get(&path(&customer, ""))
            .token(&stranger)
            .send()
            .await
            .is_problem("not_found", "another tenant");
        for action in ["/freezes", "/unfreezes", "/closures"] {
            let call = cell.post(&path(&customer, action), &why(action));
            let answer = call.token(&stranger).key(action).send().await;
            answer.is_problem("not_found", "another tenant's account");
        }
        assert_eq!(cell.read(&path(&customer, "")).await, customer, "and nothing has happened to it");
    }
}

#[tokio::test]
async fn a_frozen_account_pays_nothing_out_until_it_is_unfrozen() {
    for cell in Cell::both().await {
        let (account, cash) = funded(&cell, 1_000).await;
        let freeze = async |key: &str, reason: &str| {
            cell.post(&path(&account, "/freezes"), &freeze(reason)).token(&cell.token).key(key).send().await
        };
        let frozen = freeze("k1", "authority_order").await.ok(200);
        assert_eq!(frozen["state"], "frozen");
        assert_eq!(frozen["state_reason"], json!({"code": "authority_order", "detail": "of the test"}));
        let again = freeze("k1", "authority_order").await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        freeze("k1", "deceased").await.is_problem("idempotency_mismatch", "another reason");
        freeze("k2", "compliance").await.is_problem("account_state", "it is frozen");
        freeze("k3", "boredom").await.is_problem("invalid_field", "no such reason");

        let out = || Withdrawal { id: fresh(), debit: id(&account), credit: id(&cash), money: pesos(1) };
        let refused = cell.post_direct(out()).await;
        assert_eq!(refusal(&refused), Some(Reason::DebitAccountFrozen));
        let deposit = Deposit { id: fresh(), debit: id(&cash), credit: id(&account), money: pesos(1) };
        assert_eq!(refusal(&cell.post_direct(deposit).await), None);

        let open = cell.act(&path(&account, "/unfreezes"), &because("resolved")).await.ok(200);
        assert_eq!((&open["state"], &open["state_reason"]["code"]), (&json!("open"), &json!("resolved")));
        assert_eq!(refusal(&cell.post_direct(out()).await), None);
        let answer = cell.act(&path(&account, "/unfreezes"), &because("resolved")).await;
        answer.is_problem("account_state", "it is not frozen");
        let late = freeze("k1", "authority_order").await.ok(200);
        assert_eq!(late["state"], "open", "a repetition shows the account as it is now, and freezes nothing");
    }
}

#[tokio::test]
async fn a_freeze_is_of_debits_of_credits_or_of_both() {
    for cell in Cell::both().await {
        let (account, cash) = funded(&cell, 1_000).await;
        let at = path(&account, "/freezes");
        let reason = json!({"code": "compliance", "detail": null});
        // Each after the one before it, or after an unfreeze: a freeze only adds to what is frozen.
        for (first, asked, direction, out, into) in [
            (true, "credit", "credit", true, false),
            (false, "debit", "all", false, false),
            (true, "debit", "debit", false, true),
            (false, "credit", "all", false, false),
            (true, "all", "all", false, false),
        ] {
            let state = cell.read(&path(&account, "")).await["state"].clone();
            if first && state == "frozen" {
                cell.act(&path(&account, "/unfreezes"), &because("resolved")).await.ok(200);
            }
            let body = json!({"direction": asked, "reason": reason});
            let frozen = cell.act(&at, &body).await.ok(200);
            assert_eq!((&frozen["state"], &frozen["frozen"]), (&json!("frozen"), &json!(direction)));
            for other in ["debit", "credit", "all"] {
                if other == direction || direction == "all" {
                    let body = json!({"direction": other, "reason": reason});
                    cell.act(&at, &body).await.is_problem("account_state", "a freeze that adds nothing");
                }
            }
            let paid = Withdrawal { id: fresh(), debit: id(&account), credit: id(&cash), money: pesos(1) };
            let paid = refusal(&cell.post_direct(paid).await);
            assert_eq!(paid, (!out).then_some(Reason::DebitAccountFrozen), "{direction}");
            let got = Deposit { id: fresh(), debit: id(&cash), credit: id(&account), money: pesos(1) };
            let got = refusal(&cell.post_direct(got).await);
            assert_eq!(got, (!into).then_some(Reason::CreditAccountFrozen), "{direction}");
            let listed = cell.read("/v1/accounts?state=frozen").await;
            assert_eq!(listed["data"][0]["frozen"], direction);
        }
        let open = cell.act(&path(&account, "/unfreezes"), &because("resolved")).await.ok(200);
        assert_eq!((&open["state"], &open["frozen"]), (&json!("open"), &Value::Null));
        let body = json!({"direction": "sideways", "reason": reason});
        let problem = cell.act(&at, &body).await.is_problem("invalid_field", "no such direction");
        assert_eq!(problem["errors"][0]["pointer"], "/direction");
        cell.act(&at, &json!({"reason": reason})).await.is_problem("invalid_field", "no direction");
    }
}

#[tokio::test]
async fn only_an_empty_account_closes_and_for_ever() {
    for cell in Cell::both().await {
        let (account, cash) = funded(&cell, 100).await;
        let close = async || cell.act(&path(&account, "/closures"), &because("customer_request")).await;
        let problem = close().await.is_problem("account_not_empty", "a balance");
        assert!(problem["detail"].as_str().unwrap().contains("1.00"), "{problem}");
        let hold =
            Hold { id: fresh(), debit: id(&cash), credit: id(&account), money: pesos(5), expires_at: None };
        assert_eq!(refusal(&cell.post_direct(hold).await), None);
        let out = Withdrawal { id: fresh(), debit: id(&account), credit: id(&cash), money: pesos(100) };
        assert_eq!(refusal(&cell.post_direct(out).await), None);
        close().await.is_problem("account_not_empty", "an open hold towards it");
        assert_eq!(refusal(&cell.post_direct(Void { id: fresh(), hold: hold.id }).await), None);

        cell.act(&path(&account, "/freezes"), &freeze("compliance")).await.ok(200);
        close().await.is_problem("account_state", "a frozen account does not close");
        cell.act(&path(&account, "/unfreezes"), &because("resolved")).await.ok(200);
        let closed = close().await.ok(200);
        assert_eq!((&closed["state"], &closed["kind"]), (&json!("closed"), &json!("customer")));
        for action in ["/freezes", "/unfreezes", "/closures"] {
            let answer = cell.act(&path(&account, action), &why(action)).await;
            answer.is_problem("account_state", "closed is for ever");
        }
        let deposit = Deposit { id: fresh(), debit: id(&cash), credit: id(&account), money: pesos(1) };
        assert_eq!(refusal(&cell.post_direct(deposit).await), Some(Reason::CreditAccountClosed));
    }
}

#[tokio::test]
async fn of_many_moves_at_once_one_happens() {
    for cell in Cell::both().await {
        for action in ["/freezes", "/unfreezes", "/closures"] {
            let account = cell.customer().await;
            if action == "/unfreezes" {
                cell.act(&path(&account, "/freezes"), &freeze("compliance")).await.ok(200);
            }
            let (at, why) = (path(&account, action), why(action));
            let answers = join_all((0..6).map(|_| cell.act(&at, &why))).await;
            let moved = answers.iter().filter(|answer| answer.status == 200).count();
            for answer in answers.iter().filter(|answer| answer.status != 200) {
                answer.is_problem("account_state", "the others come too late");
            }
            assert_eq!(moved, 1, "{action}");
        }
    }
}

/// Whichever comes first wins, and the other is refused: a closed account has no balance, one with a balance is open.
#[tokio::test]
async fn a_closure_and_a_deposit_at_once_exclude_each_other() {
    for cell in Cell::both().await {
        let cash = cell.internal("asset").await;
        for _ in 0..8 {
            let account = cell.customer().await;
            let deposit = Deposit { id: fresh(), debit: id(&cash), credit: id(&account), money: pesos(7) };
            let (at, why) = (path(&account, "/closures"), because("customer_request"));
            let (closed, paid) = tokio::join!(cell.act(&at, &why), cell.post_direct(deposit));
            let after = cell.read(&path(&account, "")).await;
            if closed.status == 200 {
                assert_eq!(refusal(&paid), Some(Reason::CreditAccountClosed));
                assert_eq!(
                    (&after["state"], &after["balance"]["posted"]["amount"]),
                    (&json!("closed"), &json!(0))
                );
            } else {
                closed.is_problem("account_not_empty", "money came first");
                assert_eq!(refusal(&paid), None);
                assert_eq!(
                    (&after["state"], &after["balance"]["posted"]["amount"]),
                    (&json!("open"), &json!(7))
                );
            }
        }
    }
}

#[tokio::test]
async fn the_institutions_own_accounts_need_their_own_scope() {
    let cell = Cell::sqlite().await;
    let cash = cell.internal("asset").await;
    let token = cell.token_with(&["accounts:read", "accounts:write"]).await;
    for action in ["/freezes", "/closures"] {
        let call = cell.post(&path(&cash, action), &why(action)).token(&token).key(action);
        call.send().await.is_problem("insufficient_scope", action);
    }
    let call = cell.post("/v1/internal-accounts", &json!({"name": "Own", "class": "equity"}));
    call.token(&token).key("k").send().await.is_problem("insufficient_scope", "opening one");
    let call = cell.request(Method::GET, &path(&cash, "")).token(&token);
    assert_eq!(call.send().await.ok(200)["state"], "open");
}

#[tokio::test]
async fn money_moves_between_customers_only_while_both_are_open() {
    let cell = Cell::sqlite().await;
    let (ana, _) = funded(&cell, 500).await;
    let beto = cell.customer().await;
    let pay =
        |amount| PlainTransfer { id: fresh(), debit: id(&ana), credit: id(&beto), money: pesos(amount) };
    assert_eq!(refusal(&cell.post_direct(pay(200)).await), None);
    let balance = cell.read(&path(&beto, "")).await["balance"]["available"].clone();
    assert_eq!(balance, json!({"amount": 200, "currency": "MXN"}));
    assert_eq!(refusal(&cell.post_direct(pay(301)).await), Some(Reason::InsufficientFunds));
}

#[tokio::test]
async fn what_the_database_cannot_hold_is_the_callers_fault() {
    for cell in Cell::both().await {
        let party = cell.customer().await["party_id"].clone();
        for value in ["a\0b", "a\u{7}b"] {
            let body = json!({"party_id": party, "metadata": {"note": value}});
            let problem = cell.act("/v1/accounts", &body).await.is_problem("invalid_field", value);
            assert_eq!(problem["errors"][0]["pointer"], "/metadata/note");
        }
        for query in [
            "accounts?external_id=%00",
            "accounts?opened_from_at=-9999-01-01T00:00:00Z",
            "parties?external_id=%00",
            "payments?external_id=%00",
        ] {
            let answer = cell.get(&format!("/v1/{query}")).token(&cell.token).send().await;
            // SQLite can compare with it, and finds nothing or everything.
            match cell.app.db.backend() {
                Backend::Sqlite => drop(answer.ok(200)),
                Backend::Postgres => drop(answer.is_problem("invalid_parameter", query)),
            }
        }
    }
}
