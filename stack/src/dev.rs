//! `tambo dev`: the stack on a data folder, for as long as somebody works with it.

use std::{error::Error, path::PathBuf};

use crate::{
    console::say,
    launch::{Stack, asked_to_stop},
};

/// Where.
#[derive(clap::Args)]
pub struct Args {
    /// The data folder, made if it is not there
    #[arg(long, value_name = "DIR", default_value = ".tambo")]
    data: PathBuf,
}

/// Starts both planes, says how to reach them, and stays until Ctrl-C.
pub async fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let stop = asked_to_stop()?;
    tokio::pin!(stop);
    let mut stack = tokio::select! {
        started = Stack::start(&args.data) => started?,
        () = &mut stop => return Ok(()),
    };
    let died = match stack.ways_in().await {
        Ok(text) => {
            say(text);
            say(format_args!(
                "Who dies is started again. Ctrl-C stops everything; the data stays in {}.",
                args.data.display()
            ));
            tokio::select! {
                died = stack.died() => Err(died.into()),
                () = stop => Ok(()),
            }
        }
        Err(error) => Err(error.into()),
    };
    stack.stop().await;
    died
}
