//! The route of imports.

use std::sync::Arc;

use axum::{
    extract::{FromRef, State},
    http::HeaderMap,
};
use platform::{
    db::Db,
    http::{Csv, Json},
    keys::Keys,
    layers::body_limit,
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    problem::{Catalogue, Language, Problem, codes},
    token::{Access, Authorized},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ColumnFlaw, FileError, LONGEST_FILE, LineFault, LineFlaw, MOST_LINES};
use crate::{
    environments::Environments,
    parties::http::{
        IMPORT_COLUMNS, IMPORT_EMPTY, IMPORT_TOO_LONG, LINE_ENCODING, LINE_FIELDS, LINE_QUOTES, Named,
        PARTY_DIFFERS, PartiesWrite, flaw,
    },
};

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Arc<Keys>: FromRef<S>,
    Arc<Catalogue>: FromRef<S>,
    Environments: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            party_import,
            &IMPORT_EMPTY,
            &IMPORT_COLUMNS,
            &IMPORT_TOO_LONG,
            &codes::STORAGE_FULL
        ))
        .layer(body_limit(LONGEST_FILE))
}

/// What became of an import.
#[derive(Serialize, ToSchema)]
#[schema(as = PartyImport, example = json!({
    "imported": 990, "unchanged": 0, "rejected": 10, "faults_truncated": false,
    "faults": [{"line": 7, "field": "email", "code": "email_form", "detail": "This is no address of electronic mail."}]
}))]
struct Imported {
    /// Lines that became parties.
    imported: usize,
    /// Lines whose party was there with the same content.
    unchanged: usize,
    /// Lines that were refused.
    rejected: usize,
    /// What was wrong with the refused lines, by line; the first 1,000.
    faults: Vec<WireFault>,
    /// Whether there were more.
    faults_truncated: bool,
}

/// What is wrong with a line of an import.
#[derive(Serialize, ToSchema)]
#[schema(as = PartyImportFault)]
struct WireFault {
    /// The line, counted from 1, the header included.
    line: usize,
    /// The column; null where the line as a whole is meant.
    field: Option<&'static str>,
    /// The stable name of the fault.
    code: &'static str,
    /// The fault in your language.
    detail: String,
}

/// Imports parties from a file.
///
/// UTF-8 and RFC 4180, with a header: `external_id` and `type` are required, `given_names`, `family_names`, `born_on`,
/// `legal_name`, `trade_name`, `identifiers` (`TYPE:value`, several separated by `;`), `email` and `phone` may be left
/// out. At most 10,000 lines and 4 MiB. Good lines are imported whatever the others are. The `external_id` of a line is
/// its idempotency record: sent again, the line is unchanged, so this operation takes no `Idempotency-Key`. A line break
/// ends a line, also within quotes.
#[utoipa::path(post, path = "/v1/party-imports", operation_id = "party_import", tag = "parties",
    request_body(content = String, content_type = "text/csv",
        example = "external_id,type,given_names,family_names,identifiers\nc-1,natural,Ana,García,CURP:GOGL900131MDFRRN09\n"),
    responses((status = 200, description = "What became of the lines", body = Imported)))]
async fn party_import(
    ctx: Authorized<PartiesWrite>,
    State(db): State<Db>,
    State(keys): State<Arc<Keys>>,
    State(environments): State<Environments>,
    State(catalogue): State<Arc<Catalogue>>,
    headers: HeaderMap,
    Csv(file): Csv,
) -> Result<Json<Imported>, Problem> {
    let profile = environments.of_ctx(&ctx)?.profile;
    let report = super::import(&db, &keys, &ctx, profile, &file).await.map_err(refused)?;
    let language = Language::negotiate(&headers, catalogue.default_language());
    let fault = |LineFault { line, column, flaw }: LineFault| {
        let (code, args) = line_flaw(flaw);
        let detail = catalogue.texts(code, language, &args).detail.into_owned();
        WireFault { line, field: column, code: code.name, detail }
    };
    Ok(Json(Imported {
        imported: report.imported,
        unchanged: report.unchanged,
        rejected: report.rejected,
        faults: report.faults.into_iter().map(fault).collect(),
        faults_truncated: report.truncated,
    }))
}

fn line_flaw(of: LineFlaw) -> Named {
    match of {
        LineFlaw::Field(of) => flaw(of),
        LineFlaw::Encoding => (&LINE_ENCODING, vec![]),
        LineFlaw::Quotes => (&LINE_QUOTES, vec![]),
        LineFlaw::Fields { expected, found } => {
            (&LINE_FIELDS, vec![("expected", expected.into()), ("found", found.into())])
        }
        LineFlaw::Differs => (&PARTY_DIFFERS, vec![]),
    }
}

fn refused(error: FileError) -> Problem {
    match error {
        FileError::Empty => Problem::new(&IMPORT_EMPTY),
        FileError::Header => Problem::new(&IMPORT_COLUMNS),
        FileError::Columns(faults) => {
            faults.into_iter().fold(Problem::new(&IMPORT_COLUMNS), |problem, (name, flaw)| {
                let code = match flaw {
                    ColumnFlaw::Missing => &codes::MISSING,
                    ColumnFlaw::Unknown => &codes::UNKNOWN,
                    ColumnFlaw::Twice => &codes::DUPLICATE,
                };
                problem.at(name, code)
            })
        }
        FileError::TooManyLines => Problem::new(&IMPORT_TOO_LONG).arg("limit", MOST_LINES),
        FileError::Failed(error) => error.into(),
    }
}
