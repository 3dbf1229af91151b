//! Deterministic simulation: the real rules and writer over a simulated store, under one seed.
//!
//! A run has two writers on one shard, clients that ask again and again for every kind of movement, a sweep that ends
//! holds, flows on two work runners, and faults drawn from the seed: statements that break off or find the disk full,
//! commits without an answer (done, done later, or not), writers and runners that die between any two steps, leases that
//! are lost, duplicates of every request, a wall clock that jumps both ways, an account that is frozen, opened, closed and
//! limited meanwhile. At its end the books are checked, see [`books`].

mod books;
mod scheduler;
mod store;
mod table;
mod work;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{
    account::{Account, Class, State},
    chain,
    hold::HoldState,
    limit::{Direction, Limit, NewLimit, Window},
    movements::Expiry,
    outcome::{Outcome, Reason},
    rules::Call,
    transfer::{Kind, Provenance, Side, Subject, Transfer},
    writer::{self, Command, Unavailable},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tenants::{id::TransferId, money::Currency};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub use self::table::World;
use self::{
    books::check,
    scheduler::{Tasks, give_way},
    store::{Faults, Rows, SimStore},
    work::{SimWork, start_runner},
};
use crate::world::{account_id, transfer_id};

const ENVIRONMENT: Uuid = Uuid::from_u128(0xe);
const SHARD: i32 = 0;
const ACCOUNTS: u128 = 6;
/// The account that is frozen, opened again, and closed when it is empty. No flow uses it.
const MOVED: u128 = 6;
/// Where fees go; nobody moves money out of it by any other way than a reversal.
const FEES: u128 = 7;
/// When the wall clock begins, in milliseconds.
const BEGIN: i64 = 1_772_366_400_000;
const CLIENTS: u128 = 4;
const LIMIT: i64 = 150;

const FLOWS: u128 = 4;

/// A writer's task and mailbox.
type Writer = (u64, mpsc::Sender<Command>);

/// What everybody who asks shares.
#[derive(Clone)]
struct Clients {
    writers: Arc<Mutex<Vec<Writer>>>,
    /// The answer that each id got, first and ever after.
    answers: Arc<Mutex<BTreeMap<Uuid, String>>>,
    /// What was asked under each id.
    asked: Arc<Mutex<BTreeMap<Uuid, Transfer>>>,
    /// How often each id was sent to a writer.
    sent: Arc<Mutex<BTreeMap<Uuid, u32>>>,
    store: SimStore,
    /// The wall clock, in milliseconds.
    clock: Arc<AtomicI64>,
    /// A call without transfers.
    call: Call,
}

fn now(clock: &AtomicI64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(clock.load(Ordering::SeqCst)).unwrap()
}

fn limit_of_a_day() -> NewLimit {
    NewLimit {
        direction: Direction::Out,
        window: Window::Day,
        maximum: LIMIT,
        time_zone: chrono_tz::Tz::America__Bogota,
    }
}

fn arrange(rows: &mut Rows) {
    let currency = Currency::parse("MXN").unwrap();
    for number in 1..=FEES {
        let account = Account {
            id: account_id(number),
            class: match number {
                1 => Class::Asset,
                FEES => Class::Income,
                _ => Class::Liability,
            },
            currency,
            state: State::Open,
            may_overdraw: number == 1,
            limits_revision: i64::from(number == 2),
            debits_posted: 0,
            credits_posted: 0,
            debits_held: 0,
            credits_held: 0,
            last_effective_at: DateTime::UNIX_EPOCH,
        };
        rows.accounts.insert((ENVIRONMENT, account.id), account);
    }
    let rule = limit_of_a_day();
    let limit = Limit { account: account_id(2), rule, used: 0, started_at: DateTime::UNIX_EPOCH };
    rows.limits.insert((ENVIRONMENT, limit.account, rule.direction, rule.window), limit);
}

fn request(rng: &mut SmallRng, number: u128, earlier: &[u128], most: i64) -> Transfer {
    let some = |rng: &mut SmallRng| {
        // The newest are asked for most, so that several calls and several transfers of one want the same.
        let from = if rng.random_bool(0.5) { earlier.len().saturating_sub(2) } else { 0 };
        if earlier.is_empty() { 9_999 } else { earlier[rng.random_range(from..earlier.len())] }
    };
    let pair = |rng: &mut SmallRng| {
        let debit = rng.random_range(1..=ACCOUNTS);
        let credit = (debit + rng.random_range(0..ACCOUNTS - 1)) % ACCOUNTS + 1;
        Subject::Accounts { debit: account_id(debit), credit: account_id(credit) }
    };
    let soon = |rng: &mut SmallRng, hours: i64| {
        DateTime::from_timestamp_millis(BEGIN + rng.random_range(-3_600_000..hours * 3_600_000)).unwrap()
    };
    let amount = rng.random_range(1..=most);
    let customer = account_id(rng.random_range(2..=ACCOUNTS));
    let (kind, subject, amount) = match rng.random_range(0..15) {
        0..4 => (Kind::Deposit, Subject::Accounts { debit: account_id(1), credit: customer }, Some(amount)),
        4..6 => (Kind::Transfer, pair(rng), Some(amount)),
        6 => (Kind::Withdrawal, Subject::Accounts { debit: customer, credit: account_id(1) }, Some(amount)),
        7 => (Kind::Fee, Subject::Accounts { debit: customer, credit: account_id(FEES) }, Some(amount)),
        8..10 => (Kind::Hold, pair(rng), Some(amount)),
        10..12 => {
            (Kind::Capture, Subject::Hold(transfer_id(some(rng))), rng.random_bool(0.5).then_some(amount))
        }
        12 => (Kind::Void, Subject::Hold(transfer_id(some(rng))), None),
        _ => (Kind::Reversal, Subject::Original(transfer_id(some(rng))), None),
    };
    let mut transfer = Transfer { amount, ..plain(transfer_id(number), kind, subject) };
    match kind {
        Kind::Hold | Kind::Capture | Kind::Void if rng.random_bool(0.1) => transfer.block = true,
        Kind::Hold if rng.random_bool(0.6) => transfer.expires_at = Some(soon(rng, 6)),
        Kind::Deposit | Kind::Transfer | Kind::Withdrawal if rng.random_bool(0.1) => {
            transfer.effective_at = Some(soon(rng, 6));
        }
        _ => {}
    }
    if matches!(subject, Subject::Accounts { .. }) && rng.random_bool(0.15) {
        transfer.balancing = Some(if rng.random_bool(0.8) { Side::Debit } else { Side::Credit });
    }
    transfer
}

/// A transfer with nothing special about it.
fn plain(id: TransferId, kind: Kind, subject: Subject) -> Transfer {
    Transfer {
        id,
        kind,
        subject,
        amount: None,
        currency: None,
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

/// Asks one writer once. `None` if it was not done, or if it is not known what became of the call.
async fn attempt(clients: &Clients, call: &Call, mut rng: SmallRng) -> Option<Vec<Outcome>> {
    let writer = {
        let writers = clients.writers.lock().unwrap();
        writers[rng.random_range(0..writers.len())].1.clone()
    };
    for transfer in &call.transfers {
        clients.asked.lock().unwrap().insert(transfer.id.uuid(), transfer.clone());
        *clients.sent.lock().unwrap().entry(transfer.id.uuid()).or_default() += 1;
    }
    let (reply, answer) = oneshot::channel();
    writer.send(Command { call: call.clone(), reply, room: None }).await.ok()?;
    let outcomes = match answer.await.ok()? {
        Ok(outcomes) => outcomes,
        Err(Unavailable::Unknown) => return None,
        Err(refused) => {
            no_effect(clients, call, refused);
            return None;
        }
    };
    for (transfer, outcome) in call.transfers.iter().zip(&outcomes) {
        let answer = match outcome {
            Outcome::Posted(row) | Outcome::Replayed(row) => format!("posted {} at {}", row.amount, row.seq),
            // The only answer that may change: the sweep came too early and comes again.
            Outcome::Rejected(rejection) if rejection.reason == Reason::HoldNotExpired => continue,
            Outcome::Rejected(rejection) => rejection.reason.code().to_owned(),
        };
        let mut answers = clients.answers.lock().unwrap();
        let first = answers.entry(transfer.id.uuid()).or_insert_with(|| answer.clone());
        assert_eq!(*first, answer, "one id got two answers: {transfer:?}");
    }
    Some(outcomes)
}

/// Who was told that nothing happened finds nothing. Only of calls that were sent this once: of others a duplicate may have
/// been done.
fn no_effect(clients: &Clients, call: &Call, refused: Unavailable) {
    let key = |transfer: &Transfer| (ENVIRONMENT, transfer.id);
    let sent = clients.sent.lock().unwrap();
    if call.transfers.iter().all(|transfer| sent[&transfer.id.uuid()] == 1) {
        clients.store.come_to_rest();
        clients.store.with(|rows| {
            for transfer in &call.transfers {
                let there = rows.transfers.contains_key(&key(transfer));
                let kept = rows.rejections.contains_key(&key(transfer));
                assert!(!there && !kept, "{refused:?}, but something happened: {transfer:?}");
            }
        });
    }
}

/// Asks until there is an answer; what is not known is asked again with the same ids.
async fn ask(clients: Clients, call: Call, mut rng: SmallRng) {
    while attempt(&clients, &call, SmallRng::seed_from_u64(rng.random())).await.is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The first process decides every batch while the one before is written, the second one waits, for few come here.
fn start_writer(tasks: &Tasks, store: &SimStore, clock: &Arc<AtomicI64>, process: usize) -> Writer {
    let (sender, receiver) = mpsc::channel(64);
    let (store, clock, few) = (Arc::new(store.clone()), clock.clone(), [0, writer::FEW][process]);
    (tasks.spawn(false, writer::run(store, SHARD, receiver, few, move || now(&clock))), sender)
}

/// Kills writers and runners and moves the wall clock, for as long as somebody waits.
async fn trouble(tasks: Tasks, clients: Clients, store: SimStore, work: SimWork, mut rng: SmallRng) {
    let fork = |rng: &mut SmallRng| SmallRng::seed_from_u64(rng.random());
    let mut runners = [(); 2].map(|()| start_runner(&tasks, &work, &clients, fork(&mut rng)));
    loop {
        for _ in 0..rng.random_range(1..60) {
            give_way().await;
        }
        let victim = rng.random_range(0..2);
        match rng.random_range(0..6) {
            5 => {
                let window = Window::Transfer;
                let rule = NewLimit { window, maximum: rng.random_range(0..400), ..limit_of_a_day() };
                store.set_limit((ENVIRONMENT, account_id(MOVED)), rule);
            }
            4 => store.move_account((ENVIRONMENT, account_id(MOVED)), |account| {
                let held = account.debits_held + account.credits_held;
                let empty = account.balance() == Some(0) && held == 0;
                account.state = match account.state {
                    State::Closed => State::Closed,
                    State::Open if empty && rng.random_bool(0.3) => State::Closed,
                    State::Open => State::Frozen,
                    _ => State::Open,
                };
            }),
            0 | 1 => {
                clients.clock.fetch_add(rng.random_range(-3_600_000..7_200_000), Ordering::SeqCst);
            }
            2 => {
                tasks.kill(runners[victim]);
                runners[victim] = start_runner(&tasks, &work, &clients, fork(&mut rng));
            }
            _ => {
                let mut writers = clients.writers.lock().unwrap();
                tasks.kill(writers[victim].0);
                writers[victim] = start_writer(&tasks, &store, &clients.clock, victim);
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(1..20))).await;
    }
}

/// Ends the holds whose time is over, as the ledger's own sweep does; some too early.
async fn sweep(clients: Clients, mut rng: SmallRng) {
    loop {
        tokio::time::sleep(Duration::from_millis(rng.random_range(1..20))).await;
        let early = TimeDelta::minutes(if rng.random_bool(0.2) { 90 } else { 0 });
        let until = now(&clients.clock) + early;
        let due: Vec<Transfer> = clients.store.with(|rows| {
            let held = rows.holds.values().filter(|hold| hold.state == HoldState::Held);
            let over = held.filter(|hold| hold.expires_at.is_some_and(|at| at <= until));
            over.map(|hold| Expiry { hold: hold.id }.into()).collect()
        });
        if !due.is_empty() {
            let call = Call { transfers: due, ..clients.call.clone() };
            // Whatever became of it: the next sweep finds what is left.
            let _outcomes = attempt(&clients, &call, SmallRng::seed_from_u64(rng.random())).await;
        }
    }
}

/// Waits until every flow is finished.
async fn flows_end(work: SimWork) {
    while !work.open().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One world under one seed; the hash of what came of it.
fn simulate(seed: u64) -> chain::Hash {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut rng = SmallRng::seed_from_u64(seed);
    let fork = |rng: &mut SmallRng| SmallRng::seed_from_u64(rng.random());
    // Seeds differ in what they have much of, so that what takes two rare things at once is found too ("Swarm testing",
    // Groce et al., ISSTA 2012).
    let often = |rng: &mut SmallRng| {
        let most = if rng.random() { 400 } else { 100 };
        rng.random_range(0..most)
    };
    let faults = Faults {
        statement: rng.random_range(0..40),
        full: rng.random_range(0..40),
        failed: rng.random_range(0..20),
        commit_lost: often(&mut rng),
        commit_late: often(&mut rng),
        answer_lost: often(&mut rng),
    };
    let (duplicates, most) = (rng.random_range(0.1..0.9), [40, 120, 400][rng.random_range(0..3)]);
    let length = rng.random_range(3..=16);
    let store = SimStore::new(fork(&mut rng), faults, 1);
    store.with(arrange);
    let tasks = Tasks::default();
    let clock = Arc::new(AtomicI64::new(BEGIN));
    let work = SimWork::new(fork(&mut rng), rng.random_range(0..40), FLOWS, now(&clock));
    let provenance =
        Provenance { actor: "system:sim".into(), client: None, request_id: "r".into(), clock_offset_ms: 0 };
    let clients = Clients {
        writers: Arc::new(Mutex::new(
            (0..2).map(|process| start_writer(&tasks, &store, &clock, process)).collect(),
        )),
        answers: Arc::default(),
        asked: Arc::default(),
        sent: Arc::default(),
        store: store.clone(),
        clock,
        call: Call { environment: ENVIRONMENT, provenance, transfers: Vec::new() },
    };
    for client in 1..=CLIENTS {
        let (mut calls, mut earlier) = (Vec::new(), Vec::new());
        for number in 0..length {
            let size = rng.random_range(1..=3);
            let mut transfers: Vec<Transfer> = Vec::new();
            for index in 0..size {
                let id = client * 1_000 + number * 10 + index;
                // Sometimes the same order under another id, as after a second click.
                let mut transfer = match transfers.last() {
                    Some(last) if rng.random_bool(0.2) => {
                        Transfer { id: transfer_id(id), ..Transfer::clone(last) }
                    }
                    _ => request(&mut rng, id, &earlier, most),
                };
                transfer.linked = index + 1 < size && rng.random_bool(0.5);
                earlier.push(id);
                transfers.push(transfer);
            }
            calls.push(Call { transfers, ..clients.call.clone() });
        }
        let (clients, mut rng, tasks_of) = (clients.clone(), fork(&mut rng), tasks.clone());
        tasks.spawn(true, async move {
            for call in calls {
                // A duplicate under way at the same time.
                if rng.random_bool(duplicates) {
                    let fork = SmallRng::seed_from_u64(rng.random());
                    tasks_of.spawn(true, ask(clients.clone(), call.clone(), fork));
                }
                let fork = SmallRng::seed_from_u64(rng.random());
                ask(clients.clone(), call, fork).await;
            }
        });
    }
    tasks.spawn(true, flows_end(work.clone()));
    let trouble = trouble(tasks.clone(), clients.clone(), store.clone(), work.clone(), fork(&mut rng));
    tasks.spawn(false, trouble);
    tasks.spawn(false, sweep(clients.clone(), fork(&mut rng)));
    runtime.block_on(tasks.run(fork(&mut rng)));
    store.come_to_rest();
    store.with(|rows| {
        check(rows, &clients.asked.lock().unwrap(), &clients.answers.lock().unwrap());
        for flow in work.all() {
            let [held, captured] = work::transfers(flow)
                .map(|transfer| rows.transfers.contains_key(&(ENVIRONMENT, transfer.id)));
            assert_eq!(held, captured, "half a flow: {flow}");
        }
        rows.heads[&SHARD].hash
    })
}

fn seeds(range: std::ops::Range<u64>) {
    for seed in range {
        if let Err(panic) = std::panic::catch_unwind(|| simulate(seed)) {
            eprintln!("seed {seed} fails; run it alone with TEST_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "one seed alone, for who looks into it")]
fn two_hundred_seeds_of_faults_leave_the_books_right() {
    match std::env::var("TEST_SEED") {
        Ok(seed) => seeds(seed.parse().unwrap()..seed.parse::<u64>().unwrap() + 1),
        Err(_) => seeds(0..200),
    }
}

#[test]
#[ignore = "long tier: ./test --full"]
fn full_ten_thousand_seeds() {
    seeds(0..10_000);
}

#[test]
fn a_seed_is_a_history() {
    assert_eq!(simulate(7), simulate(7));
    assert_ne!(simulate(7), simulate(8));
}
