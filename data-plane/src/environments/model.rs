//! What is wanted of an environment, what it is, and what is missing in between; pure.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use tenants::{
    contract::{ClientIntent, ClientSeen, EnvironmentIntent, EnvironmentObserved, ExportSeen},
    environment::{Condition, Desired, Mode, Phase, Status, UnknownText, observe},
    id::{EnvironmentId, OrganizationId, TenantId},
    jurisdiction::JurisdictionId,
    profile::Profile,
};

use super::export::Export;

/// Whom an environment answers. Apart from how far it is: while a ready one is being changed it goes on serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody: it is not made yet, or being removed.
    Closed,
    /// Its clients.
    Open,
    /// Nobody for now, and it says so.
    Suspended,
}

impl Access {
    const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::Suspended];

    /// Its name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Suspended => "suspended",
        }
    }
}

impl FromStr for Access {
    type Err = UnknownText;
    fn from_str(text: &str) -> Result<Self, UnknownText> {
        Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(UnknownText)
    }
}

/// What the cell itself is.
#[derive(Debug, Clone, Copy)]
pub struct Home {
    /// How many ledger shards it has.
    pub shards: i32,
    /// Sandbox or live.
    pub mode: Mode,
    /// What its regulator asks for.
    pub profile: &'static Profile,
}

impl Home {
    /// The shard of a new environment; fixed for ever in its row.
    pub fn shard_of(&self, id: EnvironmentId) -> i32 {
        // The low half of an id is random.
        let (_, low) = id.uuid().as_u64_pair();
        let shards = u64::try_from(self.shards).unwrap_or(1).max(1);
        i32::try_from(low % shards).unwrap_or(0)
    }
}

/// An environment of this cell: the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: EnvironmentId,
    /// Who pays and whose it is; nobody, where the cell's configuration names the environment.
    pub owner: Option<(OrganizationId, TenantId)>,
    /// Sandbox or live.
    pub mode: Mode,
    /// Under whose law it is.
    pub jurisdiction: JurisdictionId,
    /// Its home shard.
    pub shard: i32,
    /// The version of the profile that rules it; empty before there is one.
    pub profile_version: String,
    /// What is wanted.
    pub wanted: Desired,
    /// Counts what was wanted.
    pub generation: u64,
    /// The generation that it has arrived at.
    pub applied_generation: u64,
    /// How far it is.
    pub phase: Phase,
    /// Whom it answers.
    pub access: Access,
    /// The step that was done last.
    pub step: Option<String>,
    /// What was looked at.
    pub conditions: Vec<Condition>,
    /// The newest migration when it was looked at; empty before.
    pub schema: String,
    /// What the control plane wants, whole; nothing, where the cell's configuration names the environment.
    pub intent: Option<EnvironmentIntent>,
    /// Counts the changes of all environments of the cell.
    pub observed_version: i64,
    /// Up to which the control plane has been told.
    pub reported_version: i64,
    /// When the row was made, wall clock.
    pub made_at: DateTime<Utc>,
    /// What was exported of it, once it is to be removed.
    pub export: Option<Export>,
}

/// A step on the way to what is wanted. Each looks first, and does nothing if it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its tokens are refused, as those of a suspended environment.
    Suspend,
    /// Its tokens are refused, as those of none.
    Close,
    /// Clients, credentials and tokens that are not wanted any more are gone: first, because that never has to wait for
    /// anything.
    Withdraw,
    /// It fits into this cell.
    Fit,
    /// It has a data key, which opens.
    Keys,
    /// A sandbox's clock is ahead by what is wanted.
    Clock,
    /// The profile's version is one that this build has.
    Profile,
    /// Its clients are those that are wanted, and no others.
    Clients,
    /// Its objects have a place of their own, which says whose it is.
    Objects,
    /// The schema is this build's, the ledger would post, and a client would be let in.
    Verify,
    /// What was let in has ended, payments too, and nothing is held.
    Drain,
    /// Everything that it has lies in the object store, for its tenant.
    Export,
    /// The law lets it go.
    Hold,
    /// The slices have no row of it, and the ledger no words.
    Clear,
    /// Its objects are gone.
    RemoveObjects,
    /// Its data key is destroyed.
    Erase,
}

