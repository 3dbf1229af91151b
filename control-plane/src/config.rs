//! What the control plane is configured with; every key is documented in `control-plane.default.toml`.

use std::{net::SocketAddr, path::PathBuf};

use platform::{
    config::{Config, Faults},
    db::DatabaseConfig,
    drain::DrainConfig,
    egress::EgressConfig,
    keys::KeysConfig,
    layers::HttpConfig,
    live,
    oauth::{self, ClientSection},
    telemetry::TelemetryConfig,
    tls::TlsFiles,
};
use serde::Deserialize;
use tenants::environment::Mode;

use crate::documents::{self, StoreSection};

/// The configuration of the control plane.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlaneConfig {
    /// What it is.
    pub control_plane: ControlPlaneSection,
    /// Where its rows are.
    pub database: DatabaseConfig,
    /// Its keys.
    pub keys: KeysConfig,
    /// Who may do everything that operators may: the first clients, before there is anybody to register others.
    pub operators: Vec<ClientSection>,
    /// Where the documents of tenants are: one store per jurisdiction.
    pub documents: Vec<StoreSection>,
    /// The authority of the cell link.
    pub pki: PkiSection,
    /// What callers are shown over TLS; none where something in front ends it.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// The limits of its tower stack.
    pub http: HttpConfig,
    /// How it stops.
    pub drain: DrainConfig,
    /// What it says, and to whom.
    pub telemetry: TelemetryConfig,
    /// Whom it may call.
    pub egress: EgressConfig,
}

/// The `[control_plane]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlaneSection {
    /// Its name, for people and logs.
    pub name: String,
    /// Whether it is for real: in live mode the tokens of all its callers are bound.
    pub mode: Mode,
    /// Where it listens for callers with tokens.
    pub listen: SocketAddr,
    /// Where callers reach it; its name as an issuer of tokens, and their audience.
    pub public_url: String,
    /// Where it listens for cells with certificates.
    pub link_listen: SocketAddr,
    /// Where cells reach it: the origin of an `https` URL.
    pub link_url: String,
}

impl ControlPlaneSection {
    /// The host of `link_url`, which the server's certificate names.
    #[must_use]
    pub fn link_host(&self) -> Option<String> {
        let url = platform::egress::https_origin(&self.link_url)?;
        url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned())
    }
}

/// The `[pki]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PkiSection {
    /// The file of the root's certificate, PEM.
    pub root_certificate_file: PathBuf,
    /// The file of the issuing certificate, PEM.
    pub issuing_certificate_file: PathBuf,
    /// The file of the issuing certificate's key, PEM.
    pub issuing_key_file: PathBuf,
}

impl Config for ControlPlaneConfig {
    const DEFAULTS: &'static str = include_str!("../control-plane.default.toml");

    fn check(&self, faults: &mut Faults) {
        let Self { control_plane, operators, documents, database, tls, http, telemetry, egress, .. } = self;
        let mode = control_plane.mode;
        live::check("control_plane", (mode, &control_plane.public_url), database, tls.as_ref(), faults);
        let named = (1..=63).contains(&control_plane.name.len())
            && control_plane
                .name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        faults.unless(named, "control_plane.name", "have 1 to 63 lower-case letters, digits and hyphens");
        faults.unless(
            control_plane.link_host().is_some(),
            "control_plane.link_url",
            "be `https://host` or `https://host:port`, without a path",
        );
        faults.unless(
            oauth::is_name(&control_plane.public_url),
            "control_plane.public_url",
            "be `https://host` or `https://host:port`, without a path",
        );
        for (index, operator) in operators.iter().enumerate() {
            operator.check(&format!("operators.{index}"), mode, false, faults);
        }
        documents::check_stores(documents, "documents", mode, faults);
        http.check("http", faults);
        telemetry.check("telemetry", faults);
        egress.check("egress", faults);
    }
}
