//! The route of statements: one resource in three forms, chosen by `Accept`.

use axum::{
    body::{Body, Bytes},
    extract::{FromRef, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, NaiveDate, Utc};
use futures::{StreamExt, stream};
use ledger::transfer::Kind;
use platform::{
    db::Db,
    http::{Json, Path, Query},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit},
    problem::{In, Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::http::{AccountsRead, NOT_ACCEPTABLE, PERIOD_IN_FUTURE, PERIOD_REVERSED, PERIOD_TOO_LONG},
    Entry, Form, MAX_DAYS, Period, PeriodError, Statement, Writing,
};
use crate::environments::Environments;

const LIST: &str = "statement";
const FORMS: [(&str, Option<Form>); 3] =
    [("application/json", None), ("text/csv", Some(Form::Csv)), ("application/xml", Some(Form::Camt))];

/// The route.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Environments: FromRef<S>,
{
    OpenApiRouter::new().routes(operation!(
        account_statement,
        &codes::NOT_FOUND,
        &codes::INVALID_CURSOR,
        &PERIOD_REVERSED,
        &PERIOD_TOO_LONG,
        &PERIOD_IN_FUTURE,
        &NOT_ACCEPTABLE
    ))
}

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StatementQuery {
    /// The first business date.
    #[param(example = "2026-11-01")]
    from_on: NaiveDate,
    /// The last business date, today at the latest; at most 366 days from the first.
    #[param(example = "2026-11-30")]
    to_on: NaiveDate,
    /// JSON only: how many entries at most, 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    limit: Limit,
    /// JSON only: `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// An entry of a statement.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StatementEntry)]
struct EntryWire {
    /// The business date on which it took effect.
    on: NaiveDate,
    /// When it took effect, environment time.
    effective_at: DateTime<Utc>,
    /// When it was written; later for what was imported.
    booked_at: DateTime<Utc>,
    /// The transfer.
    transfer_id: TransferId,
    r#type: Kind,
    /// The account on the other side.
    counterparty_account_id: AccountId,
    /// The text it was posted with.
    reference: Option<String>,
    /// What it changes the balance by: positive where the account grows.
    amount: Money,
    /// The balance after it.
    balance: Money,
}

/// A page of a statement. The balances are those of the whole period on every page.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Statement, example = json!({
    "account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "from_on": "2026-11-01", "to_on": "2026-11-30", "interim": false,
    "opening_balance": {"amount": 100_000, "currency": "MXN"},
    "closing_balance": {"amount": 87_500, "currency": "MXN"},
    "data": [{
        "on": "2026-11-21", "effective_at": "2026-11-21T16:04:05.123456Z", "booked_at": "2026-11-21T16:04:05.123456Z",
        "transfer_id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t6", "type": "transfer",
        "counterparty_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "reference": "Rent",
        "amount": {"amount": -12_500, "currency": "MXN"}, "balance": {"amount": 87_500, "currency": "MXN"}
    }], "next_cursor": null, "has_more": false
}))]
struct StatementWire {
    account_id: AccountId,
    from_on: NaiveDate,
    to_on: NaiveDate,
    /// Whether the last day is today, and the closing balance may still change.
    interim: bool,
    /// Before the first entry.
    opening_balance: Money,
    /// After the last entry.
    closing_balance: Money,
    /// The entries, oldest first.
    data: Vec<EntryWire>,
    /// The cursor of the next page; null on the last one.
    next_cursor: Option<Cursor>,
    /// Whether there are more entries.
    has_more: bool,
}

fn wire(statement: &Statement, entry: Entry) -> EntryWire {
    EntryWire {
        on: entry.on,
        effective_at: entry.transfer.effective_at,
        booked_at: entry.transfer.booked_at,
        transfer_id: entry.transfer.id,
        r#type: entry.transfer.kind,
        counterparty_account_id: entry.counterparty(),
        amount: statement.money(entry.amount),
        balance: statement.money(entry.balance),
        reference: entry.transfer.reference.map(String::from),
    }
}

/// The statement of whole business days, in the jurisdiction's time zone.
///
/// `Accept` chooses the form: JSON in pages with amounts in minor units; CSV and camt.053 whole, with amounts in major
/// units. Entries are what was posted; holds and blocks are not among them.
#[utoipa::path(get, path = "/v1/accounts/{id}/statements", operation_id = "account_statement", tag = "accounts",
    params(("id" = AccountId, Path), StatementQuery),
    responses((status = 200, description = "The statement", content(
        (StatementWire = "application/json"),
        (String = "text/csv", example = "record,on,effective_at,booked_at,transfer_id,type,counterparty_account_id,\
            reference,amount,balance,currency\r\nopening,2026-11-01,,,,,,,,1000.00,MXN\r\n"),
        (String = "application/xml", example = "<Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:camt.053.001.11\">…\
            </Document>"),
    ))))]
