//! `tambo tenants|environments|clients|cells|operations|regions|organizations …`: a control plane from the command line.
//!
//! Standard output has what was asked for: tables for people, with `--json` the API's own objects. Everything else is on
//! standard error. The exit code is 0 if it was done, 1 if it was refused, failed or lost, 2 if it was not asked rightly.

mod cells;
mod clients;
mod environments;
mod operations;
mod organizations;
mod regions;
mod session;
mod show;
mod tenants;

use std::{env, error::Error, process::ExitCode};

use session::{Connection, Failure, Session};

use crate::console::say;

/// What a command works on.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Legal persons who pay; for operators
    Organizations(organizations::Args),
    /// Where machines stand
    Regions(regions::Args),
    /// Licences of organizations in jurisdictions, and where their data may be
    Tenants(tenants::Args),
    /// Where a tenant's customers are, for trial or for real
    Environments(environments::Args),
    /// Who may ask for tokens: of an environment's cell, or of the control plane
    Clients(clients::Args),
    /// Data planes; for operators
    Cells(cells::Args),
    /// What takes a while: look, follow, cancel
    Operations(operations::Args),
    /// Prints an access token for a client, for `curl`; it lives ten minutes
    Token(session::TokenArgs),
}

/// Does it, and says why not.
pub fn run(command: Command) -> ExitCode {
    match in_runtime(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(failure.text());
            failure.code()
        }
    }
}

fn in_runtime(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Other(Box::<dyn Error>::from(error)))?;
    runtime.block_on(async {
        let begin = |connection: &Connection| Session::begin(connection, env::vars());
        match command {
            Command::Organizations(args) => organizations::run(&begin(&args.connection)?, args.command).await,
            Command::Regions(args) => regions::run(&begin(&args.connection)?, args.command).await,
            Command::Tenants(args) => tenants::run(&begin(&args.connection)?, args.command).await,
            Command::Environments(args) => environments::run(&begin(&args.connection)?, args.command).await,
            Command::Clients(args) => clients::run(&begin(&args.connection)?, args.command).await,
            Command::Cells(args) => cells::run(&begin(&args.connection)?, args.command).await,
            Command::Operations(args) => operations::run(&begin(&args.connection)?, args.command).await,
            Command::Token(args) => session::token(&args, env::vars()).await,
        }
    })
}
