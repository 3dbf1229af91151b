//! What a tenant has on record about where its data may lie.
//!
//! **Promise.** A condition is met by a document with a date that an actor recorded, for one region; of each condition
//! one record is open at a time, and one that is withdrawn stays to be seen. Whether data may lie in a region is decided
//! by the profile of the tenant's jurisdiction ([`tenants::residency`]), here only carried out, and nothing is assumed:
//! an unknown region and a country that the profile does not list are refused.

pub mod http;
mod store;

use chrono::{DateTime, NaiveDate, Utc};
use platform::{
    ctx::Ctx,
    db::{self, Db},
    idempotency::{Done, Key, Outcome, begin_in_tx},
    problem::Problem,
};
use sea_orm::DbErr;
use tenants::{
    environment::Mode,
    id::{ResidencyId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
    residency::{Condition, Forbidden, Missing, Recorded, missing},
};

pub use http::{RESIDENCY_CONDITION_MISSING, RESIDENCY_REGION_FORBIDDEN};
pub use store::MIGRATION;

use super::Tenant;
use crate::{cells, names, regions};
use store::Records;

/// A condition that is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: ResidencyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Which condition.
    pub condition: Condition,
    /// For which region.
    pub region: RegionCode,
    /// What the document is called.
    pub document_name: String,
    /// The document's SHA-256, hexadecimal.
    pub document_sha256: String,
    /// The date of the document.
    pub dated_on: NaiveDate,
    /// Who recorded it.
    pub recorded_by: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When it ceased to count.
    pub withdrawn_at: Option<DateTime<Utc>>,
    /// Who withdrew it.
    pub withdrawn_by: Option<String>,
}

/// What a caller says of a record, unchecked.
#[derive(Debug, Clone)]
pub struct New {
    /// Which condition.
    pub condition: Condition,
    /// For which region.
    pub region: RegionCode,
    /// What the document is called.
    pub document_name: String,
    /// The document's SHA-256, hexadecimal.
    pub document_sha256: String,
    /// The date of the document.
    pub dated_on: NaiveDate,
}

/// Whether a tenant's data may lie in a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The region.
    pub region: regions::Region,
    /// Sandbox or live.
    pub mode: Mode,
    /// The tenant's.
    pub jurisdiction: JurisdictionId,
    /// What a cell there has to be certified for, as profiles name it.
    pub attestations: Vec<String>,
    /// What is missing; nothing, if they may. Of certificates, those that the best of the ready cells there lacks.
    pub outcome: Result<Vec<Missing<'static>>, Forbidden>,
}

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text of a field is empty, too long, or of another form.
    #[error("{field} is not acceptable")]
    Text {
        /// JSON pointer.
        field: &'static str,
        /// The most characters.
        limit: usize,
    },
    /// Cells meet this condition, not tenants.
    #[error("a tenant cannot record what cells are certified for")]
    OfCell,
    /// The condition is on record for this region.
    #[error("the condition is on record for this region")]
    Open,
    /// The tenant has no such record.
    #[error("there is no such record")]
    NotFound,
    /// Conditions are missing.
    #[error("conditions are missing")]
    Missing(Box<Verdict>),
    /// The tenant's.
    #[error(transparent)]
    Tenant(#[from] super::Error),
    /// The region's.
    #[error(transparent)]
    Region(#[from] regions::Error),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The idempotency key's.
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl Verdict {
    /// Whether they may.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.outcome.as_ref().is_ok_and(Vec::is_empty)
    }

    /// This verdict without what only a cell can meet: placement looks at that, cell by cell.
    #[must_use]
    pub fn of_tenant(mut self) -> Self {
        if let Ok(missing) = &mut self.outcome {
            missing.retain(|one| one.condition != Condition::Certificate);
        }
        self
    }

    /// Passes if they may.
    ///
    /// # Errors
    /// [`Error::Missing`], naming every condition, or that none helps.
    pub fn require(self) -> Result<(), Error> {
        if self.allows() { Ok(()) } else { Err(Error::Missing(Box::new(self))) }
    }
}

/// Puts a condition on record, once per key. A dry run leaves all as it is.
///
/// # Errors
/// [`Error::Text`], [`Error::OfCell`], [`Error::Open`]; unknown tenants and regions; the key's and the database's.
pub async fn record(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    tenant: TenantId,
    new: &New,
    dry_run: bool,
) -> Result<Done<Record>, Error> {
    if new.condition == Condition::Certificate {
        return Err(Error::OfCell);
    }
    if !names::is_name(&new.document_name) {
        return Err(Error::Text { field: "/document_name", limit: names::LONGEST_NAME });
    }
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if new.document_sha256.len() != 64 || !new.document_sha256.bytes().all(digit) {
        return Err(Error::Text { field: "/document_sha256", limit: 64 });
    }
    let region = regions::get(db, &new.region).await?;
    let record = Record {
        id: ctx.new_id(),
        tenant,
        condition: new.condition,
        region: region.code,
        document_name: new.document_name.clone(),
        document_sha256: new.document_sha256.clone(),
        dated_on: new.dated_on,
        recorded_by: ctx.actor.to_string(),
        created_at: ctx.now(),
        withdrawn_at: None,
        withdrawn_by: None,
    };
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let records = Records::new(&tx, ctx.scope);
        super::get_in_tx(&tx, ctx, tenant).await?.ok_or(super::Error::NotFound)?;
        let done = match begin_in_tx(&tx, ctx, key, record.id.uuid()).await? {
            Outcome::Replay(id) => {
                let first = records.get(tenant, ResidencyId::from_uuid(id)).await?;
                Done { what: first.ok_or(Error::NotFound)?, replayed: true }
            }
            Outcome::New => {
                // The only unique key that a fresh id can meet is that of open records.
                records.insert(&record).await.map_err(|error| {
                    if db::is_unique_violation(&error) { Error::Open } else { error.into() }
                })?;
                Done { what: record.clone(), replayed: false }
            }
        };
        tx.end(dry_run).await?;
        Ok(done)
    })
    .await
}

