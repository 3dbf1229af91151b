//! What a cell is configured with; every key is documented in `cell.default.toml`.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use chrono::NaiveDate;
use platform::{
    config::{Config, Faults},
    db::DatabaseConfig,
    drain::DrainConfig,
    egress::EgressConfig,
    keys::KeysConfig,
    layers::HttpConfig,
    live,
    oauth::{self, ClientSection},
    objects::ObjectsConfig,
    telemetry::TelemetryConfig,
    tls::TlsFiles,
};
use serde::Deserialize;
use tenants::{
    environment::Mode,
    id::EnvironmentId,
    jurisdiction::JurisdictionId,
    profile::{self, Profile},
    region::RegionCode,
};

/// A cell's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellConfig {
    /// What it is.
    pub cell: CellSection,
    /// The environments that live in it; none with a link, which says what they are.
    pub environments: Vec<EnvironmentSection>,
    /// The link to the control plane; none of a cell that stands alone.
    #[serde(default)]
    pub link: Option<LinkSection>,
    /// Where its rows are.
    pub database: DatabaseConfig,
    /// Its keys.
    pub keys: KeysConfig,
    /// Where its objects are: one bucket per cell.
    pub objects: ObjectsConfig,
    /// What callers are shown over TLS; none where something in front ends it.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// Who has confirmed what the profile is not sure of; asked for in live mode.
    #[serde(default)]
    pub profile_review: Option<ProfileReview>,
    /// The limits of its tower stack.
    pub http: HttpConfig,
    /// How it stops.
    pub drain: DrainConfig,
    /// What it says, and to whom.
    pub telemetry: TelemetryConfig,
    /// Whom it may call.
    pub egress: EgressConfig,
}

/// The `[cell]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellSection {
    /// Its name, for people and logs.
    pub name: String,
    /// Under whose law it is.
    pub jurisdiction: JurisdictionId,
    /// Sandbox or live.
    pub mode: Mode,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where tenants reach it; its name as an issuer of tokens, and their audience.
    pub public_url: String,
    /// How many ledger shards it has; fixed when it is made.
    pub shards: i32,
}

/// One of the `[[environments]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentSection {
    /// Its id.
    pub id: EnvironmentId,
    /// Its home shard.
    pub shard: i32,
    /// Who may act in it.
    #[serde(default)]
    pub clients: Vec<ClientSection>,
}

/// The `[link]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSection {
    /// The file of the join token; read while the cell has no identity, or was given another token.
    pub join_token_file: PathBuf,
    /// Where the cell stands.
    pub region: RegionCode,
}

/// The `[profile_review]` table: that the uncertain values of a profile were confirmed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileReview {
    /// Of which version of the profile.
    pub version: String,
    /// By whom.
    pub by: String,
    /// When.
    pub on: NaiveDate,
}

/// Adds what is missing where uncertain values of this profile would rule in live mode.
fn check_review(profile: &Profile, review: Option<&ProfileReview>, faults: &mut Faults) {
    let uncertain = profile.needs_legal_review();
    if uncertain.is_empty() {
        return;
    }
    let (version, uncertain) = (&profile.version, uncertain.join(", "));
    let Some(review) = review else {
        let reason = format!(
            "be there in live mode, with version, by and on: of version {version} somebody must confirm {uncertain}"
        );
        return faults.add("profile_review", reason);
    };
    let reason = format!("be {version}, of which somebody must confirm {uncertain}");
    faults.unless(review.version == *version, "profile_review.version", &reason);
    faults.unless(!review.by.trim().is_empty(), "profile_review.by", "say who has confirmed them");
}

/// The most shards of a cell.
const MOST_SHARDS: i32 = 64;

impl Config for CellConfig {
    const DEFAULTS: &'static str = include_str!("../cell.default.toml");

    fn check(&self, faults: &mut Faults) {
        let Self { cell, environments, link, database, objects, tls, http, telemetry, egress, .. } = self;
        let named = (1..=63).contains(&cell.name.len())
            && cell
                .name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        faults.unless(named, "cell.name", "have 1 to 63 lower-case letters, digits and hyphens");
        live::check("cell", (cell.mode, &cell.public_url), database, tls.as_ref(), faults);
        match profile::profile(&cell.jurisdiction) {
            Some(profile) if cell.mode == Mode::Live => {
                check_review(profile, self.profile_review.as_ref(), faults);
            }
            Some(_) => {}
            None => {
                let known: Vec<&str> =
                    profile::all().iter().map(|one| one.jurisdiction.id.as_str()).collect();
                faults.add("cell.jurisdiction", format!("be one of {}", known.join(", ")));
            }
        }
        faults.unless(
            oauth::is_name(&cell.public_url),
            "cell.public_url",
            "be `https://host` or `https://host:port`, without a path",
        );
        let shards = (1..=MOST_SHARDS).contains(&cell.shards);
        faults.unless(shards, "cell.shards", &format!("be 1 to {MOST_SHARDS}"));
        let mut seen = BTreeSet::new();
        for (index, environment) in environments.iter().enumerate() {
            let placed = (0..cell.shards).contains(&environment.shard);
            faults.unless(
                placed,
                &format!("environments.{index}.shard"),
                "be one of the cell's shards, from 0",
            );
            faults.unless(
                seen.insert(environment.id),
                &format!("environments.{index}.id"),
                "stand there once",
            );
            for (number, client) in environment.clients.iter().enumerate() {
                let at = format!("environments.{index}.clients.{number}");
                client.check(&at, cell.mode, cell.mode == Mode::Sandbox, faults);
            }
        }
        if link.is_some() {
            faults.unless(
                environments.is_empty(),
                "environments",
                "be empty in a cell with a [link]: the control plane says which environments it has",
            );
        }
        objects.check("objects", faults);
        http.check("http", faults);
        telemetry.check("telemetry", faults);
        egress.check("egress", faults);
    }
}
