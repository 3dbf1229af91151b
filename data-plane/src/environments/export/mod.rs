//! What a tenant takes with it: all that an environment holds, as files that somebody else can check, put into the object
//! store before anything of it is removed.
//!
//! **What is there**, below `export/exp_…/` of the environment's folder: for each [`Source`] files of JSON lines in parts;
//! `schema.json`, which describes their lines; `manifest.json`, which names every part with its rows, bytes and SHA-256;
//! `manifest.jws`, the manifest signed (ES256) with the key that the cell signs tokens with, whose public part is in it and
//! whose thumbprint (RFC 7638) the control plane is told. Sealed fields are opened: it is the tenant's own data, and the
//! store is what protects it.
//!
//! **Repeatable.** A part is a page of rows after a row, so the same rows give the same bytes. Parts are put once; what has
//! been put is in the environment's row after each run. Whoever repeats after a death finds its own parts, compares them, and
//! goes on. If a part is another than its rows say, or rows came after the transfers were read, a new export begins.
//!
//! **Cost.** One page of at most [`ROWS`] rows in memory; the parts' names and hashes in the environment's row.

mod handover;
mod manifest;

use std::{fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use platform::{
    ctx::Scope,
    db::Db,
    hash::sha256,
    keys::{KeyError, Keys},
    oauth::Signed,
    objects::{Folder, ObjectsError, Put},
    random,
};
use sea_orm::DbErr;
use serde::Serialize;
use serde_json::Value;
use tenants::{
    environment::Status,
    id::{ExportId, Id},
};
use tokio::time::Instant;

pub use self::{
    handover::{ExportLink, HandoverError, links},
    manifest::{Export, Part, Seal},
};
use super::{
    model::{EXPORTED, Record, Step},
    objects::Fault,
    work::{Converger, Error, Look},
};

/// The most rows of a part.
pub const ROWS: u32 = 5_000;
/// How long one run goes on before it writes down what it has put; other work waits for it.
const RUN: Duration = Duration::from_millis(500);
/// How long one run may take altogether.
const PATIENCE: Duration = Duration::from_secs(10);
/// No part is larger: rows are bounded, and so are their fields.
const PART_BYTES: u64 = 256 << 20;
/// What the signature is of; no token has this type.
const TYPE: &str = "tambo-export+jws";

/// What reads the rows of one environment.
#[derive(Clone)]
pub struct Reader {
    /// The database.
    pub db: Db,
    /// What opens sealed fields.
    pub keys: Arc<Keys>,
    /// The environment.
    pub scope: Scope,
}

/// Some rows, in an order of their own.
#[derive(Debug, Default)]
pub struct Page {
    /// A line each.
    pub lines: Vec<Value>,
    /// Where the last row that was looked at is; the page after it begins there. None if none was.
    pub last: Option<String>,
    /// Whether there may be more.
    pub more: bool,
}

impl Page {
    /// Of rows that are lines, in their order, of which a full page has `limit`.
    ///
    /// # Errors
    /// A line cannot be written as JSON, which no type here allows.
    pub fn of<T: Serialize>(rows: &[T], limit: u32, at: impl Fn(&T) -> String) -> Result<Self, ReadError> {
        let lines = rows.iter().map(serde_json::to_value).collect::<Result<_, _>>();
        Ok(Self {
            lines: lines.map_err(|error| DbErr::Json(error.to_string()))?,
            last: rows.last().map(at),
            more: rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX),
        })
    }
}

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// A sealed field does not open.
    #[error("a sealed field does not open")]
    Sealed(#[from] KeyError),
}

/// The schema of a line, and those that it refers to by name.
pub type Described = (Value, Vec<(String, Value)>);
/// A page to come.
pub type Reading = BoxFuture<'static, Result<Page, ReadError>>;

/// A file of an export.
#[derive(Clone, Copy)]
pub struct Source {
    /// What it is called: `transfers`.
    pub name: &'static str,
    /// What a line of it is, for people.
    pub about: &'static str,
    /// The JSON schema of a line, and of what it refers to by name.
    pub schema: fn() -> Described,
    /// The next page of at most so many rows after a row; from the first, if there is none.
    pub read: fn(Reader, Option<String>, u32) -> Reading,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

/// Why a run did not come further.
enum Stop {
    Fault(Fault),
    Read(ReadError),
    /// What lies there is not what the rows say.
    Differs,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ObjectsError> for Stop {
    fn from(error: ObjectsError) -> Self {
        Self::Fault(error.into())
    }
}

impl Converger {
    /// Puts what is missing of the export.
    pub(super) async fn export(&self, record: &Record) -> Result<Look, Error> {
        let now = self.clock.now();
        let begun = || Export::new(ExportId::from_parts(now, random::bits()), now);
        let made = |export| Look::Made(Record { export: Some(export), ..record.after(Step::Export, []) });
        let Some(export) = &record.export else {
            // Nobody could ever do anything in it.
            let never_ready = record.schema.is_empty();
            return Ok(if never_ready { Look::There } else { made(begun()) });
        };
        if export.seal.is_some() {
            return Ok(Look::There);
        }
        let waits = |reason: &str, detail: &str| {
            let seen = self.seen(EXPORTED, Status::False, reason, Some(detail.to_owned()));
            Ok(Look::Wait(record.after(Step::Export, [seen])))
        };
        match tokio::time::timeout(PATIENCE, self.export_more(record, export)).await {
            Ok(Ok(more)) => {
                // Conditions stay with the control plane when nothing of the environment is left.
                let sealed = more.seal.as_ref().map(|Seal { sha256, bytes, signed_by }| {
                    let detail = format!(
                        "{}: {bytes} bytes, manifest of SHA-256 {sha256}, signed by {signed_by}",
                        more.id
                    );
                    self.seen(EXPORTED, Status::True, "Signed", Some(detail))
                });
                Ok(Look::Made(Record { export: Some(more), ..record.after(Step::Export, sealed) }))
            }
            Ok(Err(Stop::Differs)) => {
                tracing::warn!(environment = %record.id, export = %export.id, "an export begins anew: it has changed");
                Ok(made(begun()))
            }
            Ok(Err(Stop::Read(ReadError::Database(error)))) => Err(error.into()),
            Ok(Err(Stop::Read(ReadError::Sealed(error)))) => waits("Sealed", &error.to_string()),
            Ok(Err(Stop::Fault(fault))) => {
                let (reason, detail) = fault.public();
                tracing::warn!(environment = %record.id, reason, "an export waits for the object store");
                waits(reason, detail)
            }
            Err(_) => waits("Unreachable", "the cell's object store does not answer"),
        }
    }

