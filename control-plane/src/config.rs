//! What the control plane is configured with; every key is documented in `control-plane.default.toml`.

use std::{net::SocketAddr, path::PathBuf};

use platform::{
    config::{Config, Faults},
    db::DatabaseConfig,
    drain::DrainConfig,
    egress::EgressConfig,
    layers::HttpConfig,
    telemetry::TelemetryConfig,
};
use serde::Deserialize;

/// The configuration of the control plane.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlPlaneConfig {
    /// What it is.
    pub control_plane: ControlPlaneSection,
    /// Where its rows are.
    pub database: DatabaseConfig,
    /// Its keys.
    pub keys: KeysSection,
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
    /// Where it listens for callers with tokens.
    pub listen: SocketAddr,
}

/// The `[keys]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysSection {
    /// The file of the development key that signs tokens: 64 hexadecimal digits; made if it is not there.
    pub token_file: PathBuf,
}

impl Config for ControlPlaneConfig {
    const DEFAULTS: &'static str = include_str!("../control-plane.default.toml");

    fn check(&self, faults: &mut Faults) {
        let Self { control_plane, http, telemetry, egress, .. } = self;
        let named = (1..=63).contains(&control_plane.name.len())
            && control_plane
                .name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        faults.unless(named, "control_plane.name", "have 1 to 63 lower-case letters, digits and hyphens");
        http.check("http", faults);
        telemetry.check("telemetry", faults);
        egress.check("egress", faults);
    }
}
