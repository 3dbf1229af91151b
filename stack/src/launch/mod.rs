//! Both planes as processes of their own, below one folder.
//!
//! **Promise.** A control plane, and one cell per compliance profile that has joined it, each with its own port, database
//! and keys; whoever starts them waits until all are ready. Who dies later is started again. None is left behind: a
//! process ends when its launcher does, even by `kill -9` (see `leash.rs`). A second start on the same folder finds
//! everything there and makes nothing twice.

mod files;
mod plane;
mod process;
mod seed;
mod site;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use client::{
    Client,
    control::{self, Environment, EnvironmentsWhich},
};
use platform::config::ConfigError;
use tenants::{environment::EnvironmentState, id::CellId};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::{JoinError, JoinSet},
};

pub use plane::Plane;
use process::{Phase, keep};
pub use site::Site;

use crate::{console::say, transport::Http};

/// How long a process may take until it is ready; a debug build on a busy machine takes seconds.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long to wait before asking again whether one is ready.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Why the stack does not run. Each text says what to do.
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
    /// A configuration cannot be used.
    #[error("{error}; the configuration is {}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        error: ConfigError,
    },
    /// A cell that stands alone.
    #[error("{} has no [link] to a control plane: name another folder with --data", .0.display())]
    NoLink(PathBuf),
    /// A profile of a country without a region.
    #[error("no cell can stand in {0}: add a region to stack/src/launch/regions.toml")]
    NoRegion(String),
    /// The process could not be started.
    #[error("cannot start {name}: {error}")]
    Start {
        /// Of the process.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A process ended while it was needed.
    #[error("{name} has ended{often} ({status}); the end of {}:\n{tail}", log.display())]
    Died {
        /// Of the process.
        name: String,
        /// How often.
        often: String,
        /// How it ended.
        status: String,
        /// Where its log is.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A process runs and is not ready.
    #[error("{name} {what} after {} seconds; its log is {}", READY_WITHIN.as_secs(), log.display())]
    NotReady {
        /// Of the process.
        name: String,
        /// What it has not come to.
        what: &'static str,
        /// Where its log is.
        log: PathBuf,
    },
    /// Signals, or a client, cannot be set up.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file holds no credential.
    #[error("{}: {error}", file.display())]
    Credential {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        error: platform::oauth::BadCredential,
    },
    /// A control plane that knows another operator than the one whose key is beside it.
    #[error("{} has no [[operators]] with the key in {}: add it, or name another folder with --data", config.display(), file.display())]
    NoOperator {
        /// The configuration.
        config: PathBuf,
        /// The credential.
        file: PathBuf,
    },
    /// A key cannot be made.
    #[error("a key cannot be made: {0}")]
    Key(#[from] platform::oauth::keys::BadKey),
    /// A cell that does not hear of a client.
    #[error("the cell has not heard of {client} after {} seconds", READY_WITHIN.as_secs())]
    Unknown {
        /// The client.
        client: tenants::id::ClientId,
    },
    /// A process cannot be called.
    #[error(transparent)]
    Egress(#[from] platform::egress::EgressError),
    /// The control plane refused, or did not answer.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The authority of the cell link cannot be made.
    #[error("the authority of the cell link: {0}")]
    Pki(#[from] platform::pki::PkiError),
}

/// The stack that runs. Dropped, it kills its processes; [`Stack::stop`] lets them finish first.
pub struct Stack {
    plane: Plane,
    sites: Vec<Site>,
    /// The ids that the control plane knows them by, in the same order.
    ids: Vec<CellId>,
    phase: watch::Sender<Phase>,
    cell_processes: JoinSet<Result<(), LaunchError>>,
    plane_process: JoinSet<Result<(), LaunchError>>,
}

impl Stack {
    /// Starts the control plane and one cell per profile below `folder`, with the configurations that are there or new
    /// ones, and waits until the control plane has heard of every cell.
    ///
    /// # Errors
    /// The folder, a configuration, or a process that ends: as [`LaunchError`] says.
    pub async fn start(folder: &Path) -> Result<Self, LaunchError> {
        let plane = Plane::prepare(&folder.join("control-plane"))?;
        let sites = site::prepare(folder, &plane)?;
        let mut stack = Self {
            plane,
            sites,
            ids: Vec::new(),
            phase: watch::Sender::new(Phase::Starting),
            cell_processes: JoinSet::new(),
            plane_process: JoinSet::new(),
        };
        match stack.come_up().await {
            Ok(()) => {
                stack.phase.send_replace(Phase::Up);
                Ok(stack)
            }
            Err(error) => {
                stack.stop().await;
                Err(error)
            }
        }
    }

    async fn come_up(&mut self) -> Result<(), LaunchError> {
        let begun = Instant::now();
        let took = || begun.elapsed().as_secs_f64();
        let (plane, sites) = (self.plane.clone(), self.sites.clone());
        self.plane_process.spawn(keep(plane.job(), self.phase.subscribe(), Phase::AllEnd));
        let late = |what, name: String, log: PathBuf| LaunchError::NotReady { name, what, log };
        let plane_is = |what| late(what, plane.job().name, plane.log());
        self.within(ready(plane.http()?), || plane_is("is not ready")).await?;
        say(format_args!("control plane: ready after {:.1} s", took()));
        let client = plane.client()?;
        let seeded = seed::seed(&client, &sites);
        self.ids = self.within(seeded, || plane_is("does not know its cells")).await?;
        for site in &sites {
            self.cell_processes.spawn(keep(site.job(), self.phase.subscribe(), Phase::CellsEnd));
        }
        for (site, id) in sites.iter().zip(self.ids.clone()) {
            let cell_is = |what| late(what, site.job().name, site.log());
            self.within(ready(site.http()?), || cell_is("is not ready")).await?;
            self.within(seed::joined(&client, id), || cell_is("has not joined the control plane")).await?;
            say(format_args!("{}: ready after {:.1} s, in {}", site.name(), took(), site.region()));
        }
        Ok(())
    }

    /// Waits for a step of the start, unless a process dies.
    async fn within<T>(
        &mut self,
        step: impl Future<Output = Result<T, LaunchError>>,
        late: impl FnOnce() -> LaunchError,
    ) -> Result<T, LaunchError> {
        tokio::select! {
            biased;
            died = self.died() => Err(died),
            done = tokio::time::timeout(READY_WITHIN, step) => done.unwrap_or_else(|_| Err(late())),
        }
    }

    /// The control plane.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// The cells, by the ids that the control plane knows them by.
    pub fn places(&self) -> HashMap<CellId, Site> {
        self.ids.iter().copied().zip(self.sites.iter().cloned()).collect()
    }

    /// Finds out whether the folder of every process takes more than a page or two.
    pub fn check_writable(&self) -> Result<(), LaunchError> {
        files::check_writable(self.plane.folder())?;
        self.sites.iter().try_for_each(|site| files::check_writable(site.folder()))
    }

    /// Waits until a process has died and is not started again, and says which and why.
    pub async fn died(&mut self) -> LaunchError {
        loop {
            let ended: Result<Result<(), LaunchError>, JoinError> = tokio::select! {
                Some(ended) = self.plane_process.join_next() => ended,
                Some(ended) = self.cell_processes.join_next() => ended,
                else => std::future::pending().await,
            };
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error,
                Err(error) => return io::Error::other(error).into(),
            }
        }
    }

    /// Lets every process finish what is in flight, the cells first, and waits for its end.
    pub async fn stop(mut self) {
        for (phase, processes) in
            [(Phase::CellsEnd, &mut self.cell_processes), (Phase::AllEnd, &mut self.plane_process)]
        {
            self.phase.send_replace(phase);
            while processes.join_next().await.is_some() {}
        }
    }

    /// How people reach the planes: references, and requests to paste. Registers a client of an environment of each cell.
    ///
    /// # Errors
    /// The control plane does not say what there is, or a client cannot be registered.
    pub async fn ways_in(&self) -> Result<String, LaunchError> {
        let which =
            EnvironmentsWhich { state: Some(EnvironmentState::Ready), ..EnvironmentsWhich::default() };
        let operator = self.plane.client()?;
        let environments = operator.list(control::environment_list(&which)).await?;
        let mut text = self.plane.way_in()?;
        for (site, id) in self.sites.iter().zip(&self.ids) {
            let first = environments.iter().find(|one| one.cell_id == Some(*id));
            text += &way_in(site, first, &operator).await?;
        }
        Ok(text)
    }
}

async fn way_in(
    site: &Site,
    environment: Option<&Environment>,
    operator: &Client<Http>,
) -> Result<String, LaunchError> {
    let (jurisdiction, url) = (site.jurisdiction(), site.url());
    let (name, id, currency) = (site.name(), &jurisdiction.id, jurisdiction.currency.code());
    let head = format!("\n{name} ({id}, {currency}, {})\n  reference  {url}/docs\n", site.region());
    let Some(environment) = environment else {
        return Ok(format!(
            "{head}  no environment yet: `demo` on this folder declares one, and a tenant for it\n"
        ));
    };
    let (client, secret) = site.tour(operator, environment.id).await?;
    let token = format!(
        "$(curl -s -u {client}:{secret} -d grant_type=client_credentials {url}/v1/oauth/token | \
         sed 's/.*access_token\":\"\\([^\"]*\\).*/\\1/')"
    );
    Ok(format!(
        "{head}  client     {client}, of {}, with a secret\n  try        TOKEN={token}\n             \
         curl -H \"Authorization: Bearer $TOKEN\" {url}/v1/environment\n",
        environment.id
    ))
}

/// Waits until it answers that it is ready. Until it listens, connecting fails; whether its process is alive, the
/// launcher watches.
async fn ready(http: Http) -> Result<(), LaunchError> {
    while !http.is_ready().await {
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(())
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