/// Takes a record back, once per key; what it was and what it is. One that was withdrawn before stays as it is, and a dry
/// run leaves all so.
///
/// # Errors
/// [`Error::NotFound`]; the key's and the database's.
pub async fn withdraw(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    tenant: TenantId,
    id: ResidencyId,
    dry_run: bool,
) -> Result<Done<(Record, Record)>, Error> {
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let records = Records::new(&tx, ctx.scope);
        let begun = begin_in_tx(&tx, ctx, key, id.uuid()).await?;
        let before = records.get(tenant, id).await?.ok_or(Error::NotFound)?;
        if begun == Outcome::New {
            records.withdraw(tenant, id, ctx.now(), &ctx.actor.to_string()).await?;
        }
        let after = records.get(tenant, id).await?.ok_or(Error::NotFound)?;
        tx.end(dry_run).await?;
        Ok(Done { what: (before, after), replayed: begun != Outcome::New })
    })
    .await
}

/// At most `limit` records of a tenant behind `after`, withdrawn ones too, in the order of their ids.
///
/// # Errors
/// Unknown tenants, and the database's.
pub async fn list(
    db: &Db,
    ctx: &Ctx,
    tenant: TenantId,
    after: Option<ResidencyId>,
    limit: u64,
) -> Result<Vec<Record>, Error> {
    let tx = db.begin_read(ctx.scope).await?;
    super::get_in_tx(&tx, ctx, tenant).await?.ok_or(super::Error::NotFound)?;
    let records = Records::new(&tx, ctx.scope).list(tenant, after, limit).await?;
    tx.commit().await?;
    Ok(records)
}

/// Whether a tenant's data may lie in a region today, given what it has on record and what the ready cells there are
/// certified for.
///
/// # Errors
/// Unknown tenants and regions; the database's.
pub async fn check(
    db: &Db,
    ctx: &Ctx,
    tenant: TenantId,
    region: &RegionCode,
    mode: Mode,
) -> Result<Verdict, Error> {
    let region = regions::get(db, region).await?;
    let tx = db.begin_read(ctx.scope).await?;
    let Tenant { jurisdiction, .. } =
        super::get_in_tx(&tx, ctx, tenant).await?.ok_or(super::Error::NotFound)?;
    let recorded: Vec<Recorded> = Records::new(&tx, ctx.scope).open(tenant, &region.code).await?;
    tx.commit().await?;
    let Some(profile) = tenants::profile::profile(&jurisdiction) else {
        let outcome = Err(Forbidden(region.country));
        return Ok(Verdict { region, mode, jurisdiction, attestations: Vec::new(), outcome });
    };
    let today = profile.jurisdiction.date_at(ctx.now());
    let given = |held: &[String]| missing(profile, region.country, mode, today, &recorded, held);
    let mut outcome = given(&[]);
    let attestations: Vec<String> = lacking(&outcome).map(str::to_owned).collect();
    if !attestations.is_empty() {
        let held = cells::kinds_held(db, tenant, &jurisdiction, &region.code, mode, ctx.now()).await?;
        // One cell has to hold them all.
        let best = held.iter().map(|held| given(held)).min_by_key(|outcome| lacking(outcome).count());
        outcome = best.unwrap_or(outcome);
    }
    Ok(Verdict { region, mode, jurisdiction, attestations, outcome })
}

/// The attestations that are missing.
fn lacking<'a>(
    outcome: &'a Result<Vec<Missing<'static>>, Forbidden>,
) -> impl Iterator<Item = &'static str> + 'a {
    outcome.iter().flatten().flat_map(|one| one.attestations.iter().copied())
}
