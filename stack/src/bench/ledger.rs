//! The rounds of `tambo bench ledger`: each goal's run and its baseline in the same minute, in changing order.

use std::{
    error::Error,
    fs,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;

use super::{
    batches, books,
    load::{self, Make, Outcome, Plan},
    pgbench,
    report::{Cost, Goal, Report, Target},
    wire::{self, Accounts},
    world::{Server, World},
};

/// Of every seed; the rounds count on from it.
const SEED: u64 = 20_261_121;

/// Into how many turns of each side a run of an open loop is cut.
const TURNS: u32 = 4;

/// How long, and how to say it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prints one JSON object in place of tables
    #[arg(long)]
    json: bool,
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each run lasts, in seconds; pgbench, which is run with five numbers of clients, takes whole ones
    #[arg(long, default_value = "4", value_parser = seconds)]
    seconds: Duration,
    /// Connections of single transfers and of reads
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    connections: u16,
    /// Customers' accounts
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..=1_000_000))]
    accounts: u64,
    /// Only these goals (post_transfers, bulk, hot_account, balance, durable_p99)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the databases are put, on the disk to be measured; removed afterwards. The folder of temporary files, if
    /// absent
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Seconds, with fractions.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.1..=600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("0.1 to 600 seconds".to_owned())
    }
}

/// Everything that a round needs.
struct Bench {
    world: World,
    cell: Server,
    bare: Server,
    token: String,
    time: Duration,
    connections: usize,
    accounts: Accounts,
    /// Transfers that each database must hold by now.
    in_cell: u64,
    in_baseline: u64,
    goals: [Goal; 5],
    costs: Vec<Cost>,
    only: Vec<String>,
    best_clients: Vec<u32>,
}

/// Positions in `Bench::goals`.
const POST: usize = 0;
const BULK: usize = 1;
const HOT: usize = 2;
const BALANCE: usize = 3;
const DURABLE: usize = 4;

fn goals() -> [Goal; 5] {
    let goal = |name, ours, theirs, target| Goal { name, ours, theirs, target, pairs: Vec::new() };
    [
        goal("post_transfers", "transfers/s", "transfers/s, best pgbench", Target::AtLeast(3.0)),
        goal("bulk", "transfers/s", "transfers/s, bare statements", Target::AtLeast(0.9)),
        goal("hot_account", "transfers/s, hot", "transfers/s, uniform", Target::AtLeast(0.8)),
        goal("balance", "requests per server CPU s", "requests per CPU s, bare SELECT", Target::AtLeast(0.8)),
        goal("durable_p99", "ms", "ms, append + fdatasync", Target::AtMost(2.0)),
    ]
}

