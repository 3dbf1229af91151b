//! Compliance profiles: what a regulator asks for, as dated data with its source.
//!
//! A profile is a folder `profiles/<jurisdiction>/` of this crate, compiled in. Every value says since when it is known
//! to rule (`valid_from`), where that was read (`source`) and how sure it is (`mark`); unknown keys are refused.
//! Nothing here is legal advice: [`Profile::needs_legal_review`] lists what a lawyer must confirm before live use.

use crate::calendar::Calendar;
use crate::jurisdiction::{Country, Jurisdiction, JurisdictionId};
use crate::money::Currency;
use crate::residency::{self, Condition};
use chrono::{Datelike, NaiveDate, Weekday};
use serde::Deserialize;
use std::sync::LazyLock;

mod identifier;

pub use identifier::{IdentifierType, Person};

const TEXTS: [&str; 3] = [
    include_str!("../profiles/mx-cnbv/profile.toml"),
    include_str!("../profiles/co-sfc/profile.toml"),
    include_str!("../profiles/br-bcb/profile.toml"),
];

static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    TEXTS
        .iter()
        .map(|text| Profile::parse(text).expect("compiled in, and parsed by this module's tests"))
        .collect()
});

/// The profile of a jurisdiction, if there is one.
pub fn profile(id: &JurisdictionId) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.jurisdiction.id == *id)
}

/// All profiles.
pub fn all() -> &'static [Profile] {
    &PROFILES
}

/// Why a text is no profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not TOML, an unknown or missing key, or a value of another type.
    #[error(transparent)]
    Format(#[from] toml::de::Error),
    /// A value that contradicts another or is out of bounds.
    #[error("{key}: {why}")]
    Value {
        /// Where it stands.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// How sure a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Read in a public source.
    Seen,
    /// Common knowledge of the trade, its text not read.
    Known,
    /// Follows from other values by a rule.
    Computed,
    /// To be checked before anything relies on it.
    Uncertain,
}

/// One unit of measure of a profile's values: a currency or an index such as UDI or UVT.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantity {
    /// A decimal number, as text so that none of it is lost: `210.50`.
    pub value: String,
    /// The code of a currency or of one of the profile's indices.
    pub unit: String,
}

/// A licence that a tenant of this jurisdiction can hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Licence {
    /// Stable code, such as `IFPE`.
    pub code: String,
    /// Its name in the law.
    pub name: String,
    /// First date from which this is known to rule.
    pub valid_from: NaiveDate,
    /// Where it was read.
    pub source: String,
    /// How sure it is.
    pub mark: Mark,
}

/// A step of the ladder of customer knowledge; a bound that is absent is no bound.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KycTier {
    /// Stable code, such as `N1`.
    pub code: String,
    /// The most that may be credited in a calendar month.
    pub monthly_credits: Option<Quantity>,
    /// The most that may be debited in a calendar month.
    pub monthly_debits: Option<Quantity>,
    /// The most that the account may hold.
    pub balance: Option<Quantity>,
    /// First date from which this is known to rule.
    pub valid_from: NaiveDate,
    /// Where it was read.
    pub source: String,
    /// How sure it is.
    pub mark: Mark,
}

/// An amount that the regulator bounds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Stable code, such as `night`.
    pub code: String,
    /// What it bounds, in one sentence.
    pub about: String,
    /// The most.
    pub maximum: Quantity,
    /// First date from which this is known to rule.
    pub valid_from: NaiveDate,
    /// Where it was read.
    pub source: String,
    /// How sure it is.
    pub mark: Mark,
}

/// The value of an index in the currency of the jurisdiction.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Stable code, such as `UDI`.
    pub code: String,
    /// One unit of the index in major units of the currency, a decimal number as text.
    pub value: String,
    /// First date from which this is known to rule.
    pub valid_from: NaiveDate,
    /// Where it was read.
    pub source: String,
    /// How sure it is.
    pub mark: Mark,
}

/// The holidays of one year.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Year {
    year: i32,
    /// `MM-DD`.
    holidays: Vec<String>,
    #[serde(rename = "source")]
    _source: String,
    mark: Mark,
}

/// How long the regulator wants records kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Years after the end of the relation.
    pub years: u32,
    /// First date from which this is known to rule.
    pub valid_from: NaiveDate,
    /// Where it was read.
    pub source: String,
    /// How sure it is.
    pub mark: Mark,
}

