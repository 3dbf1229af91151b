//! The types of version 2 as they were published, copied: the reader that an older build has.
//!
//! Change nothing here. A new version gets a copy of its own.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::id::{CellId, ClientId, EnvironmentId, ExportId, OperationId, OrganizationId, TenantId};
use tenants::jurisdiction::JurisdictionId;
use tenants::region::RegionCode;
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
pub struct Enrol {
    pub token: String,
    pub csr_pem: String,
    pub jurisdiction: JurisdictionId,
    pub region: RegionCode,
    pub mode: Mode,
    pub shards: i32,
    pub instance: Uuid,
    pub software: String,
    pub contract: [u16; 2],
    pub sent_at: DateTime<Utc>,
    pub url: String,
}

#[derive(Serialize, Deserialize)]
pub struct Enrolled {
    pub cell: CellId,
    pub contract: u16,
    pub certificate_pem: String,
    pub chain_pem: String,
    pub root_pem: String,
    pub not_after: DateTime<Utc>,
    pub renew_at: DateTime<Utc>,
    pub lineage: Uuid,
    pub now_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
pub struct Renewal {
    pub csr_pem: String,
    pub instance: Uuid,
    pub sent_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
pub struct Issued {
    pub certificate_pem: String,
    pub chain_pem: String,
    pub not_after: DateTime<Utc>,
    pub renew_at: DateTime<Utc>,
    pub now_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
pub struct Poll {
    pub after: u64,
    pub lineage: Uuid,
    pub wait_ms: u32,
}

#[derive(Serialize, Deserialize)]
pub struct Desired {
    pub lineage: Uuid,
    pub revision: u64,
    pub complete: bool,
    pub documents: Vec<Document>,
    pub now_at: DateTime<Utc>,
    pub resync: bool,
}

#[derive(Serialize, Deserialize)]
pub struct Document {
    pub subject: String,
    pub generation: u64,
    pub revision: u64,
    #[serde(flatten)]
    pub body: Body,
}

#[derive(Serialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Body {
    Environment(Box<EnvironmentIntent>),
    Cell(CellIntent),
    Unknown,
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Tagged {
            kind: String,
            #[serde(default)]
            body: serde_json::Value,
        }
        let Tagged { kind, body } = Tagged::deserialize(deserializer)?;
        let read = match kind.as_str() {
            "environment" => {
                EnvironmentIntent::deserialize(body).map(|intent| Self::Environment(Box::new(intent)))
            }
            "cell" => CellIntent::deserialize(body).map(Self::Cell),
            _ => Ok(Self::Unknown),
        };
        read.map_err(serde::de::Error::custom)
    }
}

#[derive(Serialize, Deserialize)]
pub struct EnvironmentIntent {
    pub id: EnvironmentId,
    pub organization: OrganizationId,
    pub tenant: TenantId,
    pub tenant_name: String,
    pub mode: Mode,
    pub jurisdiction: JurisdictionId,
    pub profile_version: String,
    pub phase: Wanted,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<DateTime<Utc>>,
    pub clock_offset_ms: i64,
    pub clients: Vec<ClientIntent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
}

#[derive(Serialize, Deserialize)]
pub struct ClientIntent {
    pub id: ClientId,
    pub name: String,
    pub method: Method,
    pub keys: Vec<PublicKey>,
    pub thumbprints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_sha256: Option<String>,
    pub scopes: Vec<String>,
    pub binding: Binding,
    pub epoch: i64,
    pub revoked: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    PrivateKeyJwt,
    Tls,
    Secret,
    #[serde(other)]
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    None,
    Dpop,
    Certificate,
    #[serde(other)]
    Unknown,
}

#[derive(Serialize, Deserialize)]
pub struct PublicKey {
    pub kid: String,
    pub x: String,
    pub y: String,
}

#[derive(Serialize, Deserialize)]
pub struct CellIntent {
    pub capacity: u32,
    pub draining: bool,
    pub control_plane_keys: Vec<PublicKey>,
}

#[derive(Serialize, Deserialize)]
pub struct Observed {
    pub seq: u64,
    pub instance: Uuid,
    pub lineage: Uuid,
    pub cursor: u64,
    pub sent_at: DateTime<Utc>,
    pub heartbeat: Heartbeat,
    pub environments: Vec<EnvironmentObserved>,
    pub full: bool,
}

#[derive(Serialize, Deserialize)]
pub struct Heartbeat {
    pub software: String,
    pub contract: u16,
    pub environments: u32,
    pub ready: u32,
    pub capacity: u32,
    pub backlog: u64,
    pub dead: u64,
    pub skew_ms: i64,
    pub certificate_not_after: DateTime<Utc>,
    pub digest: String,
}

#[derive(Serialize, Deserialize)]
pub struct EnvironmentObserved {
    pub id: EnvironmentId,
    pub organization: OrganizationId,
    pub tenant: TenantId,
    pub generation: u64,
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    pub conditions: Vec<Condition>,
    pub profile_version: String,
    pub clients: Vec<ClientSeen>,
    pub schema: String,
    pub exports: Vec<ExportSeen>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Box<EnvironmentIntent>>,
}

#[derive(Serialize, Deserialize)]
pub struct ClientSeen {
    pub id: ClientId,
    pub epoch: i64,
}

#[derive(Serialize, Deserialize)]
pub struct ExportSeen {
    pub id: ExportId,
    pub sha256: String,
    pub bytes: u64,
    pub signed_by: String,
}

#[derive(Serialize, Deserialize)]
pub struct Taken {
    pub seq: u64,
    pub acknowledged: u32,
    pub lineage: Uuid,
    pub resync: bool,
    pub refused: Vec<Refused>,
}

#[derive(Serialize, Deserialize)]
pub struct Refused {
    pub id: EnvironmentId,
    pub code: String,
}

#[derive(Serialize, Deserialize)]
pub struct Refusal {
    pub code: String,
    pub detail: String,
    pub retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supported: Option<[u16; 2]>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Sandbox,
    Live,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    Present,
    Suspended,
    Removed,
    #[serde(other)]
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Absent,
    Converging,
    Ready,
    Suspended,
    Removing,
    Removed,
    Failed,
    #[serde(other)]
    Unknown,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    True,
    False,
    #[serde(other)]
    Unknown,
}

#[derive(Serialize, Deserialize)]
pub struct Condition {
    pub r#type: String,
    pub status: Status,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub since_at: DateTime<Utc>,
}
