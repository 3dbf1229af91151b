//! `tambo demo`: three banks in a minute.
//!
//! A control plane and one cell per compliance profile, each a process of its own; everything that happens there goes
//! through their APIs. First an operator declares a tenant per country and follows its environment until it is ready;
//! then each bank imports customers and runs a payday in its cell. A second run on the same folder finds everything
//! there: tenants, parties and accounts by their `external_id`, transfers by ids that are derived from environment, size
//! and number. It declares, imports and posts nothing, and says the same figures.

mod bank;
mod books;
mod declare;
mod payday;
mod people;
mod posting;
mod progress;
mod report;

use std::{
    collections::HashMap,
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
};

use client::control::Operation;
use tenants::{
    example::EXAMPLES,
    id::{CellId, EnvironmentId, TenantId, TransferId},
};

use crate::{
    console::say,
    launch::{LaunchError, Plane, Site, Stack, asked_to_stop},
};
use bank::Bank;
use declare::{Declared, declare};
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
    /// The stack does not run.
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
    /// An example is not a declaration of a sandbox.
    #[error("a declaration in tenants/examples: {0}")]
    Declaration(String),
    /// What was asked of the control plane has not come to be.
    #[error("{} of {} is {}{}", .0.kind, .0.subject_id, .0.state, why(.0))]
    Operation(Box<Operation>),
    /// A tenant is not what it is to be.
    #[error("the environment of {0} is ready, and the tenant is not active; look at `tambo tenants get {0}`")]
    NotActive(TenantId),
    /// An environment that no cell of this folder has.
    #[error("{0} is in no cell of this folder")]
    Elsewhere(EnvironmentId),
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
    let done = async {
        let (plane, found) = (stack.plane().clone(), stack.places());
        let shown = tokio::select! {
            shown = show(&args, &folder, &plane, &found) => shown,
            died = stack.died() => Err(died.into()),
            () = &mut stop => Err(DemoError::Stopped),
        };
        if matches!(shown, Err(DemoError::Api(_))) {
            // A process does not say why it cannot write; its folder does.
            stack.check_writable()?;
        }
        shown?;
        if args.keep {
            say(stack.ways_in().await?);
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

/// Declares the tenants, runs their banks side by side, and prints what came of it.
async fn show(
    args: &Args,
    folder: &Path,
    plane: &Plane,
    places: &HashMap<CellId, Site>,
) -> Result<(), DemoError> {
    let progress = Progress::new();
    let client = plane.client()?;
    let declared = EXAMPLES.map(|text| declare(&client, text, &progress));
    let declared: Vec<Declared> = futures::future::try_join_all(declared).await?;
    let bank = async |one: &Declared| {
        let site = places.get(&one.cell).ok_or(DemoError::Elsewhere(one.environment))?;
        Bank::new(&client, one, site, progress.bar(site.name())).await
    };
    let banks = futures::future::try_join_all(declared.iter().map(bank)).await?;
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

/// Why an operation has ended so.
fn why(operation: &Operation) -> String {
    let reason = operation.reason.as_ref();
    reason.map_or_else(String::new, |why| format!(": {}", why.detail.as_deref().unwrap_or(&why.code)))
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
