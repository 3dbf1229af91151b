//! Where a tenant's data may lie, and what has to be on record before they do.
//!
//! A profile lists the countries that its regulator lets data go to, the home country among them, and per country the
//! conditions. A country that is not listed is forbidden. Nothing here is a default: whoever declares an environment
//! names its region.

use crate::environment::Mode;
use crate::jurisdiction::Country;
use crate::profile::{Mark, Profile};
use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What has to be on record.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = ResidencyCondition)]
pub enum Condition {
    /// The regulator was told, or has agreed, where that is asked for.
    Notice,
    /// The cell has certificates that are valid on the day. The only condition that cells meet, not tenants.
    Certificate,
    /// The regulator can look at data and contracts where they are.
    RegulatorAccess,
    /// The contract keeps the data in the region's country and nowhere else.
    LocalOnlyContract,
}

impl Condition {
    /// Every condition.
    pub const ALL: [Self; 4] =
        [Self::Notice, Self::Certificate, Self::RegulatorAccess, Self::LocalOnlyContract];

    /// Its name on the wire, in profiles and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Certificate => "certificate",
            Self::RegulatorAccess => "regulator_access",
            Self::LocalOnlyContract => "local_only_contract",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such condition")]
pub struct UnknownCondition;

impl FromStr for Condition {
    type Err = UnknownCondition;
    fn from_str(text: &str) -> Result<Self, UnknownCondition> {
        Self::ALL.into_iter().find(|condition| condition.as_str() == text).ok_or(UnknownCondition)
    }
}

/// A country that data may lie in: one of a profile's `[[residency]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The country.
    pub country: Country,
    /// What has to be on record; nothing for most home countries.
    #[serde(default)]
    pub requires: Vec<Requirement>,
    /// First date from which this is known to rule.
    pub valid_from: NaiveDate,
    /// Where it was read.
    pub source: String,
    /// How sure it is.
    pub mark: Mark,
}

/// One condition of a [`Place`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// The condition.
    pub condition: Condition,
    /// What it asks for, in one sentence.
    pub about: String,
    /// The modes that it is asked for in; both where nothing is said.
    #[serde(default = "both")]
    pub modes: Vec<Mode>,
    /// How many calendar days the record has to be older than the first day.
    #[serde(default)]
    pub lead_days: u16,
    /// The attestations that a cell needs, where the condition is [`Condition::Certificate`].
    #[serde(default)]
    pub attestations: Vec<String>,
    /// Where it was read.
    pub source: String,
    /// How sure it is.
    pub mark: Mark,
}

fn both() -> Vec<Mode> {
    vec![Mode::Sandbox, Mode::Live]
}

/// What a tenant has put on record, and not withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The condition that it meets.
    pub condition: Condition,
    /// The date of the document.
    pub dated_on: NaiveDate,
}

/// A condition that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing<'a> {
    /// Which.
    pub condition: Condition,
    /// What it asks for, in one sentence.
    pub about: &'a str,
    /// Where it was read.
    pub source: &'a str,
    /// The attestations that the cell lacks.
    pub attestations: Vec<&'a str>,
    /// The first day on which what is on record is old enough, where it is only too young.
    pub met_on: Option<NaiveDate>,
}

/// The profile does not let data lie in this country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the profile does not let data lie in {0}")]
pub struct Forbidden(pub Country);

/// The conditions that are not met for data in `country` on the day `on`, given what the tenant has on record for that
/// region and the attestations that the cell holds on that day, as profiles name them.
///
/// # Errors
/// [`Forbidden`]: no record helps.
pub fn missing<'a>(
    profile: &'a Profile,
    country: Country,
    mode: Mode,
    on: NaiveDate,
    recorded: &[Recorded],
    held: &[String],
) -> Result<Vec<Missing<'a>>, Forbidden> {
    let place = profile.residency.iter().find(|place| place.country == country && place.valid_from <= on);
    let place = place.ok_or(Forbidden(country))?;
    let asked = place.requires.iter().filter(|requirement| requirement.modes.contains(&mode));
    Ok(asked.filter_map(|requirement| requirement.missing(on, recorded, held)).collect())
}

