//! `tambo demo`: three banks in a minute.
//!
//! One cell per compliance profile, each a process of its own; everything that happens there goes through the public
//! API. A second run on the same folder finds everything there: parties and accounts by their `external_id`, transfers
//! by ids that are derived from environment, size and number. It imports and posts nothing, and says the same figures.

mod bank;
mod books;
mod payday;
mod people;
mod posting;
mod progress;
mod report;

use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
};

use tenants::id::TransferId;

use crate::{
    console::say,
    launch::{LaunchError, Site, Stack, asked_to_stop, ways_in},
};
use bank::Bank;
use progress::Progress;
use report::CellReport;

/// What is shown.
#[derive(clap::Args)]
pub struct Args {
    /// Prints one JSON object instead of a table
    #[arg(long)]
    json: bool,
    /// Stays up afterwards, and says how to reach the cells
    #[arg(long)]
    keep: bool,
    /// The data folder, made if it is not there; a temporary one by default
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Writes accounts, balances and transfers of each cell as CSV below this folder
    #[arg(long, value_name = "DIR")]
    export: Option<PathBuf>,
    /// How many customers per country
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(50..=10_000))]
    customers: u32,
    /// How many transfers per country on payday
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    transfers: u32,
}

/// Why the demo does not get through. Each text says what to do, or where to look.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The cells do not run.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A request has no good answer.
    #[error(transparent)]
    Api(#[from] client::Error),
    /// A file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A profile that the demo has no names for.
    #[error("no customers can be made up for {0}: add it to stack/src/demo/people.toml")]
    NoPeople(String),
    /// An imported customer is not in the list of parties.
    #[error("the customer {0} was imported and is not listed")]
    NoParty(String),
    /// An answer about something else.
    #[error("asked for transfer {asked}, answered about {answered}")]
    OtherTransfer {
        /// What was asked.
        asked: TransferId,
        /// What was answered.
        answered: TransferId,
    },
    /// It ran to its end, and something is not as it should be.
    #[error("the figures do not hold:\n{0}")]
    Figures(String),
    /// Ctrl-C or SIGTERM.
    #[error("stopped before the end; run it again, on the same --data to go on")]
    Stopped,
}

/// Runs the demo; an error if anything does not hold.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let stop = asked_to_stop()?;
    tokio::pin!(stop);
    let temporary;
    let folder = match &args.data {
        Some(folder) => folder.clone(),
        None => {
            temporary = tempfile::Builder::new().prefix("tambo-demo-").tempdir()?;
            temporary.path().to_owned()
        }
    };
    let mut stack = tokio::select! {
        started = Stack::start(&folder) => started?,
        () = &mut stop => return Err(DemoError::Stopped.into()),
    };
    let sites: Vec<_> = stack.sites().cloned().collect();
    let done = async {
        let shown = tokio::select! {
            shown = show(&args, &folder, &sites) => shown,
            died = stack.died() => Err(died.into()),
            () = &mut stop => Err(DemoError::Stopped),
        };
        if matches!(shown, Err(DemoError::Api(_))) {
            // A cell does not say why it cannot write; its folder does.
            sites.iter().try_for_each(Site::check_writable)?;
        }
        shown?;
        if args.keep {
            say(ways_in(sites.iter())?);
            say("Ctrl-C ends it.");
            tokio::select! {
                died = stack.died() => return Err(died.into()),
                () = &mut stop => {}
            }
        }
        Ok::<(), DemoError>(())
    }
    .await;
    stack.stop().await;
    Ok(done?)
}

/// Runs the banks side by side, and prints what came of it.
async fn show(args: &Args, folder: &Path, sites: &[Site]) -> Result<(), DemoError> {
    let progress = Progress::new();
    let banks =
        sites.iter().map(|site| Bank::new(site, progress.bar(site.name()))).collect::<Result<Vec<_>, _>>()?;
    let reports = futures::future::try_join_all(banks.iter().map(|bank| bank.run(args, folder))).await;
    progress.end();
    let reports = reports?;
    if args.json {
        say(report::summary(&reports));
        print(&report::json(&reports).map_err(io::Error::from).map_err(stdout)?)?;
    } else {
        if let Some(one) = reports.first() {
            print(&format!("\n{}\n", one.statement))?;
        }
        print(&report::table(&reports))?;
        print(&report::summary(&reports))?;
    }
    let faults: Vec<String> = reports.iter().flat_map(faults).collect();
    if faults.is_empty() { Ok(()) } else { Err(DemoError::Figures(faults.join("\n"))) }
}

fn faults(report: &CellReport) -> impl Iterator<Item = String> {
    report.faults.iter().map(|fault| format!("  {}: {fault}", report.cell))
}

fn print(text: &str) -> Result<(), DemoError> {
    writeln!(io::stdout().lock(), "{text}").map_err(stdout)
}

fn stdout(error: io::Error) -> DemoError {
    DemoError::File { path: "standard output".into(), error }
}
