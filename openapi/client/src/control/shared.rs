//! What belongs to no tenant alone: organizations, regions, reasons, plans.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tenants::{id::OrganizationId, jurisdiction::Country, region::RegionCode};

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

/// Why something is as it is, or is moved: a code, and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// In snake_case.
    pub code: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
