//! What a cell is to the control plane, and what may be said of one.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use tenants::{
    contract::Heartbeat,
    environment::Mode,
    id::{CellId, EnvironmentId, JoinTokenId, OrganizationId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
};
use uuid::Uuid;

/// After how long without a word from a cell the view of it is called stale: three heartbeats.
pub const STALE_AFTER: TimeDelta = TimeDelta::seconds(90);
/// The most environments that a cell may be made for.
pub const MOST_CAPACITY: i32 = 100_000;
/// How long a join token may live, in seconds: at least a minute, at most a day, an hour if nobody says.
pub const JOIN_TOKEN_LIVES: (u32, u32, u32) = (60, 86_400, 3_600);

/// Where a cell is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CellState)]
pub enum State {
    /// Declared; nobody has enrolled as it.
    Enrolling,
    /// It takes environments.
    Ready,
    /// It takes no new ones.
    Draining,
    /// It has none, and never will. Final.
    Retired,
}

impl State {
    const ALL: [Self; 4] = [Self::Enrolling, Self::Ready, Self::Draining, Self::Retired];

    /// Its name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrolling => "enrolling",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Retired => "retired",
        }
    }

    /// Whether an operator may take a cell from here to `to`. From `enrolling` to `ready` it goes by itself.
    pub fn may_become(self, to: Self) -> bool {
        matches!(
            (self, to),
            (Self::Ready, Self::Draining)
                | (Self::Draining, Self::Ready)
                | (Self::Enrolling | Self::Draining, Self::Retired)
        )
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no state.
#[derive(Debug, thiserror::Error)]
#[error("no state of a cell")]
pub struct UnknownState;

impl FromStr for State {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(UnknownState)
    }
}

/// What a cell said of itself when it enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Made once with the cell's database.
    pub instance: Uuid,
    /// How many ledger shards it has.
    pub shards: i32,
    /// The build.
    pub software: String,
    /// Where its tenants reach it.
    pub url: String,
    /// The versions of the contract that it speaks, lowest and highest.
    pub contract: [u16; 2],
}

/// How a cell is, as its last report said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The versions of the contract that it speaks, lowest and highest.
    pub contract: [u16; 2],
    /// The rest.
    pub heartbeat: Heartbeat,
}

/// What a cell's reports have said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// When it was last heard of.
    pub at: Option<DateTime<Utc>>,
    /// How far its clock was ahead then, in milliseconds.
    pub skew_ms: i64,
    /// The version of the contract that was spoken.
    pub spoken: Option<u16>,
    /// The number of its last report.
    pub seq: i64,
    /// SHA-256 of that report, hexadecimal.
    pub report_sha256: Option<String>,
    /// The digest of its environments that was last found to be ours.
    pub digest: Option<String>,
    /// When two were found to have its identity; until an operator lets one of them in anew.
    pub forked_at: Option<DateTime<Utc>>,
    /// How it is; none before its first report since it enrolled.
    pub told: Option<Told>,
}

/// A data plane: one jurisdiction, one region, one mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Its id.
    pub id: CellId,
    /// Its name, used once.
    pub name: String,
    /// Under whose law it is.
    pub jurisdiction: JurisdictionId,
    /// Where it stands.
    pub region: RegionCode,
    /// Sandbox or live.
    pub mode: Mode,
    /// Where it is in its life.
    pub state: State,
    /// The tenant that has it for itself.
    pub dedicated_tenant: Option<TenantId>,
    /// How many environments it may have.
    pub capacity: i32,
    /// How many are placed in it.
    pub placed: i32,
    /// What it said when it enrolled.
    pub enrolled: Option<Enrolled>,
    /// What its reports have said.
    pub seen: Seen,
    /// The newest revision of its documents.
    pub revision: i64,
    /// The revision at which its own document last changed.
    pub intent_revision: i64,
    /// Counts the changes of its own document.
    pub generation: i64,
    /// Counts what operators changed.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When an operator last changed it.
    pub updated_at: DateTime<Utc>,
}

impl Cell {
    /// The build that it runs.
    pub fn software(&self) -> Option<&str> {
        let told = self.seen.told.as_ref().map(|told| told.heartbeat.software.as_str());
        told.or(self.enrolled.as_ref().map(|enrolled| enrolled.software.as_str()))
    }