async fn account_statement(
    ctx: Authorized<AccountsRead>,
    State(db): State<Db>,
    State(environments): State<Environments>,
    headers: HeaderMap,
    Path(id): Path<AccountId>,
    Query(query): Query<StatementQuery>,
) -> Result<Response, Problem> {
    let form = accepted(&headers)?;
    let jurisdiction = &environments.of_ctx(&ctx)?.profile.jurisdiction;
    let period = Period::of(jurisdiction, query.from_on, query.to_on, ctx.now()).map_err(refused)?;
    // Position of the entry before the page, and of the newest transfer of the statement.
    let cursor: Option<(i64, i64)> = query.cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let through = cursor.filter(|_| form.is_none()).map(|(_, through)| through);
    let tx = db.begin_read(ctx.scope).await.map_err(Problem::from)?;
    let statement = Statement::begin_in_tx(&tx, ctx.scope, id, period, through, ctx.now()).await?;
    let Some(form) = form else {
        let place = match cursor {
            None => statement.start(),
            Some((seq, _)) => statement.place_in_tx(&tx, ctx.scope, seq).await?,
        };
        let chunk = statement.chunk_in_tx(&tx, ctx.scope, jurisdiction, place, query.limit.get()).await?;
        tx.commit().await.map_err(Problem::from)?;
        let next_cursor = chunk.next.map(|next| Cursor::after(LIST, &(next.seq, statement.through)));
        return Ok(Json(StatementWire {
            account_id: id,
            from_on: period.from_on,
            to_on: period.to_on,
            interim: period.interim,
            opening_balance: statement.money(statement.opening),
            closing_balance: statement.money(statement.closing),
            has_more: next_cursor.is_some(),
            next_cursor,
            data: chunk.entries.into_iter().map(|entry| wire(&statement, entry)).collect(),
        })
        .into_response());
    };
    tx.commit().await.map_err(Problem::from)?;
    let next = Some(statement.start());
    let writing = Writing { db, scope: ctx.scope, jurisdiction, statement, form, next };
    streamed(writing, form).await
}

/// The first chunk is read before the answer begins, so that what fails at once is a problem; what fails later breaks the
/// stream off.
async fn streamed(mut writing: Writing, form: Form) -> Result<Response, Problem> {
    let file = format!(
        "{}_{}_{}",
        writing.statement.account, writing.statement.period.from_on, writing.statement.period.to_on
    );
    let first = writing.next().await?.unwrap_or_default();
    let body = if writing.next.is_none() {
        Body::from(first)
    } else {
        let rest = stream::unfold(Some(writing), async |state| {
            let mut writing = state?;
            match writing.next().await {
                Ok(None) => None,
                Ok(Some(bytes)) => Some((Ok(Bytes::from(bytes)), Some(writing))),
                Err(error) => {
                    tracing::error!(%error, account = %writing.statement.account, "a statement broke off");
                    Some((Err(error), None))
                }
            }
        });
        Body::from_stream(stream::once(async { Ok(Bytes::from(first)) }).chain(rest))
    };
    let (kind, extension) = match form {
        Form::Csv => ("text/csv; charset=utf-8; header=present", "csv"),
        Form::Camt => ("application/xml", "xml"),
    };
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{file}.{extension}\""));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    headers.insert(header::CONTENT_DISPOSITION, disposition.map_err(Problem::internal)?);
    Ok(response)
}

fn refused(error: PeriodError) -> Problem {
    match error {
        PeriodError::Reversed => {
            Problem::new(&PERIOD_REVERSED).parameter(In::Query, "to_on", &PERIOD_REVERSED)
        }
        PeriodError::TooLong => Problem::new(&PERIOD_TOO_LONG).arg("days", MAX_DAYS),
        PeriodError::InFuture(today) => Problem::new(&PERIOD_IN_FUTURE).arg("today", today.to_string()),
    }
}

/// The form that the caller likes best (RFC 9110 §12.5.1); JSON where there is no preference.
fn accepted(headers: &HeaderMap) -> Result<Option<Form>, Problem> {
    let values: Vec<&str> =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<(&str, f32)> = values.iter().flat_map(|value| value.split(',')).map(range).collect();
    if ranges.iter().all(|(kind, _)| kind.is_empty()) {
        return Ok(None);
    }
    let mut best: Option<(Option<Form>, f32)> = None;
    for (kind, form) in FORMS {
        let liking = liking(&ranges, kind);
        if liking > best.map_or(0.0, |(_, most)| most) {
            best = Some((form, liking));
        }
    }
    let forms = FORMS.map(|(kind, _)| kind).join(", ");
    best.map(|(form, _)| form).ok_or_else(|| Problem::new(&NOT_ACCEPTABLE).arg("forms", forms))
}

/// A media range and its weight.
fn range(text: &str) -> (&str, f32) {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    (kind, weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0)))
}

/// The weight of the most specific range that a media type is in.
fn liking(ranges: &[(&str, f32)], kind: &str) -> f32 {
    let family = kind.split_once('/').map_or("", |(family, _)| family);
    let matches = |range: &str| {
        if range.eq_ignore_ascii_case(kind) {
            2
        } else if range.strip_suffix("/*").is_some_and(|of| of.eq_ignore_ascii_case(family)) {
            1
        } else {
            0
        }
    };
    let fitting = ranges.iter().filter(|(range, _)| *range == "*/*" || matches(range) > 0);
    fitting.max_by_key(|(range, _)| matches(range)).map_or(0.0, |(_, weight)| *weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Result<Option<Form>, &'static platform::problem::Code> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
        accepted(&headers).map_err(|problem| problem.code())
    }

    #[test]
    fn the_form_is_what_the_caller_likes_best() {
        assert_eq!(accepted(&HeaderMap::new()).map_err(|problem| problem.code()), Ok(None));
        for (accept, form) in [
            ("", None),
            ("*/*", None),
            ("application/*", None),
            ("application/json", None),
            ("text/csv", Some(Form::Csv)),
            ("TEXT/*", Some(Form::Csv)),
            ("application/xml", Some(Form::Camt)),
            ("application/json;q=0.5, application/xml", Some(Form::Camt)),
            ("application/xml;q=0, */*;q=0.1", None),
            ("text/html, application/xml;q=0.9, */*;q=0.8", Some(Form::Camt)),
            ("text/csv;q=0.2, application/json;q=0.1", Some(Form::Csv)),
        ] {
            assert_eq!(of(accept), Ok(form), "{accept}");
        }
        for accept in ["text/html", "application/json;q=0", "image/*"] {
            assert_eq!(of(accept), Err(&NOT_ACCEPTABLE), "{accept}");
        }
    }
}
