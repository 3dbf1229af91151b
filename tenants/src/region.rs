//! Regions: where machines stand, as the operator names it.
//!
//! A region belongs to one country, which the control plane's list of regions says; nobody reads it out of the name.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is not a region's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a region's code: 2 to 32 lower-case letters, digits and hyphens")]
pub struct InvalidRegion;

/// The code of a region, such as `mx-central-1`. Well-formed, but perhaps of no known region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionCode(String);

impl RegionCode {
    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegionCode {
    type Err = InvalidRegion;
    fn from_str(text: &str) -> Result<Self, InvalidRegion> {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (2..=32).contains(&text.len()) && text.bytes().all(known);
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidRegion) }
    }
}

impl TryFrom<String> for RegionCode {
    type Error = InvalidRegion;
    fn try_from(text: String) -> Result<Self, InvalidRegion> {
        text.parse()
    }
}

impl From<RegionCode> for String {
    fn from(code: RegionCode) -> Self {
        code.0
    }
}

impl fmt::Display for RegionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl utoipa::PartialSchema for RegionCode {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::SchemaType::Type(utoipa::openapi::Type::String))
            .pattern(Some("^[a-z0-9-]{2,32}$"))
            .description(Some("Where machines stand."))
            .examples(["mx-central-1"])
            .into()
    }
}

impl utoipa::ToSchema for RegionCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_one_spelling() {
        for text in ["mx-central-1", "br", "co-1"] {
            assert_eq!(text.parse::<RegionCode>().map(|code| code.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "m", "MX", "mx_1", "mx 1", "mx/1", &"m".repeat(33)] {
            assert_eq!(text.parse::<RegionCode>(), Err(InvalidRegion), "{text:?}");
        }
    }
}
