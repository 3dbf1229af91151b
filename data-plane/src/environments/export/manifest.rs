//! What an export says of itself; pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tenants::id::ExportId;

use super::{super::model::Record, Source};

/// The name of the description of lines.
pub const SCHEMA: &str = "schema.json";
/// The name of the list of all parts.
pub const MANIFEST: &str = "manifest.json";
/// The name of the list of all parts with its signature.
pub const SIGNATURE: &str = "manifest.jws";

/// An export: what was put, and where to go on. It is kept in the environment's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// When it began, wall clock.
    pub begun_at: DateTime<Utc>,
    /// Which file is being written; past the last when all are.
    pub file: usize,
    /// The row of it that was written last.
    pub after: Option<String>,
    /// The last row of the first file: if there is one after it in the end, something has happened meanwhile.
    pub tail: Option<String>,
    /// What was put.
    pub parts: Vec<Part>,
    /// What it came to, once it is whole.
    pub seal: Option<Seal>,
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its key in the export.
    pub key: String,
    /// Of which file.
    pub file: String,
    /// How many lines it has.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// What a whole export is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The SHA-256 of its manifest, hexadecimal.
    pub sha256: String,
    /// The size of its parts.
    pub bytes: u64,
    /// The key that signed its manifest.
    pub signed_by: String,
}

impl Export {
    /// One of which nothing is put.
    pub fn new(id: ExportId, begun_at: DateTime<Utc>) -> Self {
        Self { id, begun_at, file: 0, after: None, tail: None, parts: Vec::new(), seal: None }
    }

    /// The key of one of its objects in the environment's folder.
    pub fn key(&self, name: &str) -> String {
        format!("export/{}/{name}", self.id)
    }

    /// The parts of a file.
    pub fn parts_of<'a>(&'a self, file: &'a str) -> impl Iterator<Item = &'a Part> {
        self.parts.iter().filter(move |part| part.file == file)
    }

    /// The names of all its objects, once it is whole.
    pub fn names(&self) -> Vec<String> {
        let parts = self.parts.iter().map(|part| part.key.as_str());
        [MANIFEST, SIGNATURE, SCHEMA].into_iter().chain(parts).map(str::to_owned).collect()
    }
}

/// The description of every file's lines (JSON Schema 2020-12).
pub fn schema(sources: &[Source]) -> Vec<u8> {
    let (mut files, mut named) = (Map::new(), Map::new());
    for source in sources {
        let (line, refers) = (source.schema)();
        files.insert(source.name.to_owned(), json!({"description": source.about, "line": line}));
        named.extend(refers);
    }
    let whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "files": files,
        "components": {"schemas": named},
    });
    text(&whole)
}

/// The list of all parts; the same for the same export.
pub fn manifest(record: &Record, export: &Export, sources: &[Source], schema: &[u8], cell: &str) -> Vec<u8> {
    let files = sources.iter().map(|source| {
        let parts: Vec<Value> = export
            .parts_of(source.name)
            .map(|part| json!({"key": part.key, "rows": part.rows, "bytes": part.bytes, "sha256": part.sha256}))
            .collect();
        let rows: u64 = export.parts_of(source.name).map(|part| part.rows).sum();
        json!({"name": source.name, "rows": rows, "parts": parts})
    });
    let (organization, tenant) = record.owner.unzip();
    let whole = json!({
        "format": "tambo-export/1",
        "id": export.id,
        "cell": cell,
        "organization_id": organization,
        "tenant_id": tenant,
        "environment_id": record.id,
        "mode": record.mode,
        "jurisdiction": record.jurisdiction,
        "profile_version": record.profile_version,
        "database_version": record.schema,
        "begun_at": export.begun_at,
        "files": files.collect::<Vec<_>>(),
        "schema": {"key": SCHEMA, "bytes": schema.len(), "sha256": platform::hash::sha256(schema)},
    });
    text(&whole)
}

fn text(json: &Value) -> Vec<u8> {
    let mut text = format!("{json:#}").into_bytes();
    text.push(b'\n');
    text
}
