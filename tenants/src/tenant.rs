//! The life of a tenant: its states and the moves between them.
//!
//! The control plane moves a tenant by compare-and-set and writes down who did it and why; this is the table that says
//! which moves there are.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a tenant is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TenantState)]
pub enum State {
    /// Declared; nobody has looked at it.
    Draft,
    /// Its licence and papers are being looked at.
    Verifying,
    /// It may have environments.
    Approved,
    /// It was turned down. Final.
    Rejected,
    /// Its first environment is being made.
    Provisioning,
    /// It has, or had, an environment that is ready.
    Active,
    /// What it has goes on; it gets no new environments and no new clients of them.
    Restricted,
    /// Its environments answer nobody.
    Suspended,
    /// Its environments are being exported and removed.
    Offboarding,
    /// Nothing of it runs; what the law wants kept is kept.
    Archived,
    /// What was kept is destroyed. Final.
    Erased,
}

impl State {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 11] = [
        Self::Draft,
        Self::Verifying,
        Self::Approved,
        Self::Rejected,
        Self::Provisioning,
        Self::Active,
        Self::Restricted,
        Self::Suspended,
        Self::Offboarding,
        Self::Archived,
        Self::Erased,
    ];

    /// The states that may follow this one.
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Draft => &[Self::Verifying],
            Self::Verifying => &[Self::Approved, Self::Rejected],
            Self::Approved => &[Self::Provisioning, Self::Offboarding],
            Self::Provisioning => &[Self::Active, Self::Offboarding],
            Self::Active => &[Self::Restricted, Self::Suspended, Self::Offboarding],
            Self::Restricted => &[Self::Active, Self::Suspended, Self::Offboarding],
            Self::Suspended => &[Self::Active, Self::Restricted, Self::Offboarding],
            Self::Offboarding => &[Self::Archived],
            Self::Archived => &[Self::Erased],
            Self::Rejected | Self::Erased => &[],
        }
    }

    /// Whether `to` may follow this one.
    pub fn may_become(self, to: Self) -> bool {
        self.next().contains(&to)
    }

    /// Whether nothing follows.
    pub const fn is_final(self) -> bool {
        self.next().is_empty()
    }

    /// Whether new environments of the tenant may be made.
    pub const fn may_have_environments(self) -> bool {
        matches!(self, Self::Approved | Self::Provisioning | Self::Active)
    }

    /// The state's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Verifying => "verifying",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Restricted => "restricted",
            Self::Suspended => "suspended",
            Self::Offboarding => "offboarding",
            Self::Archived => "archived",
            Self::Erased => "erased",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such state")]
pub struct UnknownState;

impl FromStr for State {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownState)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pairs, against a table that is written apart from the code's.
    #[test]
    fn only_these_moves_are_there() {
        let table = "
            draft verifying
            verifying approved
            verifying rejected
            approved provisioning
            approved offboarding
            provisioning active
            provisioning offboarding
            active restricted
            active suspended
            active offboarding
            restricted active
            restricted suspended
            restricted offboarding
            suspended active
            suspended restricted
            suspended offboarding
            offboarding archived
            archived erased";
        let allowed: Vec<(&str, &str)> =
            table.lines().filter_map(|line| line.trim().split_once(' ')).collect();
        for from in State::ALL {
            for to in State::ALL {
                let listed = allowed.contains(&(from.as_str(), to.as_str()));
                assert_eq!(from.may_become(to), listed, "{from} to {to}");
            }
            assert_eq!(from.is_final(), !allowed.iter().any(|(start, _)| *start == from.as_str()));
        }
    }

    #[test]
    fn every_state_is_reached_from_draft() {
        let mut reached = vec![State::Draft];
        let mut at = 0;
        while let Some(state) = reached.get(at).copied() {
            reached.extend(state.next().iter().filter(|next| !reached.contains(next)).collect::<Vec<_>>());
            at += 1;
        }
        assert!(State::ALL.iter().all(|state| reached.contains(state)), "{reached:?}");
    }

    #[test]
    fn texts_are_those_of_the_wire() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert_eq!("Draft".parse::<State>(), Err(UnknownState));
    }
}
