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
    http::{Json, Path, Query},
    idempotency::{Keyed, Replayed},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Page, PageQuery},
    problem::{In, Problem, codes},
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
        ACCOUNT_STATE, AccountsRead, AccountsWrite, BLOCK_BENEFICIARY, BLOCK_ENDED, BLOCK_REFUSED,
        CURRENCY_NOT_OFFERED, MoveWire, NOT_A_CUSTOMERS_ACCOUNT, NOTHING_TO_BLOCK,
    },
    Order, Ordered, Reason, block, list, release,
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
        .routes(operation!(account_block_list, &codes::NOT_FOUND, &codes::INVALID_CURSOR))
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

/// An authority's order, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BlockOrder, example = json!({
    "hold_id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t6", "account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6",
    "authority": "SAT", "reference": "500-05-2026-4711",
    "beneficiary_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6",
    "ordered": {"amount": 500_000, "currency": "MXN"}, "ordered_at": "2026-11-21T16:04:05.120000Z",
    "blocked": {"amount": 130_000, "currency": "MXN"}, "blocked_at": "2026-11-21T16:04:05.123456Z",
    "released_at": "2026-11-28T10:15:00Z", "release_reason": {"code": "authority_order", "detail": "Order 4712/2026"}
}))]
struct OrderedWire {
    /// The hold; there is none of an order for which nothing was blocked.
    hold_id: TransferId,
    account_id: AccountId,
    authority: String,
    /// The authority's own.
    reference: String,
    beneficiary_account_id: AccountId,
    /// What the authority asked for.
    ordered: Money,
    /// Environment time, as all others.
    ordered_at: DateTime<Utc>,
    /// What was available and was blocked; not there if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_at: Option<DateTime<Utc>>,
    /// Not there while the amount is blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    released_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release_reason: Option<Reason>,
}

impl OrderedWire {
    fn of(account_id: AccountId, row: Ordered) -> Self {
        let (blocked, blocked_at) = row.blocked.unzip();
        let (released_at, release_reason) = row.released.unzip();
        Self {
            hold_id: row.hold,
            account_id,
            authority: row.order.authority,
            reference: row.order.reference,
            beneficiary_account_id: row.order.beneficiary,
            ordered: Money::new(row.order.amount, row.currency),
            ordered_at: row.ordered_at,
            blocked: blocked.map(|amount| Money::new(amount, row.currency)),
            blocked_at,
            released_at,
            release_reason: release_reason.flatten(),
        }
    }
}

/// Lists the orders to block amounts of an account, oldest first.
#[utoipa::path(get, path = "/v1/accounts/{id}/blocks", operation_id = "account_block_list", tag = "accounts",
    params(("id" = AccountId, Path), PageQuery),
    responses((status = 200, description = "A page of orders", body = Page<OrderedWire>)))]
async fn account_block_list(
    ctx: Authorized<AccountsRead>,
    State(db): State<Db>,
    Path(id): Path<AccountId>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<OrderedWire>>, Problem> {
    const LIST: &str = "blocks";
    // With the account, since a page of one says nothing of another's.
    let after = query.cursor.map(|cursor| cursor.key::<(AccountId, TransferId)>(LIST)).transpose()?;
    if after.is_some_and(|(of, _)| of != id) {
        let invalid = Problem::new(&codes::INVALID_CURSOR);
        return Err(invalid.parameter(In::Query, "cursor", &codes::INVALID_VALUE));
    }
    let rows = list(&db, ctx.scope, id, after.map(|(_, hold)| hold), query.limit.rows()).await?;
    let wires = rows.into_iter().map(|row| OrderedWire::of(id, row)).collect();
    Ok(Json(Page::of(LIST, wires, query.limit, |order| (id, order.hold_id))))
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
