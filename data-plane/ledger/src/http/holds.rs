//! Holds: placed, then captured or voided; those that are over end by themselves.

use axum::{
    extract::{FromRef, State},
    response::Response,
};
use platform::{
    db::Db,
    http::{Json, Path, Query},
    idempotency::KeyText,
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page},
    problem::{Problem, codes},
    token::{Access, Authorized},
};
use serde::Deserialize;
use tenants::id::{AccountId, TransferId};

use super::{
    HoldsRead, HoldsWrite,
    codes::{self as own, Names},
    posting::{created, id_of, post},
    wire::{NewCapture, NewHold, NewMovement, Shown, ShownHold},
};
use crate::{
    Ledger, books,
    hold::HoldState,
    movements::{self, Capture, Void},
    transfer::Transfer,
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
            hold_create,
            &codes::IDEMPOTENCY_KEY_MISSING,
            &codes::IDEMPOTENCY_MISMATCH,
            &own::ID_REUSED,
            &own::AMOUNT_NOT_POSITIVE,
            &own::AMOUNT_TOO_LARGE,
            &own::ACCOUNTS_IDENTICAL,
            &own::EXPIRY_NOT_IN_FUTURE,
            &own::DEBIT_ACCOUNT_NOT_FOUND,
            &own::CREDIT_ACCOUNT_NOT_FOUND,
            &own::CURRENCY_MISMATCH,
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
        .routes(operation!(hold_list, &codes::INVALID_CURSOR))
        .routes(operation!(hold_get, &own::HOLD_NOT_FOUND))
        .routes(operation!(
            hold_capture,
            &codes::IDEMPOTENCY_KEY_MISSING,
            &codes::IDEMPOTENCY_MISMATCH,
            &own::ID_REUSED,
            &own::AMOUNT_NOT_POSITIVE,
            &own::AMOUNT_TOO_LARGE,
            &own::HOLD_NOT_FOUND,
            &own::HOLD_ALREADY_CAPTURED,
            &own::HOLD_ALREADY_VOIDED,
            &own::HOLD_EXPIRED,
            &own::HOLD_IS_BLOCK,
            &own::CAPTURE_EXCEEDS_HOLD,
            &own::CURRENCY_MISMATCH,
            &own::DEBIT_ACCOUNT_FROZEN,
            &own::CREDIT_ACCOUNT_FROZEN,
            &own::BALANCE_OVERFLOW,
            &own::LEDGER_UNAVAILABLE,
            &own::OUTCOME_UNKNOWN,
            &own::LEDGER_OVERLOADED,
            &codes::STORAGE_FULL,
        ))
        .routes(operation!(
            hold_void,
            &codes::IDEMPOTENCY_KEY_MISSING,
            &codes::IDEMPOTENCY_MISMATCH,
            &own::ID_REUSED,
            &own::HOLD_NOT_FOUND,
            &own::HOLD_ALREADY_CAPTURED,
            &own::HOLD_ALREADY_VOIDED,
            &own::HOLD_EXPIRED,
            &own::HOLD_IS_BLOCK,
            &own::LEDGER_UNAVAILABLE,
            &own::OUTCOME_UNKNOWN,
            &own::LEDGER_OVERLOADED,
            &codes::STORAGE_FULL,
        ))
}

/// Places a hold: sets an amount aside.
///
/// The amount is no longer available to the debit account, and not yet the credit account's. It ends by a capture, a
/// void, or by itself.
#[utoipa::path(post, path = "/v1/holds", operation_id = "hold_create", tag = "holds",
    request_body = NewHold, responses((status = 201, description = "Held, durably", body = ShownHold)))]
async fn hold_create(
    ctx: Authorized<HoldsWrite>,
    State(ledger): State<Ledger>,
    KeyText(key): KeyText,
    Json(new): Json<NewHold>,
) -> Result<Response, Problem> {
    let id = id_of(&ctx, "hold_create", new.id, key.as_deref(), 0)?;
    let hold = movements::Hold {
        id: id.id,
        debit: new.debit_account_id,
        credit: new.credit_account_id,
        money: new.amount,
        expires_at: new.expires_at,
    };
    let transfer = Transfer { reference: new.reference, key, ..hold.into() };
    let shown = |row: &_| created(ShownHold::placed(row, new.expires_at));
    post(&ledger, &ctx, id, Names::Accounts, transfer, shown).await
}

