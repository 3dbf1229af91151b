//! `tambo dev`: the stack on a data folder, for as long as somebody works with it.

use std::{error::Error, path::PathBuf};

use crate::{
    console::say,
    launch::{Stack, asked_to_stop, ways_in},
};

/// Where.
#[derive(clap::Args)]
pub struct Args {
    /// The data folder, made if it is not there
    #[arg(long, value_name = "DIR", default_value = ".tambo")]
    data: PathBuf,
}

/// Starts the cells, says how to reach them, and stays until Ctrl-C.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let stop = asked_to_stop()?;
    tokio::pin!(stop);
    let mut stack = tokio::select! {
        started = Stack::start(&args.data) => started?,
        () = &mut stop => return Ok(()),
    };
    say(ways_in(stack.sites())?);
    say(format_args!("Ctrl-C stops them; the data stays in {}.", args.data.display()));
    let died = tokio::select! {
        died = stack.died() => Err(died.into()),
        () = stop => Ok(()),
    };
    stack.stop().await;
    died
}
