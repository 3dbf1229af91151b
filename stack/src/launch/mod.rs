//! Cells as processes of their own, below one folder.
//!
//! **Promise.** One cell per compliance profile, each with its own port, database and keys; whoever starts them waits
//! until all are ready, hears when one dies, and leaves none behind: a cell ends when its launcher does, even by
//! `kill -9` (see `cell.rs`).

mod process;
mod site;

use std::{io, path::PathBuf, time::Duration};

use platform::config::ConfigError;
use tokio::signal::unix::{SignalKind, signal};

use process::Process;
pub use site::Site;

/// How long a cell may take until it is ready; a debug build on a busy machine takes seconds.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Why the cells do not run. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The data folder cannot be made or written.
    #[error("cannot write to {}: {error}; name another folder with --data, or make room", path.display())]
    Folder {
        /// What could not be written.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A cell's configuration cannot be used.
    #[error("{error}; the cell's configuration is {}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: ConfigError,
    },
    /// The configuration names no environment, so there is nothing to call.
    #[error("{} names no environment: add an [[environments]] table", .0.display())]
    NoEnvironment(PathBuf),
    /// The process could not be started.
    #[error("cannot start the cell {cell}: {error}")]
    Start {
        /// Its name.
        cell: String,
        /// Why.
        error: io::Error,
    },
    /// A cell ended while it was needed.
    #[error("the cell {cell} has ended ({status}); the end of {}:\n{tail}", log.display())]
    Died {
        /// Its name.
        cell: String,
        /// How it ended.
        status: String,
        /// Where its log is.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A cell runs and is not ready.
    #[error(
        "the cell {cell} is not ready after {} seconds; its log is {}",
        READY_WITHIN.as_secs(),
        log.display()
    )]
    NotReady {
        /// Its name.
        cell: String,
        /// Where its log is.
        log: PathBuf,
    },
    /// Signals, or a client for the cells, cannot be set up.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A cell cannot be called.
    #[error(transparent)]
    Egress(#[from] platform::egress::EgressError),
    /// A client of a cell cannot be made.
    #[error(transparent)]
    Client(#[from] client::Error),
}

/// The cells that run. Dropped, it kills them; [`Stack::stop`] lets them finish first.
pub struct Stack {
    processes: Vec<Process>,
}

impl Stack {
    /// Starts one cell per profile below `folder`, with the configurations that are there or new ones, and waits until
    /// all of them are ready.
    ///
    /// # Errors
    /// The folder, a configuration, or a cell that ends: as [`LaunchError`] says.
    pub async fn start(folder: &std::path::Path) -> Result<Self, LaunchError> {
        let sites = site::prepare(folder)?;
        let processes = sites.into_iter().map(Process::start).collect::<Result<_, _>>()?;
        let mut stack = Self { processes };
        let sites: Vec<Site> = stack.sites().cloned().collect();
        let ready = async {
            for site in &sites {
                tokio::time::timeout(READY_WITHIN, site.ready())
                    .await
                    .map_err(|_| LaunchError::NotReady { cell: site.name().to_owned(), log: site.log() })??;
            }
            Ok(())
        };
        let started = tokio::select! {
            ready = ready => ready,
            died = stack.died() => Err(died),
        };
        match started {
            Ok(()) => Ok(stack),
            Err(error) => {
                stack.stop().await;
                Err(error)
            }
        }
    }

    /// The cells.
    pub fn sites(&self) -> impl Iterator<Item = &Site> {
        self.processes.iter().map(|process| &process.site)
    }

    /// Waits until one of them ends, which none should, and says which and why.
    pub async fn died(&mut self) -> LaunchError {
        let waits: Vec<_> = self.processes.iter_mut().map(|process| Box::pin(process.ended())).collect();
        futures::future::select_all(waits).await.0
    }

    /// Lets every cell finish what is in flight, and waits for its end.
    pub async fn stop(self) {
        futures::future::join_all(self.processes.into_iter().map(Process::stop)).await;
    }
}

/// How people reach the cells: the reference, and a request to paste. Writes each cell's token beside its configuration.
///
/// # Errors
/// A token cannot be made or written.
pub fn ways_in<'a>(sites: impl Iterator<Item = &'a Site>) -> Result<String, LaunchError> {
    let mut text = String::new();
    for site in sites {
        let token = site.write_token()?;
        let (jurisdiction, url) = (site.jurisdiction(), site.url());
        text += &format!(
            "\n{cell} ({}, {})\n  reference  {url}/docs\n  token      {token}, for {} days\n  \
             try        curl -H \"Authorization: Bearer $(cat '{token}')\" {url}/v1/environment\n",
            jurisdiction.id,
            jurisdiction.currency.code(),
            site::TOKEN_DAYS,
            cell = site.name(),
            token = token.display(),
        );
    }
    Ok(text)
}

/// Takes SIGINT (Ctrl-C) and SIGTERM over; what is returned ends with the first of them.
///
/// # Errors
/// The handlers cannot be installed.
pub fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
