//! What a tenant is, and what a caller may say of one; pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    environment::{Condition, Status, observe},
    id::{OrganizationId, TenantId},
    jurisdiction::JurisdictionId,
    profile::{self, Profile},
    tenant::State,
};
use utoipa::ToSchema;

use crate::names::{self, LONGEST_EXTERNAL_ID, LONGEST_NAME};

/// The longest code of a reason, in characters.
const LONGEST_CODE: usize = 64;
/// The longest explanation, in characters.
pub const LONGEST_DETAIL: usize = 500;

/// Why a tenant's state was moved, in a code to branch on and in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TenantReason)]
pub struct Reason {
    /// To branch on: lower-case letters, digits and underscores.
    #[schema(pattern = "^[a-z][a-z0-9_]{0,63}$", example = "licence_confirmed")]
    pub code: String,
    /// For people; nothing personal.
    #[schema(max_length = 500, example = "Found in the register of the authority")]
    pub detail: Option<String>,
}

impl Reason {
    /// A reason of our own.
    #[must_use]
    pub fn ours(code: &str) -> Self {
        Self { code: code.to_owned(), detail: None }
    }

    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Fault> {
        let first = self.code.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !first || self.code.len() > LONGEST_CODE || !self.code.bytes().all(rest) {
            return Err(Fault::Text { field: "/reason/code", limit: LONGEST_CODE });
        }
        match &self.detail {
            Some(detail) if !names::is_text(detail, LONGEST_DETAIL) => {
                Err(Fault::Text { field: "/reason/detail", limit: LONGEST_DETAIL })
            }
            _ => Ok(()),
        }
    }
}

/// A tenant: one licence of an organization in one jurisdiction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Whose it is.
    pub organization: OrganizationId,
    /// The caller's own id.
    pub external_id: Option<String>,
    /// As its customers know it.
    pub name: String,
    /// Under whose law it works.
    pub jurisdiction: JurisdictionId,
    /// The code of its licence.
    pub licence: String,
    /// Where it is in its life.
    pub state: State,
    /// Why it is there.
    pub reason: Option<Reason>,
    /// Counts what was wanted of it.
    pub generation: i64,
    /// The last generation that all its environments have come to.
    pub observed_generation: i64,
    /// What was looked at on the way.
    pub conditions: Vec<Condition>,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// Whether the environments of a tenant are wanted with the name that it has.
const NAME_TOLD: &str = "NameTold";

/// That condition as it is now.
#[must_use]
pub fn name_told(status: Status, reason: &str, now: DateTime<Utc>) -> Condition {
    Condition { r#type: NAME_TOLD.to_owned(), status, reason: reason.to_owned(), detail: None, since_at: now }
}

/// What a caller says of a tenant, unchecked.
#[derive(Debug, Clone)]
pub struct New {
    /// The caller's own id.
    pub external_id: Option<String>,
    /// As its customers know it.
    pub name: String,
    /// Under whose law it works.
    pub jurisdiction: JurisdictionId,
    /// The code of its licence.
    pub licence: String,
}

/// What may be changed of a tenant; what is absent stays.
#[derive(Debug, Clone)]
pub struct Change {
    /// As its customers know it.
    pub name: Option<String>,
    /// The code of its licence.
    pub licence: Option<String>,
}

/// What is wrong with what a caller says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Empty, too long, or of another form.
    Text {
        /// JSON pointer.
        field: &'static str,
        /// The most characters.
        limit: usize,
    },
    /// There is no profile of this jurisdiction; there are these.
    Jurisdiction(String),
    /// The jurisdiction has no such licence; it has these.
    Licence(String),
}

fn name(name: &str) -> Result<(), Fault> {
    if names::is_name(name) { Ok(()) } else { Err(Fault::Text { field: "/name", limit: LONGEST_NAME }) }
}

fn licence(profile: &Profile, code: &str) -> Result<(), Fault> {
    if profile.licences.iter().any(|licence| licence.code == code) {
        return Ok(());
    }
    let known: Vec<&str> = profile.licences.iter().map(|licence| licence.code.as_str()).collect();
    Err(Fault::Licence(known.join(", ")))
}

impl New {
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Fault> {
        name(&self.name)?;
        if !self.external_id.as_deref().is_none_or(names::is_external_id) {
            return Err(Fault::Text { field: "/external_id", limit: LONGEST_EXTERNAL_ID });
        }
        let Some(profile) = profile::profile(&self.jurisdiction) else {
            let known: Vec<&str> = profile::all().iter().map(|one| one.jurisdiction.id.as_str()).collect();
            return Err(Fault::Jurisdiction(known.join(", ")));
        };
        licence(profile, &self.licence)
    }
}

