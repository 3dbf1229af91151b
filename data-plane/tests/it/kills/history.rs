//! What clients saw of each account, held against an account that does one thing at a time.

use std::collections::BTreeMap;

use todc_utils::{
    Action::{Call, Response},
    History, Specification, WGLChecker,
};

/// What every account holds before the load begins.
pub const OPENING: i64 = 20_000;

/// One operation on one account, with its answer.
#[derive(Debug, Clone)]
pub enum Op {
    /// Money leaves; the posted balance afterwards.
    Out { amount: i64, after: i64 },
    /// Money arrives; the posted balance afterwards.
    In { amount: i64, after: i64 },
    /// Not enough is available, for a transfer or a hold.
    Refused { amount: i64 },
    /// An amount is set aside.
    Hold { amount: i64 },
    /// Of a hold of `held` the amount leaves and the rest is free again.
    Capture { held: i64, amount: i64, after: i64 },
    /// What was held is free again.
    Void { held: i64 },
    /// What is posted and what is held.
    Read { posted: i64, held: i64 },
}

/// One operation as a client saw it: from `call` to `answer`, two ticks of one clock.
#[derive(Debug, Clone)]
pub struct Span {
    pub client: usize,
    pub account: usize,
    pub call: u64,
    pub answer: u64,
    pub op: Op,
}

/// An account that does one operation after the other: what is posted, and of that, held.
struct Account;

impl Specification for Account {
    type State = (i64, i64);
    type Operation = Op;

    fn init() -> Self::State {
        (OPENING, 0)
    }

    fn apply(op: &Op, &(posted, held): &Self::State) -> (bool, Self::State) {
        let available = posted - held;
        match *op {
            Op::Out { amount, after } => {
                (amount <= available && posted - amount == after, (posted - amount, held))
            }
            Op::In { amount, after } => (posted + amount == after, (posted + amount, held)),
            Op::Refused { amount } => (amount > available, (posted, held)),
            Op::Hold { amount } => (amount <= available, (posted, held + amount)),
            Op::Capture { held: of, amount, after } => {
                (of <= held && posted - amount == after, (posted - amount, held - of))
            }
            Op::Void { held: of } => (of <= held, (posted, held - of)),
            Op::Read { posted: seen, held: seen_held } => {
                (seen == posted && seen_held == held, (posted, held))
            }
        }
    }
}

fn linearizable(spans: &[&Span]) -> bool {
    let ends = spans.iter().flat_map(|span| {
        [
            (span.call, span.client, Call(span.op.clone())),
            (span.answer, span.client, Response(span.op.clone())),
        ]
    });
    let by_tick: BTreeMap<_, _> = ends.map(|(tick, client, action)| (tick, (client, action))).collect();
    WGLChecker::<Account>::is_linearizable(History::from_actions(by_tick.into_values().collect()))
}

/// How many operations there are, if every account's history is linearizable.
pub fn check(spans: &[Span]) -> usize {
    let mut of_account: BTreeMap<usize, Vec<&Span>> = BTreeMap::new();
    for span in spans {
        of_account.entry(span.account).or_default().push(span);
    }
    for (account, spans) in &of_account {
        assert!(linearizable(spans), "account {account}: {spans:#?}");
    }
    spans.len()
}

#[test]
fn the_checker_tells_a_stale_read_from_a_concurrent_one() {
    let span = |client, call, answer, op| Span { client, account: 0, call, answer, op };
    let out = span(0, 1, 4, Op::Out { amount: 500, after: OPENING - 500 });
    let read = |call, answer| span(1, call, answer, Op::Read { posted: OPENING, held: 0 });
    assert!(linearizable(&[&out, &read(2, 3)]), "a read beside the transfer may see the time before");
    assert!(!linearizable(&[&out, &read(5, 6)]), "a read after its answer may not");
    let twice = [&out, &span(0, 5, 6, Op::Out { amount: 500, after: OPENING - 500 })];
    assert!(!linearizable(&twice), "an effect that is lost is noticed");
}
