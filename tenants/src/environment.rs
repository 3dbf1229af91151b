//! A tenant's environments.

use serde::{Deserialize, Serialize};

/// What an environment is for. Fixed when it is made; a cell serves environments of one mode only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// For trying out: simulated rails, a clock that can be moved forward, no real money.
    Sandbox,
    /// Real money.
    Live,
}
