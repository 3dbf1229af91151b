//! Where the control plane lives: its folder, configuration and address, and what an operator needs.

use std::{
    env, fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use client::Client;
use control_plane::config::ControlPlaneConfig;
use platform::{ctx::Clock, oauth::Credential, pki, random};
use tenants::{
    contract::PublicKey,
    id::{ClientId, Id},
    profile,
};

use super::{
    LaunchError,
    files::{credential, write_whole},
    process::Job,
    site::regions,
};
use crate::transport::Http;

const LOG: &str = "control-plane.log";
const OPERATOR: &str = "operator.json";
/// How long a request of the launcher and the demo may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(35);

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
        // The key first: the configuration says its public part.
        let operator = credential(&folder.join(OPERATOR), || {
            ClientId::from_parts(Clock::system().now(), random::bits())
        })?;
        let file = folder.join(Self::CONFIG);
        if !file.try_exists().map_err(written)? {
            // Both held until both are known.
            let held = [TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?];
            let text = config(held[0].local_addr()?, held[1].local_addr()?, &operator)?;
            write_whole(&file, &text).map_err(written)?;
        }
        let config: ControlPlaneConfig = platform::config::load(Some(&file), env::vars())
            .map_err(|error| LaunchError::Config { file: file.clone(), error })?;
        let public = operator.public();
        if !config.operators.iter().any(|one| one.id == operator.id() && one.keys.contains(&public)) {
            return Err(LaunchError::NoOperator { config: file, file: folder.join(OPERATOR) });
        }
        Ok(Self { folder, config })
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
        self.config.control_plane.public_url.clone()
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
        Ok(self.http()?.client_of(self.operator()?, "en")?)
    }

    /// The way to it.
    pub fn http(&self) -> Result<Http, LaunchError> {
        Ok(Http::to(&self.url(), REQUEST_LIMIT)?)
    }

    /// How an operator reaches it.
    pub fn way_in(&self) -> Result<String, LaunchError> {
        let (url, file) = (self.url(), self.operator_file());
        let (file, program) = (file.display(), env::current_exe()?);
        let program = program.display();
        Ok(format!(
            "\ncontrol plane\n  reference  {url}/docs\n  operator   {file}, a client's id and key\n  \
             commands   export TAMBO_URL={url} TAMBO_CLIENT_FILE='{file}'\n             '{program}' cells list\n  \
             try        curl -H \"Authorization: Bearer $('{program}' token)\" {url}/v1/tenants\n"
        ))
    }

    fn operator_file(&self) -> PathBuf {
        self.folder.join(OPERATOR)
    }

    fn operator(&self) -> Result<Credential, LaunchError> {
        let file = self.operator_file();
        let text =
            fs::read_to_string(&file).map_err(|error| LaunchError::Folder { path: file.clone(), error })?;
        Credential::read(&text).map_err(|error| LaunchError::Credential { file, error })
    }
}

/// Paths are relative to the folder, where the process is started, so that the whole may be moved.
fn config(listen: SocketAddr, link: SocketAddr, operator: &Credential) -> Result<String, LaunchError> {
    let PublicKey { kid, x, y } = operator.public();
    let mut text = format!(
        r#"# Written once by `tambo`, which keeps your changes. Every key: control-plane/control-plane.default.toml
# Paths are relative to the folder that it is started in: this one.

[[operators]]
id = "{id}"
name = "who has this folder"
keys = [{{ kid = "{kid}", x = "{x}", y = "{y}" }}]

[control_plane]
listen = "{listen}"
public_url = "http://{listen}"
link_listen = "{link}"
link_url = "https://{link}"

[database]
url = "sqlite://control-plane.db"

[keys]
root_file = "root.key"

[pki]
root_certificate_file = "pki/root/root.pem"
issuing_certificate_file = "pki/issuing/issuing.pem"
issuing_key_file = "pki/issuing/issuing.key"

[drain]
limit_ms = 5000
"#,
        id = operator.id(),
    );
    let regions = regions();
    for profile in profile::all() {
        let (id, country) = (&profile.jurisdiction.id, profile.jurisdiction.country);
        let region = regions.iter().find(|region| region.country == country);
        let region = &region.ok_or_else(|| LaunchError::NoRegion(country.to_string()))?.code;
        let store =
            format!("jurisdiction = \"{id}\"\nregion = \"{region}\"\nobjects.folder = \"documents/{id}\"");
        text += &format!("\n[[documents]]\n{store}\n");
    }
    Ok(text)
}

#[test]
fn every_jurisdiction_gets_a_store_of_documents() {
    let folder = tempfile::tempdir().unwrap();
    let plane = Plane::prepare(folder.path()).unwrap();
    let stores = plane.config.documents.iter().map(|store| &store.jurisdiction);
    assert!(stores.eq(profile::all().iter().map(|profile| &profile.jurisdiction.id)));
}
