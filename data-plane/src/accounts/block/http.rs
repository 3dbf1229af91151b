//! Routes of blocks.

use axum::{
    extract::{FromRef, State},
    http::StatusCode,
    response::Response,
};
use chrono::{DateTime, Utc};
use ledger::{
    Ledger,
    http::{LEDGER_OVERLOADED, LEDGER_UNAVAILABLE, OUTCOME_UNKNOWN},
    transfer::Posted,
};
use platform::{
    db::Db,
    http::{Json, Path},
    idempotency::{Keyed, Replayed},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    problem::{Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};
use utoipa::ToSchema;

use super::{
    super::http::{
        ACCOUNT_STATE, AccountsWrite, BLOCK_BENEFICIARY, BLOCK_ENDED, BLOCK_REFUSED, CURRENCY_NOT_OFFERED,
        MoveWire, NOT_A_CUSTOMERS_ACCOUNT, NOTHING_TO_BLOCK,
    },
    Order, block, release,
};

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Ledger: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            account_block,
            &codes::NOT_FOUND,
            &ACCOUNT_STATE,
            &CURRENCY_NOT_OFFERED,
            &NOT_A_CUSTOMERS_ACCOUNT,
            &BLOCK_BENEFICIARY,
            &NOTHING_TO_BLOCK,
            &BLOCK_REFUSED,
            &LEDGER_UNAVAILABLE,
            &OUTCOME_UNKNOWN,
            &LEDGER_OVERLOADED,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(
            account_block_release,
            &codes::NOT_FOUND,
            &BLOCK_ENDED,
            &BLOCK_REFUSED,
            &LEDGER_UNAVAILABLE,
            &OUTCOME_UNKNOWN,
            &LEDGER_OVERLOADED,
            &codes::STORAGE_FULL
        ))
}

/// An authority's order to block an amount.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBlock, example = json!({
    "amount": {"amount": 500_000, "currency": "MXN"}, "authority": "SAT", "reference": "500-05-2026-4711",
    "beneficiary_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6"
}))]
struct NewBlockWire {
    /// How much at most; what is available is blocked, if that is less.
    amount: Money,
    /// Who orders it.
    #[schema(min_length = 1, max_length = 69)]
    authority: String,
    /// Its own reference.
    #[schema(min_length = 1, max_length = 69)]
    reference: String,
    /// The internal account that gets the money if the order is executed.
    beneficiary_account_id: AccountId,
}

/// A block: a hold that only its release ends.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Block, example = json!({
    "hold_id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t6", "account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6",
    "ordered": {"amount": 500_000, "currency": "MXN"}, "blocked": {"amount": 130_000, "currency": "MXN"},
    "authority": "SAT", "reference": "500-05-2026-4711", "blocked_at": "2026-11-21T16:04:05.123456Z"
}))]
struct BlockWire {
    /// The hold.
    hold_id: TransferId,
    account_id: AccountId,
    /// What the authority asked for.
    ordered: Money,
    /// What was available and is blocked now.
    blocked: Money,
    authority: String,
    reference: String,
    /// Environment time.
    blocked_at: DateTime<Utc>,
}

/// Blocks what is available of a customer's account, at most what an authority ordered.
#[utoipa::path(post, path = "/v1/accounts/{id}/blocks", operation_id = "account_block", tag = "accounts",
    params(("id" = AccountId, Path)), request_body = NewBlockWire,
    responses((status = 201, description = "The amount is blocked", body = BlockWire)))]
async fn account_block(
    ctx: Authorized<AccountsWrite>,
    State(db): State<Db>,
    State(ledger): State<Ledger>,
    Path(id): Path<AccountId>,
    Keyed { key, body }: Keyed<NewBlockWire>,
) -> Result<Response, Problem> {
    let order = Order {
        authority: body.authority,
        reference: body.reference,
        amount: body.amount.amount,
        beneficiary: body.beneficiary_account_id,
    };
    let done = block(&db, &ledger, &ctx, &key, id, body.amount.currency, &order).await?;
    let Posted { id: hold_id, amount, currency, effective_at, .. } = done.what;
    let wire = BlockWire {
        hold_id,
        account_id: id,
        ordered: body.amount,
        blocked: Money::new(amount, currency),
        authority: order.authority,
        reference: order.reference,
        blocked_at: effective_at,
    };
    let body = (StatusCode::CREATED, Json(wire));
    Ok(Replayed::when(done.replayed, body))
}

/// What was blocked is available again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BlockRelease, example = json!({
    "hold_id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t6", "account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6",
    "released": {"amount": 130_000, "currency": "MXN"}, "released_at": "2026-11-28T10:15:00Z"
}))]
struct ReleaseWire {
    /// The hold.
    hold_id: TransferId,
    account_id: AccountId,
    /// What was blocked.
    released: Money,
    /// Environment time.
    released_at: DateTime<Utc>,
}

/// Releases a block: what it held is available again.
#[utoipa::path(post, path = "/v1/accounts/{id}/blocks/{hold_id}/releases", operation_id = "account_block_release",
    tag = "accounts", params(("id" = AccountId, Path), ("hold_id" = TransferId, Path)), request_body = MoveWire,
    responses((status = 200, description = "The block is released", body = ReleaseWire)))]
async fn account_block_release(
    ctx: Authorized<AccountsWrite>,
    State(db): State<Db>,
    State(ledger): State<Ledger>,
    Path((account_id, hold_id)): Path<(AccountId, TransferId)>,
    Keyed { key, body }: Keyed<MoveWire>,
) -> Result<Response, Problem> {
    let done = release(&db, &ledger, &ctx, &key, account_id, hold_id, &body.reason).await?;
    let Posted { amount, currency, effective_at, .. } = done.what;
    let released = Money::new(amount, currency);
    let body = Json(ReleaseWire { hold_id, account_id, released, released_at: effective_at });
    Ok(Replayed::when(done.replayed, body))
}
