//! Parties as lines of an export: as the API shows them, with sealed fields opened.

use platform::{ctx::Scope, db::Db, keys::Keys};
use tenants::id::PartyId;

use super::{Error, Filter};

pub use super::http::Wire as PartyLine;

/// At most `limit` parties of an environment after an id, in the order of ids.
///
/// # Errors
/// The database's, or a sealed field that does not open.
pub async fn lines(
    db: &Db,
    keys: &Keys,
    scope: Scope,
    after: Option<PartyId>,
    limit: u64,
) -> Result<Vec<PartyLine>, Error> {
    let found = super::list(db, keys, scope, &Filter { after, ..Filter::default() }, limit).await?;
    Ok(found.into_iter().map(PartyLine::from).collect())
}

/// Where a line is in the order of the file.
#[must_use]
pub fn at(line: &PartyLine) -> String {
    line.id.to_string()
}
