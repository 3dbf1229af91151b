//! What persons are called by authorities: CURP, NIT, CPF and their like, as data.

use chrono::NaiveDate;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{Mark, ProfileError, wrong};

/// Kind of person, in the sense of civil law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Person {
    /// A human being.
    Natural,
    /// A company, an association, a public body.
    Legal,
}

/// An identifier that persons of one kind have; one code may stand there for both kinds with a form each.
#[derive(Debug, Clone)]
pub struct IdentifierType {
    /// Stable code, such as `CURP`.
    pub code: String,
    /// What it is, in one sentence.
    pub about: String,
    /// Who has it.
    pub person: Person,
    /// First date from which this form is known to rule.
    pub valid_from: NaiveDate,
    /// Where it was read.
    pub source: String,
    /// How sure it is.
    pub mark: Mark,
    pattern: Regex,
}

impl IdentifierType {
    /// The one spelling of an identifier: no spaces, dots, hyphens or slashes, capitals. `None` if it has not the form
    /// of this type. Check digits are not looked at.
    pub fn normal(&self, value: &str) -> Option<String> {
        let normal = spelling(value);
        self.pattern.is_match(&normal).then_some(normal)
    }
}

/// The one spelling of an identifier's text, whatever its type.
pub fn spelling(value: &str) -> String {
    let kept = value.chars().filter(|char| !char.is_whitespace() && !matches!(char, '.' | '-' | '/'));
    kept.flat_map(char::to_uppercase).collect()
}

/// One of the `[[identifiers]]` of a profile.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    code: String,
    about: String,
    person: Person,
    /// A regular expression for the whole of the normal spelling.
    pattern: String,
    valid_from: NaiveDate,
    source: String,
    mark: Mark,
}

/// The longest pattern that is compiled.
const LONGEST_PATTERN: usize = 200;

/// Checks and compiles.
pub(super) fn read(entries: Vec<Entry>) -> Result<Vec<IdentifierType>, ProfileError> {
    let mut types: Vec<IdentifierType> = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = format!("identifiers.{}", entry.code);
        let plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if entry.code.is_empty() || !entry.code.bytes().all(plain) {
            return Err(wrong(key, "a code has capitals, digits and underscores"));
        }
        if types.iter().any(|known| known.code == entry.code && known.person == entry.person) {
            return Err(wrong(key, "the code stands there twice for one kind of person"));
        }
        if entry.pattern.len() > LONGEST_PATTERN {
            return Err(wrong(key, format!("a pattern has at most {LONGEST_PATTERN} characters")));
        }
        let pattern = Regex::new(&format!("^(?:{})$", entry.pattern))
            .map_err(|error| wrong(&key, format!("the pattern is no regular expression: {error}")))?;
        types.push(IdentifierType {
            code: entry.code,
            about: entry.about,
            person: entry.person,
            valid_from: entry.valid_from,
            source: entry.source,
            mark: entry.mark,
            pattern,
        });
    }
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::super::profile;
    use super::*;

    /// The normal form in a profile, or what is missing there.
    fn normal(jurisdiction: &str, code: &str, person: Person, value: &str) -> Option<String> {
        let profile = profile(&jurisdiction.parse().unwrap()).unwrap();
        profile
            .identifier(code, person)
            .unwrap_or_else(|| panic!("{jurisdiction} has no {code}"))
            .normal(value)
    }

    #[test]
    fn identifiers_have_one_spelling() {
        for (jurisdiction, code, person, value, expected) in [
            ("mx-cnbv", "CURP", Person::Natural, "gogl900131mdfrrn09", "GOGL900131MDFRRN09"),
            ("mx-cnbv", "RFC", Person::Natural, "GOGL900131AB1", "GOGL900131AB1"),
            ("mx-cnbv", "RFC", Person::Legal, "ñ&a 900131-ab1", "Ñ&A900131AB1"),
            ("co-sfc", "CC", Person::Natural, "1.020.304.050", "1020304050"),
            ("co-sfc", "NIT", Person::Legal, "900.123.456-7", "9001234567"),
            ("br-bcb", "CPF", Person::Natural, "123.456.789-09", "12345678909"),
            ("br-bcb", "CNPJ", Person::Legal, "12.345.678/0001-95", "12345678000195"),
            ("br-bcb", "CNPJ", Person::Legal, "12.abc.345/01de-35", "12ABC34501DE35"),
        ] {
            assert_eq!(
                normal(jurisdiction, code, person, value).as_deref(),
                Some(expected),
                "{code} {value}"
            );
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for (jurisdiction, code, person, value) in [
            ("mx-cnbv", "CURP", Person::Natural, "GOGL900131MDFRRN0"),
            ("mx-cnbv", "CURP", Person::Natural, "GOGL900131MDFRRN099"),
            ("mx-cnbv", "RFC", Person::Legal, "GOGL900131AB1"),
            ("mx-cnbv", "RFC", Person::Natural, "GOG900131AB1"),
            ("co-sfc", "NIT", Person::Legal, "90012345"),
            ("br-bcb", "CPF", Person::Natural, "1234567890A"),
            ("br-bcb", "CNPJ", Person::Legal, "1234567800019X"),
            ("br-bcb", "CPF", Person::Natural, ""),
        ] {
            assert_eq!(normal(jurisdiction, code, person, value), None, "{code} {value}");
        }
    }

    #[test]
    fn who_has_what() {
        let mexico = profile(&"mx-cnbv".parse().unwrap()).unwrap();
        assert!(mexico.identifier("CURP", Person::Legal).is_none());
        assert!(mexico.identifier("CPF", Person::Natural).is_none());
        assert!(mexico.identifier("curp", Person::Natural).is_none(), "codes are exact");
    }
}
