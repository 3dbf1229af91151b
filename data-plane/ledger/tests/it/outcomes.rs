//! The order of precedence: what the document says, what the code has, and what the rules do.

use std::{collections::BTreeSet, fs, path::Path};

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{
    account::{Account, Class, State},
    hold::{Hold, HoldState},
    http,
    limit::{Direction, Limit, NewLimit, Window},
    outcome::{Outcome, Reason},
    rules::{Book, Call},
    transfer::{Kind, Provenance, Side, Subject, Transfer},
};
use tenants::money::{Currency, MAX_AMOUNT};
use uuid::Uuid;

use crate::world::{account_id, transfer_id};

#[test]
fn the_document_has_every_reason_in_order() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ledger-outcomes.md");
    let text = fs::read_to_string(file).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    let said: Vec<Vec<String>> = rows
        .map(|row| {
            row.split('|').skip(1).take(3).map(|cell| cell.trim().trim_matches('`').to_owned()).collect()
        })
        .collect();
    let have: Vec<Vec<String>> = Reason::ALL
        .iter()
        .map(|reason| {
            let kept = if reason.is_kept() { "yes" } else { "no" };
            vec![reason.code().to_owned(), http::code(*reason).status.to_string(), kept.to_owned()]
        })
        .collect();
    assert_eq!(said, have);
    assert!(Reason::ALL.is_sorted(), "a reason's rank is its place");
}

