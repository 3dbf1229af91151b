//! The table language: one row per event, its outcome last. Every table runs on both databases and on the
//! store of the simulation, which shows that the latter behaves as they do.
//!
//! ```text
//! account NAME CLASS CURRENCY [overdraw]        unfreeze|close NAME -> done|refused
//! freeze NAME debits|credits|all -> done|refused
//! limit NAME out|in transfer|day|month|balance MAXIMUM                tick SECONDS
//! transfer|deposit|withdrawal|fee|hold ID DEBIT CREDIT AMOUNT [CURRENCY] [expires=S] [effective=S]
//!     [balancing=debit|credit] [linked] -> OUTCOME
//! capture ID HOLD [AMOUNT] [linked] -> OUTCOME      void|reversal ID OF [linked] -> OUTCOME      expiry ID OF -> OUTCOME
//! block as hold, release as void, execution as capture: an authority's
//! balance NAME POSTED HELD AVAILABLE                end: posts a call whose last event is linked
//! ```
//! Linked events wait for the event that ends their chain and are posted in one call. Times are seconds from the table's
//! beginning. Ids and names are any words.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{
    account::{Class, State},
    limit::{Direction, NewLimit, Window},
    transfer::{Kind, Side, Subject, Transfer},
};
use tenants::money::Currency;

use crate::{
    sim::World as SimWorld,
    world::{Books, World, account_id, name, transfer_id},
};

const FROZEN: [State; 3] = [State::DebitsFrozen, State::CreditsFrozen, State::Frozen];

struct Run<'a, B> {
    books: &'a mut B,
    begin: DateTime<Utc>,
    words: HashMap<String, u128>,
    waiting: Vec<(Transfer, String, usize)>,
    limits: HashMap<String, Vec<NewLimit>>,
}

