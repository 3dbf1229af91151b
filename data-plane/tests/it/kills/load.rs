//! Clients that move money until they are told to stop, and never take silence for an answer.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use platform::egress::Egress;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenants::id::TransferId;
use tokio::{sync::watch, task::JoinSet};

use super::{
    history::{OPENING, Op, Span},
    site::Site,
};

const CLIENTS: usize = 12;
const ACCOUNTS: usize = 6;
/// Between two attempts. A cell takes about a second to come back.
const PAUSE: Duration = Duration::from_millis(20);
/// Attempts before a client gives up and the test fails: minutes.
const MOST_ATTEMPTS: usize = 6_000;

/// One final answer in the log.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// The transfer's; of a refused one without an id of its own, its key.
    pub id: String,
    pub posted: bool,
    pub amount: i64,
}

/// The final answers on disk.
pub fn read_log(path: &Path) -> Vec<Line> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct Report {
    /// Final answers of requests that move money.
    pub finals: usize,
    /// Requests that were sent more than once.
    pub repeated: usize,
    /// Of those, the ones whose effect was there already.
    pub replayed: usize,
    pub spans: Vec<Span>,
}

/// What the clients share.
struct Shared {
    egress: Egress,
    url: String,
    token: String,
    accounts: Vec<String>,
    log: Mutex<File>,
    tick: AtomicU64,
    stop: AtomicBool,
    finals: AtomicUsize,
    repeated: AtomicUsize,
    replayed: AtomicUsize,
    answered: watch::Sender<usize>,
}

/// The load, while it runs.
pub struct Load {
    shared: Arc<Shared>,
    clients: JoinSet<Vec<Span>>,
}

impl Load {
    /// Opens accounts with something in them and starts the clients.
    pub async fn start(site: &Site, seed: u64) -> Self {
        let mut shared = Shared {
            egress: site.egress.clone(),
            url: site.url.clone(),
            token: site.token.clone(),
            accounts: Vec::new(),
            log: Mutex::new(File::create(site.log()).unwrap()),
            tick: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            finals: AtomicUsize::new(0),
            repeated: AtomicUsize::new(0),
            replayed: AtomicUsize::new(0),
            answered: watch::channel(0).0,
        };
        let vault = shared.open("asset", true, "vault").await;
        for number in 0..ACCOUNTS {
            let account = shared.open("liability", false, &format!("account-{number}")).await;
            let id = format!("opening-{number}");
            let body = movement("deposit", &vault, &account, OPENING);
            let posted = shared.moves("/v1/transfers", &id, body, OPENING).await;
            assert!(posted.is_ok(), "{posted:?}");
            shared.accounts.push(account);
        }
        // The first answers made no client wait.
        shared.repeated.store(0, Ordering::Relaxed);
        let shared = Arc::new(shared);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let random = SmallRng::seed_from_u64(seed.wrapping_mul(1_000) + number as u64);
            clients.spawn(Client { number, random, shared: shared.clone(), spans: Vec::new() }.run());
        }
        Self { shared, clients }
    }

    /// Waits for this many final answers from now.
    pub async fn answered(&self, more: usize) {
        let mut answered = self.shared.answered.subscribe();
        let enough = *answered.borrow() + more;
        answered.wait_for(|&answered| answered >= enough).await.unwrap();
    }

    /// Stops after every request has its final answer.
    pub async fn finish(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        let spans = self.clients.join_all().await.concat();
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let Shared { finals, repeated, replayed, .. } = &*self.shared;
        Report { finals: count(finals), repeated: count(repeated), replayed: count(replayed), spans }
    }
}

fn movement(kind: &str, debit: &str, credit: &str, amount: i64) -> Value {
    json!({"type": kind, "debit_account_id": debit, "credit_account_id": credit,
        "amount": {"amount": amount, "currency": "MXN"}})
}

impl Shared {
    async fn open(&self, class: &str, may_overdraw: bool, name: &str) -> String {
        let body = json!({"name": name, "class": class, "may_overdraw": may_overdraw});
        let (status, opened) = self.final_answer("/v1/internal-accounts", Some((name, &body))).await;
        assert_eq!(status, 201, "{opened}");
        opened["id"].as_str().unwrap().to_owned()
    }

