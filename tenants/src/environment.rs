//! What kind of environment a tenant works in, what is wanted of it, and what became of that.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Whether money is real. An environment has one mode for ever, and so has a cell: sandbox and live share code, never
/// a database, a key or a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Play money, a movable clock, simulated rails and registries.
    Sandbox,
    /// Real money on the wall clock.
    Live,
}

impl Mode {
    /// `sandbox` or `live`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Live => "live",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an environment is in its life, as its tenant sees it in the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentState {
    /// Declared; no cell is chosen yet.
    Pending,
    /// A cell is making it.
    Provisioning,
    /// It serves.
    Ready,
    /// It answers nobody.
    Suspended,
    /// It is being exported and removed.
    Removing,
    /// Nothing of it is left in a cell. Final.
    Removed,
}

impl EnvironmentState {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Provisioning, Self::Ready, Self::Suspended, Self::Removing, Self::Removed];

    /// The states that may follow this one. An environment may be removed before it is ready.
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Provisioning, Self::Removing],
            Self::Provisioning => &[Self::Ready, Self::Removing],
            Self::Ready => &[Self::Suspended, Self::Removing],
            Self::Suspended => &[Self::Ready, Self::Removing],
            Self::Removing => &[Self::Removed],
            Self::Removed => &[],
        }
    }

    /// Whether `to` may follow this one.
    pub fn may_become(self, to: Self) -> bool {
        self.next().contains(&to)
    }

    /// Whether nothing follows.
    pub const fn is_final(self) -> bool {
        self.next().is_empty()
    }

    /// The state's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Suspended => "suspended",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}

/// What the control plane wants of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Desired {
    /// That it serves.
    Present,
    /// That it is there and answers nobody.
    Suspended,
    /// That nothing of it is left but what the law wants kept.
    Removed,
    /// What a newer build wants and this one does not know: nothing is changed then.
    #[serde(other)]
    Unknown,
}

impl Desired {
    /// What an intent can say.
    pub const ALL: [Self; 3] = [Self::Present, Self::Suspended, Self::Removed];

    /// Its name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
            Self::Unknown => "unknown",
        }
    }

    /// The steps by which a cell brings it about, in order, as its reports name them. A cell of another version may have
    /// others.
    pub const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::Present => &["withdraw", "fit", "keys", "clock", "profile", "clients", "objects", "verify"],
            Self::Suspended => {
                &["suspend", "withdraw", "fit", "keys", "clock", "profile", "clients", "objects", "verify"]
            }
            Self::Removed => {
                &["close", "clients", "drain", "export", "hold", "remove_objects", "clear", "erase"]
            }
            Self::Unknown => &["withdraw", "fit"],
        }
    }
}

/// How far an environment is in its cell, as the cell reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The cell has nothing of it.
    Absent,
    /// The cell is making or changing it.
    Converging,
    /// It is as wanted, and serves.
    Ready,
    /// It is as wanted, and answers nobody.
    Suspended,
    /// It is being exported and removed.
    Removing,
    /// It is as wanted: gone.
    Removed,
    /// The cell cannot make it as wanted; the conditions say why.
    Failed,
    /// What a newer build reports and this one does not know.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// What a report can say.
    pub const ALL: [Self; 7] = [
        Self::Absent,
        Self::Converging,
        Self::Ready,
        Self::Suspended,
        Self::Removing,
        Self::Removed,
        Self::Failed,
    ];

    /// Its name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Converging => "converging",
            Self::Ready => "ready",
            Self::Suspended => "suspended",
            Self::Removing => "removing",
            Self::Removed => "removed",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// A text that names none of the values it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such value")]
pub struct UnknownText;

macro_rules! texts {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl FromStr for $type {
            type Err = UnknownText;
            fn from_str(text: &str) -> Result<Self, UnknownText> {
                Self::ALL.into_iter().find(|one| one.as_str() == text).ok_or(UnknownText)
            }
        }
    )*};
}
texts!(EnvironmentState, Desired, Phase);

