//! Tenants as a file declares them: what `tambo demo` makes, and a pattern for one's own.

use crate::environment::Mode;
use crate::jurisdiction::{Country, JurisdictionId};
use crate::region::RegionCode;
use serde::Deserialize;

/// The declarations in `tenants/examples/`, one per jurisdiction.
pub const EXAMPLES: [&str; 3] = [
    include_str!("../examples/mx.toml"),
    include_str!("../examples/co.toml"),
    include_str!("../examples/br.toml"),
];

/// A tenant and what is to be made of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// Who pays.
    pub organization: Organization,
    /// The licence.
    pub tenant: Tenant,
    /// Where it works.
    pub environments: Vec<Environment>,
}

/// The `[organization]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Organization {
    /// Your own id: the same file twice declares the same organization.
    pub external_id: String,
    /// As registered.
    pub name: String,
    /// Where it is registered.
    pub country: Country,
}

/// The `[tenant]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Your own id: the same file twice declares the same tenant.
    pub external_id: String,
    /// As its customers know it.
    pub name: String,
    /// Under whose law it works.
    pub jurisdiction: JurisdictionId,
    /// A licence of the jurisdiction's profile.
    pub licence: String,
}

/// One of the `[[environments]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Sandbox or live.
    pub mode: Mode,
    /// Where its data lie. There is no default.
    pub region: RegionCode,
}

impl Declaration {
    /// Reads a declaration.
    ///
    /// # Errors
    /// Unknown or missing keys, values of another type.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{all, profile};

    #[test]
    fn there_is_one_example_per_profile_with_a_licence_of_it() {
        let mut seen = Vec::new();
        for text in EXAMPLES {
            let Declaration { organization, tenant, environments } = Declaration::parse(text).unwrap();
            let profile = profile(&tenant.jurisdiction).unwrap();
            assert!(
                profile.licences.iter().any(|licence| licence.code == tenant.licence),
                "{}",
                tenant.licence
            );
            assert_eq!(organization.country, profile.jurisdiction.country);
            assert!(environments.iter().any(|one| one.mode == Mode::Sandbox));
            seen.push(tenant.jurisdiction);
        }
        seen.sort();
        let mut profiles: Vec<_> = all().iter().map(|one| one.jurisdiction.id.clone()).collect();
        profiles.sort();
        assert_eq!(seen, profiles);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let text = EXAMPLES[0].replacen("licence =", "license =", 1);
        assert!(Declaration::parse(&text).unwrap_err().to_string().contains("license"));
    }
}