    /// Sends until there is an answer that will not change.
    async fn final_answer(&self, path: &str, post: Option<(&str, &Value)>) -> (u16, Value) {
        for attempt in 1..=MOST_ATTEMPTS {
            let url = format!("{}{path}", self.url);
            let request = match post {
                Some((key, body)) => {
                    self.egress.post(&url).unwrap().header("idempotency-key", key).json(body)
                }
                None => self.egress.get(&url).unwrap(),
            };
            // No answer, or one that was cut off: nothing is known.
            if let Ok(answer) = Egress::send(request.bearer_auth(&self.token)).await {
                let status = answer.status().as_u16();
                let replayed = answer.headers().contains_key("idempotency-replayed");
                if let Ok(body) = answer.json::<Value>().await
                    && status < 500
                    && status != 429
                {
                    self.repeated.fetch_add(usize::from(attempt > 1 && post.is_some()), Ordering::Relaxed);
                    self.replayed.fetch_add(usize::from(replayed), Ordering::Relaxed);
                    return (status, body);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{path} got no final answer in {MOST_ATTEMPTS} attempts");
    }

    /// Moves money and logs the final answer: the transfer, or that there is not enough.
    async fn moves(&self, path: &str, key: &str, body: Value, amount: i64) -> Result<Value, ()> {
        let (status, answer) = self.final_answer(path, Some((key, &body))).await;
        let posted = status == 201;
        assert!(posted || answer["code"] == "insufficient_funds", "{path} {body}: {status} {answer}");
        let id = answer["id"].as_str().filter(|_| posted).unwrap_or(key).to_owned();
        let line = serde_json::to_string(&Line { id, posted, amount }).unwrap();
        tokio::task::block_in_place(|| {
            let mut log = self.log.lock().unwrap();
            writeln!(log, "{line}").unwrap();
            log.sync_data().unwrap();
        });
        let finals = self.finals.fetch_add(1, Ordering::Relaxed) + 1;
        self.answered.send_replace(finals);
        if posted { Ok(answer) } else { Err(()) }
    }

    fn tick(&self) -> u64 {
        self.tick.fetch_add(1, Ordering::SeqCst)
    }
}

struct Client {
    number: usize,
    random: SmallRng,
    shared: Arc<Shared>,
    spans: Vec<Span>,
}

impl Client {
    async fn run(mut self) -> Vec<Span> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let from = self.random.random_range(0..ACCOUNTS);
            let to = (from + self.random.random_range(1..ACCOUNTS)) % ACCOUNTS;
            let amount = self.random.random_range(1..6_000);
            match self.random.random_range(0..10) {
                0..6 => self.transfer(from, to, amount).await,
                6..8 => self.hold(from, to, amount).await,
                _ => self.read(from).await,
            }
        }
        self.spans
    }

    /// An id of this client's choice for every second movement; the others have a key only.
    fn identify(&mut self, body: &mut Value) -> String {
        let random = uuid::Builder::from_random_bytes(self.random.random());
        let id = TransferId::from_uuid(random.into_uuid()).to_string();
        if self.random.random() {
            body["id"] = json!(id);
        }
        id
    }

    async fn moves(&mut self, path: &str, mut body: Value, amount: i64) -> (u64, u64, Result<Value, ()>) {
        let key = self.identify(&mut body);
        let call = self.shared.tick();
        let answer = self.shared.moves(path, &key, body, amount).await;
        (call, self.shared.tick(), answer)
    }

    fn saw(&mut self, account: usize, (call, answer): (u64, u64), op: Op) {
        self.spans.push(Span { client: self.number, account, call, answer, op });
    }

    async fn transfer(&mut self, from: usize, to: usize, amount: i64) {
        let body = movement("transfer", &self.shared.accounts[from], &self.shared.accounts[to], amount);
        let (call, answer, posted) = self.moves("/v1/transfers", body, amount).await;
        match posted {
            Ok(row) => {
                let after = |side: &str| row[side].as_i64().unwrap();
                self.saw(from, (call, answer), Op::Out { amount, after: after("debit_balance") });
                self.saw(to, (call, answer), Op::In { amount, after: after("credit_balance") });
            }
            Err(()) => self.saw(from, (call, answer), Op::Refused { amount }),
        }
    }

    async fn hold(&mut self, from: usize, to: usize, held: i64) {
        let mut body = movement("hold", &self.shared.accounts[from], &self.shared.accounts[to], held);
        body.as_object_mut().unwrap().remove("type");
        let (call, answer, placed) = self.moves("/v1/holds", body, held).await;
        let Ok(placed) = placed else {
            return self.saw(from, (call, answer), Op::Refused { amount: held });
        };
        self.saw(from, (call, answer), Op::Hold { amount: held });
        let hold = placed["id"].as_str().unwrap();
        if self.random.random() {
            let (call, answer, freed) = self.moves(&format!("/v1/holds/{hold}/voids"), json!({}), held).await;
            freed.unwrap();
            return self.saw(from, (call, answer), Op::Void { held });
        }
        let amount = self.random.random_range(1..=held);
        let body = json!({"amount": {"amount": amount, "currency": "MXN"}});
        let (call, answer, row) = self.moves(&format!("/v1/holds/{hold}/captures"), body, amount).await;
        let row = row.unwrap();
        let after = |side: &str| row[side].as_i64().unwrap();
        self.saw(from, (call, answer), Op::Capture { held, amount, after: after("debit_balance") });
        self.saw(to, (call, answer), Op::In { amount, after: after("credit_balance") });
    }

    async fn read(&mut self, account: usize) {
        let call = self.shared.tick();
        let path = format!("/v1/accounts/{}/balance", self.shared.accounts[account]);
        let (status, seen) = self.shared.final_answer(&path, None).await;
        let answer = self.shared.tick();
        assert_eq!(status, 200, "{seen}");
        let amount = |name: &str| seen[name]["amount"].as_i64().unwrap();
        self.saw(account, (call, answer), Op::Read { posted: amount("posted"), held: amount("held") });
    }
}
