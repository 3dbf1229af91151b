//! What an environment is to the control plane; pure.

use chrono::{DateTime, Utc};
use platform::clock::FARTHEST;
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
    /// How far a sandbox's clock is to be ahead at least, in milliseconds; 0 of a live one.
    pub clock_offset_ms: i64,
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
    /// How far a sandbox's clock is to be ahead at least, in milliseconds; not at all, if nobody says.
    pub clock_offset_ms: Option<i64>,
}

/// What a caller changes of an environment; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Another version of the profile.
    pub profile_version: Option<String>,
    /// A clock that is further ahead, in milliseconds.
    pub clock_offset_ms: Option<i64>,
}

/// Why a clock cannot be ahead by so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockFault {
    /// Live environments have the wall clock.
    Live,
    /// It is less than nothing, or more than [`FARTHEST`].
    Bounds,
    /// It is to be ahead by this many milliseconds already, and moves forward only.
    Backwards(i64),
}

/// Whether the clock of an environment of this mode, which was to be ahead by `before`, may be ahead by `offset_ms`.
pub fn check_clock(mode: Mode, before: i64, offset_ms: i64) -> Result<(), ClockFault> {
    if mode == Mode::Live && offset_ms != 0 {
        return Err(ClockFault::Live);
    }
    if !(0..=FARTHEST.num_milliseconds()).contains(&offset_ms) {
        return Err(ClockFault::Bounds);
    }
    if offset_ms < before { Err(ClockFault::Backwards(before)) } else { Ok(()) }
}

/// What a caller asks of an environment that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Another version of the profile, or a clock that is further ahead.
    Change(Change),
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
            Self::Change(_) => Kind::EnvironmentUpdate,
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
            Self::Change(_) => matches!(state, Ready | Suspended),
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
            Ask::Change(Change { profile_version, clock_offset_ms }) => {
                if let Some(version) = profile_version {
                    after.profile_version.clone_from(version);
                }
                after.clock_offset_ms = clock_offset_ms.unwrap_or(self.clock_offset_ms);
            }
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
    fn a_clock_moves_forward_only_and_a_live_one_not_at_all() {
        use Mode::{Live, Sandbox};
        let most = FARTHEST.num_milliseconds();
        for (mode, before, offset_ms, expected) in [
            (Sandbox, 0, 0, Ok(())),
            (Sandbox, 5, 5, Ok(())),
            (Sandbox, 5, most, Ok(())),
            (Sandbox, 5, 4, Err(ClockFault::Backwards(5))),
            (Sandbox, 0, -1, Err(ClockFault::Bounds)),
            (Sandbox, 0, most + 1, Err(ClockFault::Bounds)),
            (Live, 0, 0, Ok(())),
            (Live, 0, 1, Err(ClockFault::Live)),
            (Live, 0, -1, Err(ClockFault::Live)),
        ] {
            assert_eq!(check_clock(mode, before, offset_ms), expected, "{mode} {before} {offset_ms}");
        }
    }

    #[test]
    fn what_is_not_there_can_only_be_removed() {
        for state in EnvironmentState::ALL {
            let suits = [Ask::Change(Change::default()), Ask::Suspend, Ask::Resume, Ask::Remove]
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
