//! What kind of environment a tenant works in.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether money is real. An environment has one mode for ever, and so has a cell: sandbox and live share code, never
/// a database, a key or a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Play money, a movable clock, simulated rails and registries.
    Sandbox,
    /// Real money on the wall clock.
    Live,
}

impl Mode {
    /// `sandbox` or `live`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Live => "live",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_the_display_form() {
        for mode in [Mode::Sandbox, Mode::Live] {
            let text = serde_json::to_string(&mode).unwrap();
            assert_eq!(text, format!("\"{mode}\""));
            assert_eq!(serde_json::from_str::<Mode>(&text).unwrap(), mode);
        }
        assert!(serde_json::from_str::<Mode>("\"Live\"").is_err());
    }
}
