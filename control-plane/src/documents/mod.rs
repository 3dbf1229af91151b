//! Documents: what a tenant shows of itself, such as licence, incorporation, powers and owners (KYB).
//!
//! **Promise.** Their bytes lie in the store of the tenant's jurisdiction, in a region of its country, and never pass
//! through here: this plane keeps what a document is to be (name, kind, type, size, hash) and signs links, with which
//! people put and get it themselves. A link to put one is for this size, type and hash, and once. Whether it was put is
//! not known here, and not said. Every link that is given leaves a row before it is given: who, when, what for. A
//! repetition gets a fresh link, and leaves another.
//!
//! Documents are evidence: they stay when their tenant has ended, and nothing here removes or changes one. They configure
//! nothing, and what is answered is a link, which is a secret and good at once: there is no dry run of that.
//!
//! **Cost.** A link costs two reads of a file and a few hashes, and no call to anybody.

pub mod http;
mod model;
mod store;
mod stores;
mod system;

use platform::{
    ctx::Ctx,
    db::{self, Db},
    idempotency::{Done, Key, Outcome, begin_in_tx},
    objects::{Link, LinkError},
    problem::Problem,
};
use sea_orm::DbErr;
use tenants::{
    id::{DocumentId, DocumentLinkId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
};

pub use self::{
    model::{ContentType, Document, Fault, Kind, LARGEST, New, Use},
    store::MIGRATION,
    stores::{StoreError, StoreSection, Stores, check_stores},
};
use crate::{
    organizations, regions,
    tenants::{self as slice, Tenant},
};
use store::Documents;
use stores::Store;

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the caller says is not acceptable.
    #[error("what was said of the document is not acceptable")]
    Invalid(Fault),
    /// No document that this caller may know of has this id.
    #[error("there is no such document")]
    NotFound,
    /// The jurisdiction has no store, or one that lies in no region of its country.
    #[error("there is no store for the documents of {0}")]
    NoStore(JurisdictionId),
    /// The store of the jurisdiction lies in another region than the document.
    #[error("the document was put in {0}, where its store is not any more")]
    Elsewhere(RegionCode),
    /// The link cannot be signed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The tenant's.
    #[error(transparent)]
    Tenant(#[from] slice::Error),
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

/// The caller's context where this document is: an organization's client stays in its own, an operator goes where the
/// document is.
///
/// # Errors
/// [`Error::NotFound`] for an operator, if it is nowhere; the database's.
pub async fn acting(db: &Db, ctx: &Ctx, id: DocumentId) -> Result<Ctx, Error> {
    organizations::acting(ctx, system::organization_of(db, id)).await?.ok_or(Error::NotFound)
}

/// Records what a document is to be, once per key, and gives a link to put it.
///
/// # Errors
/// [`Error::Invalid`], [`Error::NoStore`], [`Error::Elsewhere`], [`Error::Link`]; unknown tenants; the key's and the
/// database's.
pub async fn create(
    db: &Db,
    stores: &Stores,
    ctx: &Ctx,
    key: &Key,
    of: TenantId,
    new: &New,
) -> Result<Done<(Document, Link)>, Error> {
    let sha256 = new.check().map_err(Error::Invalid)?;
    let store = place(db, stores, &slice::get(db, ctx, of).await?).await?;
    let document = Document {
        id: ctx.new_id(),
        tenant: of,
        name: new.name.clone(),
        kind: new.kind,
        content_type: new.content_type,
        bytes: new.bytes,
        sha256,
        region: store.region.clone(),
        recorded_by: ctx.actor.to_string(),
        created_at: ctx.now(),
    };
    let Done { what: document, replayed } = db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let documents = Documents::new(&tx, ctx.scope);
        let done = match begin_in_tx(&tx, ctx, key, document.id.uuid()).await? {
            Outcome::Replay(id) => {
                let first = documents.get(DocumentId::from_uuid(id)).await?;
                Done { what: first.ok_or(Error::NotFound)?, replayed: true }
            }
            Outcome::New => {
                documents.insert(&document).await?;
                Done { what: document.clone(), replayed: false }
            }
        };
        store.has(&done.what)?;
        documents.given(ctx, ctx.new_id(), done.what.id, Use::Upload).await?;
        tx.commit().await?;
        Ok::<_, Error>(done)
    })
    .await?;
    let link = store.link(&document, Use::Upload, &ctx.clock.clock).await?;
    Ok(Done { what: (document, link), replayed })
}

/// Gives a link to get a document, whether or not it was put.
///
/// # Errors
/// [`Error::NotFound`], [`Error::NoStore`], [`Error::Elsewhere`], [`Error::Link`]; the key's and the database's.
pub async fn link(
    db: &Db,
    stores: &Stores,
    ctx: &Ctx,
    key: &Key,
    id: DocumentId,
) -> Result<Done<Link>, Error> {
    let document = get(db, ctx, id).await?;
    let store = place(db, stores, &slice::get(db, ctx, document.tenant).await?).await?;
    store.has(&document)?;
    let given = ctx.new_id::<DocumentLinkId>();
    let replayed = db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let begun = begin_in_tx(&tx, ctx, key, given.uuid()).await?;
        Documents::new(&tx, ctx.scope).given(ctx, given, id, Use::Download).await?;
        tx.commit().await?;
        Ok::<_, Error>(begun != Outcome::New)
    })
    .await?;
    let link = store.link(&document, Use::Download, &ctx.clock.clock).await?;
    Ok(Done { what: link, replayed })
}

/// The store of a tenant's documents, if it lies where it has to: in the country of the jurisdiction.
async fn place<'a>(db: &Db, stores: &'a Stores, tenant: &Tenant) -> Result<&'a Store, Error> {
    let none = || Error::NoStore(tenant.jurisdiction.clone());
    let store = stores.of(&tenant.jurisdiction).ok_or_else(none)?;
    let home = tenant.profile().map(|profile| profile.jurisdiction.country);
    match regions::get(db, &store.region).await {
        Ok(region) if Some(region.country) == home => Ok(store),
        Ok(_) | Err(regions::Error::Unknown) => Err(none()),
        Err(error) => Err(error.into()),
    }
}

/// The document of this id in the organization that `ctx` is in.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn get(db: &Db, ctx: &Ctx, id: DocumentId) -> Result<Document, Error> {
    let tx = db.begin_read(ctx.scope).await?;
    let document = Documents::new(&tx, ctx.scope).get(id).await?;
    tx.commit().await?;
    document.ok_or(Error::NotFound)
}

/// At most `limit` documents of a tenant behind `after`, in the order of their ids.
///
/// # Errors
/// Unknown tenants, and the database's.
pub async fn list(
    db: &Db,
    ctx: &Ctx,
    of: TenantId,
    after: Option<DocumentId>,
    limit: u64,
) -> Result<Vec<Document>, Error> {
    let tx = db.begin_read(ctx.scope).await?;
    slice::get_in_tx(&tx, ctx, of).await?.ok_or(slice::Error::NotFound)?;
    let documents = Documents::new(&tx, ctx.scope).list(of, after, limit).await?;
    tx.commit().await?;
    Ok(documents)
}