/// Measures, checks the books, reports.
pub fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let known = goals().map(|goal| goal.name);
    if let Some(unknown) = args.only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no goal {unknown}: {}", known.join(", ")).into());
    }
    let steps = u64::from(args.rounds) * 6;
    let bar = if args.json { ProgressBar::hidden() } else { ProgressBar::new(steps) };
    bar.set_style(ProgressStyle::with_template("[{elapsed_precise}] {bar:30} {pos}/{len} {msg}")?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut bench = runtime.block_on(prepare(args, &bar))?;
    let mut load = Vec::new();
    for round in 0..args.rounds {
        load.push(load_average()?);
        bench.round(round, &bar, &runtime)?;
        bar.set_message(format!("round {}: checking the books", round + 1));
        runtime.block_on(async {
            books::check("cell", &bench.world.cell, bench.in_cell, true).await?;
            // The functions of the baseline keep no chain.
            books::check("baseline", &bench.world.baseline, bench.in_baseline, false).await
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let report = Report {
        rounds: args.rounds,
        seconds: bench.time.as_secs_f64(),
        goals: bench.goals.iter().filter(|goal| !goal.pairs.is_empty()).cloned().collect(),
        costs: std::mem::take(&mut bench.costs),
        load,
        best_clients: std::mem::take(&mut bench.best_clients),
        notes: vec![format!(
            "{} accounts, every second one with a limit per day; {} connections; {} cores; PostgreSQL with \
             fsync, synchronous_commit and full_page_writes on",
            args.accounts,
            args.connections,
            std::thread::available_parallelism()?,
        )],
    };
    super::print(&if args.json { serde_json::to_string_pretty(&report.json())? } else { report.tables() });
    Ok(())
}

async fn prepare(args: &Args, bar: &ProgressBar) -> Result<Bench, Box<dyn Error>> {
    let world =
        World::make(args.folder.as_deref(), args.accounts, |text| bar.set_message(text.to_owned())).await?;
    let mut cell = world.serve("cell", &["cell", "serve", "--until-stdin-ends"])?;
    cell.ready("/readyz").await?;
    let mut bare = world.serve("bare", &["bench", "bare"])?;
    bare.ready("/ready").await?;
    let token = world.token(&cell).await?;
    Ok(Bench {
        world,
        cell,
        bare,
        token,
        time: args.seconds,
        connections: usize::from(args.connections),
        accounts: Accounts { count: args.accounts, hot: false },
        in_cell: args.accounts,
        in_baseline: args.accounts,
        goals: goals(),
        costs: Vec::new(),
        only: args.only.clone(),
        best_clients: Vec::new(),
    })
}

/// The load average over the last minute.
fn load_average() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

impl Bench {
    fn wanted(&self, goal: usize) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == self.goals[goal].name)
    }

    /// Everything once. In odd rounds the baselines come first.
    fn round(&mut self, round: u32, bar: &ProgressBar, runtime: &Runtime) -> Result<(), Box<dyn Error>> {
        let seed = SEED + u64::from(round) * 1_000;
        let swapped = round % 2 == 1;
        let mut peak = None;
        for goal in [POST, BULK, HOT, BALANCE, DURABLE] {
            let name = self.goals[goal].name;
            bar.set_message(format!("round {}: {name}", round + 1));
            let needed = self.wanted(goal) || (goal == POST && self.wanted(DURABLE));
            if needed {
                // It lives longer than one of them takes, and not as long as all.
                self.token = runtime.block_on(self.world.token(&self.cell))?;
                let began = Instant::now();
                let pair = match goal {
                    POST => {
                        let pair = self.post(seed, swapped)?;
                        peak = Some(pair.0);
                        pair
                    }
                    BULK => self.bulk(seed + 1, swapped)?,
                    HOT => self.hot(seed + 2, swapped)?,
                    BALANCE => self.balance(seed + 3, swapped)?,
                    _ => self.durable(seed + 4, swapped, peak.unwrap_or_default() / 2.0)?,
                };
                line(bar, round, name, pair, began.elapsed());
                if self.wanted(goal) {
                    self.goals[goal].pairs.push(pair);
                }
            }
            bar.inc(1);
        }
        Ok(())
    }

    /// One closed run against the cell; what it posted is expected in the books.
    fn closed(
        &mut self,
        what: &'static str,
        server: Which,
        connections: usize,
        seed: u64,
        make: &Rc<Make>,
    ) -> Result<Outcome, Box<dyn Error>> {
        let server = match server {
            Which::Cell => &self.cell,
            Which::Bare => &self.bare,
        };
        let processes = self.world.processes(Some(server));
        let plan =
            Plan { address: server.address, connections, time: self.time, seed, processes: &processes, make };
        let outcome = load::closed(&plan)?;
        self.cost(what, &outcome);
        Ok(outcome)
    }

    fn cost(&mut self, what: &'static str, outcome: &Outcome) {
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / outcome.units as f64;
        let cpu = outcome.cpu;
        let at = self.costs.iter().position(|cost| cost.what == what).unwrap_or_else(|| {
            let none = Vec::new();
            self.costs.push(Cost { what, server: none.clone(), database: none.clone(), driver: none });
            self.costs.len() - 1
        });
        let cost = &mut self.costs[at];
        cost.server.push(micros(cpu.server));
        cost.database.push(micros(cpu.database));
        cost.driver.push(micros(cpu.driver));
    }

    /// Single transfers against the best of pgbench.
    fn post(&mut self, seed: u64, swapped: bool) -> Result<(f64, f64), Box<dyn Error>> {
        let make = wire::single(self.accounts, &self.token);
        let mut ours = 0.0;
        let mut best: Option<pgbench::Run> = None;
        for half in 0..2 {
            if (half == 0) != swapped {
                let outcome =
                    self.closed("POST /v1/transfers", Which::Cell, self.connections, seed, &make)?;
                self.in_cell += outcome.acknowledged;
                ours = outcome.rate();
            } else if self.wanted(POST) {
                for (clients, seed) in pgbench::CLIENTS.into_iter().zip(seed..) {
                    let run = pgbench::run(&self.world, self.accounts.count, clients, self.time, seed)?;
                    self.in_baseline += run.transactions;
                    if best.is_none_or(|best| run.rate > best.rate) {
                        best = Some(run);
                    }
                }
            }
        }
        if let Some(best) = best {
            self.best_clients.push(best.clients);
            let outcome = Outcome { units: best.transactions, cpu: best.cpu, ..Outcome::default() };
            self.cost("pgbench, best (driver: pgbench is not counted)", &outcome);
        }
        Ok((ours, best.map_or(f64::NAN, |best| best.rate)))
    }

    /// Batches over HTTP against the bare statements.
    fn bulk(&mut self, seed: u64, swapped: bool) -> Result<(f64, f64), Box<dyn Error>> {
        let make = wire::batch(self.accounts, &self.token);
        let (mut ours, mut theirs) = (0.0, 0.0);
        for half in 0..2 {
            if (half == 0) != swapped {
                let outcome =
                    self.closed("POST /v1/transfer-batches", Which::Cell, batches::CONNECTIONS, seed, &make)?;
                self.in_cell += outcome.acknowledged;
                ours = outcome.rate();
            } else {
                let run = batches::run(
                    &self.world.baseline_config,
                    self.accounts.count,
                    self.time + load::warm_up(self.time),
                    seed,
                )?;
                self.in_baseline += run.transfers;
                theirs = run.rate();
            }
        }
        Ok((ours, theirs))
    }

    /// One account in every transfer against any two.
    fn hot(&mut self, seed: u64, swapped: bool) -> Result<(f64, f64), Box<dyn Error>> {
        let mut rates = [0.0; 2];
        for half in 0..2 {
            let hot = (half == 0) != swapped;
            let (accounts, what) = if hot {
                (Accounts { hot, ..self.accounts }, "POST /v1/transfers, hot account")
            } else {
                (self.accounts, "POST /v1/transfers")
            };
            let make = wire::single(accounts, &self.token);
            let outcome = self.closed(what, Which::Cell, self.connections, seed, &make)?;
            self.in_cell += outcome.acknowledged;
            rates[usize::from(!hot)] = outcome.rate();
        }
        Ok((rates[0], rates[1]))
    }

    /// Balances against bare SELECTs, per second of the server's CPU time.
    fn balance(&mut self, seed: u64, swapped: bool) -> Result<(f64, f64), Box<dyn Error>> {
        let mut figures = [0.0; 2];
        for half in 0..2 {
            let own = (half == 0) != swapped;
            let (server, what, make) = if own {
                (
                    Which::Cell,
                    "GET balance",
                    wire::read(self.accounts, "/v1/accounts/", "/balance", &self.token),
                )
            } else {
                (Which::Bare, "bare SELECT", wire::read(self.accounts, "/accounts/", "", &self.token))
            };
            let outcome = self.closed(what, server, self.connections, seed, &make)?;
            figures[usize::from(!own)] = outcome.units as f64 / outcome.cpu.server.as_secs_f64();
        }
        Ok((figures[0], figures[1]))
    }

    /// The 99th percentile at `rate`, against a file. In short turns, so that what comes over the machine meanwhile comes over
    /// both; of each side the latencies of all turns are one list.
    fn durable(&mut self, seed: u64, swapped: bool, rate: f64) -> Result<(f64, f64), Box<dyn Error>> {
        let time = self.time / TURNS;
        let mut pooled = [Outcome::default(), Outcome::default()];
        for turn in 0..2 * TURNS {
            let own = (turn % 2 == 0) != swapped;
            let (server, make) = if own {
                (&self.cell, wire::single(self.accounts, &self.token))
            } else {
                (&self.bare, wire::append(self.accounts, &self.token))
            };
            let processes = self.world.processes(Some(server));
            let plan = Plan {
                address: server.address,
                connections: self.connections,
                time,
                seed: seed + u64::from(turn) * 100_000,
                processes: &processes,
                make: &make,
            };
            pooled[usize::from(!own)].add(load::open(&plan, rate)?);
        }
        let [ours, theirs] = pooled;
        self.in_cell += ours.acknowledged;
        self.cost("POST /v1/transfers at half of the peak", &ours);
        self.cost("append + fdatasync at the same rate", &theirs);
        Ok((ours.percentile(0.99), theirs.percentile(0.99)))
    }
}

/// Which server is asked.
#[derive(Debug, Clone, Copy)]
enum Which {
    Cell,
    Bare,
}

fn line(bar: &ProgressBar, round: u32, name: &str, (ours, theirs): (f64, f64), took: Duration) {
    bar.println(format!(
        "round {} {name}: {ours:.1} / {theirs:.1} = {:.2} ({:.0} s)",
        round + 1,
        ours / theirs,
        took.as_secs_f64()
    ));
}