/// Which holds.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only those on what is available to this account: on its debit side.
    account_id: Option<AccountId>,
    /// Only those in this status; `held` and `blocked` are the ones that set something aside.
    status: Option<HoldState>,
    /// How many items at most: 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// Lists holds in the order of their ids, as they stand.
#[utoipa::path(get, path = "/v1/holds", operation_id = "hold_list", tag = "holds",
    params(ListQuery), responses((status = 200, description = "A page", body = Page<ShownHold>)))]
async fn hold_list(
    ctx: Authorized<HoldsRead>,
    State(db): State<Db>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<ShownHold>>, Problem> {
    const LIST: &str = "holds";
    let after = query.cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let tx = db.begin_read(ctx.scope).await?;
    let rows =
        books::list_holds(&tx, ctx.scope, query.account_id, query.status, after, query.limit.rows()).await?;
    tx.commit().await?;
    Ok(Json(Page::of(LIST, rows, query.limit, |hold| hold.id).map(ShownHold::from)))
}

/// Reads a hold.
#[utoipa::path(get, path = "/v1/holds/{id}", operation_id = "hold_get", tag = "holds",
    params(("id" = TransferId, Path, description = "The hold")),
    responses((status = 200, description = "The hold as it stands", body = ShownHold)))]
async fn hold_get(
    ctx: Authorized<HoldsRead>,
    State(db): State<Db>,
    Path(id): Path<TransferId>,
) -> Result<Json<ShownHold>, Problem> {
    let tx = db.begin_read(ctx.scope).await?;
    let hold = books::hold(&tx, ctx.scope, id).await?;
    tx.commit().await?;
    hold.map(|hold| Json(hold.into())).ok_or_else(|| Problem::new(&own::HOLD_NOT_FOUND))
}

/// Captures a hold: posts it, in part or whole, and ends it.
///
/// Not an authority's block: `hold_is_block`.
#[utoipa::path(post, path = "/v1/holds/{id}/captures", operation_id = "hold_capture", tag = "holds",
    params(("id" = TransferId, Path, description = "The hold")),
    request_body = NewCapture, responses((status = 201, description = "Posted, durably", body = Shown)))]
async fn hold_capture(
    ctx: Authorized<HoldsWrite>,
    State(ledger): State<Ledger>,
    Path(hold): Path<TransferId>,
    KeyText(key): KeyText,
    Json(new): Json<NewCapture>,
) -> Result<Response, Problem> {
    let id = id_of(&ctx, "hold_capture", new.id, key.as_deref(), 0)?;
    let capture = Capture { id: id.id, hold, amount: new.amount.map(|money| money.amount) };
    let transfer = Transfer {
        currency: new.amount.map(|money| money.currency),
        reference: new.reference,
        key,
        ..capture.into()
    };
    let names = if new.amount.is_some() { Names::Amount } else { Names::Nothing };
    post(&ledger, &ctx, id, names, transfer, |row| created(Shown::from(row))).await
}

/// Voids a hold: releases it without posting.
///
/// Not an authority's block, which its account releases: `hold_is_block`.
#[utoipa::path(post, path = "/v1/holds/{id}/voids", operation_id = "hold_void", tag = "holds",
    params(("id" = TransferId, Path, description = "The hold")),
    request_body = NewMovement, responses((status = 201, description = "Released, durably", body = Shown)))]
async fn hold_void(
    ctx: Authorized<HoldsWrite>,
    State(ledger): State<Ledger>,
    Path(hold): Path<TransferId>,
    KeyText(key): KeyText,
    Json(new): Json<NewMovement>,
) -> Result<Response, Problem> {
    let id = id_of(&ctx, "hold_void", new.id, key.as_deref(), 0)?;
    let void = Void { id: id.id, hold };
    let transfer = Transfer { reference: new.reference, key, ..void.into() };
    post(&ledger, &ctx, id, Names::Nothing, transfer, |row| created(Shown::from(row))).await
}
