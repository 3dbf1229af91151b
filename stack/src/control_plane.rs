//! `tambo control-plane …`: the control plane in this process. `demo` and `dev` start themselves with it.

use std::{env, error::Error, path::PathBuf};

use platform::{ctx::Clock, pki};

use crate::{console::say, launch::Plane, leash::Leash, rotation::Rotation};

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
        #[command(flatten)]
        leash: Leash,
    },
    /// Makes in a folder what a control plane needs: a configuration, the authority of the cell link, an operator's key
    Init {
        /// The folder, made if it is not there; what is in it is kept
        folder: PathBuf,
    },
    /// Makes the next issuing certificate of the cell link, good for 90 days; control planes that serve take it up within a
    /// minute, and cells notice nothing
    Reissue {
        /// The folder of root.key and root.pem, brought from where no server can read it
        root: PathBuf,
        /// The folder of issuing.key and issuing.pem, which are replaced; or a new one, for you to carry
        issuing: PathBuf,
    },
    /// Makes another key that tokens are signed with, before it is time; who serves takes it up
    RotateKeys(Rotation),
}

/// Does it.
pub fn run(args: Args) -> Result<(), Box<dyn Error>> {
    match args.command {
        Command::Serve { config, leash } => Ok(control_plane::main(config, env::vars(), leash.drain())?),
        Command::Init { folder } => {
            let plane = Plane::prepare(&folder)?;
            let folder = plane.folder().display();
            say(format_args!("To serve:\n  cd '{folder}' && tambo control-plane serve {}", Plane::CONFIG));
            say(plane.way_in()?);
            Ok(())
        }
        Command::Reissue { root, issuing } => {
            let ends = pki::reissue(&root, &issuing, Clock::system().now())?;
            say(format_args!("The issuing certificate in {} ends at {ends}.", issuing.display()));
            Ok(())
        }
        Command::RotateKeys(rotation) => {
            let config = platform::config::load(rotation.config.as_deref(), env::vars())?;
            let rotated = control_plane::rotate_keys(config, Clock::system(), rotation.retire_old);
            tokio::runtime::Runtime::new()?.block_on(rotated)?;
            rotation.tell();
            Ok(())
        }
    }
}