    /// The versions of the contract that it speaks, lowest and highest.
    pub fn contract(&self) -> Option<[u16; 2]> {
        let told = self.seen.told.as_ref().map(|told| told.contract);
        told.or(self.enrolled.as_ref().map(|enrolled| enrolled.contract))
    }

    /// For how long nobody has heard of it; `None` if nobody ever has.
    pub fn silent_for(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        self.seen.at.map(|at| now.signed_duration_since(at).max(TimeDelta::zero()))
    }

    /// Whether what is known of it may be old.
    pub fn is_stale(&self, now: DateTime<Utc>) -> bool {
        self.silent_for(now).is_none_or(|silent| silent > STALE_AFTER)
    }

    /// The same cell with another document: a later generation, at a later revision.
    #[must_use]
    pub fn republished(self, now: DateTime<Utc>) -> Self {
        let revision = next_revision(self.revision, now);
        Self { revision, intent_revision: revision, generation: self.generation.saturating_add(1), ..self }
    }
}

/// The revision that follows: the time in milliseconds, or one more. So a control plane that was restored from a backup
/// does not use a revision again that a cell has already seen.
pub fn next_revision(revision: i64, now: DateTime<Utc>) -> i64 {
    revision.saturating_add(1).max(now.timestamp_millis())
}

/// Whether a text is a cell's name: 1 to 63 lower-case letters, digits and hyphens.
pub fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(known)
}

/// A cell to be made.
#[derive(Debug, Clone)]
pub struct New {
    /// Its name.
    pub name: String,
    /// Under whose law it is; never changes.
    pub jurisdiction: JurisdictionId,
    /// Where it stands; never changes.
    pub region: RegionCode,
    /// Sandbox or live; never changes.
    pub mode: Mode,
    /// How many environments it may have.
    pub capacity: i32,
    /// The tenant that has it for itself.
    pub dedicated_tenant: Option<TenantId>,
}

/// What may be changed of a cell; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// How many environments it may have.
    pub capacity: Option<i32>,
    /// The tenant that has it for itself, or nobody.
    pub dedicated_tenant: Option<Option<TenantId>>,
}

/// What a cell enrols with, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Its id.
    pub id: JoinTokenId,
    /// For which cell.
    pub cell: CellId,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
    /// Whether who enrols takes the place of who has enrolled.
    pub replace_instance: bool,
}

/// A certificate of somebody else about a cell, such as ISO/IEC 27001.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// Which one, as profiles name it: `iso27001`.
    pub kind: String,
    /// From when on it holds.
    pub valid_from: DateTime<Utc>,
    /// Until when.
    pub valid_until: DateTime<Utc>,
    /// The document.
    pub document_name: String,
    /// Its SHA-256, hexadecimal.
    pub document_sha256: String,
}

/// Where an environment is to be.
#[derive(Debug, Clone)]
pub struct Want {
    /// The environment.
    pub environment: EnvironmentId,
    /// Who pays.
    pub organization: OrganizationId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Under whose law.
    pub jurisdiction: JurisdictionId,
    /// Where.
    pub region: RegionCode,
    /// Sandbox or live.
    pub mode: Mode,
    /// What the cell must have been certified for, as profiles name it.
    pub attestations: Vec<String>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// No cell of this jurisdiction, region and mode is there for this tenant.
    NoCell,
    /// There are some, and none takes environments.
    NoneReady,
    /// Of those that take some, none has the certificates.
    Attestations,
    /// Those that could are full.
    Full,
}

impl Lack {
    /// As a stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCell => "no_cell",
            Self::NoneReady => "none_ready",
            Self::Attestations => "attestations",
            Self::Full => "full",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All pairs, against a table that is written apart from the code's.
    #[test]
    fn only_these_moves_of_a_cell_are_there() {
        let allowed = ["ready draining", "draining ready", "enrolling retired", "draining retired"];
        for from in State::ALL {
            for to in State::ALL {
                assert_eq!(
                    from.may_become(to),
                    allowed.contains(&format!("{from} {to}").as_str()),
                    "{from} {to}"
                );
            }
        }
    }

    #[test]
    fn revisions_are_never_used_again() {
        let at = |millis| DateTime::from_timestamp_millis(millis).unwrap();
        assert_eq!(next_revision(0, at(5_000)), 5_000);
        assert_eq!(next_revision(5_000, at(5_000)), 5_001);
        assert_eq!(next_revision(9_000, at(5_000)), 9_001, "the clock was set back");
    }
}