impl Tenant {
    /// The profile of its jurisdiction; none if this build no longer has it.
    #[must_use]
    pub fn profile(&self) -> Option<&'static Profile> {
        profile::profile(&self.jurisdiction)
    }

    /// Whether its environments are still wanted with another name.
    #[must_use]
    pub fn is_renamed(&self) -> bool {
        self.conditions.iter().any(|one| one.r#type == NAME_TOLD && one.status == Status::False)
    }

    /// This tenant after the change, or itself if that changes nothing.
    pub fn with(&self, change: &Change, now: DateTime<Utc>) -> Result<Self, Fault> {
        let mut after = self.clone();
        if let Some(new) = &change.name {
            name(new)?;
            if *new != self.name {
                after.name.clone_from(new);
                observe(&mut after.conditions, name_told(Status::False, "Renamed", now));
            }
        }
        if let Some(code) = &change.licence {
            match self.profile() {
                Some(profile) => licence(profile, code)?,
                None => return Err(Fault::Licence(String::new())),
            }
            after.licence.clone_from(code);
        }
        if after != *self {
            after.version = self.version.saturating_add(1);
            after.generation = self.generation.saturating_add(1);
            after.updated_at = now;
        }
        Ok(after)
    }
}

/// What a caller asks of a tenant's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look at licence and papers.
    Verify,
    /// Let it have environments.
    Approve,
    /// Turn it down.
    Reject,
    /// Nothing new.
    Restrict,
    /// Answer nobody.
    Suspend,
    /// Back to what it was.
    Resume,
    /// Export and remove everything.
    Offboard,
}

impl Step {
    /// The state that follows `from`; `before` is the one that was left when the tenant was suspended.
    #[must_use]
    pub fn target(self, from: State, before: Option<State>) -> State {
        match self {
            Self::Verify => State::Verifying,
            Self::Approve => State::Approved,
            Self::Reject => State::Rejected,
            Self::Restrict => State::Restricted,
            Self::Suspend => State::Suspended,
            Self::Resume if from == State::Suspended => before.unwrap_or(State::Active),
            Self::Resume => State::Active,
            Self::Offboard => State::Offboarding,
        }
    }

    /// Whether `from` may be left by this step. The table of moves has some that only convergence makes.
    #[must_use]
    pub fn may_leave(self, from: State) -> bool {
        self != Self::Resume || matches!(from, State::Suspended | State::Restricted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_a_form() {
        let reason = |code: &str, detail: Option<&str>| {
            Reason { code: code.to_owned(), detail: detail.map(str::to_owned) }.check()
        };
        assert_eq!(reason("licence_confirmed", Some("Found in the register")), Ok(()));
        let long = "x".repeat(LONGEST_CODE + 1);
        for code in ["", "A", "1a", "a-b", "a b", &long] {
            assert!(matches!(reason(code, None), Err(Fault::Text { field: "/reason/code", .. })), "{code:?}");
        }
        assert!(matches!(reason("a", Some("")), Err(Fault::Text { field: "/reason/detail", .. })));
    }

    #[test]
    fn resuming_goes_back_to_where_the_tenant_was() {
        let resumed = |from, before| Step::Resume.target(from, before);
        assert_eq!(resumed(State::Suspended, Some(State::Restricted)), State::Restricted);
        assert_eq!(resumed(State::Suspended, Some(State::Active)), State::Active);
        assert_eq!(resumed(State::Restricted, Some(State::Restricted)), State::Active);
        // A tenant becomes active by its first environment, not by being resumed.
        assert!(!Step::Resume.may_leave(State::Provisioning));
    }

    #[test]
    fn licences_are_those_of_the_jurisdiction() {
        let new = |jurisdiction: &str, licence: &str| {
            New {
                external_id: None,
                name: "Tianguis".to_owned(),
                jurisdiction: jurisdiction.parse().unwrap(),
                licence: licence.to_owned(),
            }
            .check()
        };
        for profile in profile::all() {
            for licence in &profile.licences {
                assert_eq!(new(profile.jurisdiction.id.as_str(), &licence.code), Ok(()));
            }
            let Err(Fault::Licence(known)) = new(profile.jurisdiction.id.as_str(), "CASINO") else {
                panic!()
            };
            assert!(known.contains(&profile.licences[0].code));
        }
        assert!(matches!(new("ar-bcra", "BANCO"), Err(Fault::Jurisdiction(_))));
    }
}