/// A jurisdiction and the values its regulator sets.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Country, currency, locale, time zone and calendar.
    pub jurisdiction: Jurisdiction,
    /// Which edition of the profile this is: environments are moved from one to the next.
    pub version: String,
    /// The regulator's name.
    pub authority: String,
    /// The licences, the one that a first tenant would hold first.
    pub licences: Vec<Licence>,
    /// The ladder of customer knowledge, from the least known up.
    pub kyc_tiers: Vec<KycTier>,
    /// Bounds on amounts.
    pub limits: Vec<Limit>,
    /// Units of measure that bounds are stated in.
    pub indices: Vec<Index>,
    /// The identifiers that persons have.
    pub identifiers: Vec<IdentifierType>,
    /// The countries that data may lie in, the home country first.
    pub residency: Vec<residency::Place>,
    /// How long records are kept.
    pub retention: Retention,
    calendar_years: Vec<(i32, Mark)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: JurisdictionId,
    version: String,
    authority: String,
    country: Country,
    currency: Currency,
    locale: String,
    time_zone: String,
    #[serde(default)]
    licences: Vec<Licence>,
    #[serde(default)]
    kyc_tiers: Vec<KycTier>,
    #[serde(default)]
    limits: Vec<Limit>,
    #[serde(default)]
    indices: Vec<Index>,
    #[serde(default)]
    identifiers: Vec<identifier::Entry>,
    residency: Vec<residency::Place>,
    retention: Retention,
    calendar: CalendarFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CalendarFile {
    weekend: Vec<Weekday>,
    years: Vec<Year>,
}

impl Profile {
    /// Reads a `profile.toml`.
    ///
    /// # Errors
    /// [`ProfileError`]: unknown keys, values of another type, dates that do not exist, units without a meaning.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        let file: File = toml::from_str(text)?;
        file.check()?;
        let time_zone =
            file.time_zone.parse().map_err(|_| wrong("time_zone", "not a zone of the IANA database"))?;
        let mut holidays = Vec::new();
        for year in &file.calendar.years {
            for day in &year.holidays {
                let date = format!("{}-{day}", year.year).parse::<NaiveDate>();
                let date = date.ok().filter(|date| date.format("%m-%d").to_string() == *day);
                holidays.push(
                    date.ok_or_else(|| wrong(format!("calendar.{}", year.year), format!("no date: {day}")))?,
                );
            }
        }
        let years = file.calendar.years.iter().map(|year| year.year);
        let calendar = Calendar::new(file.calendar.weekend.iter().copied(), years, holidays);
        let jurisdiction = Jurisdiction {
            id: file.id,
            country: file.country,
            currency: file.currency,
            locale: file.locale,
            time_zone,
            calendar,
        };
        Ok(Self {
            jurisdiction,
            version: file.version,
            authority: file.authority,
            licences: file.licences,
            kyc_tiers: file.kyc_tiers,
            limits: file.limits,
            indices: file.indices,
            identifiers: identifier::read(file.identifiers)?,
            residency: file.residency,
            retention: file.retention,
            calendar_years: file.calendar.years.iter().map(|year| (year.year, year.mark)).collect(),
        })
    }

    /// The identifier `code` of a person of this kind.
    pub fn identifier(&self, code: &str, person: Person) -> Option<&IdentifierType> {
        self.identifiers.iter().find(|known| known.code == code && known.person == person)
    }

    /// The values that are marked uncertain, as `kind.code`: to be confirmed before live use.
    pub fn needs_legal_review(&self) -> Vec<String> {
        let licences = self.licences.iter().map(|value| ("licences", value.code.clone(), value.mark));
        let tiers = self.kyc_tiers.iter().map(|value| ("kyc_tiers", value.code.clone(), value.mark));
        let limits = self.limits.iter().map(|value| ("limits", value.code.clone(), value.mark));
        let indices = self.indices.iter().map(|value| ("indices", value.code.clone(), value.mark));
        let identifiers =
            self.identifiers.iter().map(|value| ("identifiers", value.code.clone(), value.mark));
        let years = self.calendar_years.iter().map(|(year, mark)| ("calendar", year.to_string(), *mark));
        let places = self.residency.iter().flat_map(|place| {
            let country = place.country;
            let requirements = place.requires.iter();
            let requirements =
                requirements.map(move |one| ("residency", format!("{country}.{}", one.condition), one.mark));
            std::iter::once(("residency", country.to_string(), place.mark)).chain(requirements)
        });
        let retention = std::iter::once(("retention", "years".to_owned(), self.retention.mark));
        let values = licences.chain(tiers).chain(limits).chain(indices).chain(identifiers);
        let values = values.chain(places).chain(retention).chain(years);
        values
            .filter(|(.., mark)| *mark == Mark::Uncertain)
            .map(|(kind, code, _)| format!("{kind}.{code}"))
            .collect()
    }
}

