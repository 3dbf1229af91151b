//! Environments, and the operations that make them what is wanted.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    environment::{Condition, Desired, EnvironmentState, Mode},
    id::{CellId, EnvironmentId, OperationId, OrganizationId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
};

use super::Reason;
use crate::words::words;

words! {
    /// Where an operation is.
    OperationState {
        /// It waits for its turn.
        Queued = "queued",
        /// It is being carried out.
        Running = "running",
        /// It did what it was to do. Final.
        Succeeded = "succeeded",
        /// It cannot be done. Final.
        Failed = "failed",
        /// It was ended on request. Final.
        Cancelled = "cancelled",
    }
    /// How a step went.
    StepState {
        /// It has begun.
        Running = "running",
        /// It is done.
        Done = "done",
        /// It was not needed.
        Skipped = "skipped",
        /// It failed; it may be tried again.
        Failed = "failed",
    }
}

/// An environment to be declared.
#[derive(Debug, Clone, Serialize)]
pub struct EnvironmentNew {
    /// Never changes.
    pub mode: Mode,
    /// Never changes; there is no default.
    pub region: RegionCode,
    /// Of the jurisdiction's profile; the newest one if none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_version: Option<String>,
    /// How far a sandbox's clock is to be ahead at least, in milliseconds; not at all if nobody says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
}

/// Where a tenant's customers are.
#[derive(Debug, Clone, Deserialize)]
pub struct Environment {
    /// Its id.
    pub id: EnvironmentId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Who pays.
    pub organization_id: OrganizationId,
    /// Under whose law it is.
    pub jurisdiction: JurisdictionId,
    /// For trial or for real.
    pub mode: Mode,
    /// Where it is.
    pub region: RegionCode,
    /// In which cell; none before it is placed.
    pub cell_id: Option<CellId>,
    /// Where its tenant reaches it; none before it is placed.
    pub cell_url: Option<String>,
    /// When its cell was last heard of.
    pub seen_at: Option<DateTime<Utc>>,
    /// Whether what is shown may be old.
    pub stale: Option<bool>,
    /// Which version of the profile it has.
    pub profile_version: String,
    /// How far its clock is to be ahead at least, in milliseconds.
    pub clock_offset_ms: i64,
    /// What is wanted of it.
    pub desired: Desired,
    /// What it is.
    pub state: EnvironmentState,
    /// Counts what was wanted of it.
    pub generation: i64,
    /// The generation that it has.
    pub observed_generation: i64,
    /// What was looked at on the way.
    pub conditions: Vec<Condition>,
    /// Its `ETag`.
    pub version: i64,
    /// When it was declared.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// Which environments to list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EnvironmentsWhich {
    /// Those of this organization.
    pub organization_id: Option<OrganizationId>,
    /// Those of this tenant.
    pub tenant_id: Option<TenantId>,
    /// Those in this state.
    pub state: Option<EnvironmentState>,
}

/// What is to change of an environment; what is none stays.
#[derive(Debug, Clone, Default, Serialize)]
pub struct EnvironmentChange {
    /// Of the jurisdiction's profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile_version: Option<String>,
    /// How far a sandbox's clock is to be ahead at least, in milliseconds: forward only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_offset_ms: Option<i64>,
}

/// How far an operation is: it never goes back, and ends with all steps done if it succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct OperationProgress {
    /// How many steps of the way are done.
    pub done: i64,
    /// How many steps the way has.
    pub of: i64,
}

/// Something that takes a while.
#[derive(Debug, Clone, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// What it does, such as `environment_provision`.
    pub kind: String,
    /// The id of what it is about.
    pub subject_id: String,
    /// Where it is.
    pub state: OperationState,
    /// Why it ended so.
    pub reason: Option<Reason>,
    /// Who asked for it.
    pub actor: String,
    /// The generation of its subject that it brings about.
    pub generation: i64,
    /// How far it is.
    pub progress: OperationProgress,
    /// Whether it may still be cancelled.
    pub cancellable: bool,
    /// When somebody asked to cancel it.
    pub cancel_asked_at: Option<DateTime<Utc>>,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// A step of an operation.
#[derive(Debug, Clone, Deserialize)]
pub struct OperationStep {
    /// Counts the operation's steps, from 1.
    pub seq: i64,
    /// Such as `place`.
    pub name: String,
    /// How it went.
    pub state: StepState,
    /// For people.
    pub detail: Option<String>,
    /// How far the operation was then.
    pub progress: OperationProgress,
    /// When.
    pub at: DateTime<Utc>,
}

/// An operation with its steps.
#[derive(Debug, Clone, Deserialize)]
pub struct OperationWithSteps {
    /// The operation.
    #[serde(flatten)]
    pub operation: Operation,
    /// The oldest first.
    pub steps: Vec<OperationStep>,
}

/// Which operations to list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OperationsWhich {
    /// Those of this organization.
    pub organization_id: Option<OrganizationId>,
    /// Those about this.
    pub subject_id: Option<String>,
    /// Those in this state.
    pub state: Option<OperationState>,
}
