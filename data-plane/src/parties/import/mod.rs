//! Parties from a file: comma-separated values (RFC 4180, UTF-8), a header and a line per party.
//!
//! One difference from RFC 4180: a field holds no line break. So a quote that somebody forgot to close spoils its own
//! line, not the rest of the file.
//!
//! | column | |
//! |---|---|
//! | `external_id` | required |
//! | `type` | required: `natural` or `legal` |
//! | `given_names`, `family_names`, `born_on` | of natural persons |
//! | `legal_name`, `trade_name` | of legal persons |
//! | `identifiers` | `CODE:value`, several separated by `;` |
//! | `email`, `phone` | |
//!
//! An empty field is an absent one. Columns may stand in any order; those not required may be left out.

pub mod http;

use std::{borrow::Cow, collections::BTreeMap};

use chrono::NaiveDate;
use platform::{
    ctx::Ctx,
    db::{self, Db},
    keys::{DataKey, Keys},
};
use tenants::profile::{Person, Profile};

use super::{
    Error,
    model::{Draft, Fault, Flaw, Particulars, Party},
    store::Parties,
    today,
};

/// The most lines of a file, its header not counted.
pub const MOST_LINES: usize = 10_000;
/// The longest file, in bytes.
pub const LONGEST_FILE: usize = 4 * 1024 * 1024;
/// Lines per transaction.
pub const BATCH: usize = 500;
/// The most faults that a report lists; the rest are counted.
pub const MOST_REPORTED: usize = 1_000;

const COLUMNS: [&str; 10] = [
    "external_id",
    "type",
    "given_names",
    "family_names",
    "legal_name",
    "trade_name",
    "born_on",
    "identifiers",
    "email",
    "phone",
];
const REQUIRED: usize = 2;

/// What became of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Lines that became parties.
    pub imported: usize,
    /// Lines whose party was there with the same content.
    pub unchanged: usize,
    /// Lines that were refused.
    pub rejected: usize,
    /// Why, by line; the first [`MOST_REPORTED`].
    pub faults: Vec<LineFault>,
    /// Whether there were more.
    pub truncated: bool,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// Counted from 1, the header included, as an editor shows it.
    pub line: usize,
    /// The column, if it is one's.
    pub column: Option<&'static str>,
    /// What is wrong; never the value itself.
    pub flaw: LineFlaw,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineFlaw {
    /// A field.
    Field(Flaw),
    /// Not UTF-8.
    Encoding,
    /// A quote that is not closed, or text after a closed one.
    Quotes,
    /// Not as many fields as the header has.
    Fields {
        /// The header's.
        expected: usize,
        /// The line's.
        found: usize,
    },
    /// There is a party of this `external_id` with other content.
    Differs,
}

/// Why a whole file is refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// No header, or no line after it.
    #[error("the file has no lines")]
    Empty,
    /// The header is not UTF-8, or has a quote that is not closed.
    #[error("the header cannot be read")]
    Header,
    /// Columns that are missing, unknown or there twice.
    #[error("the columns are wrong")]
    Columns(Vec<(String, ColumnFlaw)>),
    /// More than [`MOST_LINES`].
    #[error("the file has too many lines")]
    TooManyLines,
    /// The database or a key failed. What was imported before stays, and is unchanged when the file is sent again.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// What can be wrong with a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnFlaw {
    /// It is required.
    Missing,
    /// There is no such column.
    Unknown,
    /// It stands there twice.
    Twice,
}

/// Where each of [`COLUMNS`] stands in a line.
type Places = [Option<usize>; COLUMNS.len()];

/// Imports a file.
///
/// # Errors
/// [`FileError`]. Faults of lines are in the report.
pub async fn import(
    db: &Db,
    keys: &Keys,
    ctx: &Ctx,
    profile: &Profile,
    file: &[u8],
) -> Result<Report, FileError> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let mut lines = file
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .enumerate()
        .map(|(at, line)| (at.saturating_add(1), line))
        .filter(|(_, line)| !line.is_empty());
    let (_, header) = lines.next().ok_or(FileError::Empty)?;
    let (width, places) = header_places(header)?;
    let lines: Vec<(usize, &[u8])> = lines.take(MOST_LINES.saturating_add(1)).collect();
    if lines.is_empty() {
        return Err(FileError::Empty);
    }
    if lines.len() > MOST_LINES {
        return Err(FileError::TooManyLines);
    }
    let key = keys.of(ctx.scope).await.map_err(Error::from)?;
    let today = today(profile, ctx);
    let mut report = Report::default();
    for batch in lines.chunks(BATCH) {
        let mut good = Vec::with_capacity(batch.len());
        for &(line, text) in batch {
            match read(text, width, &places, profile, today) {
                Ok(particulars) => good.push((line, particulars)),
                Err(faults) => report.refuse(line, faults),
            }
        }
        let outcomes = write(db, &key, ctx, &good).await?;
        for ((line, _), outcome) in good.iter().zip(outcomes) {
            match outcome {
                Written::Imported => report.imported = report.imported.saturating_add(1),
                Written::Unchanged => report.unchanged = report.unchanged.saturating_add(1),
                Written::Differs => report.refuse(*line, vec![(Some("external_id"), LineFlaw::Differs)]),
            }
        }
    }
    report.faults.sort_by_key(|fault| fault.line);
    Ok(report)
}

