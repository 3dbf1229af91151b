//! What an operation is; pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    environment::Desired,
    id::{OperationId, OrganizationId},
};
use utoipa::ToSchema;

/// Where an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OperationState)]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// It is being carried out.
    Running,
    /// It did what it was to do. Final.
    Succeeded,
    /// It cannot be done. Final.
    Failed,
    /// It was ended on request, and what it had begun is undone. Final.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Whether nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How a step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It has begun.
    Running,
    /// It is done.
    Done,
    /// It was not needed.
    Skipped,
    /// It failed; it may be tried again.
    Failed,
}

impl StepState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Skipped, Self::Failed];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OperationKind)]
pub enum Kind {
    /// Makes an environment in a cell.
    EnvironmentProvision,
    /// Gives an environment another version of its profile, or moves its clock forward.
    EnvironmentUpdate,
    /// Lets an environment answer nobody.
    EnvironmentSuspend,
    /// Lets a suspended environment answer again.
    EnvironmentResume,
    /// Removes an environment from its cell.
    EnvironmentRemove,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::EnvironmentProvision,
        Self::EnvironmentUpdate,
        Self::EnvironmentSuspend,
        Self::EnvironmentResume,
        Self::EnvironmentRemove,
    ];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EnvironmentProvision => "environment_provision",
            Self::EnvironmentUpdate => "environment_update",
            Self::EnvironmentSuspend => "environment_suspend",
            Self::EnvironmentResume => "environment_resume",
            Self::EnvironmentRemove => "environment_remove",
        }
    }

    /// The steps of its way, in order: ours, then those of the cell.
    fn steps(self) -> impl Iterator<Item = &'static str> {
        let (ours, wanted): (&[&str], Desired) = match self {
            Self::EnvironmentProvision => (&["begin", "place", "publish"], Desired::Present),
            Self::EnvironmentUpdate | Self::EnvironmentResume => (&["publish"], Desired::Present),
            Self::EnvironmentSuspend => (&["publish"], Desired::Suspended),
            Self::EnvironmentRemove => (&["begin", "publish"], Desired::Removed),
        };
        ours.iter().chain(wanted.steps()).copied()
    }

    /// How many steps its way has.
    #[must_use]
    pub fn length(self) -> i64 {
        i64::try_from(self.steps().count()).unwrap_or(i64::MAX)
    }

    /// How many steps of its way are done when this one is noted so; 0 for one that is not on the way.
    #[must_use]
    pub fn done_at(self, step: &str, state: StepState) -> i64 {
        let Some(before) = self.steps().position(|one| one == step) else { return 0 };
        let before = i64::try_from(before).unwrap_or(i64::MAX);
        match state {
            StepState::Done | StepState::Skipped => before.saturating_add(1),
            StepState::Running | StepState::Failed => before,
        }
    }

    /// Whether it may be cancelled from its beginning on.
    #[must_use]
    pub const fn may_be_cancelled(self) -> bool {
        matches!(self, Self::EnvironmentProvision)
    }
}

macro_rules! texts {
    ($($type:ident),+) => {$(
        impl std::str::FromStr for $type {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, &'static str> {
                let mut all = Self::ALL.into_iter();
                all.find(|one| one.as_str() == text).ok_or(concat!("no such ", stringify!($type)))
            }
        }
    )+};
}
texts!(State, StepState, Kind);

/// Why an operation ended as it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OperationReason)]
pub struct Reason {
    /// To branch on.
    pub code: String,
    /// For people; nothing personal.
    pub detail: Option<String>,
}

/// How far an operation is: it never goes back, and ends with all steps done if it succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = OperationProgress)]
pub struct Progress {
    /// How many steps of the way are done.
    pub done: i64,
    /// How many steps the way has. Others may come between: a step that is tried again, or one of another version.
    pub of: i64,
}

/// An operation: something that takes a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// What it does.
    pub kind: Kind,
    /// The id of what it is about.
    pub subject: String,
    /// Where it is.
    pub state: State,
    /// Why it ended so.
    pub reason: Option<Reason>,
    /// Who asked for it.
    pub actor: String,
    /// The generation of its subject that it brings about.
    pub generation: i64,
    /// How far it is.
    pub progress: Progress,
    /// Whether it may still be cancelled.
    pub cancellable: bool,
    /// When somebody asked to cancel it.
    pub cancel_asked_at: Option<DateTime<Utc>>,
    /// When it began.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A step of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Counts the operation's steps, from 1.
    pub seq: i64,
    /// What is done.
    pub name: String,
    /// How it went.
    pub state: StepState,
    /// For people; nothing personal.
    pub detail: Option<String>,
    /// How many steps of the way were done then.
    pub done: i64,
    /// When.
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_every_way_lead_to_its_end() {
        for kind in Kind::ALL {
            let mut done = 0;
            for step in kind.steps() {
                assert_eq!(kind.done_at(step, StepState::Running), done, "{step} of {}", kind.as_str());
                done += 1;
                assert_eq!(kind.done_at(step, StepState::Done), done, "{step} of {}", kind.as_str());
            }
            assert_eq!(done, kind.length());
            assert_eq!(kind.done_at("a step of later", StepState::Done), 0);
        }
    }

    #[test]
    fn texts_are_those_of_the_wire() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for state in StepState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("resting".parse::<State>().is_err());
    }
}
