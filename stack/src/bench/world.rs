//! What is measured: a private PostgreSQL with durable settings, two databases with the same accounts (one for the cell,
//! one for the baselines), and the cell and the bare server as processes of their own.

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ledger::{
    Ledger,
    account::{Class, NewAccount},
    books,
    limit::{Direction, NewLimit, Window},
    movements::Deposit,
    outcome::Outcome,
};
use platform::{
    ctx::{Actor, Clock, Ctx, EnvironmentClock, Scope},
    db::{
        DatabaseConfig, Db, Role,
        cluster::{Cluster, Options},
    },
    oauth::Credential,
    random,
};
use tempfile::TempDir;
use tenants::{
    contract::PublicKey,
    environment::Mode,
    id::{AccountId, ClientId, EnvironmentId, Id, TransferId},
    money::{Currency, MAX_AMOUNT, Money},
};
use uuid::Uuid;

use super::{cpu::Processes, http::Connection};
use crate::transport::Http;

/// What every account begins with, in minor units: more than a run can spend.
const OPENING: i64 = 1_000_000_000;
/// The upper 64 bits of the ids of accounts; the lower ones count from 1. 0 is the bank's cash.
pub const ACCOUNT_PREFIX: u64 = 0x0190_0000_0000_7000;
/// The environment whose books are used.
pub const ENVIRONMENT: EnvironmentId =
    EnvironmentId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0e00));
/// The client that calls.
pub const CLIENT: ClientId = ClientId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0c00));
/// Of the jurisdiction whose profile the cell has.
pub const CURRENCY: &str = "MXN";
/// The cell's database and the baselines'.
pub const DATABASES: [&str; 2] = ["cell", "baseline"];

/// Begins a file of PostgreSQL's log (16 MiB) after the other, which the next checkpoint makes those of the future: a
/// database that has run for a while writes into files that are there, and does not stop everybody to make one.
const LOG_FILES: &str = "DO $$ BEGIN FOR file IN 1..128 LOOP \
     PERFORM pg_logical_emit_message(false, 'bench', ''); PERFORM pg_switch_wal(); END LOOP; END $$";

/// How long a process may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Where everything is: shard 0 of both databases.
pub const SCOPE: Scope = Scope::new(0, ENVIRONMENT.uuid());

/// An account by its number.
pub fn account(number: u64) -> AccountId {
    AccountId::from_uuid(Uuid::from_u64_pair(ACCOUNT_PREFIX, number))
}

/// The currency of every account.
pub fn currency() -> Currency {
    Currency::parse(CURRENCY).expect("a currency of ISO 4217")
}

/// A database with its accounts.
pub struct World {
    pub cluster: Cluster,
    /// The cell's database.
    pub cell: Db,
    /// The baselines' database.
    pub baseline: Db,
    /// How to connect to it.
    pub baseline_config: DatabaseConfig,
    /// Of the client that calls.
    credential: Credential,
    folder: TempDir,
}

impl World {
    /// Makes the cluster and both databases with so many customers' accounts. `say` hears what is being done.
    pub async fn make(
        folder: Option<&Path>,
        accounts: u64,
        say: impl Fn(&str),
    ) -> Result<Self, Box<dyn Error>> {
        say("starting PostgreSQL");
        let folder = match folder {
            Some(parent) => tempfile::Builder::new().prefix("tambo-bench-").tempdir_in(parent)?,
            None => tempfile::Builder::new().prefix("tambo-bench-").tempdir()?,
        };
        // PostgreSQL's user passes through.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let settings = [
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("shared_buffers", "1GB"),
            ("max_wal_size", "8GB"),
            ("min_wal_size", "4GB"),
            ("wal_compression", "lz4"),
            ("checkpoint_timeout", "30min"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let options = Options { fsync: true, settings, folder: Some(folder.path().join("postgres")) };
        let cluster = Cluster::start(options)?;
        let make = async |name: &str| -> Result<(Db, DatabaseConfig), Box<dyn Error>> {
            say(&format!("filling the database {name}"));
            let config = cluster.create_database(name).await?;
            let db = Db::connect(&config).await?;
            db.migrate(data_plane::migrations::migrations).await?;
            fill(&db, accounts).await?;
            Ok((db, config))
        };
        let (cell, _) = make(DATABASES[0]).await?;
        let (baseline, baseline_config) = make(DATABASES[1]).await?;
        let credential = Credential::make(CLIENT)?;
        let world = Self { cluster, cell, baseline, baseline_config, credential, folder };
        world.psql(DATABASES[1], include_str!("baseline.sql"))?;
        for name in DATABASES {
            world.psql(name, "VACUUM ANALYZE")?;
        }
        say("making the files of the log");
        world.psql(DATABASES[0], LOG_FILES)?;
        world.psql(DATABASES[0], "CHECKPOINT")?;
        Ok(world)
    }

    /// A folder for files of the run.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs statements as the superuser.
    pub fn psql(&self, database: &str, sql: &str) -> Result<(), Box<dyn Error>> {
        let output = Command::new(self.cluster.programs().join("psql"))
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.cluster.url(None, database))
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("psql: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
        }
    }