type Faults = Vec<(Option<&'static str>, LineFlaw)>;

impl Report {
    fn refuse(&mut self, line: usize, faults: Faults) {
        self.rejected = self.rejected.saturating_add(1);
        for (column, flaw) in faults {
            if self.faults.len() == MOST_REPORTED {
                self.truncated = true;
                return;
            }
            self.faults.push(LineFault { line, column, flaw });
        }
    }
}

fn header_places(header: &[u8]) -> Result<(usize, Places), FileError> {
    let header = std::str::from_utf8(header).map_err(|_| FileError::Header)?;
    let names = fields(header).ok_or(FileError::Header)?;
    let mut places: Places = [None; COLUMNS.len()];
    let mut faults = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let name = name.trim();
        match COLUMNS.iter().position(|known| *known == name) {
            None => faults.push((shortened(name), ColumnFlaw::Unknown)),
            Some(column) if places[column].is_some() => faults.push((shortened(name), ColumnFlaw::Twice)),
            Some(column) => places[column] = Some(at),
        }
    }
    for (name, place) in COLUMNS.iter().zip(places).take(REQUIRED) {
        if place.is_none() {
            faults.push(((*name).to_owned(), ColumnFlaw::Missing));
        }
    }
    if faults.is_empty() { Ok((names.len(), places)) } else { Err(FileError::Columns(faults)) }
}

/// A column's name as a report shows it. A file without a header would show a person's data here, so only what looks
/// like a name is shown.
fn shortened(name: &str) -> String {
    let plain = name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if plain { name.to_owned() } else { "…".to_owned() }
}

/// What a line says, checked.
fn read(
    line: &[u8],
    width: usize,
    places: &Places,
    profile: &Profile,
    today: NaiveDate,
) -> Result<Particulars, Faults> {
    let line = std::str::from_utf8(line).map_err(|_| vec![(None, LineFlaw::Encoding)])?;
    let fields = fields(line).ok_or_else(|| vec![(None, LineFlaw::Quotes)])?;
    if fields.len() != width {
        return Err(vec![(None, LineFlaw::Fields { expected: width, found: fields.len() })]);
    }
    let texts = places.map(|place| {
        let text = fields.get(place?)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    });
    let [
        external_id,
        person,
        given_names,
        family_names,
        legal_name,
        trade_name,
        born_on,
        identifiers,
        email,
        phone,
    ] = texts;
    let mut faults: Faults = Vec::new();
    let person = match person.as_deref() {
        None => None,
        Some("natural") => Some(Person::Natural),
        Some("legal") => Some(Person::Legal),
        Some(_) => return Err(vec![(Some("type"), LineFlaw::Field(Flaw::Malformed))]),
    };
    if external_id.is_none() {
        faults.push((Some("external_id"), LineFlaw::Field(Flaw::Missing)));
    }
    let born_on = born_on.and_then(|text| {
        let date = iso_date(&text);
        if date.is_none() {
            faults.push((Some("born_on"), LineFlaw::Field(Flaw::Malformed)));
        }
        date
    });
    let identifiers = identifiers.as_deref().unwrap_or_default().split(';').map(str::trim);
    let identifiers = identifiers.filter(|one| !one.is_empty()).map(|one| {
        let (code, value) = one.split_once(':').unwrap_or((one, ""));
        (code.trim().to_owned(), value.to_owned())
    });
    let draft = Draft {
        person,
        external_id,
        given_names,
        family_names,
        legal_name,
        trade_name,
        born_on,
        identifiers: identifiers.collect(),
        email,
        phone,
        address: None,
    };
    let checked = draft.check(profile, today).map_err(|found| {
        found.into_iter().map(|Fault { field, flaw }| (column(&field), LineFlaw::Field(flaw))).collect()
    });
    match checked {
        Ok(particulars) if faults.is_empty() => Ok(particulars),
        Ok(_) => Err(faults),
        Err(found) => {
            let found: Faults = found;
            faults.extend(found);
            Err(faults)
        }
    }
}

/// The column that a pointer into the JSON form means.
fn column(pointer: &str) -> Option<&'static str> {
    let first = pointer.split('/').nth(1)?;
    COLUMNS.iter().copied().find(|name| *name == first)
}

/// `YYYY-MM-DD` and nothing else.
fn iso_date(text: &str) -> Option<NaiveDate> {
    let date: NaiveDate = text.parse().ok()?;
    (date.format("%Y-%m-%d").to_string() == text).then_some(date)
}

