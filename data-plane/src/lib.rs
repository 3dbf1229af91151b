//! A cell: one data plane of one jurisdiction, with its own database, keys and token issuer.
//!
//! **Promise.** It takes payments with the control plane down: everything it needs to decide is in its own configuration
//! and database. Nothing of one environment is reachable with another's token.
//!
//! Each banking domain is a folder (slice) here; the files beside them put the slices together.

pub mod accounts;
pub mod app;
pub mod background;
pub mod config;
pub mod environments;
mod exports;
pub mod link;
pub mod migrations;
pub mod parties;
pub mod payments;
pub mod router;

use std::{io, path::PathBuf};

use platform::{
    ctx::Clock,
    db::{Db, StartError},
    drain::Drain,
    egress::{Egress, EgressError},
    keys::Keys,
    objects::Objects,
    telemetry::{Readiness, Telemetry, TelemetryError},
    tls::{self, TlsError},
};
use tenants::id::{CellId, EnvironmentId};
use tokio::net::TcpListener;

use crate::{app::App, config::CellConfig, environments::ExportLink, link::Pace};

/// Why a cell did not start, or ended otherwise than by a drain. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CellError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] platform::config::ConfigError),
    /// The address is taken or not ours.
    #[error(
        "cannot listen on {address}: {error}; stop the process that has it, or set `cell.listen` to another one"
    )]
    Listen {
        /// What was asked for.
        address: std::net::SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The database is not there, older, newer or not durable enough.
    #[error(transparent)]
    Database(#[from] StartError),
    /// There is no object store, or it does not do what the configuration promises.
    #[error(transparent)]
    Objects(#[from] platform::objects::StartError),
    /// An export cannot be handed over.
    #[error(transparent)]
    Export(#[from] environments::HandoverError),
    /// The environments of the configuration cannot be served.
    #[error(transparent)]
    Environments(#[from] environments::SeedError),
    /// The root key is missing, or another one than that of the database.
    #[error(transparent)]
    Keys(#[from] platform::keys::StartError),
    /// Tokens cannot be issued.
    #[error(transparent)]
    Issuer(#[from] platform::oauth::IssuerError),
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
    /// The certificate that callers are shown cannot be used.
    #[error("`tls`: {0}")]
    Tls(#[from] TlsError),
    /// The cell is not configured to have a link.
    #[error("there is no [link] in the cell's configuration")]
    NoLink,
    /// The cell could not enrol.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// Signals, or requests that were cut off at the drain's limit.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The whole process: reads the configuration from a file and variables, and [`run`]s.
///
/// # Errors
/// As [`CellError`] says.
pub fn main(
    file: Option<PathBuf>,
    variables: impl Iterator<Item = (String, String)>,
    drain: Drain,
) -> Result<(), CellError> {
    let config = platform::config::load(file.as_deref(), platform::failpoint::take(variables))?;
    runtime()?.block_on(run(config, drain))
}

/// Enrols a cell with the join token of its configuration, and says which cell it is; a cell that serves does it by
/// itself. Once enrolled it is not done again, until the file holds another token.
///
/// # Errors
/// As [`CellError`] says.
pub async fn enrol(config: CellConfig, clock: Clock) -> Result<CellId, CellError> {
    let app = App::start(&config, clock).await?;
    let link = app.link(&config, Pace::default()).ok_or(CellError::NoLink)?;
    let enrolled = link.enrol().await;
    app.db.close().await.map_err(StartError::from)?;
    Ok(enrolled?)
}

/// Links to everything that was exported of an environment, for whoever has this configuration to hand over to its
/// tenant, whose own tokens have ended. They are good for an hour.
///
/// # Errors
/// There is none, or as [`CellError`] says.
pub async fn export_links(
    config: CellConfig,
    clock: &Clock,
    environment: EnvironmentId,
) -> Result<Vec<ExportLink>, CellError> {
    let db = Db::connect(&config.database).await.map_err(StartError::from)?;
    db.check_schema(migrations::migrations).await?;
    let objects = Objects::start(&config.objects, &Egress::new(&config.egress)?, clock).await?;
    let links = environments::links(&db, &objects, environment, clock).await;
    db.close().await.map_err(StartError::from)?;
    Ok(links?)
}

/// Makes another key that tokens of the cell of this configuration are signed with, whether it serves or not: it is
/// published for the usual time before it signs. With `retire_old` it signs at once, and every token of before is refused.
/// Who serves knows it within a second.
///
/// # Errors
/// As [`CellError`] says; the database has to be there, with the schema of this build.
pub async fn rotate_keys(config: CellConfig, clock: Clock, retire_old: bool) -> Result<(), CellError> {
    let db = Db::connect(&config.database).await.map_err(StartError::from)?;
    db.check_schema(migrations::migrations).await?;
    let keys = Keys::start(db.clone(), config.cell.shards, &config.keys, clock.now()).await?;
    let issuer = app::issuer(&config, &db, &keys, &clock).await?;
    let rotated = issuer.rotate_keys(retire_old).await;
    db.close().await.map_err(StartError::from)?;
    Ok(rotated?)
}

/// The runtime that a cell serves on.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    // A worker looks for answers of the database after so many turns of other tasks. The default, 61, lets the ledger's
    // writer wait for milliseconds at each of its statements while requests keep the workers busy.
    tokio::runtime::Builder::new_multi_thread().enable_all().event_interval(7).build()
}

/// Runs a cell until it is drained (SIGTERM, SIGINT, or by whoever began `drain`): migrates its database, starts the
/// ledger, work and sweeps, serves.
///
/// # Errors
/// As [`CellError`] says.
pub async fn run(config: CellConfig, drain: Drain) -> Result<(), CellError> {
    let egress = Egress::new(&config.egress)?;
    let telemetry = Telemetry::init("cell", &["data_plane", "ledger"], &config.telemetry, &egress)?;
    drain.on_signals()?;
    let address = config.cell.listen;
    let listener = TcpListener::bind(address).await.map_err(|error| CellError::Listen { address, error })?;
    let tls = config.tls.as_ref().map(|files| files.server(Clock::system())).transpose()?;
    let app = App::start(&config, Clock::system()).await?;
    let background = background::start(&app, config.tls.clone().zip(tls.clone()), &drain);
    let (db, ledger) = (app.db.clone(), app.ledger.clone());
    let readiness = Readiness::new(drain.clone())
        .check("database", move || {
            let db = db.clone();
            async move { db.ping().await }
        })
        .check("ledger", move || {
            std::future::ready(if ledger.is_whole() { Ok(()) } else { Err("a shard has lost its writer") })
        });
    let router = router::router(app.clone(), &config.http, readiness, telemetry.metrics())?;
    tracing::info!(cell = config.cell.name, %address, "the cell serves");
    let link = app.link(&config, Pace::default());
    let linked = async {
        if let Some(link) = &link {
            link.run(&drain).await;
        }
    };
    let (served, ()) = tokio::join!(tls::serve_callers(listener, tls, router, &drain, &config.drain), linked);
    background.ended().await;
    app.db.close().await.map_err(StartError::from)?;
    telemetry.shutdown();
    Ok(served?)
}
