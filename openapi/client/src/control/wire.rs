//! What the control plane takes and answers. What is unknown is ignored: a newer server may say more.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenants::{
    environment::{Desired, EnvironmentState, Mode},
    id::{CellId, EnvironmentId, JoinTokenId, OperationId, OrganizationId, ResidencyId, TenantId},
    jurisdiction::{Country, JurisdictionId},
    region::RegionCode,
    tenant,
};

use crate::words::words;

pub use tenants::{
    environment::Condition, residency::Condition as ResidencyCondition, tenant::State as TenantState,
};

words! {
    /// Where a cell is in its life.
    CellState {
        /// Nobody has joined as it yet.
        Enrolling = "enrolling",
        /// It takes environments.
        Ready = "ready",
        /// It takes no more.
        Draining = "draining",
        /// It is gone for good.
        Retired = "retired",
    }
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

/// Whether a process can serve.
#[derive(Debug, Clone, Deserialize)]
pub struct Readiness {
    /// Whether it can.
    pub ready: bool,
    /// Whether it is about to end.
    pub stopping: bool,
}

/// An organization to be declared.
#[derive(Debug, Clone, Serialize)]
pub struct OrganizationNew {
    /// Your own id, used once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Its name.
    pub name: String,
    /// Where it is registered.
    pub country: Country,
}

/// A legal person who pays.
#[derive(Debug, Clone, Deserialize)]
pub struct Organization {
    /// Its id.
    pub id: OrganizationId,
    /// The declarer's own id.
    pub external_id: Option<String>,
    /// Its name.
    pub name: String,
    /// Where it is registered.
    pub country: Country,
    /// Its `ETag`.
    pub version: i64,
    /// When it was declared.
    pub created_at: DateTime<Utc>,
}

/// Which organizations to list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OrganizationsWhich {
    /// The one with this id of yours.
    pub external_id: Option<String>,
}

/// What a region is to be.
#[derive(Debug, Clone, Serialize)]
pub struct RegionPut {
    /// Never changes.
    pub country: Country,
    /// For people.
    pub name: String,
}

/// Where machines stand.
#[derive(Debug, Clone, Deserialize)]
pub struct Region {
    /// Its code.
    pub code: RegionCode,
    /// Under whose law it lies.
    pub country: Country,
    /// For people.
    pub name: String,
    /// Its `ETag`.
    pub version: i64,
}

/// A tenant to be made.
#[derive(Debug, Clone, Serialize)]
pub struct TenantNew {
    /// Whose it is; an operator has to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<OrganizationId>,
    /// Your own id; used once per organization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// As its customers know it.
    pub name: String,
    /// Under whose law it works.
    pub jurisdiction: JurisdictionId,
    /// A licence of that jurisdiction's profile.
    pub licence: String,
}

/// Why something is as it is, or is moved: a code, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// In snake_case.
    pub code: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One licence of an organization in one jurisdiction.
#[derive(Debug, Clone, Deserialize)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// The owner's own id.
    pub external_id: Option<String>,
    /// As its customers know it.
    pub name: String,
    /// Under whose law it works.
    pub jurisdiction: JurisdictionId,
    /// Of its jurisdiction's profile.
    pub licence: String,
    /// Where it is in its life.
    pub state: tenant::State,
    /// Why it is there.
    pub state_reason: Option<Reason>,
    /// Counts what was wanted of it.
    pub generation: i64,
    /// The generation that all its environments have.
    pub observed_generation: i64,
    /// What was looked at on the way.
    pub conditions: Vec<Condition>,
    /// Its `ETag`.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// Which tenants to list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TenantsWhich {
    /// Those of this organization.
    pub organization_id: Option<OrganizationId>,
    /// Those with this id of yours.
    pub external_id: Option<String>,
    /// Those in this state.
    pub state: Option<tenant::State>,
}

/// What is to change of a tenant: what is absent stays.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TenantChange {
    /// As its customers know it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A licence of the jurisdiction's profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

/// Why a tenant is moved.
#[derive(Debug, Clone, Serialize)]
pub struct TenantStep {
    /// Recorded for ever.
    pub reason: Reason,
}

impl TenantStep {
    /// For this reason.
    pub fn new(code: &str, detail: Option<&str>) -> Self {
        Self { reason: Reason { code: code.to_owned(), detail: detail.map(str::to_owned) } }
    }
}

/// One move of a tenant's state.
#[derive(Debug, Clone, Deserialize)]
pub struct TenantMove {
    /// The tenant's version after it.
    pub seq: i64,
    /// Where it was.
    pub from: tenant::State,
    /// Where it went.
    pub to: tenant::State,
    /// Who moved it.
    pub actor: String,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: DateTime<Utc>,
}

/// Whether a tenant's data may be in a region.
#[derive(Debug, Clone, Deserialize)]
pub struct ResidencyCheck {
    /// The region.
    pub region: RegionCode,
    /// Of which kind of environment.
    pub mode: Mode,
    /// Whether it may be there now.
    pub allowed: bool,
    /// Whether no condition could allow it.
    pub forbidden: bool,
    /// What has to be met first.
    pub missing: Vec<ResidencyMissing>,
}

/// A condition that is not met.
#[derive(Debug, Clone, Deserialize)]
pub struct ResidencyMissing {
    /// Which.
    pub condition: ResidencyCondition,
    /// For people, in their language.
    pub detail: String,
    /// Where the law says so.
    pub source: String,
    /// Of these, the region's cells have to have one.
    pub attestations: Vec<String>,
    /// When it will be met; none if something has to be done.
    pub met_on: Option<NaiveDate>,
}

