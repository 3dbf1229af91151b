//! What a document is, and what a caller may say of one; pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{DocumentId, TenantId},
    region::RegionCode,
};
use utoipa::ToSchema;

use crate::names::{self, LONGEST_NAME};

/// The largest document, in bytes.
pub const LARGEST: u64 = 20 << 20;

/// What a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DocumentKind)]
pub enum Kind {
    /// That the legal person exists.
    Incorporation,
    /// That it may do what it does.
    Licence,
    /// Who may act for it.
    PowerOfAttorney,
    /// Who owns or controls it.
    BeneficialOwners,
    /// Anything else.
    Other,
}

/// What a document's bytes are; nothing that a browser would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = DocumentContentType)]
pub enum ContentType {
    /// PDF.
    #[serde(rename = "application/pdf")]
    Pdf,
    /// PNG.
    #[serde(rename = "image/png")]
    Png,
    /// JPEG.
    #[serde(rename = "image/jpeg")]
    Jpeg,
}

impl ContentType {
    /// The media type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// How names of such files end.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pdf => "pdf",
            Self::Png => "png",
            Self::Jpeg => "jpg",
        }
    }
}

/// What somebody was given a link for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// To put the document.
    Upload,
    /// To get it.
    Download,
}

/// A document about a tenant: what it is to be, not whether it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its id.
    pub id: DocumentId,
    /// Whom it is about.
    pub tenant: TenantId,
    /// For people.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// What its bytes are.
    pub content_type: ContentType,
    /// How many there are.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// The region of the store when it was recorded.
    pub region: RegionCode,
    /// Who recorded it.
    pub recorded_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// What a caller says of a document, unchecked.
#[derive(Debug, Clone)]
pub struct New {
    /// For people.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// What its bytes are.
    pub content_type: ContentType,
    /// How many there are.
    pub bytes: u64,
    /// Their SHA-256, hexadecimal.
    pub sha256: String,
}

/// What is wrong with what a caller says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Empty, too long, or of another form.
    Text {
        /// JSON pointer.
        field: &'static str,
        /// The most characters.
        limit: usize,
    },
    /// Not 1 to [`LARGEST`] bytes.
    Size,
}

impl New {
    /// The hash, if all of it is acceptable.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<[u8; 32], Fault> {
        if !names::is_name(&self.name) {
            return Err(Fault::Text { field: "/name", limit: LONGEST_NAME });
        }
        if !(1..=LARGEST).contains(&self.bytes) {
            return Err(Fault::Size);
        }
        // One hash has one text: digits in lower case.
        let read = digits(&self.sha256).filter(|hash| hex::encode(hash) == self.sha256);
        read.ok_or(Fault::Text { field: "/sha256", limit: 64 })
    }
}

/// The 32 bytes of 64 hexadecimal digits.
#[must_use]
pub fn digits(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}
