//! Tenants, and where their data may be.

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    environment::{Condition, Mode},
    id::{OrganizationId, ResidencyId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
};

use super::Reason;

pub use tenants::{residency::Condition as ResidencyCondition, tenant::State as TenantState};

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
    pub state: TenantState,
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
    pub state: Option<TenantState>,
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
    pub from: TenantState,
    /// Where it went.
    pub to: TenantState,
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
