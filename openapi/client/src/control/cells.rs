//! Cells, for operators.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    environment::Mode,
    id::{CellId, JoinTokenId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
};

use crate::words::words;

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
    /// The versions of the contract that it speaks, lowest and highest.
    pub contract: Option<[u16; 2]>,
    /// Items of work that wait in it; none before its first report.
    pub backlog: Option<u64>,
    /// Items of work that it gave up.
    pub dead: Option<u64>,
    /// When its certificate for the link ends.
    pub certificate_not_after: Option<DateTime<Utc>>,
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
