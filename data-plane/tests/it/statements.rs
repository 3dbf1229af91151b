//! Statements: every form of them adds up, to the ledger's own balances.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::America::Mexico_City;
use ledger::{
    books,
    movements::{Capture, Deposit, Hold, PlainTransfer, Reversal, Void, Withdrawal},
    outcome::Outcome,
    transfer::Transfer,
};
use mx20022_model::{common::validate::Validatable, generated::camt::camt_053_001_11 as camt};
use platform::testing::http::Answer;
use proptest::{
    collection::vec,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use tenants::id::{AccountId, TransferId};

use crate::{
    accounts::{because, fresh, funded, id, path, pesos, refusal},
    cell::Cell,
};

async fn statement(cell: &Cell, account: &Value, from: NaiveDate, to: NaiveDate, accept: &str) -> Answer {
    let path = path(account, &format!("/statements?from_on={from}&to_on={to}"));
    cell.get(&path).token(&cell.token).header("accept", accept).send().await
}

/// All pages of two entries as one.
async fn pages(cell: &Cell, account: &Value, from: NaiveDate, to: NaiveDate) -> Value {
    let first = path(account, &format!("/statements?from_on={from}&to_on={to}&limit=2"));
    let mut whole = cell.read(&first).await;
    while let Some(cursor) = whole["next_cursor"].as_str() {
        let next = cell.read(&format!("{first}&cursor={cursor}")).await;
        for field in ["opening_balance", "closing_balance"] {
            assert_eq!(next[field], whole[field], "every page has the balances of the whole");
        }
        whole["next_cursor"] = next["next_cursor"].clone();
        whole["data"].as_array_mut().unwrap().extend(next["data"].as_array().unwrap().iter().cloned());
    }
    whole
}

fn amount(money: &Value) -> i64 {
    money["amount"].as_i64().unwrap()
}

/// Minor units of a decimal with two places.
fn minor(decimal: &str) -> i64 {
    let (major, cents) = decimal.split_once('.').unwrap();
    assert_eq!(cents.len(), 2, "{decimal}");
    format!("{major}{cents}").parse().unwrap()
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_hms_opt(0, 0, 0).unwrap().and_local_timezone(Mexico_City).unwrap().to_utc()
}

/// What a statement says, whatever its form: the opening balance, each transfer with what it changed and the balance
/// after it, and the closing balance.
#[derive(Debug, PartialEq)]
struct Said {
    opening: i64,
    entries: Vec<(String, i64)>,
    closing: i64,
}

fn of_json(statement: &Value) -> Said {
    let mut balance = amount(&statement["opening_balance"]);
    let entries = statement["data"].as_array().unwrap().iter().map(|entry| {
        balance += amount(&entry["amount"]);
        assert_eq!(amount(&entry["balance"]), balance, "{statement}");
        (entry["transfer_id"].as_str().unwrap().to_owned(), amount(&entry["amount"]))
    });
    let entries = entries.collect();
    assert_eq!(amount(&statement["closing_balance"]), balance, "{statement}");
    Said { opening: amount(&statement["opening_balance"]), entries, closing: balance }
}

fn of_csv(text: &str) -> Said {
    let mut lines = csv::Reader::from_reader(text.as_bytes());
    let column = |name: &str| lines.headers().unwrap().iter().position(|header| header == name).unwrap();
    let [record, transfer, change, after] = ["record", "transfer_id", "amount", "balance"].map(column);
    let lines: Vec<csv::StringRecord> = lines.records().map(Result::unwrap).collect();
    let [opening, entries @ .., closing] = lines.as_slice() else { panic!("{text}") };
    assert_eq!((&opening[record], &closing[record]), ("opening", "closing"));
    let mut balance = minor(&opening[after]);
    let opening = balance;
    let entries = entries.iter().map(|line| {
        balance += minor(&line[change]);
        assert_eq!((&line[record], minor(&line[after])), ("entry", balance), "{text}");
        (line[transfer].to_owned(), minor(&line[change]))
    });
    let entries = entries.collect();
    assert_eq!(minor(&closing[after]), balance, "{text}");
    Said { opening, entries, closing: balance }
}

/// Reads a camt.053 by the types that are generated of its schema, and holds it to the schema: lengths and patterns are
/// kept, and what these types write of it has the same elements in the same order.
fn of_camt(text: &str) -> Said {
    let document: camt::Document =
        quick_xml::de::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let written = quick_xml::se::to_string(&document).unwrap();
    assert_eq!(elements(text), elements(&written), "{text}");
    let mut violations = Vec::new();
    document.validate_constraints("", &mut violations);
    assert!(violations.is_empty(), "{violations:?}: {text}");
    let statement = &document.bk_to_cstmr_stmt.stmt[0];
    let signed = |amount: &camt::ActiveOrHistoricCurrencyAndAmount, side: &camt::CreditDebitCode| {
        assert_eq!(amount.ccy.0, "MXN");
        let amount = minor(&amount.value.0);
        assert!(amount >= 0, "signs are in the indicator");
        if *side == camt::CreditDebitCode::Crdt { amount } else { -amount }
    };
    let [opening, closing] = statement.bal.as_slice() else { panic!("{text}") };
    let entries = statement.ntry.iter().map(|entry| {
        (entry.acct_svcr_ref.as_ref().unwrap().0.clone(), signed(&entry.amt, &entry.cdt_dbt_ind))
    });
    Said {
        opening: signed(&opening.amt, &opening.cdt_dbt_ind),
        entries: entries.collect(),
        closing: signed(&closing.amt, &closing.cdt_dbt_ind),
    }
}

/// The names of the elements, as they begin.
fn elements(xml: &str) -> Vec<String> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let mut names = Vec::new();
    loop {
        match reader.read_event().unwrap() {
            quick_xml::events::Event::Start(start) | quick_xml::events::Event::Empty(start) => {
                names.push(String::from_utf8_lossy(start.name().as_ref()).into_owned());
            }
            quick_xml::events::Event::Eof => return names,
            _ => {}
        }
    }
}

