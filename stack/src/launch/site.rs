//! Where a cell lives: its folder, configuration and address, and what a client of it needs.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use client::Client;
use data_plane::config::{CellConfig, LinkSection};
use platform::{
    ctx::{Clock, Scope},
    db::{DatabaseConfig, Db},
    keys::Keys,
    oauth::{Credential, Registration, Store},
    random,
};
use serde::Deserialize;
use tenants::{
    contract::{Binding, ClientIntent, Method},
    id::{ClientId, EnvironmentId, Id},
    jurisdiction::{Country, Jurisdiction},
    profile::{self, Profile},
    region::RegionCode,
};

use super::{
    LaunchError, Plane,
    files::{credential, write_secret, write_whole},
    process::Job,
};
use crate::transport::Http;

const CONFIG: &str = "cell.toml";
const DATABASE: &str = "cell.db";
const LOG: &str = "cell.log";
/// Requests of the launcher and the demo; an import of many thousand lines takes seconds.
const REQUEST_LIMIT: Duration = Duration::from_secs(120);

/// Where a cell of this machine says that it stands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    pub code: RegionCode,
    pub country: Country,
    /// For people.
    pub name: String,
}

/// The regions of `regions.toml`.
pub fn regions() -> Vec<Region> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        regions: Vec<Region>,
    }
    let file: File = toml::from_str(include_str!("regions.toml")).expect("a test reads it");
    file.regions
}

/// One cell below the data folder.
#[derive(Debug, Clone)]
pub struct Site {
    folder: PathBuf,
    config: CellConfig,
    link: LinkSection,
    profile: &'static Profile,
}

impl Site {
    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
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

    /// Where it stands.
    pub fn region(&self) -> &RegionCode {
        &self.link.region
    }

    /// For trial or for real.
    pub fn mode(&self) -> tenants::environment::Mode {
        self.config.cell.mode
    }

    /// Where it serves, without a slash at the end.
    pub fn url(&self) -> String {
        self.config.cell.public_url.clone()
    }

    /// How it is started.
    pub fn job(&self) -> Job {
        Job {
            name: format!("the cell {}", self.name()),
            folder: self.folder.clone(),
            log: self.log(),
            arguments: ["cell", "serve", "--until-stdin-ends", CONFIG].map(Into::into).into(),
        }
    }

    /// A client of an environment in it, in its country's language.
    pub async fn client(&self, environment: EnvironmentId) -> Result<Client<Http>, LaunchError> {
        let (_, new) = self.credential(environment)?;
        self.registered(environment, &new).await?;
        Ok(self.http()?.client_of(new, &self.jurisdiction().locale)?)
    }

    /// The way to it.
    pub fn http(&self) -> Result<Http, LaunchError> {
        Ok(Http::to(&self.url(), REQUEST_LIMIT)?)
    }

    /// Registers a client of an environment, which may do everything there, and says where its credential is.
    pub async fn register(&self, environment: EnvironmentId) -> Result<PathBuf, LaunchError> {
        let (file, credential) = self.credential(environment)?;
        self.registered(environment, &credential).await?;
        Ok(file)
    }

    /// The same client each time: idempotency keys belong to a client.
    fn credential(&self, environment: EnvironmentId) -> Result<(PathBuf, Credential), LaunchError> {
        let file = self.folder.join("clients").join(format!("{environment}.json"));
        let made = || ClientId::from_parts(Clock::system().now(), random::bits());
        let credential = credential(&file, made)?;
        Ok((file, credential))
    }

