//! Jurisdictions: whose law a tenant's licence is under.
//!
//! A jurisdiction is an id that a profile defines, never an enum: a new country is a new folder of data. No code
//! outside this crate and the rail adapters asks which one it is; it asks the profile for the value it needs.

use crate::calendar::Calendar;
use crate::money::Currency;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is not a jurisdiction's id or a country's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not {0}")]
pub struct InvalidText(&'static str);

/// The id of a jurisdiction: country and regulator, such as `mx-cnbv`. Well-formed, but perhaps of no known profile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JurisdictionId(String);

impl JurisdictionId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JurisdictionId {
    type Err = InvalidText;
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        let letters = |part: &str| part.bytes().all(|byte| byte.is_ascii_lowercase());
        match text.split_once('-') {
            Some((country, regulator))
                if country.len() == 2
                    && (2..=12).contains(&regulator.len())
                    && letters(country)
                    && letters(regulator) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(InvalidText("a jurisdiction's id, such as `mx-cnbv`")),
        }
    }
}

impl TryFrom<String> for JurisdictionId {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        text.parse()
    }
}

impl From<JurisdictionId> for String {
    fn from(id: JurisdictionId) -> Self {
        id.0
    }
}

impl fmt::Display for JurisdictionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl utoipa::PartialSchema for JurisdictionId {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::Type(utoipa::openapi::Type::String))
            .pattern(Some("^[a-z]{2}-[a-z]{2,12}$"))
            .description(Some("Country and regulator."))
            .examples(["mx-cnbv"])
            .into()
    }
}

impl utoipa::ToSchema for JurisdictionId {}

/// A country: two upper-case letters of ISO 3166-1. Only the shape is checked; the profiles say which ones there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

impl Country {
    /// The code, such as `MX`.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Country {
    type Err = InvalidText;
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        match text.as_bytes() {
            &[first, second] if first.is_ascii_uppercase() && second.is_ascii_uppercase() => {
                Ok(Self([first, second]))
            }
            _ => Err(InvalidText("a country's code, such as `MX`")),
        }
    }
}

impl TryFrom<String> for Country {
    type Error = InvalidText;
    fn try_from(text: String) -> Result<Self, InvalidText> {
        text.parse()
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.code().to_owned()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What a jurisdiction fixes for all its tenants.
#[derive(Debug, Clone)]
pub struct Jurisdiction {
    /// The id that the profile defines.
    pub id: JurisdictionId,
    /// The country.
    pub country: Country,
    /// The currency of its books.
    pub currency: Currency,
    /// The language of its customers, BCP 47: `es-MX`.
    pub locale: String,
    /// The zone that business dates are reckoned in.
    pub time_zone: chrono_tz::Tz,
    /// The days that its banks are open.
    pub calendar: Calendar,
}

impl Jurisdiction {
    /// The business date at an instant, in this jurisdiction's time zone.
    pub fn date_at(&self, instant: chrono::DateTime<chrono::Utc>) -> chrono::NaiveDate {
        instant.with_timezone(&self.time_zone).date_naive()
    }

    /// The first instant of a business date, in this jurisdiction's time zone; `None` where the calendar of instants
    /// ends. A day whose midnight is skipped by a clock change begins after the gap.
    pub fn start_of(&self, day: chrono::NaiveDate) -> Option<chrono::DateTime<chrono::Utc>> {
        let midnight = day.and_time(chrono::NaiveTime::MIN);
        (0..=3).find_map(|hour| {
            let local = midnight.checked_add_signed(chrono::TimeDelta::hours(hour))?;
            let start = local.and_local_timezone(self.time_zone).earliest()?;
            Some(start.with_timezone(&chrono::Utc))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        assert_eq!("mx-cnbv".parse::<JurisdictionId>().map(|id| id.to_string()), Ok("mx-cnbv".to_owned()));
        for text in [
            "",
            "mx",
            "mx-",
            "MX-cnbv",
            "mx-CNBV",
            "mex-cnbv",
            "mx_cnbv",
            "mx-cn-bv",
            "mx-cn bv",
            "mx-cnbvcnbvcnbvc",
        ] {
            assert!(text.parse::<JurisdictionId>().is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<JurisdictionId>("\"../etc\"").is_err());
    }

    #[test]
    fn a_day_begins_at_its_first_instant() {
        let of = |id: &str| &crate::profile::profile(&id.parse().unwrap()).unwrap().jurisdiction;
        for (id, day, start) in [
            ("mx-cnbv", "2026-03-01", "2026-03-01T06:00:00Z"),
            ("co-sfc", "2026-03-01", "2026-03-01T05:00:00Z"),
            ("br-bcb", "2026-03-01", "2026-03-01T03:00:00Z"),
            // Brazil's last summer time began at midnight: the first instant of that day was 01:00.
            ("br-bcb", "2018-11-04", "2018-11-04T03:00:00Z"),
        ] {
            let (day, start) = (day.parse().unwrap(), start.parse().unwrap());
            assert_eq!(of(id).start_of(day), Some(start), "{id}");
            assert_eq!(of(id).date_at(start), day, "{id}");
            assert_eq!(of(id).date_at(start - chrono::TimeDelta::microseconds(1)), day.pred_opt().unwrap());
        }
    }

    #[test]
    fn countries_are_two_capitals() {
        assert_eq!("BR".parse::<Country>().map(|country| country.to_string()), Ok("BR".to_owned()));
        for text in ["", "B", "br", "BRA", "B1", "Ñ"] {
            assert!(text.parse::<Country>().is_err(), "{text:?}");
        }
    }
}
