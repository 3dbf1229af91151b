//! `tambo bench`: figures that hold on any machine, because each is a ratio to a baseline that runs beside it.
//!
//! See `docs/performance.md` for what is measured and what the figures do not say.

mod bare;
mod batches;
mod books;
mod cpu;
mod http;
mod ledger;
mod load;
mod pgbench;
mod planes;
mod report;
mod wire;
mod world;

use std::error::Error;

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Measures the ledger against PostgreSQL functions, bare statements and a bare file
    Ledger(ledger::Args),
    /// Measures what a tenant costs both planes when there are many
    Planes(planes::Args),
    /// Serves the handlers that others are held against; `bench ledger` starts it
    #[command(hide = true)]
    Bare(bare::Args),
}

/// Runs it. An error means that nothing was measured, or that the books are wrong.
pub fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    match &args.what {
        What::Ledger(args) => ledger::run(args),
        What::Planes(args) => planes::run(args),
        What::Bare(args) => bare::serve(args),
    }
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
fn print(report: &str) {
    println!("{report}");
}
