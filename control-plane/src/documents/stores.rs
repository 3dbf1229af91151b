//! Where the documents of each jurisdiction are.

use std::{collections::BTreeMap, sync::Arc};

use chrono::TimeDelta;
use platform::{
    config::Faults,
    ctx::Clock,
    egress::{Egress, EgressConfig, EgressError},
    objects::{self, Link, LinkError, Objects, ObjectsConfig, Upload},
};
use serde::Deserialize;
use tenants::{environment::Mode, jurisdiction::JurisdictionId, profile, region::RegionCode};

use super::{
    Error,
    model::{Document, Use},
};

/// How long a link to put a document is good for: a person looks for the file meanwhile.
const UPLOAD_LIFE: TimeDelta = TimeDelta::minutes(15);
/// How long a link to get a document is good for: a program follows it at once.
const DOWNLOAD_LIFE: TimeDelta = TimeDelta::minutes(5);

/// One of the `[[documents]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSection {
    /// Whose tenants' documents are there.
    pub jurisdiction: JurisdictionId,
    /// Where it lies.
    pub region: RegionCode,
    /// The store.
    pub objects: ObjectsConfig,
}

/// Adds what is wrong with the stores, as keys of the list `at`.
pub fn check_stores(sections: &[StoreSection], at: &str, mode: Mode, faults: &mut Faults) {
    for (index, StoreSection { jurisdiction, objects, .. }) in sections.iter().enumerate() {
        let key = |name: &str| format!("{at}.{index}.{name}");
        if profile::profile(jurisdiction).is_none() {
            let known: Vec<&str> = profile::all().iter().map(|one| one.jurisdiction.id.as_str()).collect();
            faults.add(key("jurisdiction"), format!("be one of {}", known.join(", ")));
        }
        let first = sections.iter().position(|one| one.jurisdiction == *jurisdiction) == Some(index);
        faults.unless(first, &key("jurisdiction"), "have one store");
        objects.check(&key("objects"), faults);
        faults.unless(
            !objects.lock || objects.folder.is_some(),
            &key("objects.lock"),
            "be false: the control plane tries nothing in this store, and so can promise no lock",
        );
        faults.unless(
            mode == Mode::Sandbox || objects.folder.is_none(),
            &key("objects.folder"),
            "not be there in live mode: name an `endpoint`",
        );
    }
}

/// Why there are no stores.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// One cannot be opened.
    #[error("the documents of {jurisdiction}: {error}")]
    Store {
        /// Whose.
        jurisdiction: JurisdictionId,
        /// Why not.
        error: objects::StartError,
    },
    /// What calls nobody cannot be made.
    #[error(transparent)]
    Egress(#[from] EgressError),
}

/// The stores, by jurisdiction. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct Stores(Arc<BTreeMap<JurisdictionId, Store>>);

/// The store of one jurisdiction.
#[derive(Debug)]
pub(super) struct Store {
    pub region: RegionCode,
    objects: Objects,
}

impl Stores {
    /// Opens them, which asks nothing of a store elsewhere.
    ///
    /// # Errors
    /// A folder cannot be used, or another process has it.
    pub async fn start(sections: &[StoreSection], clock: &Clock) -> Result<Self, StoreError> {
        // Nobody may be called with it, so that for a store elsewhere nothing can be done here but to sign.
        let nobody = Egress::new(&EgressConfig::default())?;
        let mut stores = BTreeMap::new();
        for StoreSection { jurisdiction, region, objects } in sections {
            let objects = Objects::start(objects, &nobody, clock)
                .await
                .map_err(|error| StoreError::Store { jurisdiction: jurisdiction.clone(), error })?;
            stores.insert(jurisdiction.clone(), Store { region: region.clone(), objects });
        }
        Ok(Self(Arc::new(stores)))
    }

    pub(super) fn of(&self, jurisdiction: &JurisdictionId) -> Option<&Store> {
        self.0.get(jurisdiction)
    }
}

impl Store {
    /// Whether a document lies here: a store may have been configured elsewhere since.
    pub fn has(&self, document: &Document) -> Result<(), Error> {
        if self.region == document.region { Ok(()) } else { Err(Error::Elsewhere(document.region.clone())) }
    }

    /// A link to put or get the object of a document, `{tenant}/{document}`. Nothing is asked of the store.
    pub async fn link(&self, document: &Document, what: Use, clock: &Clock) -> Result<Link, LinkError> {
        let Document { id, tenant, content_type, bytes, sha256, .. } = document;
        let (folder, key) = (self.objects.folder(tenant)?, id.to_string());
        match what {
            Use::Upload => {
                let content_type = content_type.as_str();
                let upload = Upload { key: &key, content_type, bytes: *bytes, sha256: *sha256 };
                folder.upload_link(&upload, clock, UPLOAD_LIFE).await
            }
            Use::Download => {
                let name = format!("{key}.{}", content_type.extension());
                folder.download_link(&key, &name, clock, DOWNLOAD_LIFE).await
            }
        }
    }
}