/// Something that happens to an account: what, how much, and how many seconds after the last.
type Event = (u8, i64, i64);

/// Posts a history that was imported; returns when each change of the account's balance took effect, and by how much.
async fn history(
    cell: &Cell,
    account: AccountId,
    [cash, other]: [AccountId; 2],
    base: DateTime<Utc>,
    events: &[Event],
) -> Vec<(DateTime<Utc>, TransferId, i64)> {
    let (mut at, mut said) = (base, Vec::<(DateTime<Utc>, TransferId, i64)>::new());
    let mut hold: Option<(TransferId, i64)> = None;
    for &(what, amount, seconds) in events {
        at += TimeDelta::seconds(seconds);
        let (id, money) = (fresh(), pesos(amount));
        let (transfer, change): (Transfer, i64) = match what {
            0 | 1 => (Deposit { id, debit: cash, credit: account, money }.into(), amount),
            2 => (Withdrawal { id, debit: account, credit: cash, money }.into(), -amount),
            3 => (PlainTransfer { id, debit: account, credit: other, money }.into(), -amount),
            4 => (Hold { id, debit: account, credit: other, money, expires_at: None }.into(), 0),
            5 => match hold.take() {
                Some((hold, held)) => {
                    (Capture { id, hold, amount: Some(held.min(amount)) }.into(), -held.min(amount))
                }
                None => continue,
            },
            6 => match hold.take() {
                Some((hold, _)) => (Void { id, hold }.into(), 0),
                None => continue,
            },
            _ => match said.last() {
                Some(&(_, original, change)) => (Reversal { id, original }.into(), -change),
                None => continue,
            },
        };
        let reference = Some("=1+1; \"ñ\" <&> \u{7f}".into());
        match cell.post_direct(Transfer { effective_at: Some(at), reference, ..transfer }).await {
            Outcome::Posted(_) if what == 4 => hold = Some((id, amount)),
            Outcome::Posted(_) if change != 0 => said.push((at, id, change)),
            _ => {}
        }
    }
    said
}

/// A statement's days: the first one, counted from the beginning of the history, and how many more.
type Days = (i64, i64);

