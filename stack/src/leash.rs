//! How a process ends with its launcher.
//!
//! The launcher holds the other end of standard input. When it goes away, however it ends, the pipe closes and the
//! process drains: none outlives its launcher.

use std::{io, thread};

use platform::drain::Drain;

/// Whether there is a launcher.
#[derive(clap::Args)]
pub struct Leash {
    /// Ends when standard input does; `dev` and `demo` say so
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

impl Leash {
    /// A drain that begins when the launcher is gone, if there is one.
    pub fn drain(&self) -> Drain {
        let drain = Drain::new();
        if self.until_stdin_ends {
            let launcher_gone = drain.clone();
            thread::spawn(move || {
                // Nobody writes to it: it ends, or breaks, when the launcher is gone.
                let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
                launcher_gone.begin();
            });
        }
        drain
    }
}
