//! The text that a cell enrols with: `tambo-join.v1.` and base64url of JSON.
//!
//! It says where the control plane is and which root to trust, so that enrolment needs no other trust; and a secret of
//! 256 bits, that is good once and not for long.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use tenants::id::{CellId, JoinTokenId};

use crate::random;

/// What the text begins with.
const PREFIX: &str = "tambo-join.v1.";

/// Why a text is no join token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a join token: it begins with `tambo-join.v1.` and is one line")]
pub struct InvalidJoin;

/// A join token, opened. Printed without the secret; its text, by [`Join::text`], has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Join {
    /// Where the control plane takes links: `https://host:port`.
    pub url: String,
    /// The root that its certificate leads to.
    pub root: CertificateDer<'static>,
    /// As which cell one enrols.
    pub cell: CellId,
    /// The token's id.
    pub id: JoinTokenId,
    /// What proves that one has it.
    pub secret: String,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    url: String,
    root: String,
    cell: CellId,
    id: JoinTokenId,
    secret: String,
    exp: i64,
}

impl Join {
    /// A secret for a new token.
    #[must_use]
    pub fn new_secret() -> String {
        URL_SAFE_NO_PAD.encode(random::bytes::<32>())
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let wire = Wire {
            url: self.url.clone(),
            root: STANDARD.encode(&self.root),
            cell: self.cell,
            id: self.id,
            secret: self.secret.clone(),
            exp: self.expires_at.timestamp(),
        };
        // Texts and a number: there is a JSON form.
        let json = serde_json::to_vec(&wire).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for Join {
    type Err = InvalidJoin;
    fn from_str(text: &str) -> Result<Self, InvalidJoin> {
        let json = text.trim().strip_prefix(PREFIX).and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
        let wire: Wire = json.and_then(|json| serde_json::from_slice(&json).ok()).ok_or(InvalidJoin)?;
        Ok(Self {
            url: wire.url,
            root: STANDARD.decode(wire.root).map_err(|_| InvalidJoin)?.into(),
            cell: wire.cell,
            id: wire.id,
            secret: wire.secret,
            expires_at: DateTime::from_timestamp(wire.exp, 0).ok_or(InvalidJoin)?,
        })
    }
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("id", &self.id).field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn the_text_is_read_as_it_was_written() {
        let join = Join {
            url: "https://127.0.0.1:8071".to_owned(),
            root: CertificateDer::from(vec![1, 2, 3]),
            cell: CellId::from_uuid(Uuid::from_u128(1)),
            id: JoinTokenId::from_uuid(Uuid::from_u128(2)),
            secret: Join::new_secret(),
            expires_at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        };
        let text = join.text();
        assert_eq!(format!("{text}\n").parse(), Ok(join.clone()));
        assert!(!format!("{join:?}").contains(&join.secret));
        for other in ["", "tambo-join.v1.", &text[1..], &text[..text.len() - 4], &text.replace("v1", "v2")] {
            assert_eq!(other.parse::<Join>(), Err(InvalidJoin), "{other}");
        }
    }

    #[test]
    fn no_secret_comes_twice() {
        assert_ne!(Join::new_secret(), Join::new_secret());
        assert_eq!(Join::new_secret().len(), 43);
    }
}