async fn check(cell: &Cell, events: &[Event], periods: &[Days]) {
    let (account, cash) = funded(cell, 0).await;
    let other = cell.customer().await;
    let base = cell.ctx().now() - TimeDelta::days(100);
    let said = history(cell, id(&account), [id(&cash), id(&other)], base, events).await;
    let standing = async |at: DateTime<Utc>| {
        let tx = cell.app.db.begin_read(cell.ctx().scope).await.unwrap();
        let balance = books::balance_at(&tx, cell.ctx().scope, id(&account), at).await.unwrap();
        balance.unwrap_or_default()
    };
    for &(first, more) in periods {
        let from = base.with_timezone(&Mexico_City).date_naive() + TimeDelta::days(first);
        let to = from + TimeDelta::days(more);
        let (begin, end) = (midnight(from), midnight(to.succ_opt().unwrap()));
        let sum = |until: DateTime<Utc>| said.iter().filter(|(at, ..)| *at < until).map(|(.., by)| by).sum();
        let within = said.iter().filter(|(at, ..)| (begin..end).contains(at));
        let expected = Said {
            opening: sum(begin),
            entries: within.map(|(_, id, by)| (id.to_string(), *by)).collect(),
            closing: sum(end),
        };
        let moment = TimeDelta::microseconds(1);
        let balances = (standing(begin - moment).await, standing(end - moment).await);
        assert_eq!(
            balances,
            (expected.opening, expected.closing),
            "the ledger's balances at {from} and {to}"
        );
        assert_eq!(of_json(&pages(cell, &account, from, to).await), expected, "{from} to {to}");
        let csv = statement(cell, &account, from, to, "text/csv").await;
        assert_eq!(of_csv(&csv.text()), expected, "{from} to {to}");
        let xml = statement(cell, &account, from, to, "application/xml").await;
        assert_eq!(of_camt(&xml.text()), expected, "{from} to {to}");
    }
}

#[test]
fn every_statement_adds_up_to_the_ledgers_balances() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for cell in runtime.block_on(Cell::both()) {
        let config = Config { cases: 12, failure_persistence: None, ..Config::default() };
        let events = vec((0..8_u8, 1..1_000_i64, 0..200_000_i64), 0..24);
        let periods = vec((-3..50_i64, 0..30_i64), 1..4);
        TestRunner::new(config)
            .run(&(events, periods), |(events, periods)| {
                runtime.block_on(check(&cell, &events, &periods));
                Ok(())
            })
            .unwrap();
    }
}

#[tokio::test]
async fn an_entry_belongs_to_the_day_it_is_where_the_bank_is() {
    let cell = Cell::sqlite().await;
    let (account, cash) = funded(&cell, 0).await;
    let day = cell.ctx().now().with_timezone(&Mexico_City).date_naive() - TimeDelta::days(10);
    for (at, money) in [(midnight(day) - TimeDelta::microseconds(1), pesos(1)), (midnight(day), pesos(20))] {
        let deposit = Deposit { id: fresh(), debit: id(&cash), credit: id(&account), money };
        let imported = Transfer { effective_at: Some(at), ..deposit.into() };
        assert_eq!(refusal(&cell.post_direct(imported).await), None);
    }
    let of = |statement: &Value| {
        let days = statement["data"].as_array().unwrap().iter().map(|entry| entry["on"].clone());
        (
            amount(&statement["opening_balance"]),
            amount(&statement["closing_balance"]),
            days.collect::<Vec<_>>(),
        )
    };
    let eve = day.pred_opt().unwrap();
    assert_eq!(of(&pages(&cell, &account, eve, eve).await), (0, 1, vec![json!(eve)]));
    assert_eq!(of(&pages(&cell, &account, day, day).await), (1, 21, vec![json!(day)]));
}

