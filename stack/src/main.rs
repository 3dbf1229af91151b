//! `tambo`: launches and drives the platform.

mod openapi;

use std::process::ExitCode;

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
    /// Writes the OpenAPI documents of this build into `openapi/`
    Openapi(openapi::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Openapi(args) => openapi::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tambo: {error}");
            ExitCode::FAILURE
        }
    }
}