impl FromStr for Mode {
    type Err = UnknownText;
    fn from_str(text: &str) -> Result<Self, UnknownText> {
        [Self::Sandbox, Self::Live].into_iter().find(|mode| mode.as_str() == text).ok_or(UnknownText)
    }
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ConditionStatus)]
pub enum Status {
    /// It holds.
    True,
    /// It does not.
    False,
    /// Nobody has looked, or a newer build says something else.
    #[serde(other)]
    Unknown,
}

/// One thing that was looked at on the way to what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Condition {
    /// What was looked at, in capitals and small letters: `Placed`, `SchemaCurrent`.
    pub r#type: String,
    /// Whether it holds.
    pub status: Status,
    /// Why, as a stable word: `NoCapacity`.
    pub reason: String,
    /// Why, for people; in English, without personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When its status last changed.
    pub since_at: DateTime<Utc>,
}

/// Notes what was looked at: a condition keeps its instant while its status stays.
pub fn observe(conditions: &mut Vec<Condition>, seen: Condition) {
    match conditions.iter_mut().find(|known| known.r#type == seen.r#type) {
        Some(known) if known.status == seen.status => *known = Condition { since_at: known.since_at, ..seen },
        Some(known) => *known = seen,
        None => conditions.push(seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_the_display_form() {
        for mode in [Mode::Sandbox, Mode::Live] {
            let text = serde_json::to_string(&mode).unwrap();
            assert_eq!(text, format!("\"{mode}\""));
            assert_eq!(serde_json::from_str::<Mode>(&text).unwrap(), mode);
        }
        assert!(serde_json::from_str::<Mode>("\"Live\"").is_err());
    }

    /// All pairs, against a table that is written apart from the code's.
    #[test]
    fn only_these_moves_of_an_environment_are_there() {
        let allowed = [
            ("pending", "provisioning"),
            ("pending", "removing"),
            ("provisioning", "ready"),
            ("provisioning", "removing"),
            ("ready", "suspended"),
            ("ready", "removing"),
            ("suspended", "ready"),
            ("suspended", "removing"),
            ("removing", "removed"),
        ];
        for from in EnvironmentState::ALL {
            for to in EnvironmentState::ALL {
                let listed = allowed.contains(&(from.as_str(), to.as_str()));
                assert_eq!(from.may_become(to), listed, "{from} to {to}");
            }
        }
        assert!(EnvironmentState::Removed.is_final());
    }

    #[test]
    fn texts_are_those_of_the_wire_and_new_ones_are_unknown() {
        fn same<T: Serialize + FromStr<Err = UnknownText> + fmt::Display + PartialEq + fmt::Debug>(
            all: &[T],
        ) {
            for one in all {
                assert_eq!(serde_json::to_value(one).unwrap(), one.to_string());
                assert_eq!(one.to_string().parse::<T>().as_ref(), Ok(one));
            }
        }
        same(&EnvironmentState::ALL);
        same(&Desired::ALL);
        same(&Phase::ALL);
        same(&[Mode::Sandbox, Mode::Live]);
        assert_eq!(serde_json::from_str::<Phase>("\"resting\"").unwrap(), Phase::Unknown);
        assert_eq!(serde_json::from_str::<Desired>("\"moved\"").unwrap(), Desired::Unknown);
        assert!(serde_json::from_str::<EnvironmentState>("\"resting\"").is_err());
    }

    #[test]
    fn a_condition_keeps_its_instant_while_its_status_stays() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let seen = |status, reason: &str, second| Condition {
            r#type: "Placed".to_owned(),
            status,
            reason: reason.to_owned(),
            detail: None,
            since_at: at(second),
        };
        let mut conditions = Vec::new();
        observe(&mut conditions, seen(Status::False, "NoCell", 1));
        observe(&mut conditions, seen(Status::False, "NoCapacity", 2));
        assert_eq!(conditions, [seen(Status::False, "NoCapacity", 1)]);
        observe(&mut conditions, seen(Status::True, "Placed", 3));
        assert_eq!(conditions, [seen(Status::True, "Placed", 3)]);
    }
}
