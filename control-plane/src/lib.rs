//! The control plane: who the tenants are, where their environments shall be, and which cells there are.
//!
//! **Promise.** It holds intent and never touches money: a cell goes on without it. Nothing of one organization is
//! reachable with another's token. It opens no connection to a cell; cells come to it.
//!
//! Each domain is a folder (slice) here; the files beside them put the slices together. Rows lie in the scope of their
//! organization, always on shard 0; what belongs to no tenant, such as regions and cells, lies in [`PLATFORM`].

pub mod app;
pub mod background;
pub mod caller;
pub mod cells;
pub mod clients;
pub mod config;
pub mod documents;
pub mod environments;
pub mod links;
pub mod migrations;
pub mod names;
pub mod operations;
pub mod organizations;
pub mod provisioning;
pub mod regions;
pub mod router;
mod stored;
pub mod tenants;

use std::{io, net::SocketAddr, path::PathBuf};

use platform::{
    ctx::{Clock, Scope},
    db::{Db, StartError},
    drain::Drain,
    egress::{Egress, EgressError},
    keys::Keys,
    pki::PkiError,
    telemetry::{Readiness, Telemetry, TelemetryError},
    tls::{self, TlsError, TlsServer},
};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::{app::App, config::ControlPlaneConfig};

/// The scope of what belongs to no tenant. Its clients are operators.
pub const PLATFORM: Scope = Scope::new(0, Uuid::from_u128(1));

/// Why the control plane did not start, or ended otherwise than by a drain. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] platform::config::ConfigError),
    /// An address is taken or not ours.
    #[error(
        "cannot listen on {address}: {error}; stop the process that has it, or set `{key}` to another one"
    )]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// The key that names it.
        key: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// The database is not there, older, newer or not durable enough.
    #[error(transparent)]
    Database(#[from] StartError),
    /// The root key is missing, or another one than that of the database.
    #[error(transparent)]
    Keys(#[from] platform::keys::StartError),
    /// Tokens cannot be issued.
    #[error(transparent)]
    Issuer(#[from] platform::oauth::IssuerError),
    /// The operators of the configuration cannot be registered.
    #[error("`operators`: {0}")]
    Operators(#[from] platform::oauth::RegistrationError),
    /// A store of documents cannot be opened.
    #[error(transparent)]
    Documents(#[from] documents::StoreError),
    /// The problem texts are incomplete: a mistake of this build.
    #[error(transparent)]
    Texts(#[from] platform::problem::CatalogueError),
    /// The list of hosts that may be called is wrong.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// Metrics cannot be gathered.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// Logs, traces or metrics cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The files of the authority cannot be used.
    #[error("the authority of the cell link: {0}")]
    Pki(#[from] PkiError),
    /// The listener of the link cannot be set up.
    #[error("the listener of the cell link: {0}")]
    Tls(#[from] TlsError),
    /// The certificate that callers are shown cannot be used.
    #[error("`tls`: {0}")]
    Shown(#[source] TlsError),
    /// Signals, or requests that were cut off at the drain's limit.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The whole process: reads the configuration from a file and variables, and [`run`]s.
///
/// # Errors
/// As [`ControlPlaneError`] says.
pub fn main(
    file: Option<PathBuf>,
    variables: impl Iterator<Item = (String, String)>,
    drain: Drain,
) -> Result<(), ControlPlaneError> {
    let config = platform::config::load(file.as_deref(), platform::failpoint::take(variables))?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(config, drain))
}

/// Makes another key that tokens of the control plane of this configuration are signed with, whether it serves or not: it
/// is published for the usual time before it signs. With `retire_old` it signs at once, and every token of before is
/// refused. Who serves knows it within a second.
///
/// # Errors
/// As [`ControlPlaneError`] says; the database has to be there, with the schema of this build.
pub async fn rotate_keys(
    config: ControlPlaneConfig,
    clock: Clock,
    retire_old: bool,
) -> Result<(), ControlPlaneError> {
    let db = Db::connect(&config.database).await.map_err(StartError::from)?;
    db.check_schema(migrations::migrations).await?;
    let keys = Keys::start(db.clone(), PLATFORM.shard + 1, &config.keys, clock.now()).await?;
    let issuer = app::issuer(&config, &db, &keys, &clock).await?;
    let rotated = issuer.rotate_keys(retire_old).await;
    db.close().await.map_err(StartError::from)?;
    Ok(rotated?)
}

/// Runs the control plane until it is drained (SIGTERM, SIGINT, or by whoever began `drain`): migrates its database,
/// starts its work, serves.
///
/// # Errors
/// As [`ControlPlaneError`] says.
pub async fn run(config: ControlPlaneConfig, drain: Drain) -> Result<(), ControlPlaneError> {
    let egress = Egress::new(&config.egress)?;
    let telemetry = Telemetry::init("control-plane", &["control_plane"], &config.telemetry, &egress)?;
    drain.on_signals()?;
    let listener = listen(config.control_plane.listen, "control_plane.listen").await?;
    let link_listener = listen(config.control_plane.link_listen, "control_plane.link_listen").await?;
    let app = App::start(&config, Clock::system(), &drain).await?;
    let names: Vec<String> = config.control_plane.link_host().into_iter().collect();
    let ca = &app.links.ca;
    let identity = ca.server(&names, app.clock.now())?;
    let tls = TlsServer::new(&identity, ca.root_der(), cells::GRACE, app.clock.clone())?;
    let shown = config.tls.as_ref().map(|files| files.server(app.clock.clone())).transpose();
    let shown = shown.map_err(ControlPlaneError::Shown)?;
    let callers = config.tls.clone().zip(shown.clone());
    let background = background::start(&app, (tls.clone(), names, config.pki.clone()), callers, &drain);
    let db = app.db.clone();
    let readiness = Readiness::new(drain.clone()).check("database", move || {
        let db = db.clone();
        async move { db.ping().await }
    });
    let router = router::router(app.clone(), &config.http, readiness, telemetry.metrics())?;
    tracing::info!(name = config.control_plane.name, address = %config.control_plane.listen, "the control plane serves");
    let links = router::link_router(app.clone(), &config.http);
    let (served, linked) = tokio::join!(
        tls::serve_callers(listener, shown, router, &drain, &config.drain),
        tls::serve(link_listener, tls, links, &drain, &config.drain),
    );
    background.ended().await;
    app.db.close().await.map_err(StartError::from)?;
    telemetry.shutdown();
    served?;
    Ok(linked?)
}

async fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, ControlPlaneError> {
    TcpListener::bind(address).await.map_err(|error| ControlPlaneError::Listen { address, key, error })
}
