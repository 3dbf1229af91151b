//! `tambo cell …`: one cell in this process. `demo`, `dev` and `bench` start themselves with it.

use std::{env, path::PathBuf};

use data_plane::{CellError, config::CellConfig};
use platform::ctx::Clock;
use tenants::id::EnvironmentId;

use crate::{console::say, leash::Leash, rotation::Rotation};

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Serves until SIGTERM or SIGINT; every key of the configuration: data-plane/cell.default.toml
    Serve {
        /// The configuration; variables `TAMBO_…` override it
        config: Option<PathBuf>,
        #[command(flatten)]
        leash: Leash,
    },
    /// Enrols with the join token that the configuration names; a cell that serves does it by itself
    Enrol {
        /// The configuration; variables `TAMBO_…` override it
        config: Option<PathBuf>,
    },
    /// Prints links to everything that was exported of an environment, good for an hour: hand them to its tenant, whose
    /// own tokens have ended. Whoever has a link needs nothing else
    Export {
        /// The environment
        environment: EnvironmentId,
        /// The configuration; variables `TAMBO_…` override it
        config: Option<PathBuf>,
    },
    /// Makes another key that tokens are signed with, before it is time; who serves takes it up
    RotateKeys(Rotation),
}

/// Does it.
pub fn run(args: Args) -> Result<(), CellError> {
    match args.command {
        Command::Serve { config, leash } => data_plane::main(config, env::vars(), leash.drain()),
        Command::Enrol { config } => {
            let config: CellConfig = platform::config::load(config.as_deref(), env::vars())?;
            let id = data_plane::runtime()?.block_on(data_plane::enrol(config, Clock::system()))?;
            say(format_args!("This is the cell {id}."));
            Ok(())
        }
        Command::Export { environment, config } => {
            let config: CellConfig = platform::config::load(config.as_deref(), env::vars())?;
            let clock = Clock::system();
            let links = data_plane::export_links(config, &clock, environment);
            for link in data_plane::runtime()?.block_on(links)? {
                say(format_args!("{}\t{}", link.name, link.url));
            }
            Ok(())
        }
        Command::RotateKeys(rotation) => {
            let config: CellConfig = platform::config::load(rotation.config.as_deref(), env::vars())?;
            let rotated = data_plane::rotate_keys(config, Clock::system(), rotation.retire_old);
            data_plane::runtime()?.block_on(rotated)?;
            rotation.tell();
            Ok(())
        }
    }
}
