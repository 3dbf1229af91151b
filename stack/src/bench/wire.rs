//! The requests that are sent.

use std::{fmt::Write, rc::Rc};

use platform::ctx::Clock;
use rand::{Rng, rngs::SmallRng};
use tenants::id::{Id, TransferId};

use super::{
    batches::{BATCH, two_accounts},
    http,
    load::Make,
    world::{CURRENCY, account},
};

/// The account that is one side of every transfer of a hot run; it has a limit.
const HOT: u64 = 2;

/// Which accounts take part.
#[derive(Debug, Clone, Copy)]
pub struct Accounts {
    /// Customers' accounts in all.
    pub count: u64,
    /// Whether one side of every transfer is the same account; else any two take part.
    pub hot: bool,
}

impl Accounts {
    fn pick(self, random: &mut SmallRng) -> (u64, u64) {
        let (debit, credit) = two_accounts(self.count, random);
        match self.hot {
            true if debit != HOT && credit != HOT && random.random() => (HOT, credit),
            true if debit != HOT && credit != HOT => (debit, HOT),
            _ => (debit, credit),
        }
    }
}

/// One transfer as JSON.
fn transfer(out: &mut String, accounts: Accounts, random: &mut SmallRng) {
    let (debit, credit) = accounts.pick(random);
    let id = TransferId::from_parts(Clock::system().now(), random.random());
    let amount: u32 = random.random_range(1..=100);
    // Writing to memory does not fail.
    let _ = write!(
        out,
        "{{\"id\":\"{id}\",\"type\":\"transfer\",\"debit_account_id\":\"{}\",\"credit_account_id\":\"{}\",\
         \"amount\":{{\"amount\":{amount},\"currency\":\"{CURRENCY}\"}}}}",
        account(debit),
        account(credit),
    );
}

/// `POST /v1/transfers`.
pub fn single(accounts: Accounts, token: &str) -> Rc<Make> {
    let head = http::post_head("/v1/transfers", token);
    Rc::new(move |random, request| {
        let mut body = String::with_capacity(256);
        transfer(&mut body, accounts, random);
        http::post(request, &head, body.as_bytes());
        1
    })
}

/// `POST /v1/transfer-batches` with a full baseline batch.
pub fn batch(accounts: Accounts, token: &str) -> Rc<Make> {
    let head = http::post_head("/v1/transfer-batches", token);
    Rc::new(move |random, request| {
        let mut body = String::with_capacity(BATCH * 200);
        body.push_str("{\"transfers\":[");
        for index in 0..BATCH {
            if index > 0 {
                body.push(',');
            }
            transfer(&mut body, accounts, random);
        }
        body.push_str("]}");
        http::post(request, &head, body.as_bytes());
        BATCH as u64
    })
}

/// `POST /append` of the bare server, with the very bytes of a transfer.
pub fn append(accounts: Accounts, token: &str) -> Rc<Make> {
    let head = http::post_head("/append", token);
    Rc::new(move |random, request| {
        let mut body = String::with_capacity(256);
        transfer(&mut body, accounts, random);
        http::post(request, &head, body.as_bytes());
        1
    })
}

/// A GET of some account, of the cell or of the bare server.
pub fn read(accounts: Accounts, path: &'static str, rest: &'static str, token: &str) -> Rc<Make> {
    let token = token.to_owned();
    Rc::new(move |random, request| {
        http::get(request, path, account(random.random_range(1..=accounts.count)), rest, &token);
        1
    })
}
