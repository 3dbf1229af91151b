//! `tambo`: launches and drives the platform.

mod bench;
mod cell;
mod commands;
mod console;
mod control_plane;
mod demo;
mod dev;
mod launch;
mod leash;
mod openapi;
mod rotation;
mod transport;

use std::{error::Error, process::ExitCode};

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Banking as a service for Latin America.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures this build against baselines that run beside it
    Bench(bench::Args),
    /// Shows one bank per country, over two planes: declares them, imports customers, runs a payday, checks the books
    Demo(demo::Args),
    /// Runs a control plane and one cell per country on a data folder, and stays up
    Dev(dev::Args),
    /// Serves as the control plane, or makes what one needs
    ControlPlane(control_plane::Args),
    /// Writes the OpenAPI documents of this build into `openapi/`
    Openapi(openapi::Args),
    #[command(flatten)]
    Remote(commands::Command),
    /// Serves as one cell, or enrols it
    Cell(cell::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Demo(args) => run(demo::run(args)),
        Command::Dev(args) => run(dev::run(args)),
        Command::ControlPlane(args) => control_plane::run(args),
        Command::Openapi(args) => openapi::run(&args),
        Command::Cell(args) => cell::run(args).map_err(Into::into),
        Command::Remote(command) => return commands::run(command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::say(format_args!("tambo: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a command on a runtime of its own.
fn run<T>(command: impl Future<Output = Result<T, Box<dyn Error>>>) -> Result<T, Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}
