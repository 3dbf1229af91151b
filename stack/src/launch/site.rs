//! Where a cell lives: its folder, configuration and address, and what a client of it needs.

use std::{
    env, fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use client::{
    Client,
    control::{self, ClientNew, ClientRotation, ClientsWhich},
};
use data_plane::config::{CellConfig, LinkSection};
use platform::{ctx::Clock, oauth::Credential, random};
use serde::Deserialize;
use tenants::{
    contract::{Binding, Method},
    id::{ClientId, EnvironmentId, Id},
    jurisdiction::{Country, Jurisdiction},
    profile::{self, Profile},
    region::RegionCode,
};

use super::{
    ASK_AGAIN, LaunchError, Plane, READY_WITHIN,
    files::{keep_credential, write_secret, write_whole},
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

    /// A client of an environment in it, in its country's language, which an operator registers. The same one each time:
    /// idempotency keys belong to a client.
    pub async fn client(
        &self,
        operator: &Client<Http>,
        environment: EnvironmentId,
    ) -> Result<Client<Http>, LaunchError> {
        let file = self.folder.join("clients").join(format!("{environment}.json"));
        let credential = match fs::read_to_string(&file) {
            Ok(text) => Credential::read(&text)
                .map_err(|error| LaunchError::Credential { file: file.clone(), error })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Credential::make(ClientId::from_parts(Clock::system().now(), random::bits()))?;
                let keys = vec![made.public().into()];
                let new = ClientNew { keys, ..new(Method::PrivateKeyJwt) };
                let known = operator.read(control::environment_client_create(environment, &new)).await?;
                // The control plane names its clients.
                let made = made.of(known.id);
                keep_credential(&file, &made)?;
                made
            }
            Err(error) => return Err(LaunchError::Folder { path: file, error }),
        };
        let http = self.http()?;
        known(&http, &credential).await?;
        Ok(http.client_of(credential, &self.jurisdiction().locale)?)
    }

    /// A client with a secret, for `curl`, which an operator registers, or gives another secret.
    pub async fn tour(
        &self,
        operator: &Client<Http>,
        environment: EnvironmentId,
    ) -> Result<(ClientId, String), LaunchError> {
        let which = ClientsWhich { environment_id: Some(environment), ..ClientsWhich::default() };
        let there = operator.list(control::client_list(&which)).await?;
        let client = match there.into_iter().find(is_tour) {
            Some(one) => {
                let rotation = ClientRotation::default();
                operator.read(control::client_rotate(one.id, one.version, &rotation)).await?
            }
            None => {
                let new = new(Method::Secret);
                operator.read(control::environment_client_create(environment, &new)).await?
            }
        };
        // Only a call that was answered before has none, and this one has a new key.
        Ok((client.id, client.secret.unwrap_or_default()))
    }

    /// The way to it.
    pub fn http(&self) -> Result<Http, LaunchError> {
        Ok(Http::to(&self.url(), REQUEST_LIMIT)?)
    }

    /// Leaves it a join token.
    pub fn put_join_token(&self, token: &str) -> Result<(), LaunchError> {
        write_secret(&self.folder.join(&self.link.join_token_file), token)
    }
}

/// What the launcher calls its clients.
const NAME: &str = "who has this folder";

/// Whether the launcher made it for the tour: people may have others with secrets, which are theirs.
fn is_tour(client: &control::OauthClient) -> bool {
    client.method == Method::Secret && client.name == NAME && !client.revoked
}

/// A client of people on this machine, who may do everything.
fn new(method: Method) -> ClientNew {
    ClientNew {
        name: NAME.to_owned(),
        method,
        keys: Vec::new(),
        thumbprints: Vec::new(),
        scopes: data_plane::router::scopes().into_iter().map(Into::into).collect(),
        binding: Binding::None,
    }
}

/// Waits until the cell has heard of a client.
async fn known(http: &Http, credential: &Credential) -> Result<(), LaunchError> {
    let asked = async {
        while http.token(credential).await.is_err() {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    };
    let late = || LaunchError::Unknown { client: credential.id() };
    tokio::time::timeout(READY_WITHIN, asked).await.map_err(|_| late())
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
url = "sqlite://cell.db"

[keys]
root_file = "root.key"

[objects]
folder = "objects"

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

#[test]
fn the_tour_gives_no_other_clients_another_secret() {
    let called = |name: &str, method: &str, revoked: bool| -> control::OauthClient {
        let id = ClientId::from_parts(Clock::system().now(), 1);
        let of = tenants::id::OrganizationId::from_parts(Clock::system().now(), 2);
        let client = serde_json::json!({"id": id, "organization_id": of, "environment_id": null, "name": name,
            "method": method, "keys": [], "thumbprints": [], "scopes": [], "binding": "none", "epoch": 0,
            "revoked": revoked, "version": 1, "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z"});
        serde_json::from_value(client).unwrap()
    };
    assert!(is_tour(&called(NAME, "secret", false)));
    for other in [
        called("core", "secret", false),
        called(NAME, "private_key_jwt", false),
        called(NAME, "secret", true),
    ] {
        assert!(!is_tour(&other), "{other:?}");
    }
}
