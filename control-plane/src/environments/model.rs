//! What an environment is to the control plane; pure.

use chrono::{DateTime, Utc};
use tenants::{
    environment::{Condition, Desired, EnvironmentState, Mode},
    id::{CellId, EnvironmentId, OrganizationId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
};

use crate::operations::Kind;

/// An environment: what is wanted of it, and what became of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Who pays.
    pub organization: OrganizationId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Sandbox or live.
    pub mode: Mode,
    /// Under whose law it is.
    pub jurisdiction: JurisdictionId,
    /// Where its data lie.
    pub region: RegionCode,
    /// Which version of the profile is to rule it.
    pub profile_version: String,
    /// What is wanted.
    pub desired: Desired,
    /// Where it is in its life.
    pub state: EnvironmentState,
    /// The cell it was placed in.
    pub cell: Option<CellId>,
    /// Counts what was wanted of it.
    pub generation: i64,
    /// The generation that its cell has brought about.
    pub observed_generation: i64,
    /// What was looked at on the way.
    pub conditions: Vec<Condition>,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// What a caller says of an environment.
#[derive(Debug, Clone)]
pub struct New {
    /// Sandbox or live.
    pub mode: Mode,
    /// Where its data are to lie.
    pub region: RegionCode,
    /// Which version of the profile is to rule it; the newest, if nobody says.
    pub profile_version: Option<String>,
}

/// What a caller asks of an environment that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Another version of the profile.
    Profile(String),
    /// Answer nobody.
    Suspend,
    /// Answer again.
    Resume,
    /// Leave nothing of it in its cell.
    Remove,
}

impl Ask {
    /// The operation that carries it out.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Profile(_) => Kind::EnvironmentUpdate,
            Self::Suspend => Kind::EnvironmentSuspend,
            Self::Resume => Kind::EnvironmentResume,
            Self::Remove => Kind::EnvironmentRemove,
        }
    }

    /// Whether an environment in this state may be asked. What is not there yet can only be removed.
    #[must_use]
    pub const fn suits(&self, state: EnvironmentState) -> bool {
        use EnvironmentState::{Pending, Provisioning, Ready, Suspended};
        match self {
            Self::Profile(_) => matches!(state, Ready | Suspended),
            Self::Suspend => matches!(state, Ready),
            Self::Resume => matches!(state, Suspended),
            Self::Remove => matches!(state, Pending | Provisioning | Ready | Suspended),
        }
    }
}

impl Environment {
    /// This environment with what is asked wanted of it, or itself if that is wanted already.
    #[must_use]
    pub fn with(&self, ask: &Ask, now: DateTime<Utc>) -> Self {
        let mut after = self.clone();
        match ask {
            Ask::Profile(version) => after.profile_version.clone_from(version),
            Ask::Suspend => after.desired = Desired::Suspended,
            Ask::Resume => after.desired = Desired::Present,
            Ask::Remove => after.desired = Desired::Removed,
        }
        if after != *self {
            after.generation = self.generation.saturating_add(1);
            after.version = self.version.saturating_add(1);
            after.updated_at = now;
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_can_only_be_removed() {
        for state in EnvironmentState::ALL {
            let suits = [Ask::Profile(String::new()), Ask::Suspend, Ask::Resume, Ask::Remove]
                .map(|ask| ask.suits(state));
            let expected = match state {
                EnvironmentState::Pending | EnvironmentState::Provisioning => [false, false, false, true],
                EnvironmentState::Ready => [true, true, false, true],
                EnvironmentState::Suspended => [true, false, true, true],
                EnvironmentState::Removing | EnvironmentState::Removed => [false; 4],
            };
            assert_eq!(suits, expected, "{state}");
        }
    }
}
