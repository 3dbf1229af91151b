//! `tambo control-plane …`: the control plane in this process.

use std::{env, path::PathBuf};

use control_plane::ControlPlaneError;
use platform::drain::Drain;

/// What to do.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Serves until SIGTERM or SIGINT; every key of the configuration: control-plane/control-plane.default.toml
    Serve {
        /// The configuration; variables `TAMBO_…` override it
        config: Option<PathBuf>,
    },
}

/// Does it.
pub fn run(args: Args) -> Result<(), ControlPlaneError> {
    match args.command {
        Command::Serve { config } => control_plane::main(config, env::vars(), Drain::new()),
    }
}
