//! Random histories against a model of a ledger that shares no code with it: a map of balances and a map of holds.

use std::collections::{BTreeMap, HashMap};

use ledger::{
    account::Class,
    limit::{Direction, NewLimit, Window},
    outcome::Outcome,
    transfer::{Kind, Side, Subject, Transfer},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tenants::money::Currency;

use crate::world::{Books, World, account_id, name, transfer_id};

/// Account 1 may go below zero (an asset), the others may not (liabilities).
const ACCOUNTS: u128 = 5;

/// Account 1 may be debited this much on the day of the history; being an asset, it grows by that.
const LIMIT: i64 = 1_300;

#[derive(Clone, Default)]
struct Model {
    /// Credits less debits.
    net: HashMap<u128, i64>,
    held: HashMap<u128, i64>,
    /// Debit, credit, amount, and whether it is open.
    holds: BTreeMap<u128, (u128, u128, i64, &'static str)>,
    answers: HashMap<u128, (Event, &'static str)>,
    reversed: HashMap<u128, u128>,
    moved: BTreeMap<u128, (u128, u128, i64)>,
    /// Of account 1's limit.
    used: i64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Event {
    Move(u128, u128, i64),
    /// Balanced by the debit account.
    Balanced(u128, u128, i64),
    Hold(u128, u128, i64),
    Block(u128, u128, i64),
    Capture(u128, i64),
    Void(u128),
    Release(u128),
    Reverse(u128),
}

impl Model {
    fn one(&mut self, id: u128, event: Event) -> &'static str {
        if let Some((before, answer)) = self.answers.get(&id) {
            return match (*before == event, *answer) {
                (false, _) => "id_reused",
                (true, "posted") => "replayed",
                (true, refused) => refused,
            };
        }
        let answer = self.fresh(id, event);
        if answer == "posted" {
            self.answers.insert(id, (event, answer));
        }
        answer
    }

    fn pays(&self, account: u128, amount: i64) -> bool {
        let net = self.net.get(&account).copied().unwrap_or(0);
        let held = self.held.get(&account).copied().unwrap_or(0);
        account == 1 || net - held >= amount
    }

    /// Counts what its holder has account 1 debited.
    fn within_limit(&mut self, event: Event) -> bool {
        let (Event::Move(1, _, amount) | Event::Hold(1, _, amount)) = event else { return true };
        let allowed = self.used + amount <= LIMIT;
        self.used += if allowed { amount } else { 0 };
        allowed
    }

    fn shift(&mut self, debit: u128, credit: u128, amount: i64) {
        *self.net.entry(debit).or_default() -= amount;
        *self.net.entry(credit).or_default() += amount;
    }

    fn fresh(&mut self, id: u128, event: Event) -> &'static str {
        match event {
            Event::Move(debit, credit, _)
            | Event::Balanced(debit, credit, _)
            | Event::Hold(debit, credit, _)
            | Event::Block(debit, credit, _)
                if debit == credit =>
            {
                "accounts_identical"
            }
            Event::Balanced(1, ..) => "balancing_side_mismatch",
            Event::Balanced(debit, credit, most) => {
                let net = self.net.get(&debit).copied().unwrap_or(0);
                let amount = most.min(net - self.held.get(&debit).copied().unwrap_or(0));
                if amount <= 0 {
                    return "insufficient_funds";
                }
                self.shift(debit, credit, amount);
                self.moved.insert(id, (debit, credit, amount));
                "posted"
            }
            Event::Move(debit, _, amount)
            | Event::Hold(debit, _, amount)
            | Event::Block(debit, _, amount)
                if !self.pays(debit, amount) =>
            {
                "insufficient_funds"
            }
            Event::Move(..) | Event::Hold(..) if !self.within_limit(event) => "limit_exceeded",
            Event::Move(debit, credit, amount) => {
                self.shift(debit, credit, amount);
                self.moved.insert(id, (debit, credit, amount));
                "posted"
            }
            Event::Hold(debit, credit, amount) | Event::Block(debit, credit, amount) => {
                *self.held.entry(debit).or_default() += amount;
                let state = if matches!(event, Event::Block(..)) { "blocked" } else { "open" };
                self.holds.insert(id, (debit, credit, amount, state));
                "posted"
            }
            Event::Capture(hold, _) | Event::Void(hold) | Event::Release(hold) => {
                let Some(&(debit, credit, held, state)) = self.holds.get(&hold) else {
                    return "hold_not_found";
                };
                match (state, event) {
                    ("captured", _) => return "hold_already_captured",
                    ("voided", _) => return "hold_already_voided",
                    ("open", Event::Release(_)) => return "hold_not_found",
                    ("blocked", Event::Capture(..) | Event::Void(_)) => return "hold_is_block",
                    (_, Event::Capture(_, amount)) if amount > held => return "capture_exceeds_hold",
                    _ => {}
                }
                *self.held.entry(debit).or_default() -= held;
                if (debit, state) == (1, "open") {
                    self.used -= held;
                    self.used += if let Event::Capture(_, amount) = event { amount } else { 0 };
                }
                let end = match event {
                    Event::Capture(_, amount) => {
                        self.shift(debit, credit, amount);
                        self.moved.insert(id, (debit, credit, amount));
                        "captured"
                    }
                    _ => "voided",
                };
                self.holds.insert(hold, (debit, credit, held, end));
                "posted"
            }
            Event::Reverse(original) => {
                let posted = matches!(self.answers.get(&original), Some((_, "posted")));
                let Some(&(debit, credit, amount)) = self.moved.get(&original) else {
                    return if posted { "not_reversible" } else { "original_not_found" };
                };
                if self.reversed.contains_key(&original) {
                    return "already_reversed";
                }
                if !self.pays(credit, amount) {
                    return "insufficient_funds";
                }
                self.shift(credit, debit, amount);
                self.reversed.insert(original, id);
                "posted"
            }
        }
    }

    /// What is known of the ids refuses the chain before anything is looked at: an earlier refusal first.
    fn refused_before(&self, events: &[(u128, Event)]) -> Option<(usize, &'static str)> {
        let known = |refuses: fn(bool, &'static str) -> Option<&'static str>| {
            events.iter().enumerate().find_map(|(index, (id, event))| {
                let (before, answer) = self.answers.get(id)?;
                Some((index, refuses(before == event, answer)?))
            })
        };
        known(|same, answer| (same && answer != "posted").then_some(answer))
            .or_else(|| known(|same, _| (!same).then_some("id_reused")))
    }

    fn chain(&mut self, events: &[(u128, Event)]) -> Vec<&'static str> {
        if events.len() > 1
            && let Some((index, answer)) = self.refused_before(events)
        {
            let mut answers = vec!["linked_transfer_failed"; events.len()];
            answers[index] = answer;
            return answers;
        }
        let before = self.clone();
        let mut answers = Vec::new();
        for (id, event) in events {
            let answer = self.one(*id, *event);
            answers.push(answer);
            if !matches!(answer, "posted" | "replayed") {
                *self = before;
                let failed = answers.len() - 1;
                answers = vec!["linked_transfer_failed"; events.len()];
                answers[failed] = answer;
                if answer != "id_reused" && (answer != "accounts_identical" || events.len() > 1) {
                    self.answers.entry(*id).or_insert((*event, answer));
                }
                break;
            }
        }
        answers
    }
}

/// Most name what is there, so that much of a history is posted.
fn event(rng: &mut SmallRng, model: &Model, ids: u128) -> Event {
    let account = |rng: &mut SmallRng| rng.random_range(1..=ACCOUNTS);
    let amount = rng.random_range(1..=100);
    let of = |rng: &mut SmallRng, there: Vec<u128>| {
        let any = rng.random_range(1..=ids);
        if there.is_empty() || rng.random_bool(0.2) { any } else { there[rng.random_range(0..there.len())] }
    };
    let holds = |state| model.holds.iter().filter(|hold| hold.1.3 == state).map(|hold| *hold.0).collect();
    match rng.random_range(0..15) {
        0..3 => Event::Move(account(rng), account(rng), amount),
        3 => Event::Balanced(account(rng), account(rng), amount * 5),
        4..7 => Event::Hold(account(rng), account(rng), amount),
        7 | 8 => Event::Capture(of(rng, holds("open")), rng.random_range(1..=60)),
        9 => Event::Void(of(rng, holds("open"))),
        10..13 => Event::Block(account(rng), account(rng), amount),
        13 => Event::Release(of(rng, holds("blocked"))),
        _ => Event::Reverse(of(rng, model.moved.keys().copied().collect())),
    }
}

fn request(id: u128, event: Event, linked: bool) -> Transfer {
    let accounts = |debit, credit| Subject::Accounts { debit: account_id(debit), credit: account_id(credit) };
    let (kind, subject, amount) = match event {
        Event::Move(debit, credit, amount) | Event::Balanced(debit, credit, amount) => {
            (Kind::Transfer, accounts(debit, credit), Some(amount))
        }
        Event::Hold(debit, credit, amount) => (Kind::Hold, accounts(debit, credit), Some(amount)),
        Event::Capture(hold, amount) => (Kind::Capture, Subject::Hold(transfer_id(hold)), Some(amount)),
        Event::Block(debit, credit, amount) => (Kind::Hold, accounts(debit, credit), Some(amount)),
        Event::Void(hold) | Event::Release(hold) => (Kind::Void, Subject::Hold(transfer_id(hold)), None),
        Event::Reverse(original) => (Kind::Reversal, Subject::Original(transfer_id(original)), None),
    };
    let currency = matches!(subject, Subject::Accounts { .. }).then(|| Currency::parse("BRL").unwrap());
    Transfer {
        id: transfer_id(id),
        kind,
        subject,
        amount,
        currency,
        balancing: matches!(event, Event::Balanced(..)).then_some(Side::Debit),
        expires_at: None,
        effective_at: None,
        linked,
        reference: None,
        key: None,
        shape: None,
        block: matches!(event, Event::Block(..) | Event::Release(_)),
    }
}

#[tokio::test]
async fn random_histories_agree_with_a_simple_model() {
    for seed in 0..12 {
        for mut world in World::both().await {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut model = Model::default();
            for id in 1..=ACCOUNTS {
                let class = if id == 1 { Class::Asset } else { Class::Liability };
                world.open(account_id(id), class, "BRL", id == 1).await;
            }
            let limit = NewLimit {
                direction: Direction::In,
                window: Window::Day,
                maximum: LIMIT,
                time_zone: "America/Sao_Paulo".parse().unwrap(),
            };
            world.set_limits(account_id(1), &[limit]).await;
            let mut fresh: u128 = 0;
            for id in 2..=ACCOUNTS {
                fresh += 1;
                let event = Event::Move(1, id, 300);
                let outcomes = world.post(vec![request(fresh, event, false)]).await;
                assert_eq!((name(&outcomes[0]), model.chain(&[(fresh, event)])), ("posted", vec!["posted"]));
            }
            for step in 0..40 {
                let chain: Vec<(u128, Event)> = (0..rng.random_range(1..=3))
                    .map(|_| {
                        // Now and then an id is used again, with the same content or another.
                        let again = rng.random_bool(0.2);
                        let id = if again { rng.random_range(1..=fresh) } else { fresh + 1 };
                        fresh = fresh.max(id);
                        let same = model.answers.get(&id).map(|answer| answer.0);
                        let event = match same {
                            Some(event) if rng.random_bool(0.7) => event,
                            _ => event(&mut rng, &model, fresh + 1),
                        };
                        (id, event)
                    })
                    .collect();
                let last = chain.len() - 1;
                let transfers =
                    chain.iter().enumerate().map(|(index, (id, event))| request(*id, *event, index < last));
                let outcomes: Vec<Outcome> = world.post(transfers.collect()).await;
                let found: Vec<&str> = outcomes.iter().map(name).collect();
                assert_eq!(found, model.chain(&chain), "seed {seed}, step {step}: {chain:?}");
                world.tick(1);
            }
            for id in 1..=ACCOUNTS {
                let account = world.account(account_id(id)).await;
                let net = account.credits_posted - account.debits_posted;
                assert_eq!(net, model.net.get(&id).copied().unwrap_or(0), "seed {seed}, account {id}");
                let held = model.held.get(&id).copied().unwrap_or(0);
                assert_eq!(account.debits_held, held, "seed {seed}, account {id}");
            }
            world.check_books().await;
        }
    }
}