    /// Whoever has the cell's folder has its database and the key of that.
    async fn registered(&self, environment: EnvironmentId, of: &Credential) -> Result<(), LaunchError> {
        // As the configuration says that is written here.
        let database = DatabaseConfig::new(format!("sqlite://{}", self.folder.join(DATABASE).display()));
        let file = self.folder.join(&self.config.keys.sealing_file);
        let keys = Keys::development_file(&file);
        let keys = keys.map_err(|error| LaunchError::Folder { path: file.clone(), error })?;
        let db = Db::connect(&database).await?;
        let client = ClientIntent {
            id: of.id(),
            name: "who has this folder".to_owned(),
            method: Method::PrivateKeyJwt,
            keys: vec![of.public()],
            thumbprints: Vec::new(),
            secret_sha256: None,
            scopes: data_plane::router::scopes().into_iter().map(Into::into).collect(),
            binding: Binding::None,
            epoch: 0,
            revoked: false,
        };
        let scope = Scope::new(0, environment.uuid());
        let registration = Registration { scope, mode: self.mode(), client };
        let store = Store::open(db.clone(), Arc::new(keys)).await?;
        let registered = store.ensure_client(&registration).await;
        db.close().await?;
        registered?;
        Ok(())
    }

    /// Leaves it a join token.
    pub fn put_join_token(&self, token: &str) -> Result<(), LaunchError> {
        write_secret(&self.folder.join(&self.link.join_token_file), token)
    }
}

/// One site per profile below `folder`. A configuration that is there is kept, so that a second start finds the same
/// cells at the same addresses; where there is none, one is written with a free port.
pub fn prepare(folder: &Path, plane: &Plane) -> Result<Vec<Site>, LaunchError> {
    // Held until all have one, so that no two get the same.
    let mut held = Vec::new();
    let mut sites = Vec::new();
    let regions = regions();
    for profile in profile::all() {
        let jurisdiction = &profile.jurisdiction;
        let name = format!("{}-1", jurisdiction.country.code().to_lowercase());
        let home = folder.join("cells").join(&name);
        let file = home.join(CONFIG);
        let written = |error| LaunchError::Folder { path: home.clone(), error };
        fs::create_dir_all(&home).map_err(written)?;
        if !file.try_exists().map_err(written)? {
            let region = regions.iter().find(|region| region.country == jurisdiction.country);
            let region = region.ok_or_else(|| LaunchError::NoRegion(jurisdiction.country.to_string()))?;
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let text = config(&name, (jurisdiction, &region.code), listener.local_addr()?, plane);
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
    let link = config.link.clone().ok_or(LaunchError::NoLink(file))?;
    // The configuration was checked: it names a profile.
    let profile = profile::profile(&config.cell.jurisdiction)
        .ok_or_else(|| io::Error::other("a jurisdiction without a profile"))?;
    Ok(Site { folder, config, link, profile })
}

/// Paths are relative to the cell's folder, where its process runs, so that the whole may be moved.
fn config(
    name: &str,
    (jurisdiction, region): (&Jurisdiction, &RegionCode),
    listen: SocketAddr,
    plane: &Plane,
) -> String {
    format!(
        r#"# Written once by `tambo`, which keeps your changes. Every key: data-plane/cell.default.toml
# Paths are relative to the folder that it is started in: this one.

[cell]
name = "{name}"
jurisdiction = "{id}"
mode = "sandbox"
listen = "{listen}"
public_url = "http://{listen}"

[link]
join_token_file = "join.token"
region = "{region}"

[egress]
allow = ["{link_host}"]

[database]
url = "sqlite://{DATABASE}"

[keys]
sealing_file = "sealing.key"

[drain]
limit_ms = 5000
"#,
        id = jurisdiction.id,
        link_host = plane.link_host(),
    )
}

#[test]
fn every_profile_has_a_region_and_every_example_lies_in_one() {
    use tenants::example::{Declaration, EXAMPLES};
    let regions = regions();
    let country = |country: Country| regions.iter().any(|region| region.country == country);
    assert!(profile::all().iter().all(|profile| country(profile.jurisdiction.country)));
    for example in EXAMPLES {
        let Declaration { environments, organization, .. } = Declaration::parse(example).unwrap();
        for environment in environments {
            let region = regions.iter().find(|region| region.code == environment.region).unwrap();
            assert_eq!(region.country, organization.country);
        }
    }
}