impl<B: Books> Run<'_, B> {
    fn number(&mut self, word: &str) -> u128 {
        let next = self.words.len() as u128 + 1;
        *self.words.entry(word.to_owned()).or_insert(next)
    }

    fn at(&self, seconds: &str) -> DateTime<Utc> {
        self.begin + TimeDelta::seconds(seconds.parse().unwrap())
    }

    async fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let transfers = waiting.iter().map(|(transfer, ..)| transfer.clone()).collect();
        let outcomes = self.books.post(transfers).await;
        assert_eq!(outcomes.len(), waiting.len());
        for (outcome, (transfer, expected, line)) in outcomes.iter().zip(waiting) {
            assert_eq!(name(outcome), expected, "line {line}: {transfer:?}: {outcome:?}");
        }
    }

    async fn state(&mut self, account: &str, moves: &[(State, State)], expected: &str, line: usize) {
        let id = account_id(self.number(account));
        let mut done = false;
        for (from, to) in moves {
            done |= self.books.move_state(id, *from, *to).await;
        }
        assert_eq!(if done { "done" } else { "refused" }, expected, "line {line}");
    }

    async fn line(&mut self, line: usize, text: &str) {
        let (event, expected) = match text.split_once("->") {
            Some((event, expected)) => (event, expected.trim().to_owned()),
            None => (text, String::new()),
        };
        let mut words: Vec<&str> = event.split_whitespace().collect();
        let linked = words.last() == Some(&"linked") && words.pop().is_some();
        match words.as_slice() {
            [] => {}
            ["end"] => self.flush().await,
            ["tick", seconds] => self.books.tick(seconds.parse().unwrap()),
            ["account", account, class, currency, rest @ ..] => {
                let class: Class = serde_json::from_value((*class).into()).unwrap();
                let id = account_id(self.number(account));
                self.books.open(id, class, currency, rest == ["overdraw"]).await;
            }
            ["freeze", account, sides] => {
                let to = match *sides {
                    "debits" => State::DebitsFrozen,
                    "credits" => State::CreditsFrozen,
                    "all" => State::Frozen,
                    other => panic!("line {line}: {other}"),
                };
                self.state(account, &[(State::Open, to)], &expected, line).await
            }
            ["unfreeze", account] => {
                self.state(account, &FROZEN.map(|from| (from, State::Open)), &expected, line).await
            }
            ["close", account] => {
                let moves = State::ALL.map(|from| (from, State::Closed));
                let moves = moves.into_iter().filter(|(from, to)| from != to).collect::<Vec<_>>();
                self.state(account, &moves, &expected, line).await;
            }
            ["limit", account, direction, window, maximum] => {
                let limit = NewLimit {
                    direction: serde_json::from_value::<Direction>((*direction).into()).unwrap(),
                    window: serde_json::from_value::<Window>((*window).into()).unwrap(),
                    maximum: maximum.parse().unwrap(),
                    time_zone: "America/Mexico_City".parse().unwrap(),
                };
                let id = account_id(self.number(account));
                let limits = self.limits.entry((*account).to_owned()).or_default();
                limits.retain(|old| (old.direction, old.window) != (limit.direction, limit.window));
                limits.push(limit);
                self.books.set_limits(id, limits).await;
            }
            ["balance", account, figures @ ..] => {
                let id = account_id(self.number(account));
                let account = self.books.account(id).await;
                let found = [account.balance().unwrap(), account.held(), account.available().unwrap()];
                let expected: Vec<i64> = figures.iter().map(|figure| figure.parse().unwrap()).collect();
                assert_eq!(found.as_slice(), expected, "line {line}: {account:?}");
            }
            [kind, id, rest @ ..] => {
                let transfer = self.transfer(kind, id, rest, linked);
                self.waiting.push((transfer, expected, line));
                if !linked {
                    self.flush().await;
                }
            }
            other => panic!("line {line}: {other:?}"),
        }
    }

    fn transfer(&mut self, kind: &str, id: &str, rest: &[&str], linked: bool) -> Transfer {
        let (kind, block) = match kind {
            "block" => ("hold", true),
            "release" => ("void", true),
            "execution" => ("capture", true),
            other => (other, false),
        };
        let kind: Kind = serde_json::from_value(kind.into()).unwrap();
        let mut transfer = Transfer {
            id: transfer_id(self.number(id)),
            kind,
            subject: Subject::Hold(transfer_id(0)),
            amount: None,
            currency: None,
            balancing: None,
            expires_at: None,
            effective_at: None,
            linked,
            reference: None,
            key: None,
            shape: None,
            block,
        };
        let rest = match (kind, rest) {
            (Kind::Capture | Kind::Void | Kind::Expiry, [hold, rest @ ..]) => {
                transfer.subject = Subject::Hold(transfer_id(self.number(hold)));
                rest
            }
            (Kind::Reversal, [original, rest @ ..]) => {
                transfer.subject = Subject::Original(transfer_id(self.number(original)));
                rest
            }
            (_, [debit, credit, rest @ ..]) => {
                let (debit, credit) = (account_id(self.number(debit)), account_id(self.number(credit)));
                transfer.subject = Subject::Accounts { debit, credit };
                transfer.currency = Currency::parse("MXN");
                rest
            }
            _ => panic!("{kind:?} {rest:?}"),
        };
        for word in rest {
            match word.split_once('=') {
                Some(("expires", seconds)) => transfer.expires_at = Some(self.at(seconds)),
                Some(("effective", seconds)) => transfer.effective_at = Some(self.at(seconds)),
                Some(("balancing", "debit")) => transfer.balancing = Some(Side::Debit),
                Some(("balancing", "credit")) => transfer.balancing = Some(Side::Credit),
                None if word.parse::<i64>().is_ok() => transfer.amount = word.parse().ok(),
                None => transfer.currency = Some(Currency::parse(word).unwrap()),
                Some(other) => panic!("{other:?}"),
            }
        }
        transfer
    }
}

async fn run_on(mut books: impl Books, table: &str) {
    eprintln!("on {}", books.label());
    let begin = books.now();
    let (words, limits) = (HashMap::new(), HashMap::new());
    let mut run = Run { books: &mut books, begin, words, waiting: Vec::new(), limits };
    for (index, text) in table.lines().enumerate() {
        run.line(index + 1, text).await;
    }
    assert!(run.waiting.is_empty(), "a chain was left waiting: write `end`");
    books.check().await;
}