    /// Starts this program as a server with `arguments` and a configuration file of its own on a free port.
    pub fn serve(&self, name: &str, arguments: &[&str]) -> Result<Server, Box<dyn Error>> {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let file = self.folder.path().join(format!("{name}.toml"));
        let mut text = String::new();
        writeln!(
            text,
            "[cell]\nname = \"bench\"\njurisdiction = \"mx-cnbv\"\nlisten = \"{address}\"\nshards = 1\n\
             public_url = \"http://{address}\""
        )?;
        writeln!(text, "[[environments]]\nid = \"{ENVIRONMENT}\"\nshard = 0")?;
        let PublicKey { kid, x, y } = self.credential.public();
        writeln!(text, "[[environments.clients]]\nid = \"{CLIENT}\"\nname = \"bench\"")?;
        writeln!(text, "keys = [{{ kid = \"{kid}\", x = \"{x}\", y = \"{y}\" }}]")?;
        writeln!(text, "[database]\nurl = \"{}\"", self.cluster.url(Some(Role::App), DATABASES[0]))?;
        writeln!(text, "[keys]\nroot_file = {:?}", self.folder.path().join("root.key"))?;
        writeln!(text, "[objects]\nfolder = {:?}", self.folder.path().join(format!("{name}.objects")))?;
        writeln!(text, "[telemetry]\nfilter = \"warn\"")?;
        fs::write(&file, text)?;
        let log = fs::File::create(self.folder.path().join(format!("{name}.log")))?;
        let process = Command::new(env::current_exe()?)
            .args(arguments)
            .arg(&file)
            .current_dir(self.folder.path())
            // The other end of the leash: the server drains when this process is gone.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Server { process, address })
    }

    /// A token of this cell, for ten minutes.
    pub async fn token(&self, cell: &Server) -> Result<String, Box<dyn Error>> {
        let http = Http::to(&format!("http://{}", cell.address), READY_WITHIN)?;
        Ok(http.token(&self.credential).await?)
    }

    /// Whose CPU time counts while `server` is measured.
    pub fn processes(&self, server: Option<&Server>) -> Processes {
        Processes { server: server.map(|server| server.process.id()), postmaster: self.cluster.pid() }
    }
}

/// Opens the accounts and gives each its opening balance, posted like any other money. Every second one has a limit per
/// calendar day on what goes out.
async fn fill(db: &Db, accounts: u64) -> Result<(), Box<dyn Error>> {
    let clock = Clock::system();
    let opened_at = clock.now();
    let cash = NewAccount {
        id: account(0),
        class: Class::Asset,
        currency: currency(),
        may_overdraw: true,
        opened_at,
    };
    let daily = NewLimit {
        direction: Direction::Out,
        window: Window::Day,
        maximum: MAX_AMOUNT,
        time_zone: chrono_tz(),
    };
    let tx = db.begin(SCOPE).await?;
    books::open_in_tx(&tx, SCOPE, &cash).await?;
    for number in 1..=accounts {
        let id = account(number);
        let new = NewAccount { id, class: Class::Liability, may_overdraw: false, ..cash.clone() };
        books::open_in_tx(&tx, SCOPE, &new).await?;
        if number % 2 == 0 {
            books::set_limits_in_tx(&tx, SCOPE, id, &[daily]).await?;
        }
    }
    tx.commit().await?;
    let ledger = Ledger::start(db, 1, &clock).await?;
    let ctx = Ctx {
        scope: SCOPE,
        mode: Mode::Sandbox,
        actor: Actor::System("bench"),
        request_id: "opening".into(),
        clock: EnvironmentClock::new(clock.clone(), chrono::TimeDelta::zero()),
    };
    let numbers: Vec<u64> = (1..=accounts).collect();
    for some in numbers.chunks(ledger::MAX_BATCH) {
        let deposits = some.iter().map(|&number| {
            let id = TransferId::from_parts(ctx.wall(), random::bits());
            let money = Money::new(OPENING, currency());
            Deposit { id, debit: account(0), credit: account(number), money }.into()
        });
        let outcomes = ledger.post(&ctx, deposits.collect()).await?;
        if let Some(odd) = outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Posted(_))) {
            return Err(format!("an opening balance was not posted: {odd:?}").into());
        }
    }
    Ok(())
}

fn chrono_tz() -> chrono_tz::Tz {
    chrono_tz::America::Mexico_City
}

/// A server process; killed when dropped.
pub struct Server {
    process: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Waits until `/readyz`, or whatever `path` names, answers 200.
    pub async fn ready(&mut self, path: &str) -> Result<(), Box<dyn Error>> {
        let began = Instant::now();
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n");
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("the server ended: {status}").into());
            }
            if let Ok(mut connection) = Connection::open(self.address).await
                && connection.exchange(request.as_bytes()).await.is_ok_and(|answer| answer.status == 200)
            {
                return Ok(());
            }
            if began.elapsed() > READY_WITHIN {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way nobody is left to tell.
        let _killed = self.process.kill();
        let _reaped = self.process.wait();
    }
}