impl Requirement {
    fn missing(&self, on: NaiveDate, recorded: &[Recorded], held: &[String]) -> Option<Missing<'_>> {
        let missing = Missing {
            condition: self.condition,
            about: &self.about,
            source: &self.source,
            attestations: Vec::new(),
            met_on: None,
        };
        if self.condition == Condition::Certificate {
            let lacking = self.attestations.iter().filter(|kind| !held.contains(kind));
            let attestations: Vec<&str> = lacking.map(String::as_str).collect();
            return (!attestations.is_empty()).then_some(Missing { attestations, ..missing });
        }
        let dates = recorded.iter().filter(|one| one.condition == self.condition).map(|one| one.dated_on);
        // A document of tomorrow is none yet.
        let Some(earliest) = dates.filter(|dated_on| *dated_on <= on).min() else { return Some(missing) };
        let met_on = earliest.checked_add_days(Days::new(self.lead_days.into())).unwrap_or(NaiveDate::MAX);
        (met_on > on).then_some(Missing { met_on: Some(met_on), ..missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{all, profile};

    fn by_id(id: &str) -> &'static Profile {
        profile(&id.parse().unwrap()).unwrap()
    }

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn country(code: &str) -> Country {
        code.parse().unwrap()
    }

    const TODAY: &str = "2026-11-20";

    /// The names of what is missing.
    fn names(
        id: &str,
        code: &str,
        mode: Mode,
        recorded: &[Recorded],
    ) -> Result<Vec<&'static str>, Forbidden> {
        let missing = missing(by_id(id), country(code), mode, day(TODAY), recorded, &[])?;
        Ok(missing.iter().map(|one| one.condition.as_str()).collect())
    }

    #[test]
    fn what_each_pair_of_country_and_region_asks_for() {
        for (id, code, mode, expected) in [
            ("mx-cnbv", "MX", Mode::Live, Some(&[][..])),
            ("mx-cnbv", "US", Mode::Live, Some(&["notice", "regulator_access", "local_only_contract"])),
            ("mx-cnbv", "BR", Mode::Live, None),
            ("co-sfc", "CO", Mode::Sandbox, Some(&[])),
            ("co-sfc", "CO", Mode::Live, Some(&["notice", "certificate"])),
            ("co-sfc", "US", Mode::Sandbox, Some(&["notice", "certificate", "regulator_access"])),
            ("co-sfc", "DE", Mode::Live, None),
            ("br-bcb", "BR", Mode::Live, Some(&[])),
            ("br-bcb", "US", Mode::Sandbox, Some(&["notice", "regulator_access"])),
            ("br-bcb", "CN", Mode::Sandbox, None),
        ] {
            let expected = expected.map(<[&str]>::to_vec).ok_or(Forbidden(country(code)));
            assert_eq!(names(id, code, mode, &[]), expected, "{id} in {code}, {mode}");
        }
    }

    #[test]
    fn every_profile_lets_data_lie_at_home() {
        for profile in all() {
            let home = profile.jurisdiction.country;
            assert_eq!(missing(profile, home, Mode::Sandbox, day(TODAY), &[], &[]), Ok(vec![]), "{home}");
        }
    }

    #[test]
    fn a_record_counts_from_its_date_and_its_lead_on() {
        let notice = |date: &str| [Recorded { condition: Condition::Notice, dated_on: day(date) }];
        let of = |date: &str| {
            let missing =
                missing(by_id("mx-cnbv"), country("US"), Mode::Sandbox, day(TODAY), &notice(date), &[]);
            missing.unwrap().into_iter().find(|one| one.condition == Condition::Notice)
        };
        assert_eq!(of("2026-10-23"), None, "28 days ago");
        assert_eq!(of("2026-10-24").map(|one| one.met_on), Some(Some(day("2026-11-21"))), "27 days ago");
        assert_eq!(of("2026-11-21").map(|one| one.met_on), Some(None), "of tomorrow");
        let access = [Recorded { condition: Condition::RegulatorAccess, dated_on: day(TODAY) }];
        assert_eq!(
            names("br-bcb", "US", Mode::Live, &access),
            Ok(vec!["notice"]),
            "no lead, no other condition"
        );
    }

    #[test]
    fn certificates_are_the_cells() {
        let recorded = [
            Recorded { condition: Condition::Notice, dated_on: day("2026-01-01") },
            // A tenant cannot record what cells are certified for.
            Recorded { condition: Condition::Certificate, dated_on: day("2026-01-01") },
        ];
        let of = |held: &[&str]| {
            let (co, held) =
                (by_id("co-sfc"), held.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>());
            let missing = missing(co, country("CO"), Mode::Live, day(TODAY), &recorded, &held).unwrap();
            missing.into_iter().flat_map(|one| one.attestations).collect::<Vec<_>>()
        };
        assert_eq!(of(&["iso27001"]), ["iso27017", "iso27018"]);
        assert_eq!(of(&["iso27001", "iso27017", "iso27018"]), Vec::<&str>::new());
    }

    #[test]
    fn a_rule_of_later_is_none_yet() {
        let early = day("2000-01-01");
        let mx = by_id("mx-cnbv");
        let home = mx.jurisdiction.country;
        assert_eq!(missing(mx, home, Mode::Live, early, &[], &[]), Err(Forbidden(home)));
    }
}
