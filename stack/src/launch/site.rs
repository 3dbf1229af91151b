//! Where a cell lives: its folder, configuration and address, and what a client of it needs.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::TimeDelta;
use client::Client;
use data_plane::config::{CellConfig, LinkSection};
use platform::{
    ctx::Clock,
    token::{Claims, Scopes},
};
use serde::Deserialize;
use tenants::{
    id::{ClientId, EnvironmentId},
    jurisdiction::{Country, Jurisdiction},
    profile::{self, Profile},
    region::RegionCode,
};

use super::{
    LaunchError, Plane, TOKEN_DAYS,
    files::{write_secret, write_whole},
    process::Job,
};
use crate::transport::Http;

const CONFIG: &str = "cell.toml";
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
        format!("http://{}", self.config.cell.listen)
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
    pub fn client(&self, environment: EnvironmentId) -> Result<Client<Http>, LaunchError> {
        Ok(self.http()?.client(&self.token(environment)?, &self.jurisdiction().locale)?)
    }

    /// The way to it.
    pub fn http(&self) -> Result<Http, LaunchError> {
        Ok(Http::to(&self.url(), REQUEST_LIMIT)?)
    }

    /// A token for an environment, with every scope, signed by the cell's own key file.
    fn token(&self, environment: EnvironmentId) -> Result<String, LaunchError> {
        let file = self.folder.join(&self.config.keys.token_file);
        let tokens = data_plane::app::tokens(&file)
            .map_err(|error| LaunchError::Folder { path: file.clone(), error })?;
        let exp = (Clock::system().now() + TimeDelta::days(TOKEN_DAYS)).timestamp();
        Ok(tokens.issue(&Claims {
            // The same client each time: idempotency keys belong to a client.
            sub: ClientId::from_uuid(environment.uuid()),
            env: environment,
            scope: data_plane::router::scopes().into_iter().collect::<Scopes>(),
            exp,
            jti: "tambo".to_owned(),
        }))
    }

    /// Writes a new token to a file that only its owner may read, and says where.
    pub fn write_token(&self, environment: EnvironmentId) -> Result<PathBuf, LaunchError> {
        let file = self.folder.join("token");
        write_secret(&file, &self.token(environment)?)?;
        Ok(file)
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

[link]
join_token_file = "join.token"
region = "{region}"
public_url = "http://{listen}"

[egress]
allow = ["{link_host}"]

[database]
url = "sqlite://cell.db"

[keys]
sealing_file = "sealing.key"
token_file = "token.key"

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
