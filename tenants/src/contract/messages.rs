//! The messages, of all versions that are spoken.

use crate::environment::{Condition, Desired as Wanted, Mode, Phase};
use crate::id::{CellId, ClientId, EnvironmentId, ExportId, OperationId, OrganizationId, TenantId};
use crate::jurisdiction::JurisdictionId;
use crate::region::RegionCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;
use uuid::Uuid;

/// A cell asks to be let in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrol {
    /// The join token, once.
    pub token: String,
    /// PKCS #10, PEM; its signature proves that the cell has the key.
    pub csr_pem: String,
    /// Under whose law the cell is configured to be.
    pub jurisdiction: JurisdictionId,
    /// Where it is configured to stand.
    pub region: RegionCode,
    /// Sandbox or live.
    pub mode: Mode,
    /// How many ledger shards it has.
    pub shards: i32,
    /// Made once with the cell's database: two with one identity are told apart by it.
    pub instance: Uuid,
    /// The build, for people.
    pub software: String,
    /// The versions of the contract that it speaks, lowest and highest.
    pub contract: [u16; 2],
    /// Its clock.
    pub sent_at: DateTime<Utc>,
    /// Where its tenants reach it.
    pub url: String,
}

impl fmt::Debug for Enrol {
    /// Without the token, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrol")
            .field("instance", &self.instance)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The cell is let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// Which cell it is.
    pub cell: CellId,
    /// The version of the contract that is spoken.
    pub contract: u16,
    /// Its certificate.
    pub certificate_pem: String,
    /// The issuing certificate.
    pub chain_pem: String,
    /// The root that it trusts from now on.
    pub root_pem: String,
    /// When the certificate ends.
    pub not_after: DateTime<Utc>,
    /// When to ask for the next one.
    pub renew_at: DateTime<Utc>,
    /// Names the control plane's database: another lineage has another history.
    pub lineage: Uuid,
    /// The control plane's clock.
    pub now_at: DateTime<Utc>,
}

/// A cell asks for its next certificate, for a new key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Renewal {
    /// PKCS #10, PEM.
    pub csr_pem: String,
    /// As in [`Enrol`].
    pub instance: Uuid,
    /// Its clock.
    pub sent_at: DateTime<Utc>,
}

/// The next certificate; the one before stays valid to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// The issuing certificate.
    pub chain_pem: String,
    /// When it ends.
    pub not_after: DateTime<Utc>,
    /// When to ask for the next one.
    pub renew_at: DateTime<Utc>,
    /// The control plane's clock.
    pub now_at: DateTime<Utc>,
}

/// A cell asks what is wanted of it; a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Poll {
    /// Documents of later revisions than this.
    pub after: u64,
    /// The lineage that `after` belongs to.
    pub lineage: Uuid,
    /// How long the answer may wait for something to say, in milliseconds.
    pub wait_ms: u32,
}

/// What is wanted, in the order of revisions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DesiredState)]
pub struct Desired {
    /// Names the control plane's database.
    pub lineage: Uuid,
    /// The cursor for the next poll, once these documents are stored.
    pub revision: u64,
    /// Whether there are no more documents behind these.
    pub complete: bool,
    /// Whole documents.
    pub documents: Vec<Document>,
    /// The control plane's clock.
    pub now_at: DateTime<Utc>,
    /// The control plane has another history than the cell's cursor: report everything, with the stored intents.
    pub resync: bool,
}

/// What is wanted of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Document {
    /// The id of what it is about: an environment, or the cell.
    pub subject: String,
    /// Counts the intent's own changes; never goes back.
    pub generation: u64,
    /// Counts the changes of all documents of the cell.
    pub revision: u64,
    /// What is wanted.
    #[serde(flatten)]
    pub body: Body,
}

impl Document {
    /// What its hash is taken of: all but the revision, with the members in order.
    pub fn canonical(&self) -> String {
        super::canonical(&Self { revision: 0, ..self.clone() })
    }
}

/// What a document wants, by `kind`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Body {
    /// Of an environment.
    Environment(Box<EnvironmentIntent>),
    /// Of the cell itself.
    Cell(CellIntent),
    /// A kind that a newer build publishes and this one does not know.
    Unknown,
}

impl<'de> Deserialize<'de> for Body {
    /// Own, since serde's `other` takes no content, and a kind of later has one.
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

/// What is wanted of an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentIntent {
    /// The environment.
    pub id: EnvironmentId,
    /// Who pays.
    pub organization: OrganizationId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The tenant's name, for people.
    pub tenant_name: String,
    /// Sandbox or live.
    pub mode: Mode,
    /// Under whose law it is.
    pub jurisdiction: JurisdictionId,
    /// Which version of the profile rules it.
    pub profile_version: String,
    /// Whether it serves, is suspended or removed.
    pub phase: Wanted,
    /// Until when what was exported is kept, where the law says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<DateTime<Utc>>,
    /// How far a sandbox's clock is to be ahead at least, in milliseconds.
    pub clock_offset_ms: i64,
    /// Who may ask for tokens of it, and who was revoked: the last of them, for whoever has forgotten it.
    pub clients: Vec<ClientIntent>,
    /// The operation that this generation belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
}

