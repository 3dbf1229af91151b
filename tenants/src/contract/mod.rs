//! The contract between the planes: the messages of the link that a cell keeps to the control plane.
//!
//! - Messages are JSON. A reader skips fields that it does not know; a value that it does not know of an enum is
//!   `unknown`; a field that was added later has a default. So a version changes only when the meaning of something
//!   does, and both planes speak a range of versions ([`SPOKEN`]).
//! - Desired state goes down as whole [`Document`]s, never as commands: whoever missed ten changes needs the last
//!   document only. Observed state goes up in reports that are numbered.
//! - Published versions lie frozen in `tenants/contract/vN`, a sample per message; the tests of this crate read them,
//!   and copies of the published types read what today's types write. A cell built from the last commit of the version
//!   before converges under today's control plane (`stack/tests/it/before.rs`).
//!
//! | version | what it means more |
//! |---|---|
//! | 1 | |
//! | 2 | a removed environment of which something is kept says until when, [`EnvironmentObserved::hold_until`], and is at rest |
//!
//! What the messages are for, and in what order they come, is told where they are used: the control plane's `links`
//! and the cell's `link`.

mod messages;
pub mod version;

pub use messages::{
    Binding, Body, CellIntent, ClientIntent, ClientSeen, Desired, Document, Enrol, Enrolled,
    EnvironmentIntent, EnvironmentObserved, ExportSeen, Heartbeat, Issued, Method, Observed, Poll, PublicKey,
    Refusal, Refused, Renewal, Taken,
};

use crate::environment::Phase;
use crate::id::EnvironmentId;
use version::Versions;

/// The versions that this build speaks.
pub const SPOKEN: Versions = Versions::new(1, 2);
/// The most documents of one [`Desired`].
pub const MOST_DOCUMENTS: usize = 200;
/// The most bytes of the documents of one [`Desired`]; one document alone may be larger.
pub const MOST_BYTES: usize = 1024 * 1024;
/// The most environments of one [`Observed`].
pub const MOST_ENVIRONMENTS: usize = 200;

/// What the digest of a cell's observed state is taken of: one line per environment in the order of their ids. Both
/// planes hash it alike, so that an equal digest says that the control plane has missed nothing.
pub fn digest_text(seen: impl IntoIterator<Item = (EnvironmentId, u64, Phase)>) -> String {
    let mut seen: Vec<_> = seen.into_iter().collect();
    seen.sort_by_key(|(id, ..)| *id);
    seen.iter().map(|(id, generation, phase)| format!("{id} {generation} {phase}\n")).collect()
}

/// The JSON of a value with the members of every object in order: equal values have equal texts.
pub fn canonical(value: &impl serde::Serialize) -> String {
    fn sorted(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(members) => {
                let mut members: Vec<_> = members.into_iter().collect();
                members.sort_by(|a, b| a.0.cmp(&b.0));
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect()
            }
            serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
            other => other,
        }
    }
    // The messages are texts, numbers and lists of them: they have a JSON form.
    sorted(serde_json::to_value(value).unwrap_or_default()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_digest_does_not_depend_on_the_order() {
        let id = |number| EnvironmentId::from_uuid(uuid::Uuid::from_u128(number));
        let [a, b] = [(id(1), 4, Phase::Ready), (id(2), 9, Phase::Removing)];
        assert_eq!(digest_text([a, b]), digest_text([b, a]));
        assert_eq!(digest_text([a, b]), format!("{} 4 ready\n{} 9 removing\n", id(1), id(2)));
    }

    #[test]
    fn the_canonical_text_does_not_depend_on_the_order() {
        let [one, other] = [r#"{"b":[{"d":1,"c":2}],"a":null}"#, r#"{"a":null,"b":[{"c":2,"d":1}]}"#]
            .map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(canonical(&one), canonical(&other));
        assert_eq!(canonical(&one), r#"{"a":null,"b":[{"c":2,"d":1}]}"#);
        assert_ne!(canonical(&json!([1, 2])), canonical(&json!([2, 1])));
    }
}
