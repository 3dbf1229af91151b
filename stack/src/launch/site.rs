//! Where a cell lives: its folder, configuration and address, and what a client of it needs.

use std::{
    env, fs,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::TimeDelta;
use client::Client;
use data_plane::config::{CellConfig, EnvironmentSection};
use platform::{
    ctx::Clock,
    random,
    token::{Claims, Scopes},
};
use tenants::{
    id::{ClientId, EnvironmentId, Id},
    jurisdiction::Jurisdiction,
    profile::{self, Profile},
};

use super::LaunchError;
use crate::transport::Http;

const CONFIG: &str = "cell.toml";
const LOG: &str = "cell.log";
/// How long the tokens last that are handed out.
pub const TOKEN_DAYS: i64 = 7;
/// How long to wait before asking again whether a cell is ready.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// What has to fit where a cell can go on; SQLite writes less at a time.
const PROBE_BYTES: usize = 128 * 1024;
/// Requests of the launcher and the demo; an import of many thousand lines takes seconds.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);

/// One cell below the data folder.
#[derive(Debug, Clone)]
pub struct Site {
    folder: PathBuf,
    config: CellConfig,
    environment: EnvironmentSection,
    profile: &'static Profile,
}

impl Site {
    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The configuration that its process reads.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join(CONFIG)
    }

    /// What its process says.
    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.config.cell.name
    }

    /// Under whose law it is.
    pub fn jurisdiction(&self) -> &'static Jurisdiction {
        &self.profile.jurisdiction
    }

    /// The environment that the demo and the printed token work in.
    pub fn environment(&self) -> EnvironmentId {
        self.environment.id
    }

    /// Where it serves, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.config.cell.listen)
    }

    /// A client of its environment, in its country's language.
    pub fn client(&self) -> Result<Client<Http>, LaunchError> {
        Ok(Http::to(&self.url(), REQUEST_LIMIT)?.client(&self.token()?, &self.jurisdiction().locale)?)
    }

    /// A token for its environment, with every scope, signed by the cell's own key file.
    pub fn token(&self) -> Result<String, LaunchError> {
        let file = self.folder.join(&self.config.keys.token_file);
        let tokens = data_plane::app::tokens(&file)
            .map_err(|error| LaunchError::Folder { path: file.clone(), error })?;
        let exp = (Clock::system().now() + TimeDelta::days(TOKEN_DAYS)).timestamp();
        Ok(tokens.issue(&Claims {
            // The same client each time: idempotency keys belong to a client.
            sub: ClientId::from_uuid(self.environment.id.uuid()),
            env: self.environment.id,
            scope: data_plane::router::scopes().into_iter().collect::<Scopes>(),
            exp,
            jti: "tambo".to_owned(),
        }))
    }

    /// Writes a new token to a file that only its owner may read, and says where.
    pub fn write_token(&self) -> Result<PathBuf, LaunchError> {
        let file = self.folder.join("token");
        let written = |error| LaunchError::Folder { path: file.clone(), error };
        let mut options = fs::OpenOptions::new();
        let mut open =
            options.write(true).create(true).truncate(true).mode(0o600).open(&file).map_err(written)?;
        open.write_all(self.token()?.as_bytes()).map_err(written)?;
        Ok(file)
    }

    /// Finds out whether its folder takes more than a page or two, by trying.
    pub fn check_writable(&self) -> Result<(), LaunchError> {
        let file = self.folder.join("probe");
        let written = fs::write(&file, [0; PROBE_BYTES]);
        let removed = fs::remove_file(&file);
        written.and(removed).map_err(|error| LaunchError::Folder { path: self.folder.clone(), error })
    }

    /// Waits until it answers that it is ready.
    pub async fn ready(&self) -> Result<(), LaunchError> {
        let http = Http::to(&self.url(), REQUEST_LIMIT)?;
        // Until it listens, connecting fails; whether its process is alive, the launcher watches.
        while !http.is_ready().await {
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(())
    }
}

/// One site per profile below `folder`. A configuration that is there is kept, so that a second start finds the same
/// cells at the same addresses; where there is none, one is written with a free port and a new environment.
pub fn prepare(folder: &Path) -> Result<Vec<Site>, LaunchError> {
    // Held until all have one, so that no two get the same.
    let mut held = Vec::new();
    let mut sites = Vec::new();
    for profile in profile::all() {
        let jurisdiction = &profile.jurisdiction;
        let name = format!("{}-1", jurisdiction.country.code().to_lowercase());
        let home = folder.join("cells").join(&name);
        let file = home.join(CONFIG);
        let written = |error| LaunchError::Folder { path: home.clone(), error };
        fs::create_dir_all(&home).map_err(written)?;
        if !file.try_exists().map_err(written)? {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let text = config(&name, jurisdiction, listener.local_addr()?);
            held.push(listener);
            write_whole(&file, &text).map_err(written)?;
        }
        sites.push(read(home, file)?);
    }
    Ok(sites)
}

fn read(home: PathBuf, file: PathBuf) -> Result<Site, LaunchError> {
    let config: CellConfig = platform::config::load(Some(&file), env::vars())
        .map_err(|error| LaunchError::Config { file: file.clone(), error })?;
    let folder = home.canonicalize().map_err(|error| LaunchError::Folder { path: home.clone(), error })?;
    let environment = config.environments.first().cloned().ok_or(LaunchError::NoEnvironment(file))?;
    // The configuration was checked: it names a profile.
    let profile = profile::profile(&config.cell.jurisdiction)
        .ok_or_else(|| io::Error::other("a jurisdiction without a profile"))?;
    Ok(Site { folder, config, environment, profile })
}

/// Paths are relative to the cell's folder, where its process runs, so that the whole may be moved.
fn config(name: &str, jurisdiction: &Jurisdiction, listen: SocketAddr) -> String {
    let environment = EnvironmentId::from_parts(Clock::system().now(), random::bits());
    format!(
        r#"# Written once by `tambo`, which keeps your changes. Every key: data-plane/cell.default.toml
# Paths are relative to this folder.

[cell]
name = "{name}"
jurisdiction = "{id}"
mode = "sandbox"
listen = "{listen}"

[[environments]]
id = "{environment}"
shard = 0

[database]
url = "sqlite://cell.db"

[keys]
sealing_file = "sealing.key"
token_file = "token.key"

[drain]
limit_ms = 5000
"#,
        id = jurisdiction.id,
    )
}

/// A file that is there is whole.
fn write_whole(file: &Path, text: &str) -> io::Result<()> {
    let part = file.with_extension("part");
    fs::write(&part, text)?;
    fs::rename(&part, file)
}
