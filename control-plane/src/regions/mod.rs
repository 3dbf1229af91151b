//! Regions: where machines stand, and in which country.
//!
//! **Promise.** A region's country never changes: what lies there was allowed for that country. Everybody reads the
//! list, operators write it. Rows lie in [`PLATFORM`](crate::PLATFORM).

pub mod http;
mod store;

use chrono::{DateTime, Utc};
use platform::{
    ctx::Ctx,
    db::{self, Db},
};
use sea_orm::DbErr;
use tenants::{jurisdiction::Country, region::RegionCode};

pub use http::REGION_UNKNOWN;
pub use store::MIGRATION;

use crate::PLATFORM;

/// A region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Its code.
    pub code: RegionCode,
    /// The country that it is in.
    pub country: Country,
    /// Its name, for people.
    pub name: String,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was changed last.
    pub updated_at: DateTime<Utc>,
}

/// Why a region was not written or found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No region has this code.
    #[error("there is no such region")]
    Unknown,
    /// The region is in another country.
    #[error("the region is in {0}")]
    CountryFixed(Country),
    /// The name is empty, too long, or has control characters.
    #[error("the name is not acceptable")]
    Name,
    /// The region has another version than the caller has seen, or is not there.
    #[error("the region was changed meanwhile")]
    Changed,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Makes a region or gives it another name, if `seen` admits the version that it has, or that it has none; what it was,
/// if it was there, and what it is. A dry run leaves all as it is.
///
/// # Errors
/// [`Error::CountryFixed`], [`Error::Name`], [`Error::Changed`], and the database's.
pub async fn put(
    db: &Db,
    ctx: &Ctx,
    code: &RegionCode,
    country: Country,
    name: &str,
    seen: impl Fn(Option<i64>) -> bool,
    dry_run: bool,
) -> Result<(Option<Region>, Region), Error> {
    if !crate::names::is_name(name) {
        return Err(Error::Name);
    }
    db::retry(|| async {
        let tx = db.begin(PLATFORM).await?;
        let before = store::lock(&tx, code).await?;
        if !seen(before.as_ref().map(|region| region.version)) {
            return Err(Error::Changed);
        }
        let now = ctx.now();
        let after = match &before {
            None => Region {
                code: code.clone(),
                country,
                name: name.to_owned(),
                version: 1,
                created_at: now,
                updated_at: now,
            },
            Some(known) if known.country != country => return Err(Error::CountryFixed(known.country)),
            Some(known) if known.name == name => known.clone(),
            Some(known) => Region {
                name: name.to_owned(),
                version: known.version.saturating_add(1),
                updated_at: now,
                ..known.clone()
            },
        };
        if before.is_none() {
            store::insert(&tx, &after).await?;
        } else if before.as_ref() != Some(&after) {
            store::rename(&tx, &after).await?;
        }
        tx.end(dry_run).await?;
        Ok((before, after))
    })
    .await
}

/// At most `limit` regions behind `after`, in the order of their codes.
///
/// # Errors
/// The database's.
pub async fn list(db: &Db, after: Option<&RegionCode>, limit: u64) -> Result<Vec<Region>, Error> {
    let tx = db.begin_read(PLATFORM).await?;
    let regions = store::list(&tx, after, limit).await?;
    tx.commit().await?;
    Ok(regions)
}

/// The region of this code.
///
/// # Errors
/// [`Error::Unknown`], and the database's.
pub async fn get(db: &Db, code: &RegionCode) -> Result<Region, Error> {
    let tx = db.begin_read(PLATFORM).await?;
    let region = store::get(&tx, code).await?;
    tx.commit().await?;
    region.ok_or(Error::Unknown)
}
