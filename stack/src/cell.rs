//! `tambo cell CONFIG`: one cell in this process. `demo` and `dev` start themselves with it once per cell.
//!
//! The launcher holds the other end of standard input. When it goes away, however it ends, the pipe closes and the cell
//! drains: no cell outlives its launcher.

use std::{env, io, path::PathBuf, thread};

use data_plane::CellError;
use platform::drain::Drain;

/// What to run.
#[derive(clap::Args)]
pub struct Args {
    /// The cell's configuration
    config: PathBuf,
}

/// Runs the cell until it is drained.
pub fn run(args: Args) -> Result<(), CellError> {
    let drain = Drain::new();
    let launcher_gone = drain.clone();
    thread::spawn(move || {
        // Nobody writes to it: it ends, or breaks, when the launcher is gone.
        let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
        launcher_gone.begin();
    });
    data_plane::main(Some(args.config), env::vars(), drain)
}
