//! Posting, reversing and reading transfers.

use axum::{
    extract::{FromRef, State},
    response::{IntoResponse, Response},
};
use platform::{
    db::Db,
    http::{Json, Path, Query},
    idempotency::KeyText,
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page},
    problem::{In, Problem, codes},
    token::{Access, Authorized, ScopeName},
};
use serde::Deserialize;
use tenants::id::{AccountId, TransferId};

use super::{
    TransfersImport, TransfersRead, TransfersWrite,
    codes::{self as own, Names},
    posting::{created, id_of, post},
    wire::{NewMovement, NewTransfer, Shown},
};
use crate::{
    Ledger, books,
    movements::Reversal,
    transfer::{Posted, Transfer},
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Ledger: FromRef<S>,
    Access: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            transfer_create,
            &codes::IDEMPOTENCY_KEY_MISSING,
            &codes::IDEMPOTENCY_MISMATCH,
            &own::CHAIN_OPEN,
            &own::ID_REUSED,
            &own::AMOUNT_NOT_POSITIVE,
            &own::AMOUNT_TOO_LARGE,
            &own::ACCOUNTS_IDENTICAL,
            &own::EFFECTIVE_IN_FUTURE,
            &own::DEBIT_ACCOUNT_NOT_FOUND,
            &own::CREDIT_ACCOUNT_NOT_FOUND,
            &own::CURRENCY_MISMATCH,
            &own::ACCOUNT_CLASS_MISMATCH,
            &own::BALANCING_SIDE_MISMATCH,
            &own::EFFECTIVE_OUT_OF_ORDER,
            &own::DEBIT_ACCOUNT_CLOSED,
            &own::CREDIT_ACCOUNT_CLOSED,
            &own::DEBIT_ACCOUNT_FROZEN,
            &own::CREDIT_ACCOUNT_FROZEN,
            &own::BALANCE_OVERFLOW,
            &own::INSUFFICIENT_FUNDS,
            &own::LIMIT_EXCEEDED,
            &own::LEDGER_UNAVAILABLE,
            &own::OUTCOME_UNKNOWN,
            &own::LEDGER_OVERLOADED,
            &codes::STORAGE_FULL,
        ))
        .routes(operation!(transfer_list, &codes::INVALID_CURSOR))
        .routes(operation!(transfer_get, &codes::NOT_FOUND))
        .routes(operation!(
            transfer_reverse,
            &codes::IDEMPOTENCY_KEY_MISSING,
            &codes::IDEMPOTENCY_MISMATCH,
            &own::ID_REUSED,
            &own::ORIGINAL_NOT_FOUND,
            &own::NOT_REVERSIBLE,
            &own::ALREADY_REVERSED,
            &own::DEBIT_ACCOUNT_CLOSED,
            &own::CREDIT_ACCOUNT_CLOSED,
            &own::DEBIT_ACCOUNT_FROZEN,
            &own::CREDIT_ACCOUNT_FROZEN,
            &own::BALANCE_OVERFLOW,
            &own::INSUFFICIENT_FUNDS,
            &own::LEDGER_UNAVAILABLE,
            &own::OUTCOME_UNKNOWN,
            &own::LEDGER_OVERLOADED,
            &codes::STORAGE_FULL,
        ))
}

/// Past dates need a scope of their own.
pub(super) fn may_import(ctx: &Authorized<TransfersWrite>) -> Result<(), Problem> {
    if ctx.claims().scope.contains(TransfersImport::NAME) {
        Ok(())
    } else {
        Err(Problem::new(&codes::INSUFFICIENT_SCOPE).arg("scope", TransfersImport::NAME))
    }
}

fn shown(row: &Posted) -> Response {
    created(Shown::from(row))
}

/// Posts a transfer.
///
/// The transfer's id makes the request repeatable for ever: choose it, or send an `Idempotency-Key`. A repetition gets
/// the first answer again. A transfer that was refused for the state of the books stays refused under its id: try again
/// with a new one.
#[utoipa::path(post, path = "/v1/transfers", operation_id = "transfer_create", tag = "transfers",
    request_body = NewTransfer, responses((status = 201, description = "Posted, durably", body = Shown)))]
