//! Which version of the contract two planes speak.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The versions that a build can speak, lowest to highest; `1-2` in the header [`HEADER`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions(RangeInclusive<u16>);

/// The header in which a cell names the versions it can speak, and the control plane the one it answers in.
pub const HEADER: &str = "tambo-contract";

impl Versions {
    /// From `lowest` to `highest`.
    pub const fn new(lowest: u16, highest: u16) -> Self {
        Self(lowest..=highest)
    }

    /// The lowest.
    pub const fn lowest(&self) -> u16 {
        *self.0.start()
    }

    /// The highest.
    pub const fn highest(&self) -> u16 {
        *self.0.end()
    }

    /// The highest version that both speak.
    ///
    /// # Errors
    /// There is none; the error says what we speak.
    pub fn agree(&self, theirs: &Self) -> Result<u16, Unsupported> {
        let common = self.highest().min(theirs.highest());
        if common >= self.lowest() && common >= theirs.lowest() {
            Ok(common)
        } else {
            Err(Unsupported { supported: self.clone() })
        }
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.lowest(), self.highest())
    }
}

/// A text that is no range of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a range of contract versions, such as `1-2`")]
pub struct InvalidVersions;

impl FromStr for Versions {
    type Err = InvalidVersions;
    fn from_str(text: &str) -> Result<Self, InvalidVersions> {
        let (lowest, highest) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u16>().ok().filter(|number| *number > 0);
        match (number(lowest), number(highest)) {
            (Some(lowest), Some(highest)) if lowest <= highest => Ok(Self::new(lowest, highest)),
            _ => Err(InvalidVersions),
        }
    }
}

/// Two planes have no version in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no common version of the contract: this side speaks {supported}")]
pub struct Unsupported {
    /// What this side speaks.
    pub supported: Versions,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_spoken() {
        for (ours, theirs, common) in [
            ("1-1", "1-1", Some(1)),
            ("1-3", "2-5", Some(3)),
            ("2-5", "1-3", Some(3)),
            ("1-9", "4-4", Some(4)),
            ("1-2", "3-4", None),
            ("3-4", "1-2", None),
        ] {
            let [ours, theirs] = [ours, theirs].map(|text| text.parse::<Versions>().unwrap());
            assert_eq!(ours.agree(&theirs).ok(), common, "{ours} and {theirs}");
        }
    }

    #[test]
    fn ranges_have_one_reading() {
        assert_eq!("3".parse::<Versions>(), Ok(Versions::new(3, 3)));
        assert_eq!(Versions::new(1, 2).to_string().parse(), Ok(Versions::new(1, 2)));
        for text in ["", "-", "1-", "0-1", "2-1", "a-b", "1-2-3", "-1", "70000-70001"] {
            assert_eq!(text.parse::<Versions>(), Err(InvalidVersions), "{text:?}");
        }
    }
}
