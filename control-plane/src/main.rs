//! `control-plane CONFIG`: runs the control plane. Variables `TAMBO_…` override the file.

use std::{env, path::PathBuf, process::ExitCode};

use platform::drain::Drain;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match control_plane::main(env::args_os().nth(1).map(PathBuf::from), env::vars(), Drain::new()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("control-plane: {error}");
            ExitCode::FAILURE
        }
    }
}