impl Step {
    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Close => "close",
            Self::Withdraw => "withdraw",
            Self::Fit => "fit",
            Self::Keys => "keys",
            Self::Clock => "clock",
            Self::Profile => "profile",
            Self::Clients => "clients",
            Self::Objects => "objects",
            Self::Verify => "verify",
            Self::Drain => "drain",
            Self::Export => "export",
            Self::Hold => "hold",
            Self::Clear => "clear",
            Self::RemoveObjects => "remove_objects",
            Self::Erase => "erase",
        }
    }
}

/// Whether its objects have a place.
pub const OBJECTS_READY: &str = "ObjectsReady";
/// Whether it answers nobody any more.
pub const CLOSED: &str = "Closed";
/// Whether what was under way has ended.
pub const DRAINED: &str = "Drained";
/// Whether it is kept, and until when.
pub const HELD: &str = "Held";
/// Whether the export is whole, and signed.
pub const EXPORTED: &str = "Exported";
/// Whether all is taken away; seen as soon as the first of it is.
pub const CLEARED: &str = "Cleared";
/// Whether there is a data key.
pub const KEYS_MADE: &str = "KeysMade";
/// Whether the data key is destroyed.
pub const KEYS_ERASED: &str = "KeysErased";
/// What was looked at last before an environment is ready.
pub const SCHEMA_CURRENT: &str = "SchemaCurrent";
/// Whether the ledger would post in it.
pub const LEDGER_POSTS: &str = "LedgerPosts";
/// Whether a client of it would get a token, and be let in with it.
pub const TOKENS_ISSUED: &str = "TokensIssued";

impl Record {
    /// A new row.
    pub fn new(id: EnvironmentId, home: &Home, shard: i32, now: DateTime<Utc>) -> Self {
        Self {
            id,
            owner: None,
            mode: home.mode,
            jurisdiction: home.profile.jurisdiction.id.clone(),
            shard,
            profile_version: String::new(),
            wanted: Desired::Present,
            generation: 0,
            applied_generation: 0,
            phase: Phase::Converging,
            access: Access::Closed,
            step: None,
            conditions: Vec::new(),
            schema: String::new(),
            intent: None,
            observed_version: 0,
            reported_version: 0,
            made_at: now,
            export: None,
        }
    }