#[tokio::test]
async fn a_statement_that_began_does_not_change() {
    for cell in Cell::both().await {
        let (account, cash) = funded(&cell, 5).await;
        let deposit =
            |amount| Deposit { id: fresh(), debit: id(&cash), credit: id(&account), money: pesos(amount) };
        assert_eq!(refusal(&cell.post_direct(deposit(6)).await), None);
        let today = cell.ctx().now().with_timezone(&Mexico_City).date_naive();
        let at = path(&account, &format!("/statements?from_on={today}&to_on={today}&limit=1"));
        let first = cell.read(&at).await;
        assert_eq!((&first["interim"], amount(&first["closing_balance"])), (&json!(true), 11));
        assert_eq!(refusal(&cell.post_direct(deposit(7)).await), None);
        let second = cell.read(&format!("{at}&cursor={}", first["next_cursor"].as_str().unwrap())).await;
        assert_eq!((amount(&second["closing_balance"]), &second["has_more"]), (11, &json!(false)));
        assert_eq!(amount(&second["data"][0]["amount"]), 6);
        assert_eq!(amount(&cell.read(&at).await["closing_balance"]), 18, "a new one has the new entry");
    }
}

#[tokio::test]
async fn a_closed_account_has_its_statements() {
    let cell = Cell::sqlite().await;
    let account = cell.customer().await;
    cell.act(&path(&account, "/closures"), &because("customer_request")).await.ok(200);
    let today = cell.ctx().now().with_timezone(&Mexico_City).date_naive();
    let empty = Said { opening: 0, entries: Vec::new(), closing: 0 };
    assert_eq!(of_json(&pages(&cell, &account, today, today).await), empty);
    assert_eq!(of_csv(&statement(&cell, &account, today, today, "text/csv").await.text()), empty);
    assert_eq!(of_camt(&statement(&cell, &account, today, today, "application/xml").await.text()), empty);
}

/// More entries than a stream reads at once.
#[tokio::test]
async fn a_long_statement_is_streamed_whole() {
    let cell = Cell::sqlite().await;
    let (account, cash) = funded(&cell, 1).await;
    let deposits = (0..2_500)
        .map(|_| Deposit { id: fresh(), debit: id(&cash), credit: id(&account), money: pesos(1) }.into());
    let outcomes = cell.app.ledger.post(&cell.ctx(), deposits.collect()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Posted(_))));
    let today = cell.ctx().now().with_timezone(&Mexico_City).date_naive();
    let csv = of_csv(&statement(&cell, &account, today, today, "text/csv").await.text());
    assert_eq!((csv.opening, csv.entries.len(), csv.closing), (0, 2_501, 2_501));
    assert_eq!(of_camt(&statement(&cell, &account, today, today, "application/xml").await.text()), csv);
}

#[tokio::test]
async fn what_is_no_statement_is_named() {
    let cell = Cell::sqlite().await;
    let account = cell.customer().await;
    let today = cell.ctx().now().with_timezone(&Mexico_City).date_naive();
    let tomorrow = today.succ_opt().unwrap();
    for (query, code) in [
        (format!("from_on={today}&to_on={}", today.pred_opt().unwrap()), "period_reversed"),
        (format!("from_on={}&to_on={today}", today - TimeDelta::days(366)), "period_too_long"),
        (format!("from_on={today}&to_on={tomorrow}"), "period_in_future"),
        ("from_on=2026-02-30&to_on=2026-03-01".to_owned(), "invalid_parameter"),
        (format!("from_on={today}"), "invalid_parameter"),
        (format!("from_on={today}&to_on={today}&cursor=bm9uZQ"), "invalid_cursor"),
        (format!("from_on={today}&to_on={today}&zone=UTC"), "invalid_parameter"),
    ] {
        let answer =
            cell.get(&path(&account, &format!("/statements?{query}"))).token(&cell.token).send().await;
        answer.is_problem(code, &query);
    }
    let answer = statement(&cell, &account, today, today, "application/pdf").await;
    answer.is_problem("not_acceptable", "a form that there is not");
    let at = path(&account, &format!("/statements?from_on={today}&to_on={today}"));
    for accept in ["application/json", "text/csv", "application/xml"] {
        let call = cell.get(&at).token(&cell.token_of(2).await).header("accept", accept);
        call.send().await.is_problem("not_found", "another tenant");
    }
}