/// A name that ends in an ellipsis stands for all that begin so.
#[test]
fn the_document_says_what_becomes_of_every_status_of_the_reference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(folder.join("../../docs/ledger-outcomes.md")).unwrap();
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    let reference = fs::read_to_string(folder.join("tests/tigerbeetle/create_transfers.txt")).unwrap();
    let statuses: Vec<&str> = reference.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(statuses.len() > 60, "{statuses:?}");
    let says = |status: &str| {
        let begins = |name: &&str| name.strip_suffix('…').is_some_and(|begin| status.starts_with(begin));
        named.contains(&status) || named.iter().any(begins)
    };
    let missing: Vec<&str> = statuses.into_iter().filter(|status| !says(status)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

const ENVIRONMENT: Uuid = Uuid::from_u128(1);
const RICH: i64 = MAX_AMOUNT - 1_000;

fn now() -> DateTime<Utc> {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// Accounts by number: 1 and 2 are good; the others have a fault each.
const CLOSED: u128 = 3;
const FROZEN: u128 = 4;
const FULL: u128 = 5;
const LIMITED: u128 = 6;
const FROZEN_ASSET: u128 = 7;
const CLOSED_TOO: u128 = 8;

fn account(number: u128) -> Account {
    let class = if number == FROZEN_ASSET { Class::Asset } else { Class::Liability };
    let mut account = Account {
        id: account_id(number),
        class,
        currency: Currency::parse("MXN").unwrap(),
        state: match number {
            CLOSED | CLOSED_TOO => State::Closed,
            FROZEN | FROZEN_ASSET => State::Frozen,
            _ => State::Open,
        },
        may_overdraw: false,
        limits_revision: i64::from(number == LIMITED),
        debits_posted: 0,
        credits_posted: if number == FULL { RICH } else { 5_000 },
        debits_held: 0,
        credits_held: 0,
        last_effective_at: now() - TimeDelta::days(10),
    };
    if class == Class::Asset {
        std::mem::swap(&mut account.debits_posted, &mut account.credits_posted);
    }
    account
}

fn hold(number: u128, state: HoldState, expires_at: Option<DateTime<Utc>>) -> Hold {
    Hold {
        environment: ENVIRONMENT,
        id: transfer_id(number),
        debit: account_id(if number == 104 { FROZEN } else { 1 }),
        credit: account_id(2),
        amount: 100,
        currency: Currency::parse("MXN").unwrap(),
        state,
        captured: None,
        expires_at,
        placed_at: now() - TimeDelta::days(10),
        resolved_by: None,
    }
}

/// Books in which every refusal can be met.
fn book() -> Book {
    let mut book = Book::new(0);
    for number in 1..=CLOSED_TOO {
        book.add_account(ENVIRONMENT, account(number));
    }
    let rule = NewLimit {
        direction: Direction::Out,
        window: Window::Transfer,
        maximum: 10,
        time_zone: chrono_tz::Tz::UTC,
    };
    let limit = Limit { account: account_id(LIMITED), rule, used: 0, started_at: DateTime::UNIX_EPOCH };
    book.add_limit(ENVIRONMENT, limit);
    book.add_hold(hold(100, HoldState::Held, None));
    book.add_hold(hold(101, HoldState::Captured, None));
    book.add_hold(hold(102, HoldState::Voided, None));
    book.add_hold(hold(103, HoldState::Held, Some(now())));
    book.add_hold(hold(104, HoldState::Held, None));
    book.add_hold(hold(105, HoldState::Blocked, None));
    book
}

fn post(book: &mut Book, transfer: Transfer) -> Outcome {
    let provenance =
        Provenance { actor: "test".into(), client: None, request_id: "test".into(), clock_offset_ms: 0 };
    let call = Call { environment: ENVIRONMENT, provenance, transfers: vec![transfer] };
    book.post(&call, now()).remove(0)
}

fn plain(id: u128, subject: Subject, amount: Option<i64>) -> Transfer {
    Transfer {
        id: transfer_id(id),
        kind: if matches!(subject, Subject::Hold(_)) { Kind::Capture } else { Kind::Transfer },
        subject,
        amount,
        currency: Currency::parse("MXN"),
        balancing: None,
        expires_at: None,
        effective_at: None,
        linked: false,
        reference: None,
        key: None,
        shape: None,
        block: false,
    }
}

/// A fault: the reason it gives alone, the fields it is in, and how to make it.
type Fault = (Reason, &'static [&'static str], fn(&mut Transfer));

fn debit(transfer: &mut Transfer, number: u128) {
    if let Subject::Accounts { debit, .. } = &mut transfer.subject {
        *debit = account_id(number);
    }
}

fn credit(transfer: &mut Transfer, number: u128) {
    if let Subject::Accounts { credit, .. } = &mut transfer.subject {
        *credit = account_id(number);
    }
}

const OF_ACCOUNTS: &[Fault] = &[
    (Reason::ChainOpen, &["linked"], |transfer| transfer.linked = true),
    (Reason::IdReused, &["id"], |transfer| transfer.id = transfer_id(900)),
    (Reason::AmountNotPositive, &["amount"], |transfer| transfer.amount = Some(0)),
    (Reason::AmountTooLarge, &["amount"], |transfer| transfer.amount = Some(MAX_AMOUNT + 1)),
    (Reason::AccountsIdentical, &["debit", "credit"], |transfer| credit(transfer, 1)),
    (Reason::ExpiryNotInFuture, &["kind"], |transfer| {
        transfer.kind = Kind::Hold;
        transfer.expires_at = Some(now());
    }),
    (Reason::EffectiveInFuture, &["effective"], |transfer| {
        transfer.effective_at = Some(now() + TimeDelta::seconds(1));
    }),
    (Reason::DebitAccountNotFound, &["debit"], |transfer| debit(transfer, 99)),
    (Reason::CreditAccountNotFound, &["credit"], |transfer| credit(transfer, 98)),
    (Reason::CurrencyMismatch, &["currency"], |transfer| transfer.currency = Currency::parse("USD")),
    (Reason::AccountClassMismatch, &["kind"], |transfer| transfer.kind = Kind::Fee),
    (Reason::BalancingSideMismatch, &["balancing", "credit"], |transfer| {
        transfer.balancing = Some(Side::Credit)
    }),
    (Reason::EffectiveOutOfOrder, &["effective"], |transfer| {
        transfer.effective_at = Some(now() - TimeDelta::days(11));
    }),
    (Reason::DebitAccountClosed, &["debit"], |transfer| debit(transfer, CLOSED)),
    (Reason::CreditAccountClosed, &["credit"], |transfer| credit(transfer, CLOSED_TOO)),
    (Reason::DebitAccountFrozen, &["debit"], |transfer| debit(transfer, FROZEN)),
    (Reason::CreditAccountFrozen, &["credit"], |transfer| credit(transfer, FROZEN_ASSET)),
    (Reason::BalanceOverflow, &["credit", "amount"], |transfer| {
        credit(transfer, FULL);
        transfer.amount = Some(4_000);
    }),
    (Reason::InsufficientFunds, &["amount"], |transfer| transfer.amount = Some(5_001)),
    (Reason::LimitExceeded, &["debit"], |transfer| debit(transfer, LIMITED)),
];

fn hold_is(transfer: &mut Transfer, number: u128) {
    transfer.subject = Subject::Hold(transfer_id(number));
}

const OF_HOLDS: &[Fault] = &[
    (Reason::AmountNotPositive, &["amount"], |transfer| transfer.amount = Some(-1)),
    (Reason::AmountTooLarge, &["amount"], |transfer| transfer.amount = Some(i64::MAX)),
    (Reason::HoldNotFound, &["hold"], |transfer| hold_is(transfer, 99)),
    (Reason::HoldAlreadyCaptured, &["hold"], |transfer| hold_is(transfer, 101)),
    (Reason::HoldAlreadyVoided, &["hold"], |transfer| hold_is(transfer, 102)),
    (Reason::HoldExpired, &["hold"], |transfer| hold_is(transfer, 103)),
    (Reason::HoldNotExpired, &["kind", "hold"], |transfer| transfer.kind = Kind::Expiry),
    (Reason::HoldIsBlock, &["hold"], |transfer| hold_is(transfer, 105)),
    (Reason::CaptureExceedsHold, &["amount"], |transfer| transfer.amount = Some(101)),
    (Reason::CurrencyMismatch, &["currency"], |transfer| transfer.currency = Currency::parse("USD")),
    (Reason::DebitAccountFrozen, &["hold"], |transfer| hold_is(transfer, 104)),
];

/// Every pair of faults that can be made together gives the reason that stands first.
fn first_of_two_wins(faults: &[Fault], good: &Transfer) -> BTreeSet<Reason> {
    let mut pairs = 0;
    let mut seen = BTreeSet::new();
    let reason = |made: &[&Fault]| {
        let mut books = book();
        // Uses up an id, for the fault that uses it again.
        post(&mut books, plain(900, good_accounts(), Some(1)));
        let mut transfer = good.clone();
        made.iter().for_each(|fault| (fault.2)(&mut transfer));
        match post(&mut books, transfer) {
            Outcome::Rejected(rejection) => rejection.reason,
            other => panic!("{other:?}"),
        }
    };
    for (place, fault) in faults.iter().enumerate() {
        assert_eq!(reason(&[fault]), fault.0, "alone");
        seen.insert(fault.0);
        for other in &faults[place..] {
            if fault.1.iter().any(|field| other.1.contains(field)) {
                continue;
            }
            pairs += 1;
            assert_eq!(
                reason(&[fault, other]),
                fault.0.min(other.0),
                "{} and {}",
                fault.0.code(),
                other.0.code()
            );
        }
    }
    assert!(pairs > faults.len(), "{pairs} pairs");
    seen
}

fn good_accounts() -> Subject {
    Subject::Accounts { debit: account_id(1), credit: account_id(2) }
}

#[test]
fn of_two_reasons_the_first_is_given() {
    let transfer = plain(1, good_accounts(), Some(100));
    assert!(matches!(post(&mut book(), transfer.clone()), Outcome::Posted(_)));
    let mut seen = first_of_two_wins(OF_ACCOUNTS, &transfer);
    let capture = plain(1, Subject::Hold(transfer_id(100)), Some(100));
    assert!(matches!(post(&mut book(), capture.clone()), Outcome::Posted(_)));
    seen.extend(first_of_two_wins(OF_HOLDS, &capture));
    let rest: Vec<Reason> = Reason::ALL.iter().copied().filter(|reason| !seen.contains(reason)).collect();
    // One needs a chain, the others a reversal, which has no other fields to be wrong.
    assert_eq!(
        rest,
        [
            Reason::LinkedTransferFailed,
            Reason::OriginalNotFound,
            Reason::NotReversible,
            Reason::AlreadyReversed
        ]
    );
}
