//! What the books of a run must be, by folding over the rows and what was asked for. Shares no code with the rules.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use ledger::{
    account::State,
    chain::{self, GENESIS},
    hold::HoldState,
    transfer::{Kind, Side, Subject, Transfer},
};
use uuid::Uuid;

use super::{ENVIRONMENT, LIMIT, MOVED, SHARD, store::Rows};
use crate::world::transfer_id;

/// The books, from the rows alone.
pub fn check(rows: &Rows, asked: &BTreeMap<Uuid, Transfer>, answers: &BTreeMap<Uuid, String>) {
    // The sweep alone need not have got an answer.
    let unanswered = asked.iter().find(|(id, one)| one.kind != Kind::Expiry && !answers.contains_key(id));
    assert_eq!(unanswered, None, "everybody was answered");
    for (id, answer) in answers {
        let key = (ENVIRONMENT, transfer_id(id.as_u128()));
        let row = rows.transfers.get(&key);
        assert_eq!(answer.starts_with("posted"), row.is_some(), "{id} was answered {answer}: {row:?}");
        // Who is refused because of another of its chain has no refusal of its own.
        let kept = answer == "linked_transfer_failed" || rows.rejections.contains_key(&key);
        assert!(row.is_some() || kept, "{id} was refused as {answer}, and may be posted the next time");
    }
    for (key, (_, at)) in &rows.rejections {
        assert!(!rows.transfers.contains_key(key), "{key:?} was posted and refused");
        assert!(*at <= rows.heads[&SHARD].booked_at, "the head is older than the refusal of {key:?}");
    }
    let mut ordered: Vec<_> = rows.transfers.values().collect();
    ordered.sort_by_key(|row| row.seq);
    let mut net: BTreeMap<u128, i64> = BTreeMap::new();
    let mut held: BTreeMap<u128, i64> = BTreeMap::new();
    let mut incoming: BTreeMap<u128, i64> = BTreeMap::new();
    let mut open: BTreeMap<u128, (u128, u128, i64)> = BTreeMap::new();
    let mut reversed = BTreeSet::new();
    let mut newest = DateTime::<Utc>::UNIX_EPOCH;
    let mut newest_of: BTreeMap<u128, DateTime<Utc>> = BTreeMap::new();
    let mut out_today: BTreeMap<chrono::NaiveDate, i64> = BTreeMap::new();
    let mut placed_on = BTreeMap::new();
    for (index, row) in ordered.iter().enumerate() {
        assert_eq!(row.seq, index as i64 + 1, "positions have no gap");
        let (debit, credit) = (row.debit.uuid().as_u128(), row.credit.uuid().as_u128());
        let request = &asked[&row.id.uuid()];
        assert!(newest <= row.booked_at && row.effective_at <= row.booked_at, "time goes back: {row:?}");
        assert_eq!(row.effective_at, request.effective_at.unwrap_or(row.booked_at), "{row:?}");
        newest = row.booked_at;
        for account in [debit, credit] {
            let before = newest_of.insert(account, row.effective_at);
            assert!(before <= Some(row.effective_at), "time of account {account} goes back: {row:?}");
        }
        if let Some(side) = request.balancing {
            // What the side has that pays; account 1 is an asset and pays by credits.
            let (account, sign) = if side == Side::Debit { (debit, 1) } else { (credit, -1) };
            let set_aside = if side == Side::Debit { &held } else { &incoming };
            let has = sign * net.get(&account).unwrap_or(&0) - set_aside.get(&account).unwrap_or(&0);
            assert_eq!(Some(row.amount), request.amount.map(|most| most.min(has)), "balanced: {row:?}");
        }
        if let Subject::Accounts { debit, credit } = request.subject {
            assert_eq!((debit, credit), (row.debit, row.credit), "{row:?}");
        }
        if let Subject::Hold(hold) = request.subject {
            let (d, c, amount) = open.remove(&hold.uuid().as_u128()).expect("a hold ends once");
            assert_eq!((d, c), (debit, credit), "{row:?}");
            assert!(row.amount <= amount);
            let over = asked[&hold.uuid()].expires_at.is_some_and(|at| at <= row.booked_at);
            assert_eq!(row.kind == Kind::Expiry, over, "a hold ends before its time or after it: {row:?}");
            assert_eq!(request.block, asked[&hold.uuid()].block, "a block ends as a hold does: {row:?}");
            *held.entry(d).or_default() -= amount;
            *incoming.entry(c).or_default() -= amount;
            if d == 2 && !request.block {
                let released = if row.kind == Kind::Capture { amount - row.amount } else { amount };
                *out_today.entry(placed_on[&hold]).or_default() -= released;
            }
        }
        if row.kind == Kind::Hold {
            open.insert(row.id.uuid().as_u128(), (debit, credit, row.amount));
            *held.entry(debit).or_default() += row.amount;
            *incoming.entry(credit).or_default() += row.amount;
        } else if !matches!(row.kind, Kind::Void | Kind::Expiry) {
            *net.entry(debit).or_default() -= row.amount;
            *net.entry(credit).or_default() += row.amount;
        }
        if let Some(original) = row.reverses {
            assert!(reversed.insert(original), "a transfer is reversed once: {row:?}");
            let original = &rows.transfers[&(ENVIRONMENT, original)];
            assert_eq!(
                (original.debit, original.credit, original.amount),
                (row.credit, row.debit, row.amount)
            );
        }
        for (account, balance) in [(debit, row.debit_balance), (credit, row.credit_balance)] {
            let sum = net.get(&account).copied().unwrap_or(0);
            assert_eq!(balance, if account == 1 { -sum } else { sum }, "balance after {row:?}");
        }
        if debit != 1 && !matches!(row.kind, Kind::Void | Kind::Expiry) {
            let available = net.get(&debit).unwrap_or(&0) - held.get(&debit).unwrap_or(&0);
            assert!(available >= 0, "overdrawn by {row:?}");
        }
        // By which money goes out of a customer's account at his order, and now.
        let counts = matches!(row.kind, Kind::Transfer | Kind::Withdrawal | Kind::Hold)
            && request.effective_at.is_none()
            && !request.block;
        if debit == MOVED && counts {
            let before = rows.maxima.iter().rev().find(|(seq, _)| *seq < row.seq);
            assert!(before.is_none_or(|(_, most)| row.amount <= *most), "a limit is passed by {row:?}");
        }
        if debit == 2 && counts {
            let day = row.effective_at.with_timezone(&chrono_tz::Tz::America__Bogota).date_naive();
            placed_on.insert(row.id, day);
            let used = out_today.entry(day).or_default();
            *used += row.amount;
            assert!(*used <= LIMIT, "the limit of account 2 is passed by {row:?}");
        }
    }
    for account in rows.accounts.values() {
        let number = account.id.uuid().as_u128();
        let sum = account.credits_posted - account.debits_posted;
        assert_eq!(sum, net.get(&number).copied().unwrap_or(0), "account {number}");
        assert_eq!(account.debits_held, held.get(&number).copied().unwrap_or(0), "held of account {number}");
        let empty = sum == 0 && account.debits_held + account.credits_held == 0;
        assert!(account.state != State::Closed || empty, "account {number} moved after it was closed");
        assert_eq!(account.credits_held, incoming.get(&number).copied().unwrap_or(0), "incoming of {number}");
    }
    let held_rows =
        rows.holds.values().filter(|hold| matches!(hold.state, HoldState::Held | HoldState::Blocked)).count();
    assert_eq!(held_rows, open.len(), "open holds");
    chain_of(rows);
    // A linked chain is all or none.
    let chained: Vec<_> = ordered.iter().filter_map(|row| row.chain).collect();
    for (id, request) in asked {
        let next = asked.get(&Uuid::from_u128(id.as_u128() + 1));
        if request.linked
            && let Some(next) = next
        {
            let posted = |id: Uuid| rows.transfers.contains_key(&(ENVIRONMENT, transfer_id(id.as_u128())));
            assert_eq!(posted(*id), posted(next.id.uuid()), "half a chain: {request:?}");
        }
    }
    assert!(chained.iter().all(|head| rows.transfers.contains_key(&(ENVIRONMENT, *head))));
}

/// Batches follow each other without gap, and every hash is that of its transfers.
pub fn chain_of(rows: &Rows) {
    let mut ordered: Vec<_> = rows.transfers.values().collect();
    ordered.sort_by_key(|row| row.seq);
    let mut previous = (GENESIS, 0);
    for ((shard, batch), (first, last, before, hash)) in &rows.batches {
        assert_eq!((*before, *first), (previous.0, previous.1 + 1), "batch {batch} follows the one before");
        let range = (*first - 1) as usize..*last as usize;
        let again = chain::hash(before, *shard, *batch, ordered[range].iter().map(|row| row.as_ref()));
        assert_eq!(again, *hash, "hash of batch {batch}");
        previous = (*hash, *last);
    }
    assert_eq!(previous.1, ordered.len() as i64, "every transfer is in a batch");
    assert_eq!(rows.heads[&SHARD].hash, previous.0);
}
