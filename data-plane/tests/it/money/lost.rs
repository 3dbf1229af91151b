//! The way to the database breaks, at a place that the test chooses: between a commit and its answer, or for good.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use data_plane::migrations::migrations;
use ledger::{
    MAX_BATCH, movements,
    store::{Store, StoreTx, sql::SqlStore},
};
use platform::{db::DatabaseConfig, testing::TestDb};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::*;

/// Where the wire is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Cut {
    /// The database has not heard of the commit.
    Before,
    /// It has committed, and nobody was told.
    After,
}

/// The wire between the ledger's writer and PostgreSQL.
struct Wire {
    wiring: Arc<Wiring>,
    /// What accepts connections.
    accepting: JoinHandle<()>,
}

struct Wiring {
    port: u16,
    /// Host and port of PostgreSQL.
    to: String,
    /// Where the next commit is cut, and whether nothing gets through afterwards.
    cut: Mutex<Option<(Cut, bool)>>,
    cuts: AtomicUsize,
    down: watch::Sender<bool>,
}

/// The end of `COMMIT` as a statement, and as what PostgreSQL says when it is done.
const COMMIT: &[u8] = b"COMMIT\0";

fn holds_commit(bytes: &[u8]) -> bool {
    bytes.windows(COMMIT.len()).any(|part| part == COMMIT)
}

impl Wire {
    /// Lays one, and lets the ledger's writer of this database use it.
    async fn lay(config: &mut DatabaseConfig) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = config.url.expose_secret().to_owned();
        let (login, place) = url.rsplit_once('@').unwrap();
        let (to, database) = place.split_once('/').unwrap();
        let login = login.replace("tambo_app", "tambo_ledger");
        config.ledger_url = Some(SecretString::from(format!("{login}@127.0.0.1:{port}/{database}")));
        let wiring = Arc::new(Wiring {
            port,
            to: to.to_owned(),
            cut: Mutex::default(),
            cuts: AtomicUsize::new(0),
            down: watch::Sender::new(false),
        });
        let accepting = tokio::spawn(Arc::clone(&wiring).accept(listener));
        Self { wiring, accepting }
    }

    fn cut_next_commit(&self, at: Cut, and_stay_down: bool) {
        *self.wiring.cut.lock().unwrap() = Some((at, and_stay_down));
    }

    fn cuts(&self) -> usize {
        self.wiring.cuts.load(Ordering::SeqCst)
    }

    /// Whether nothing gets through.
    fn down(&self, down: bool) {
        self.wiring.down.send_replace(down);
    }

    /// Nobody accepts connections any more.
    async fn unplug(&mut self) {
        self.accepting.abort();
        assert!((&mut self.accepting).await.unwrap_err().is_cancelled());
    }

    async fn plug(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.wiring.port)).await.unwrap();
        self.accepting = tokio::spawn(Arc::clone(&self.wiring).accept(listener));
    }
}

impl Wiring {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Ok((near, _)) = listener.accept().await {
            let wiring = Arc::clone(&self);
            // A side that has hung up is no fault of the wire's.
            tokio::spawn(async move { drop(wiring.carry(near).await) });
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a wire that can be cut is no outbound connection of the program"
    )]
    async fn carry(&self, mut near: TcpStream) -> io::Result<()> {
        let mut down = self.down.subscribe();
        if *down.borrow() {
            return Ok(());
        }
        let mut far = TcpStream::connect(&self.to).await?;
        let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        loop {
            tokio::select! {
                count = near.read(&mut asked) => {
                    let bytes = &asked[..count?];
                    let cut = if holds_commit(bytes) { self.cut.lock().unwrap().take() } else { None };
                    let Some((at, stay_down)) = cut else {
                        if bytes.is_empty() {
                            return Ok(());
                        }
                        far.write_all(bytes).await?;
                        continue;
                    };
                    if at == Cut::After {
                        far.write_all(bytes).await?;
                        let mut said = Vec::new();
                        while !holds_commit(&said) {
                            assert_ne!(far.read_buf(&mut said).await?, 0, "PostgreSQL hung up");
                        }
                    }
                    if stay_down {
                        self.down.send_replace(true);
                    }
                    self.cuts.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                count = far.read(&mut answered) => {
                    let bytes = &answered[..count?];
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    near.write_all(bytes).await?;
                }
                () = async { drop(down.wait_for(|down| *down).await) } => return Ok(()),
            }
        }
    }
}

/// A bank whose ledger's writer reaches its database by a wire.
async fn wired() -> (Bank, Wire) {
    let db = TestDb::postgres(migrations).await;
    let mut database = db.config().clone();
    let wire = Wire::lay(&mut database).await;
    let cell = Cell::with(db, |config| {
        config.database = database;
        // Less than a writer would need that went on trying to connect.
        config.http.timeout_ms = 15_000;
    });
    let bank = Bank::of(cell.await).await;
    bank.fund(ANA, 1_000).await;
    (bank, wire)
}

