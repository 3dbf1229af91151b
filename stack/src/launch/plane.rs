//! Where the control plane lives: its folder, configuration and address, and what an operator needs.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::TimeDelta;
use client::Client;
use control_plane::{PLATFORM, config::ControlPlaneConfig};
use platform::{ctx::Clock, pki, token::Claims};
use tenants::id::{ClientId, EnvironmentId};
use uuid::Uuid;

use super::{
    LaunchError, TOKEN_DAYS,
    files::{write_secret, write_whole},
    process::Job,
};
use crate::transport::Http;

const LOG: &str = "control-plane.log";
const TOKEN: &str = "operator.token";
/// How long a request of the launcher and the demo may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(35);
/// The one client of those who have the folder: idempotency keys belong to a client.
const OPERATOR: Uuid = Uuid::from_u128(1);

/// The control plane in a folder.
#[derive(Debug, Clone)]
pub struct Plane {
    folder: PathBuf,
    config: ControlPlaneConfig,
}

impl Plane {
    /// The file of its configuration.
    pub const CONFIG: &str = "control-plane.toml";

    /// Makes in `folder` what is missing of a control plane, and keeps what is there.
    pub fn prepare(folder: &Path) -> Result<Self, LaunchError> {
        let written = |error| LaunchError::Folder { path: folder.to_owned(), error };
        fs::create_dir_all(folder).map_err(written)?;
        let folder = folder.canonicalize().map_err(written)?;
        let authority = folder.join("pki");
        if !authority.try_exists().map_err(written)? {
            // Half an authority is of no use: it is there whole or not at all.
            let part = folder.join("pki.part");
            if part.try_exists().map_err(written)? {
                fs::remove_dir_all(&part).map_err(written)?;
            }
            pki::init(&part, Clock::system().now())?;
            fs::rename(&part, &authority).map_err(written)?;
        }
        let file = folder.join(Self::CONFIG);
        if !file.try_exists().map_err(written)? {
            // Both held until both are known.
            let held = [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
            let text = config(held[0].local_addr()?, held[1].local_addr()?);
            write_whole(&file, &text).map_err(written)?;
        }
        let config = platform::config::load(Some(&file), env::vars())
            .map_err(|error| LaunchError::Config { file, error })?;
        let plane = Self { folder, config };
        write_secret(&plane.token_file(), &plane.token()?)?;
        Ok(plane)
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What its process says.
    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Where it serves, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.config.control_plane.listen)
    }

    /// Where cells reach it, as lists of hosts that may be called name it.
    pub fn link_host(&self) -> String {
        self.config.control_plane.link_url.trim_start_matches("https://").trim_end_matches('/').to_owned()
    }

    /// How it is started.
    pub fn job(&self) -> Job {
        Job {
            name: "the control plane".to_owned(),
            folder: self.folder.clone(),
            log: self.log(),
            arguments: ["control-plane", "serve", "--until-stdin-ends", Self::CONFIG].map(Into::into).into(),
        }
    }

    /// A client with an operator's rights.
    pub fn client(&self) -> Result<Client<Http>, LaunchError> {
        Ok(self.http()?.client(&self.token()?, "en")?)
    }

    /// The way to it.
    pub fn http(&self) -> Result<Http, LaunchError> {
        Ok(Http::to(&self.url(), REQUEST_LIMIT)?)
    }

    /// How an operator reaches it.
    pub fn way_in(&self) -> Result<String, LaunchError> {
        let (url, token) = (self.url(), self.token_file());
        let (token, program) = (token.display(), env::current_exe()?);
        Ok(format!(
            "\ncontrol plane\n  reference  {url}/docs\n  token      {token}, an operator's, for {TOKEN_DAYS} days\n  \
             try        curl -H \"Authorization: Bearer $(cat '{token}')\" {url}/v1/tenants\n  \
             commands   export TAMBO_URL={url} TAMBO_TOKEN_FILE='{token}'\n             '{}' cells list\n",
            program.display()
        ))
    }

    fn token_file(&self) -> PathBuf {
        self.folder.join(TOKEN)
    }

    /// A token with every scope, signed by the control plane's own key file.
    fn token(&self) -> Result<String, LaunchError> {
        let file = self.folder.join(&self.config.keys.token_file);
        let tokens = control_plane::app::tokens(&file)
            .map_err(|error| LaunchError::Folder { path: file.clone(), error })?;
        Ok(tokens.issue(&Claims {
            sub: ClientId::from_uuid(OPERATOR),
            env: EnvironmentId::from_uuid(PLATFORM.id),
            scope: control_plane::router::scopes().into_iter().collect(),
            exp: (Clock::system().now() + TimeDelta::days(TOKEN_DAYS)).timestamp(),
            jti: "tambo".to_owned(),
        }))
    }
}

/// Paths are relative to the folder, where the process is started, so that the whole may be moved.
fn config(listen: SocketAddr, link: SocketAddr) -> String {
    format!(
        r#"# Written once by `tambo`, which keeps your changes. Every key: control-plane/control-plane.default.toml
# Paths are relative to the folder that it is started in: this one.

[control_plane]
listen = "{listen}"
link_listen = "{link}"
link_url = "https://{link}"

[database]
url = "sqlite://control-plane.db"

[keys]
token_file = "token.key"

[pki]
root_certificate_file = "pki/root/root.pem"
issuing_certificate_file = "pki/issuing/issuing.pem"
issuing_key_file = "pki/issuing/issuing.key"

[drain]
limit_ms = 5000
"#
    )
}
