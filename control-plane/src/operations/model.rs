//! What an operation is; pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::id::{OperationId, OrganizationId};
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
    /// When.
    pub at: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;

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