async fn run(table: &str) {
    for world in World::both().await {
        run_on(world, table).await;
    }
    run_on(SimWorld::new(), table).await;
}

const ACCOUNTS: &str = "
    account cash asset MXN overdraw
    account ana liability MXN
    account beto liability MXN
    account fees income MXN
    deposit seed cash ana 1000 -> posted
";

macro_rules! tables {
    ($($name:ident $table:literal)*) => {$(
        #[tokio::test]
        async fn $name() {
            run(&[ACCOUNTS, $table].concat()).await;
        }
    )*};
}

tables! {
    plain_transfers_move_balances "
        transfer t1 ana beto 300 -> posted
        balance ana 700 0 700
        balance beto 300 0 300
        withdrawal t2 beto cash 100 -> posted
        fee t3 beto fees 50 -> posted
        balance beto 150 0 150
        balance fees 50 0 50
        balance cash 900 0 900
    "
    one_id_has_one_answer "
        transfer t1 ana beto 300 -> posted
        transfer t1 ana beto 300 -> replayed
        transfer t1 ana beto 301 -> id_reused
        transfer t1 beto ana 300 -> id_reused
        transfer t2 ana beto 5000 -> insufficient_funds
        deposit t3 cash ana 9000 -> posted
        transfer t2 ana beto 5000 -> insufficient_funds
        transfer t2 ana beto 1 -> id_reused
        balance beto 300 0 300
    "
    bad_requests_are_named_in_order_of_precedence "
        transfer t1 ana ana 0 -> amount_not_positive
        transfer t2 ana beto -5 -> amount_not_positive
        transfer t3 ana beto 9007199254740992 -> amount_too_large
        transfer t4 ana ana 5 -> accounts_identical
        hold t5 ana beto 5 expires=0 -> expiry_not_in_future
        transfer t6 ana beto 5 effective=1 -> effective_in_future
        transfer t7 nobody noone 5 -> debit_account_not_found
        transfer t8 ana noone 5 -> credit_account_not_found
        transfer t9 ana beto 5 COP -> currency_mismatch
        deposit t10 ana beto 5 -> account_class_mismatch
        fee t11 ana cash 5 -> account_class_mismatch
        transfer t12 ana beto 1001 -> insufficient_funds
        transfer t13 ana beto 1000 -> posted
        account cop liability COP
        transfer t14 ana cop 5 -> currency_mismatch
    "
    holds_are_captured_voided_or_expire_once "
        hold h1 ana beto 400 -> posted
        balance ana 1000 400 600
        balance beto 0 0 0
        transfer t1 ana beto 601 -> insufficient_funds
        capture c1 h1 401 -> capture_exceeds_hold
        capture c2 h1 150 -> posted
        balance ana 850 0 850
        balance beto 150 0 150
        capture c3 h1 -> hold_already_captured
        void v1 h1 -> hold_already_captured
        capture c2 h1 150 -> replayed
        hold h2 ana beto 850 -> posted
        hold h3 ana beto 1 -> insufficient_funds
        void v2 h2 -> posted
        void v3 h2 -> hold_already_voided
        balance ana 850 0 850
        hold h4 ana beto 100 expires=60 -> posted
        expiry e0 h4 -> hold_not_expired
        tick 60
        capture c4 h4 -> hold_expired
        expiry e0 h4 -> posted
        expiry e0 h4 -> replayed
        void v4 h4 -> hold_expired
        balance ana 850 0 850
        capture c5 nothing -> hold_not_found
        capture c6 t1 -> hold_not_found
    "
    a_block_ends_by_its_own_movements_only "
        block b1 ana beto 400 -> posted
        balance ana 1000 400 600
        capture c1 b1 -> hold_is_block
        capture c2 b1 401 -> hold_is_block
        void v1 b1 -> hold_is_block
        void v1 b1 -> hold_is_block
        expiry e1 b1 -> hold_not_expired
        transfer t1 ana beto 100 linked -> linked_transfer_failed
        void v2 b1 -> hold_is_block
        block b1 ana beto 400 -> replayed
        hold b1 ana beto 400 -> id_reused
        balance ana 1000 400 600
        release r1 b1 -> posted
        release r1 b1 -> replayed
        release r2 b1 -> hold_already_voided
        balance ana 1000 0 1000
        block b2 ana beto 9000 balancing=debit -> posted
        balance ana 1000 1000 0
        execution x1 b2 1001 -> capture_exceeds_hold
        execution x2 b2 300 -> posted
        capture c3 b2 -> hold_already_captured
        balance ana 700 0 700
        balance beto 300 0 300
        hold h1 ana beto 50 -> posted
        release r3 h1 -> hold_not_found
        execution x3 h1 -> hold_not_found
        void v3 h1 -> posted
    "
    a_chain_is_all_or_none "
        transfer t1 ana beto 300 linked -> linked_transfer_failed
        transfer t2 beto cash 400 linked -> insufficient_funds
        fee t3 ana fees 10 -> linked_transfer_failed
        balance ana 1000 0 1000
        balance beto 0 0 0
        transfer t1 ana beto 300 linked -> posted
        transfer t4 beto cash 300 linked -> posted
        fee t3 ana fees 10 -> posted
        balance ana 690 0 690
        transfer t1 ana beto 300 linked -> replayed
        transfer t4 beto cash 300 linked -> replayed
        fee t3 ana fees 10 -> replayed
        transfer t5 ana beto 1 linked -> linked_transfer_failed
        transfer t6 ana beto 2 linked -> chain_open
        end
        balance ana 690 0 690
        hold h1 ana beto 50 linked -> linked_transfer_failed
        capture c1 h1 60 -> capture_exceeds_hold
        hold h1 ana beto 50 linked -> posted
        capture c2 h1 20 -> posted
        balance ana 670 0 670
    "
    a_repeated_chain_is_refused_for_the_same_transfer "
        transfer t1 ana beto 600 linked -> linked_transfer_failed
        transfer t2 beto cash 700 -> insufficient_funds
        transfer t3 ana beto 900 -> posted
        transfer t1 ana beto 600 linked -> linked_transfer_failed
        transfer t2 beto cash 700 -> insufficient_funds
        transfer t4 ana beto 600 linked -> linked_transfer_failed
        transfer t5 ana beto 1 linked -> chain_open
        end
        balance ana 100 0 100
    "
    a_chain_refused_leaves_neighbours_alone "
        transfer t1 ana beto 100 -> posted
        transfer t2 ana beto 5000 linked -> insufficient_funds
        transfer t3 ana beto 1 -> linked_transfer_failed
        transfer t4 ana beto 100 -> posted
        balance beto 200 0 200
    "
    balancing_moves_what_there_is "
        transfer t1 ana beto 9000 balancing=debit -> posted
        balance ana 0 0 0
        balance beto 1000 0 1000
        transfer t2 ana beto 9000 balancing=debit -> insufficient_funds
        transfer t3 beto ana 400 balancing=debit -> posted
        balance ana 400 0 400
        transfer t1 ana beto 9000 balancing=debit -> replayed
        transfer t1 ana beto 1000 balancing=debit -> id_reused
    "
    balancing_is_of_a_side_that_pays "
        account till asset MXN
        deposit d1 till ana 400 -> posted
        deposit d2 cash ana 900 balancing=credit -> balancing_side_mismatch
        deposit d3 cash beto 900 balancing=credit -> balancing_side_mismatch
        deposit d4 cash ana 900 balancing=debit -> balancing_side_mismatch
        transfer t1 ana beto 9000 balancing=credit -> balancing_side_mismatch
        fee f1 ana fees 9000 balancing=credit -> balancing_side_mismatch
        fee f2 ana fees 10 balancing=debit -> posted
        balance ana 1390 0 1390
        hold h1 ana till 100 -> posted
        withdrawal w1 ana till 900 balancing=credit -> posted
        balance till 100 100 0
        balance ana 1090 100 990
        withdrawal w2 ana till 900 balancing=credit -> insufficient_funds
        withdrawal w3 ana cash 9000 balancing=debit -> posted
        balance ana 100 100 0
        hold h2 beto ana 5 balancing=credit -> balancing_side_mismatch
        balance till 100 100 0
    "
    frozen_takes_no_debits_and_closed_takes_no_part "
        hold h1 ana beto 100 -> posted
        freeze ana debits -> done
        freeze ana debits -> refused
        transfer t1 ana beto 1 -> debit_account_frozen
        capture c1 h1 -> debit_account_frozen
        deposit t2 cash ana 1 -> posted
        void v1 h1 -> posted
        close ana -> refused
        unfreeze ana -> done
        withdrawal t3 ana cash 1001 -> posted
        close ana -> done
        deposit t4 cash ana 1 -> credit_account_closed
        transfer t5 ana beto 1 -> debit_account_closed
        close ana -> refused
        reversal r1 t3 -> credit_account_closed
        freeze cash credits -> done
        deposit t6 cash beto 5 -> posted
        withdrawal t7 beto cash 5 -> credit_account_frozen
    "
    a_freeze_is_of_a_side_or_of_both "
        transfer t0 ana beto 10 -> posted
        hold h1 ana beto 100 -> posted
        freeze beto credits -> done
        transfer t1 ana beto 1 -> credit_account_frozen
        hold h2 ana beto 1 -> credit_account_frozen
        capture c1 h1 -> credit_account_frozen
        transfer t2 beto ana 1 -> posted
        unfreeze beto -> done
        freeze beto all -> done
        transfer t3 ana beto 1 -> credit_account_frozen
        transfer t4 beto ana 1 -> debit_account_frozen
        freeze ana debits -> done
        transfer t5 ana beto 1 -> debit_account_frozen
        void v1 h1 -> posted
        reversal r1 t2 -> debit_account_frozen
        unfreeze ana -> done
        unfreeze beto -> done
        unfreeze beto -> refused
        reversal r2 t2 -> posted
        capture c2 h1 -> hold_already_voided
    "
    a_reversal_is_a_new_transfer_and_happens_once "
        transfer t1 ana beto 300 -> posted
        reversal r1 t1 -> posted
        reversal r1 t1 -> replayed
        reversal r2 t1 -> already_reversed
        reversal r3 r1 -> not_reversible
        balance ana 1000 0 1000
        hold h1 ana beto 100 -> posted
        reversal r4 h1 -> not_reversible
        capture c1 h1 40 -> posted
        reversal r5 c1 -> posted
        balance ana 1000 0 1000
        reversal r6 nothing -> original_not_found
        transfer t2 ana beto 300 -> posted
        transfer t3 beto cash 300 -> posted
        reversal r7 t2 -> insufficient_funds
        transfer t4 ana beto 10 linked -> posted
        reversal r8 t4 -> posted
    "
    imported_transfers_come_in_order "
        account old liability MXN
        account till asset MXN overdraw
        deposit i1 till old 500 effective=-1000 -> posted
        withdrawal i2 old till 100 effective=-900 -> posted
        withdrawal i3 old till 100 effective=-901 -> effective_out_of_order
        withdrawal i4 old till 100 effective=-900 -> posted
        deposit i5 till old 1 effective=1 -> effective_in_future
        balance old 300 0 300
        transfer t1 old ana 10 -> posted
        withdrawal i6 old till 100 effective=-800 -> effective_out_of_order
    "
    limits_are_enforced_on_every_way_out "
        limit ana out transfer 400
        transfer t1 ana beto 401 -> limit_exceeded
        transfer t2 ana beto 400 -> posted
        limit ana out day 500
        transfer t3 ana beto 400 -> posted
        transfer t4 ana beto 101 -> limit_exceeded
        transfer t5 ana beto 100 -> posted
        fee t6 ana fees 1 -> posted
        balance ana 99 0 99
        deposit t7 cash ana 1000 -> posted
        hold h1 ana beto 1 -> limit_exceeded
        tick 86400
        hold h2 ana beto 300 -> posted
        hold h3 ana beto 201 -> limit_exceeded
        capture c1 h2 100 -> posted
        hold h4 ana beto 400 -> posted
        transfer t8 ana beto 1 -> limit_exceeded
        void v1 h4 -> posted
        transfer t9 ana beto 400 -> posted
        limit ana out day 600
        transfer t10 ana beto 101 -> limit_exceeded
        transfer t11 ana beto 100 -> posted
    "
    limits_on_what_comes_in "
        limit beto in balance 500
        transfer t1 ana beto 501 -> limit_exceeded
        transfer t2 ana beto 300 -> posted
        hold h1 ana beto 200 -> posted
        transfer t3 ana beto 1 -> limit_exceeded
        void v1 h1 -> posted
        transfer t4 ana beto 200 -> posted
        limit beto in month 600
        transfer t5 beto ana 400 -> posted
        transfer t6 ana beto 401 -> limit_exceeded
        transfer t7 ana beto 400 -> posted
    "
    a_balance_limit_is_of_imports_too "
        account till asset MXN overdraw
        account old liability MXN
        account new liability MXN
        limit old in balance 500
        limit old in transfer 100
        limit old in day 100
        limit old out transfer 50
        deposit i1 till old 501 effective=-1000 -> limit_exceeded
        deposit i2 till old 500 effective=-1000 -> posted
        withdrawal i3 old till 200 effective=-900 -> posted
        deposit i4 till old 201 effective=-900 -> limit_exceeded
        deposit i5 till old 150 effective=-900 -> posted
        balance old 450 0 450
        deposit t1 till old 51 -> limit_exceeded
        deposit t2 till old 50 -> posted
        withdrawal t3 old till 51 -> limit_exceeded
        tick 60
        transfer i6 old new 100 effective=30 -> posted
        deposit t4 till old 50 -> posted
        deposit t5 till old 1 -> limit_exceeded
    "
    a_fee_is_under_no_limit "
        limit ana out transfer 10
        limit ana out day 10
        limit fees in balance 15
        limit fees in transfer 15
        fee f1 ana fees 20 -> posted
        transfer t1 ana beto 11 -> limit_exceeded
        transfer t2 ana beto 10 -> posted
        fee f2 ana fees 20 -> posted
        balance fees 40 0 40
        balance ana 950 0 950
    "
    a_reversal_is_under_no_limit "
        transfer t1 ana beto 300 -> posted
        limit ana in balance 800
        limit ana in transfer 10
        limit ana in day 10
        limit beto out transfer 10
        limit beto out day 10
        transfer t2 beto ana 300 -> limit_exceeded
        reversal r1 t1 -> posted
        balance ana 1000 0 1000
        transfer t3 ana beto 20 -> posted
        transfer t4 beto ana 10 -> limit_exceeded
        transfer t5 beto cash 10 -> posted
        transfer t6 beto cash 1 -> limit_exceeded
    "
    a_block_is_under_no_limit "
        limit ana out transfer 100
        limit ana out day 300
        limit beto in balance 50
        hold h0 ana beto 51 -> limit_exceeded
        transfer t1 ana cash 100 -> posted
        block b1 ana beto 400 -> posted
        balance ana 900 400 500
        transfer t2 ana cash 100 -> posted
        transfer t3 ana cash 100 -> posted
        transfer t4 ana cash 1 -> limit_exceeded
        release r1 b1 -> posted
        transfer t5 ana cash 1 -> limit_exceeded
        block b2 ana beto 400 -> posted
        execution x1 b2 150 -> posted
        balance ana 550 0 550
        balance beto 150 0 150
        transfer t6 ana cash 1 -> limit_exceeded
        block b3 ana beto 9000 balancing=debit linked -> posted
        release r3 b3 -> posted
        transfer t7 ana cash 1 -> limit_exceeded
        balance ana 550 0 550
    "
    balances_do_not_overflow "
        account big liability MXN
        deposit t1 cash big 9007199254740991 -> balance_overflow
        deposit t2 cash big 9007199254739991 -> posted
        deposit t3 cash big 1 -> balance_overflow
    "
}