#[tokio::test]
async fn a_commit_without_an_answer_has_one_effect_and_one_outcome() {
    let (bank, wire) = wired().await;
    let mut posted = bank.transfers().await;
    for (at, stays_down) in
        [(Cut::After, false), (Cut::Before, false), (Cut::After, true), (Cut::Before, true)]
    {
        let case = format!("{at:?}, down afterwards: {stays_down}");
        let (key, cuts) = (format!("{at:?}-{stays_down}"), wire.cuts());
        let pay = async || bank.send("/v1/transfers", &key, &transfer(ANA, BETO, 10)).await;
        wire.cut_next_commit(at, stays_down);
        let first = pay().await;
        assert_eq!(wire.cuts(), cuts + 1, "{case}: the cut met the commit");
        if stays_down {
            // Nobody could look what became of it.
            first.is_problem("outcome_unknown", &case);
            assert_eq!((first.status.as_u16(), first.header("retry-after")), (503, Some("1")), "{case}");
            pay().await.is_problem("ledger_unavailable", &case);
            wire.down(false);
        } else {
            assert_eq!(first.header("idempotency-replayed"), None, "{case}: it was found, or done again");
            first.ok(201);
        }
        posted += 1;
        let again = pay().await;
        let there_already = !stays_down || at == Cut::After;
        assert_eq!(again.header("idempotency-replayed").is_some(), there_already, "{case}");
        let shown = again.ok(201);
        if !stays_down {
            assert_eq!(shown, first.json(), "{case}");
        }
        assert_eq!(pay().await.ok(201), shown, "{case}");
        assert_eq!(bank.transfers().await, posted, "{case}: one effect");
    }
    assert_eq!((bank.balance(ANA).await, bank.balance(BETO).await), ([960, 0, 960], [40, 0, 40]));
    ledger::system::verify_chain(&bank.app.db, scope(1).shard).await.unwrap();
}

#[tokio::test]
async fn a_writer_without_a_database_says_so_within_the_time_of_a_request() {
    let (bank, mut wire) = wired().await;
    let before = bank.transfers().await;
    let pay = async || bank.send("/v1/transfers", "k", &transfer(ANA, BETO, 10)).await;
    let refused = |answer: Answer, case: &str| {
        answer.is_problem("ledger_unavailable", case);
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("1")), "{case}");
    };
    wire.down(true);
    refused(pay().await, "connections end at once");
    let batch = json!({"transfers": [transfer(ANA, BETO, 1)]});
    refused(bank.send("/v1/transfer-batches", "b", &batch).await, "a batch");
    wire.unplug().await;
    refused(pay().await, "connections are refused");
    wire.plug().await;
    wire.down(false);
    let paid = pay().await;
    assert_eq!(paid.header("idempotency-replayed"), None, "nothing had been posted");
    paid.ok(201);
    assert_eq!(bank.transfers().await, before + 1);
}

/// A writer that waits for the guard lets come what there is room for.
#[tokio::test]
async fn more_than_may_wait_is_refused_at_once() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let before = bank.transfers().await;
        let ctx = bank.ctx();
        let shard = ctx.scope.shard;
        let mut guard = SqlStore(bank.app.db.clone()).begin().await.unwrap();
        guard.lock_head(shard).await.unwrap();
        let nobody = |number: u128| movements::PlainTransfer {
            id: transfer_id(number),
            debit: account(NOBODY),
            credit: account(ANA),
            money: crate::accounts::pesos(1),
        };
        // The first is the writer's, who has it in hand; with it the room is full.
        let mut waiting = Vec::new();
        for sizes in [1].into_iter().chain([MAX_BATCH; 15]).chain([MAX_BATCH - 1]) {
            let transfers = (0..sizes).map(|at| nobody(1_000_000 + at as u128).into()).collect();
            let mut post = Box::pin(bank.app.ledger.post(&ctx, transfers));
            assert!(post.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            waiting.push(post);
        }
        let pay = async || bank.send("/v1/transfers", "k", &transfer(ANA, BETO, 10)).await;
        let refused = pay().await;
        refused.is_problem("ledger_overloaded", "one too many");
        assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("1")));
        drop(waiting);
        drop(guard);
        // There is room again once the writer has seen that they have gone.
        let paid = loop {
            let paid = pay().await;
            if paid.code().as_deref() != Some("ledger_overloaded") {
                break paid;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(paid.header("idempotency-replayed"), None);
        paid.ok(201);
        assert_eq!(bank.transfers().await, before + 1);
    }
}