impl File {
    /// What the types alone do not say.
    fn check(&self) -> Result<(), ProfileError> {
        if self.id.as_str().get(..2) != Some(self.country.code().to_lowercase().as_str()) {
            return Err(wrong("country", "not the country of the id"));
        }
        match self.locale.split_once('-') {
            Some(("es" | "pt" | "en", country)) if country == self.country.code() => {}
            _ => return Err(wrong("locale", "not es, pt or en with the country, such as `es-MX`")),
        }
        for tier in &self.kyc_tiers {
            for quantity in [&tier.monthly_credits, &tier.monthly_debits, &tier.balance].into_iter().flatten()
            {
                self.check_quantity(&format!("kyc_tiers.{}", tier.code), quantity)?;
            }
        }
        for limit in &self.limits {
            self.check_quantity(&format!("limits.{}", limit.code), &limit.maximum)?;
        }
        for index in &self.indices {
            if !is_decimal(&index.value) {
                return Err(wrong(format!("indices.{}", index.code), "the value is not a decimal number"));
            }
        }
        self.check_residency()?;
        for (at, year) in self.calendar.years.iter().enumerate() {
            if self.calendar.years[..at].iter().any(|earlier| earlier.year >= year.year) {
                return Err(wrong(format!("calendar.{}", year.year), "years are listed once, in order"));
            }
            if NaiveDate::from_yo_opt(year.year, 1).is_none_or(|first| first.year() < 2000) {
                return Err(wrong(format!("calendar.{}", year.year), "not a year of this century"));
            }
        }
        Ok(())
    }

    fn check_residency(&self) -> Result<(), ProfileError> {
        let version = self.version.split_once('.');
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        if !version.is_some_and(|(year, month)| digits(year, 4) && digits(month, 2)) {
            return Err(wrong("version", "not a year and a month, such as 2026.11"));
        }
        if self.residency.first().is_none_or(|place| place.country != self.country) {
            return Err(wrong("residency", "the home country comes first"));
        }
        for (at, place) in self.residency.iter().enumerate() {
            let key = format!("residency.{}", place.country);
            if self.residency[..at].iter().any(|earlier| earlier.country == place.country) {
                return Err(wrong(key, "a country is listed once"));
            }
            for (at, requirement) in place.requires.iter().enumerate() {
                let of_cell = requirement.condition == Condition::Certificate;
                if of_cell == requirement.attestations.is_empty() {
                    return Err(wrong(key, "`certificate` names attestations, and nothing else does"));
                }
                let twice = |earlier: &residency::Requirement| earlier.condition == requirement.condition;
                if place.requires[..at].iter().any(twice) {
                    return Err(wrong(key, "a condition is listed once"));
                }
            }
        }
        Ok(())
    }

    fn check_quantity(&self, key: &str, quantity: &Quantity) -> Result<(), ProfileError> {
        if !is_decimal(&quantity.value) {
            return Err(wrong(key, "the value is not a decimal number"));
        }
        let is_index = self.indices.iter().any(|index| index.code == quantity.unit);
        if !is_index && Currency::parse(&quantity.unit).is_none() {
            return Err(wrong(
                key,
                format!("unit {} is neither a currency nor an index of this profile", quantity.unit),
            ));
        }
        Ok(())
    }
}

fn wrong(key: impl Into<String>, why: impl Into<String>) -> ProfileError {
    ProfileError::Value { key: key.into(), why: why.into() }
}

/// Digits, and perhaps a point with digits after it.
fn is_decimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(text),
    }
}

#[cfg(test)]
mod tests;