    /// What is to be done for what is wanted, in order.
    pub const fn steps(&self) -> &'static [Step] {
        match self.wanted {
            Desired::Present => &[
                Step::Withdraw,
                Step::Fit,
                Step::Keys,
                Step::Clock,
                Step::Profile,
                Step::Clients,
                Step::Objects,
                Step::Verify,
            ],
            Desired::Suspended => &[
                Step::Suspend,
                Step::Withdraw,
                Step::Fit,
                Step::Keys,
                Step::Clock,
                Step::Profile,
                Step::Clients,
                Step::Objects,
                Step::Verify,
            ],
            Desired::Removed => &[
                Step::Close,
                Step::Clients,
                Step::Drain,
                Step::Export,
                Step::Hold,
                Step::RemoveObjects,
                Step::Clear,
                Step::Erase,
            ],
            Desired::Unknown => &[Step::Withdraw, Step::Fit],
        }
    }

    /// How far it is when all steps are done.
    pub const fn goal(&self) -> Phase {
        match self.wanted {
            Desired::Present => Phase::Ready,
            Desired::Suspended => Phase::Suspended,
            Desired::Removed => Phase::Removed,
            Desired::Unknown => Phase::Failed,
        }
    }

    /// Whether nothing is to be done, in a build with this profile and newest migration.
    pub fn is_settled(&self, profile: &Profile, schema: &str) -> bool {
        let arrived = self.phase == self.goal() && self.applied_generation == self.generation;
        arrived
            && (self.phase == Phase::Removed
                || (self.schema == schema
                    && self.profile_version == profile.version
                    && (self.wanted == Desired::Unknown || self.holds(OBJECTS_READY))))
    }

    /// The row with everything in place: what stood in the way does not any more.
    pub fn arrived(&self, now: DateTime<Utc>) -> Self {
        let access = match self.wanted {
            Desired::Present => Access::Open,
            Desired::Suspended | Desired::Removed | Desired::Unknown => self.access,
        };
        let mut conditions = self.conditions.clone();
        for past in conditions.iter_mut().filter(|one| one.status != Status::True) {
            *past = condition(&past.r#type, Status::True, "Resolved", None, now);
        }
        let (phase, applied_generation) = (self.goal(), self.generation);
        let arrived = Self { phase, access, applied_generation, step: None, conditions, ..self.clone() };
        if phase == Phase::Removed { arrived.nameless() } else { arrived }
    }

    /// The row without what names somebody.
    fn nameless(mut self) -> Self {
        if let Some(intent) = &mut self.intent {
            intent.tenant_name.clear();
            intent.clients.clear();
        }
        self
    }

    /// The row with what was seen, after a step was done.
    pub fn after(&self, step: Step, seen: impl IntoIterator<Item = Condition>) -> Self {
        let mut after = Self { step: Some(step.as_str().to_owned()), ..self.clone() };
        for condition in seen {
            observe(&mut after.conditions, condition);
        }
        after
    }

    /// Whether it was verified since something else was wanted.
    pub fn is_verified(&self, schema: &str) -> bool {
        self.step.as_deref() == Some(Step::Verify.as_str())
            && self.schema == schema
            && self.holds(SCHEMA_CURRENT)
            && self.holds(LEDGER_POSTS)
            && self.holds(TOKENS_ISSUED)
    }

    /// Whether that generation was its removal, and is done.
    pub fn is_removed_in(&self, generation: u64) -> bool {
        self.phase == Phase::Removed && self.generation == generation
    }

    /// Whether a condition was seen, and held.
    pub fn holds(&self, name: &str) -> bool {
        self.conditions.iter().any(|one| one.r#type == name && one.status == Status::True)
    }

    /// The clients that are wanted; nothing, where the cell's configuration says it.
    pub fn wanted_clients(&self) -> Option<&[ClientIntent]> {
        let intent = self.intent.as_ref()?;
        let none: &[ClientIntent] = &[];
        Some(if self.wanted == Desired::Removed { none } else { &intent.clients })
    }

    /// The version of the profile that is wanted.
    pub fn wanted_profile<'a>(&'a self, home: &'a Home) -> &'a str {
        self.intent.as_ref().map_or(&home.profile.version, |intent| &intent.profile_version)
    }

    /// Why this environment has no place in this cell, as a stable word.
    pub fn misfit(&self, home: &Home) -> Option<&'static str> {
        if self.wanted == Desired::Unknown {
            return Some("PhaseUnknown");
        }
        if self.conditions.iter().any(|one| one.r#type == CLEARED) {
            return Some("Cleared");
        }
        let intent = self.intent.as_ref();
        let owner = intent.map(|intent| (intent.organization, intent.tenant));
        let here = &home.profile.jurisdiction.id;
        if self.mode != home.mode || intent.is_some_and(|intent| intent.mode != home.mode) {
            Some("ModeDiffers")
        } else if self.jurisdiction != *here || intent.is_some_and(|intent| intent.jurisdiction != *here) {
            Some("JurisdictionDiffers")
        } else if self.owner != owner {
            Some("TenantDiffers")
        } else if !(0..home.shards).contains(&self.shard) {
            Some("ShardMissing")
        } else {
            None
        }
    }

    /// Until when the law wants kept what ended then: nothing of a sandbox. Years are calendar years.
    pub fn law_holds_until(&self, ended: DateTime<Utc>, profile: &Profile) -> Option<DateTime<Utc>> {
        let months = chrono::Months::new(profile.retention.years.saturating_mul(12));
        (self.mode == Mode::Live)
            .then(|| ended.checked_add_months(months).unwrap_or(DateTime::<Utc>::MAX_UTC))
    }

    /// Until when it is kept, as the control plane is told.
    fn hold_until(&self) -> Option<DateTime<Utc>> {
        let held = self.conditions.iter().find(|one| one.r#type == HELD && one.reason != "Resolved")?;
        held.detail.as_deref()?.parse().ok()
    }

    /// The row once this is wanted of it.
    pub fn wanting(&self, intent: &EnvironmentIntent, generation: u64) -> Self {
        let phase = match intent.phase {
            Desired::Removed => Phase::Removing,
            _ => Phase::Converging,
        };
        let (mut conditions, mut export) = (self.conditions.clone(), self.export.clone());
        if intent.phase != Desired::Removed {
            conditions.retain(|one| ![CLOSED, DRAINED, HELD, EXPORTED].contains(&one.r#type.as_str()));
            // What comes after it is not in it.
            export = None;
        }
        Self {
            export,
            wanted: intent.phase,
            generation,
            phase,
            step: None,
            conditions,
            intent: Some(intent.clone()),
            ..self.clone()
        }
    }

    /// The clients that it has, once it has arrived.
    fn clients_seen(&self) -> Vec<ClientSeen> {
        let arrived = self.phase == self.goal() && self.applied_generation == self.generation;
        let wanted = self.wanted_clients().filter(|_| arrived).unwrap_or_default();
        wanted
            .iter()
            .filter(|client| !client.revoked)
            .map(|client| ClientSeen { id: client.id, epoch: client.epoch })
            .collect()
    }

    /// The export, once it is whole and signed.
    fn exports_seen(&self) -> Vec<ExportSeen> {
        let seen = self.export.iter().filter_map(|export| {
            let seal = export.seal.as_ref()?;
            Some(ExportSeen {
                id: export.id,
                sha256: seal.sha256.clone(),
                bytes: seal.bytes,
                signed_by: seal.signed_by.clone(),
            })
        });
        seen.collect()
    }

    /// What the control plane is told of it; nothing, where only the cell's configuration names it.
    pub fn observed(&self, with_intent: bool) -> Option<EnvironmentObserved> {
        let (organization, tenant) = self.owner?;
        Some(EnvironmentObserved {
            id: self.id,
            organization,
            tenant,
            generation: self.generation,
            phase: self.phase,
            step: self.step.clone(),
            conditions: self.conditions.clone(),
            profile_version: self.profile_version.clone(),
            clients: self.clients_seen(),
            schema: self.schema.clone(),
            exports: self.exports_seen(),
            hold_until: self.hold_until(),
            intent: self.intent.clone().filter(|_| with_intent).map(Box::new),
        })
    }
}

/// Whether two intents ask for the same; they may tell of it in other words, for people.
pub fn same_demand(one: &EnvironmentIntent, other: &EnvironmentIntent) -> bool {
    let plain = |intent: &EnvironmentIntent| EnvironmentIntent {
        tenant_name: String::new(),
        operation: None,
        ..intent.clone()
    };
    plain(one) == plain(other)
}

/// Whether credentials or scopes of a client were granted later than `wanted` says: who wants that was restored from an older
/// backup. A removal is taken from whomever it comes.
pub fn knows_later(stored: &EnvironmentIntent, wanted: &EnvironmentIntent) -> bool {
    wanted.phase != Desired::Removed
        && stored.clients.iter().any(|known| {
            let other = wanted.clients.iter().find(|other| other.id == known.id);
            let granted = other.and_then(|other| other.changed_at).zip(known.changed_at);
            granted.is_some_and(|(wanted, known)| wanted < known)
        })
}

/// A condition of ours as it is seen now.
pub fn condition(
    name: &str,
    status: Status,
    reason: &str,
    detail: Option<String>,
    now: DateTime<Utc>,
) -> Condition {
    Condition { r#type: name.to_owned(), status, reason: reason.to_owned(), detail, since_at: now }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenants::profile::profile;

    /// The control plane tells from them how far an environment is.
    #[test]
    fn the_steps_are_those_that_the_control_plane_knows() {
        let profile = profile(&"mx-cnbv".parse().unwrap()).unwrap();
        let home = Home { shards: 1, mode: Mode::Sandbox, profile };
        let mut record =
            Record::new(EnvironmentId::from_uuid(uuid::Uuid::nil()), &home, 0, DateTime::UNIX_EPOCH);
        for wanted in Desired::ALL.into_iter().chain([Desired::Unknown]) {
            record.wanted = wanted;
            let names: Vec<&str> = record.steps().iter().map(|step| step.as_str()).collect();
            assert_eq!(names, wanted.steps(), "{wanted}");
        }
    }
}