/// A client as it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientIntent {
    /// The client.
    pub id: ClientId,
    /// Its name, for people.
    pub name: String,
    /// How it proves who it is.
    pub method: Method,
    /// Its public keys.
    pub keys: Vec<PublicKey>,
    /// SHA-256 of its certificates, base64url.
    pub thumbprints: Vec<String>,
    /// SHA-256 of its secret, base64url; sandboxes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_sha256: Option<String>,
    /// What it may do at most.
    pub scopes: Vec<String>,
    /// What its tokens are bound to.
    pub binding: Binding,
    /// Tokens issued before this second are not accepted.
    pub epoch: i64,
    /// Whether it gets no more tokens, for ever.
    pub revoked: bool,
    /// When its credentials or scopes were changed last, by the control plane's clock; it never goes back. Of two who were told
    /// of it, the later one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<DateTime<Utc>>,
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ClientMethod)]
pub enum Method {
    /// An assertion signed by its key (RFC 7523).
    PrivateKeyJwt,
    /// Its certificate (RFC 8705).
    Tls,
    /// A shared secret; sandboxes only.
    Secret,
    /// A method that a newer build has; such a client gets no token.
    #[serde(other)]
    Unknown,
}

/// What a client's tokens are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TokenBinding)]
pub enum Binding {
    /// Nothing; sandboxes only.
    None,
    /// A key (DPoP, RFC 9449).
    Dpop,
    /// The client's certificate (RFC 8705).
    Certificate,
    /// A binding that a newer build has; such a token is not accepted.
    #[serde(other)]
    Unknown,
}

/// A public key on P-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublicKey {
    /// Its name.
    pub kid: String,
    /// The coordinate, base64url.
    pub x: String,
    /// The coordinate, base64url.
    pub y: String,
}

/// What is wanted of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CellIntent {
    /// How many environments it may have.
    pub capacity: u32,
    /// Whether it gets no new ones.
    pub draining: bool,
    /// The keys of the control plane's own issuer.
    pub control_plane_keys: Vec<PublicKey>,
}

/// What a cell reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Observed {
    /// One more than the report before.
    pub seq: u64,
    /// As in [`Enrol`].
    pub instance: Uuid,
    /// Whose revisions `cursor` counts.
    pub lineage: Uuid,
    /// The revision up to which documents are stored.
    pub cursor: u64,
    /// The cell's clock.
    pub sent_at: DateTime<Utc>,
    /// How the cell is.
    pub heartbeat: Heartbeat,
    /// What changed since the report before; in a full report everything.
    pub environments: Vec<EnvironmentObserved>,
    /// Whether this belongs to a full report.
    pub full: bool,
    /// In a full report the last environment of the page before, in the order of ids; none in the first page. What lies
    /// between it and the last one of this page and is not here is not in the cell; after a page that is empty there is
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<EnvironmentId>,
}

/// How a cell is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Heartbeat {
    /// The build, for people.
    pub software: String,
    /// The version of the contract that it speaks now.
    pub contract: u16,
    /// How many environments it has.
    pub environments: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// How many it can have.
    pub capacity: u32,
    /// Items of work that wait.
    pub backlog: u64,
    /// Items of work that were given up.
    pub dead: u64,
    /// How far its clock is ahead of the control plane's, in milliseconds.
    pub skew_ms: i64,
    /// When its certificate ends.
    pub certificate_not_after: DateTime<Utc>,
    /// SHA-256 of [`digest_text`](super::digest_text), hexadecimal.
    pub digest: String,
}

/// How one environment is in its cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentObserved {
    /// The environment.
    pub id: EnvironmentId,
    /// Who pays.
    pub organization: OrganizationId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The generation that this is about.
    pub generation: u64,
    /// How far it is.
    pub phase: Phase,
    /// The step that it is at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What was looked at.
    pub conditions: Vec<Condition>,
    /// Which version of the profile rules it.
    pub profile_version: String,
    /// The clients that are there.
    pub clients: Vec<ClientSeen>,
    /// The newest migration of its tables.
    pub schema: String,
    /// What was exported.
    pub exports: Vec<ExportSeen>,
    /// Until when what is left of it is kept, where the law or the control plane says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<DateTime<Utc>>,
    /// What the cell was told last; in a full report only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Box<EnvironmentIntent>>,
}

/// A client that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClientSeen {
    /// The client.
    pub id: ClientId,
    /// The epoch that rules it.
    pub epoch: i64,
}

/// A bundle that lies in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExportSeen {
    /// The export.
    pub id: ExportId,
    /// Of its manifest, hexadecimal.
    pub sha256: String,
    /// Its size.
    pub bytes: u64,
    /// The key that signed the manifest.
    pub signed_by: String,
}

/// The answer to a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Taken {
    /// The report's number.
    pub seq: u64,
    /// How many environments of it were taken.
    pub acknowledged: u32,
    /// Names the control plane's database.
    pub lineage: Uuid,
    /// The digests differ: report everything, with the stored intents.
    pub resync: bool,
    /// What was not taken.
    pub refused: Vec<Refused>,
}

/// An environment of a report that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// The environment.
    pub id: EnvironmentId,
    /// Why, as a stable word.
    pub code: String,
}

/// What the control plane answers when it does not do what a cell asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LinkRefusal)]
pub struct Refusal {
    /// Why, as a stable word.
    pub code: String,
    /// Why, for people; in English.
    pub detail: String,
    /// Whether the same may succeed later.
    pub retryable: bool,
    /// The versions of the contract that the control plane speaks, where that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supported: Option<[u16; 2]>,
}