    /// Puts parts for a while, or what is left when all are there.
    async fn export_more(&self, record: &Record, export: &Export) -> Result<Export, Stop> {
        let folder = self.folder_of(record.id)?;
        let scope = Scope::new(record.shard, record.id.uuid());
        let reader = Reader { db: self.db.clone(), keys: Arc::clone(&self.keys), scope };
        let (mut export, begun) = (export.clone(), Instant::now());
        while let Some(source) = self.sources.get(export.file) {
            if begun.elapsed() > RUN {
                return Ok(export);
            }
            let page = (source.read)(reader.clone(), export.after.clone(), ROWS).await.map_err(Stop::Read)?;
            if !page.lines.is_empty() {
                let (number, mut bytes) = (export.parts_of(source.name).count() + 1, Vec::new());
                for line in &page.lines {
                    bytes.extend_from_slice(line.to_string().as_bytes());
                    bytes.push(b'\n');
                }
                let part = Part {
                    key: format!("{}-{number:06}.jsonl", source.name),
                    file: source.name.to_owned(),
                    rows: count(page.lines.len()),
                    bytes: count(bytes.len()),
                    sha256: sha256(&bytes),
                };
                put(&folder, &export.key(&part.key), "application/jsonl", bytes).await?;
                export.parts.push(part);
            }
            export.after = page.last.or(export.after);
            if !page.more {
                if export.file == 0 {
                    export.tail = export.after.clone();
                }
                (export.file, export.after) = (export.file + 1, None);
            }
        }
        self.seal(record, export, &folder, reader).await
    }

    /// Looks whether all is there and nothing has come since, and signs it.
    async fn seal(
        &self,
        record: &Record,
        mut export: Export,
        folder: &Folder,
        reader: Reader,
    ) -> Result<Export, Stop> {
        if let Some(first) = self.sources.first() {
            let late = (first.read)(reader, export.tail.clone(), 1).await.map_err(Stop::Read)?;
            if !late.lines.is_empty() {
                return Err(Stop::Differs);
            }
        }
        let schema = manifest::schema(self.sources);
        let manifest = manifest::manifest(record, &export, self.sources, &schema, self.issuer.url());
        put(folder, &export.key(manifest::SCHEMA), "application/schema+json", schema.clone()).await?;
        put(folder, &export.key(manifest::MANIFEST), "application/json", manifest.clone()).await?;
        let signed_by = self.sign(folder, &export.key(manifest::SIGNATURE), &manifest).await?;
        self.look_through(folder, &export).await?;
        let bytes = export.parts.iter().map(|part| part.bytes).sum();
        export.seal = Some(Seal { sha256: sha256(&manifest), bytes, signed_by });
        Ok(export)
    }

    /// Puts the signed manifest, or finds the one that was put; the name of its key.
    async fn sign(&self, folder: &Folder, key: &str, manifest: &[u8]) -> Result<String, Stop> {
        let found = match folder.get(key, PART_BYTES).await? {
            Some(found) => found,
            None => {
                let signed = self.issuer.sign(TYPE, manifest);
                let Signed { jws, .. } = signed.ok_or(Fault::NoKey)?;
                folder.put_new(key, "application/jose", jws.into_bytes()).await?;
                folder.get(key, PART_BYTES).await?.ok_or(Stop::Differs)?
            }
        };
        // Perhaps another process signed it, or this one before its death.
        let jws = String::from_utf8(found).map_err(|_| Stop::Differs)?;
        self.issuer.signed(TYPE, &jws, manifest).ok_or(Stop::Differs)
    }

    /// Whether every part is there, in its size.
    async fn look_through(&self, folder: &Folder, export: &Export) -> Result<(), Stop> {
        // What sorts before all of them.
        let mut after = Some(format!("export/{}", export.id));
        let mut parts: Vec<&Part> = export.parts.iter().collect();
        while let Some(from) = after.take() {
            let listed = folder.list(Some(&from)).await?;
            after = listed.last().map(|one| one.key.clone()).filter(|_| !parts.is_empty());
            for one in listed {
                parts.retain(|part| export.key(&part.key) != one.key || part.bytes != one.bytes);
            }
        }
        if parts.is_empty() { Ok(()) } else { Err(Stop::Differs) }
    }
}

/// Puts an object, or finds the same.
async fn put(folder: &Folder, key: &str, content_type: &str, bytes: Vec<u8>) -> Result<(), Stop> {
    let wanted = sha256(&bytes);
    match folder.put_new(key, content_type, bytes).await? {
        Put::Made => Ok(()),
        Put::There => match folder.get(key, PART_BYTES).await {
            Ok(Some(found)) if sha256(&found) == wanted => Ok(()),
            Ok(_) | Err(ObjectsError::Refused(_)) => Err(Stop::Differs),
            Err(error) => Err(error.into()),
        },
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