/// That a condition is met.
#[derive(Debug, Clone, Serialize)]
pub struct ResidencyRecordNew {
    /// Which.
    pub condition: ResidencyCondition,
    /// For which region.
    pub region: RegionCode,
    /// Of the document.
    pub dated_on: NaiveDate,
    /// Of the document.
    pub document_name: String,
    /// SHA-256 of the document, hexadecimal.
    pub document_sha256: String,
}

/// What is on record of a condition.
#[derive(Debug, Clone, Deserialize)]
pub struct ResidencyRecord {
    /// Its id.
    pub id: ResidencyId,
    /// For which tenant.
    pub tenant_id: TenantId,
    /// Which condition.
    pub condition: ResidencyCondition,
    /// For which region.
    pub region: RegionCode,
    /// Of the document.
    pub dated_on: NaiveDate,
    /// Of the document.
    pub document_name: String,
    /// Of the document.
    pub document_sha256: String,
    /// By whom.
    pub recorded_by: String,
    /// When it was recorded.
    pub created_at: DateTime<Utc>,
    /// When it was taken back.
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// By whom.
    pub withdrawn_by: Option<String>,
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
    /// Which version of the profile it has.
    pub profile_version: String,
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

/// What is to change of an environment.
#[derive(Debug, Clone, Serialize)]
pub struct EnvironmentChange {
    /// Of the jurisdiction's profile.
    pub profile_version: String,
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

/// A cell to be declared.
#[derive(Debug, Clone, Serialize)]
pub struct CellNew {
    /// Used once.
    pub name: String,
    /// Under whose law it is.
    pub jurisdiction: JurisdictionId,
    /// Where it stands.
    pub region: RegionCode,
    /// For trial or for real.
    pub mode: Mode,
    /// How many environments it may have.
    pub capacity: i32,
    /// The tenant that has it for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedicated_tenant_id: Option<TenantId>,
}

/// A data plane of one jurisdiction, region and mode.
#[derive(Debug, Clone, Deserialize)]
pub struct Cell {
    /// Its id.
    pub id: CellId,
    /// Its name.
    pub name: String,
    /// Under whose law it is.
    pub jurisdiction: JurisdictionId,
    /// Where it stands.
    pub region: RegionCode,
    /// For trial or for real.
    pub mode: Mode,
    /// Where it is in its life.
    pub state: CellState,
    /// The tenant that has it for itself.
    pub dedicated_tenant_id: Option<TenantId>,
    /// How many environments it may have.
    pub capacity: i32,
    /// How many are placed in it.
    pub placed: i32,
    /// Where its tenants reach it; none until it has enrolled.
    pub url: Option<String>,
    /// The build that it runs.
    pub software: Option<String>,
    /// When it was last heard of.
    pub seen_at: Option<DateTime<Utc>>,
    /// Whether what is shown may be old.
    pub stale: bool,
    /// For how long nothing was heard, in milliseconds.
    pub silent_for_ms: Option<i64>,
    /// When two were found to have its identity.
    pub forked_at: Option<DateTime<Utc>>,
    /// Its `ETag`.
    pub version: i64,
    /// When it was declared.
    pub created_at: DateTime<Utc>,
}

/// Which cells to list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CellsWhich {
    /// The one of this name.
    pub name: Option<String>,
}

/// What is to change of a cell: what is absent stays.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CellChange {
    /// How many environments it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<i32>,
    /// The tenant that has it for itself; `Some(None)` for nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dedicated_tenant_id: Option<Option<TenantId>>,
}

/// A join token to be made.
#[derive(Debug, Clone, Default, Serialize)]
pub struct JoinTokenNew {
    /// How long it is good, in seconds; an hour if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u32>,
    /// Whether who enrols with it takes the place of who has enrolled.
    pub replace_instance: bool,
}

/// What a cell enrols with, once.
#[derive(Clone, Deserialize)]
pub struct JoinToken {
    /// Its id.
    pub id: JoinTokenId,
    /// For which cell.
    pub cell_id: CellId,
    /// The text for the cell, to be treated as a password; none when the call was answered before.
    pub token: Option<String>,
    /// Until when it is good.
    pub expires_at: DateTime<Utc>,
    /// Whether who enrols with it takes the place of who has enrolled.
    pub replace_instance: bool,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &self.id)
            .field("cell_id", &self.cell_id)
            .finish_non_exhaustive()
    }
}

/// A certificate to be put on record.
#[derive(Debug, Clone, Serialize)]
pub struct CellAttestationPut {
    /// From when it is good.
    pub valid_from: DateTime<Utc>,
    /// Until when.
    pub valid_until: DateTime<Utc>,
    /// Of the document.
    pub document_name: String,
    /// SHA-256 of the document, hexadecimal.
    pub document_sha256: String,
}

/// What a cell was certified for.
#[derive(Debug, Clone, Deserialize)]
pub struct CellAttestation {
    /// As profiles name it.
    pub kind: String,
    /// From when it is good.
    pub valid_from: DateTime<Utc>,
    /// Until when.
    pub valid_until: DateTime<Utc>,
    /// Of the document.
    pub document_name: String,
    /// Of the document.
    pub document_sha256: String,
}

/// What would change.
#[derive(Debug, Clone, Deserialize)]
pub struct Plan {
    /// Every field that would be another one; none if nothing would change.
    pub changes: Vec<PlannedChange>,
}

/// One field that would change.
#[derive(Debug, Clone, Deserialize)]
pub struct PlannedChange {
    /// The field, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What it is; null if it is not there.
    pub before: Value,
    /// What it would be; null if it would not be there.
    pub after: Value,
}