/// The fields of a line. `None` for a quote that is not closed, or text beside a quoted field.
fn fields(line: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (field, after) = rest.split_at(end);
                if field.contains('"') {
                    return None;
                }
                (Cow::Borrowed(field), after)
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

/// The field behind an opening quote, and what follows its closing one.
fn quoted_field(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut from = 0;
    loop {
        let quote = from + text.get(from..)?.find('"')?;
        let after = text.get(quote + 1..)?;
        if after.starts_with('"') {
            from = quote + 2;
        } else {
            let field = text.get(..quote)?;
            let plain = if from == 0 { field.into() } else { field.replace("\"\"", "\"").into() };
            return Some((plain, after));
        }
    }
}

#[derive(Clone, Copy)]
enum Written {
    Imported,
    Unchanged,
    Differs,
}

/// How often a batch is begun anew because another request took an `external_id` of it in the meantime.
const ATTEMPTS: u32 = 5;

/// Writes a batch in one transaction; an outcome per line.
async fn write(
    db: &Db,
    key: &DataKey,
    ctx: &Ctx,
    lines: &[(usize, Particulars)],
) -> Result<Vec<Written>, Error> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let mut attempt = 1;
    loop {
        match db::retry(|| write_once(db, key, ctx, lines)).await {
            Err(Error::Database(error)) if attempt < ATTEMPTS && db::is_unique_violation(&error) => {
                attempt += 1;
            }
            done => return done,
        }
    }
}

async fn write_once(
    db: &Db,
    key: &DataKey,
    ctx: &Ctx,
    lines: &[(usize, Particulars)],
) -> Result<Vec<Written>, Error> {
    let tx = db.begin(ctx.scope).await?;
    let parties = Parties::new(&tx, key, ctx.scope);
    let ids: Vec<&str> = lines.iter().filter_map(|(_, line)| line.external_id.as_deref()).collect();
    let there = parties.with_external_ids(&ids).await?;
    let mut known: BTreeMap<&str, &Particulars> =
        there.iter().map(|(id, party)| (id.as_str(), &party.particulars)).collect();
    let now = ctx.now();
    let mut new = Vec::new();
    let mut outcomes = Vec::with_capacity(lines.len());
    for (_, line) in lines {
        let id = line.external_id.as_deref().unwrap_or_default();
        outcomes.push(match known.get(id) {
            Some(before) if same(before, line) => Written::Unchanged,
            Some(_) => Written::Differs,
            None => {
                known.insert(id, line);
                let particulars = line.clone();
                new.push(Party {
                    id: ctx.new_id(),
                    particulars,
                    version: 1,
                    created_at: now,
                    updated_at: now,
                });
                Written::Imported
            }
        });
    }
    parties.insert(&new).await?;
    tx.commit().await?;
    Ok(outcomes)
}

/// Whether a line says what is known. A file cannot state an address, so that one is not compared.
fn same(known: &Particulars, line: &Particulars) -> bool {
    *known == Particulars { address: known.address.clone(), ..line.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_rfc_4180() {
        for (line, expected) in [
            ("", Some(vec![""])),
            ("a,b", Some(vec!["a", "b"])),
            (",", Some(vec!["", ""])),
            ("\"a,b\",c", Some(vec!["a,b", "c"])),
            ("\"\",\"\"", Some(vec!["", ""])),
            ("\"a\"\"b\"\"\",c", Some(vec!["a\"b\"", "c"])),
            ("\"\"\"\"", Some(vec!["\""])),
            ("\"a", None),
            ("\"a\"\"", None),
            ("\"a\"b,c", None),
            ("a\"b\",c", None),
        ] {
            let found = fields(line).map(|found| found.into_iter().map(Cow::into_owned).collect::<Vec<_>>());
            let expected = expected.map(|fields| fields.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn a_header_places_its_columns() {
        let places = |header: &str| match header_places(header.as_bytes()) {
            Ok((width, places)) => format!("{width} {:?} {:?}", places[0], places[9]),
            Err(FileError::Columns(faults)) => format!("{faults:?}"),
            Err(error) => error.to_string(),
        };
        assert_eq!(places("type,external_id,phone"), "3 Some(1) Some(2)");
        assert_eq!(places("external_id"), "[(\"type\", Missing)]");
        assert_eq!(places("external_id,type,type"), "[(\"type\", Twice)]");
        assert_eq!(places("external_id,type,colour"), "[(\"colour\", Unknown)]");
        assert_eq!(
            places("external_id,type,Ana García"),
            "[(\"…\", Unknown)]",
            "no person's name in a report"
        );
        assert_eq!(places("\"external_id"), "the header cannot be read");
    }

    #[test]
    fn dates_have_one_form() {
        assert!(iso_date("2026-01-31").is_some());
        for bad in ["2026-1-31", "2026-02-30", "31/01/2026", "2026-01-31T00:00", "+2026-01-31"] {
            assert!(iso_date(bad).is_none(), "{bad}");
        }
    }
}
