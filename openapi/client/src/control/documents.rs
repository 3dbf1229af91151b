//! Documents about tenants, and links to them.

use std::{collections::BTreeMap, fmt};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{DocumentId, TenantId},
    region::RegionCode,
};

use crate::words::words;

words! {
    /// What a document is about.
    DocumentKind {
        /// That the legal person exists.
        Incorporation = "incorporation",
        /// That it may do what it does.
        Licence = "licence",
        /// Who may act for it.
        PowerOfAttorney = "power_of_attorney",
        /// Who owns or controls it.
        BeneficialOwners = "beneficial_owners",
        /// Anything else.
        Other = "other",
    }
}

/// A document to be recorded.
#[derive(Debug, Clone, Serialize)]
pub struct DocumentNew {
    /// What it is called; nothing personal.
    pub name: String,
    /// What it is about.
    pub kind: DocumentKind,
    /// `application/pdf`, `image/png` or `image/jpeg`.
    pub content_type: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub sha256: String,
}

/// What is known of a document.
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Whom it is about.
    pub tenant_id: TenantId,
    /// What it is called.
    pub name: String,
    /// What it is about.
    pub kind: DocumentKind,
    /// What its bytes are.
    pub content_type: String,
    /// How many there are.
    pub bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub sha256: String,
    /// Where its store was when it was recorded.
    pub region: RegionCode,
    /// By whom.
    pub recorded_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// How to put it, once; only for who recorded it.
    pub upload: Option<DocumentLink>,
}

/// A request to the store that needs no token. It is a secret.
#[derive(Clone, Deserialize)]
pub struct DocumentLink {
    /// How.
    pub method: String,
    /// Where.
    pub url: String,
    /// What has to be sent along, word for word.
    pub headers: BTreeMap<String, String>,
    /// Until when it is good.
    pub expires_at: DateTime<Utc>,
}

impl fmt::Debug for DocumentLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentLink({} until {})", self.method, self.expires_at)
    }
}