async fn transfer_create(
    ctx: Authorized<TransfersWrite>,
    State(ledger): State<Ledger>,
    KeyText(key): KeyText,
    Json(new): Json<NewTransfer>,
) -> Result<Response, Problem> {
    if new.effective_at.is_some() {
        may_import(&ctx)?;
    }
    let id = id_of(&ctx, "transfer_create", new.id, key.as_deref(), 0)?;
    post(&ledger, &ctx, id, Names::Accounts, new.into_transfer(id.id, key), shown).await
}

/// Reverses a transfer: posts a new one with the sides swapped.
///
/// The whole amount moves back, which has to be there still; the original stays as it is, and is reversed at most once.
#[utoipa::path(post, path = "/v1/transfers/{id}/reversals", operation_id = "transfer_reverse", tag = "transfers",
    params(("id" = TransferId, Path, description = "The transfer to undo")),
    request_body = NewMovement, responses((status = 201, description = "Posted, durably", body = Shown)))]
async fn transfer_reverse(
    ctx: Authorized<TransfersWrite>,
    State(ledger): State<Ledger>,
    Path(original): Path<TransferId>,
    KeyText(key): KeyText,
    Json(new): Json<NewMovement>,
) -> Result<Response, Problem> {
    let id = id_of(&ctx, "transfer_reverse", new.id, key.as_deref(), 0)?;
    let reversal = Reversal { id: id.id, original };
    let transfer = Transfer { reference: new.reference, key, ..reversal.into() };
    post(&ledger, &ctx, id, Names::Nothing, transfer, shown).await
}

/// Reads a transfer.
#[utoipa::path(get, path = "/v1/transfers/{id}", operation_id = "transfer_get", tag = "transfers",
    params(("id" = TransferId, Path, description = "The transfer")),
    responses((status = 200, description = "The transfer", body = Shown)))]
async fn transfer_get(
    ctx: Authorized<TransfersRead>,
    State(db): State<Db>,
    Path(id): Path<TransferId>,
) -> Result<Response, Problem> {
    let tx = db.begin_read(ctx.scope).await?;
    let row = books::transfer(&tx, ctx.scope, id).await?;
    tx.commit().await?;
    let row = row.ok_or_else(|| Problem::new(&codes::NOT_FOUND))?;
    Ok(Json(Shown::from(&row)).into_response())
}

/// Which transfers.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only those of this account, either side.
    account_id: Option<AccountId>,
    /// How many items at most: 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// Lists transfers in the order in which they were posted.
#[utoipa::path(get, path = "/v1/transfers", operation_id = "transfer_list", tag = "transfers",
    params(ListQuery), responses((status = 200, description = "A page", body = Page<Shown>)))]
async fn transfer_list(
    ctx: Authorized<TransfersRead>,
    State(db): State<Db>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    const LIST: &str = "transfers";
    // With the filter, since a page of one account says nothing of another's.
    let (of, after) = query.cursor.map_or(Ok((query.account_id, 0)), |cursor| cursor.key(LIST))?;
    if of != query.account_id {
        return Err(Problem::new(&codes::INVALID_CURSOR).parameter(
            In::Query,
            "cursor",
            &codes::INVALID_VALUE,
        ));
    }
    let tx = db.begin_read(ctx.scope).await?;
    let rows = match query.account_id {
        None => books::transfers(&tx, ctx.scope, after, query.limit.rows()).await?,
        Some(account) => {
            let entries = books::entries(&tx, ctx.scope, account, after, query.limit.rows()).await?;
            entries.into_iter().map(|(_, row)| row).collect()
        }
    };
    tx.commit().await?;
    let page = Page::of(LIST, rows, query.limit, |row| (of, row.seq));
    let data: Vec<Shown<'_>> = page.data.iter().map(Shown::from).collect();
    let page = Page { data, next_cursor: page.next_cursor, has_more: page.has_more };
    Ok(Json(page).into_response())
}
