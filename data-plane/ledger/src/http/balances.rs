//! What stands in accounts, and why.

use axum::{
    extract::{FromRef, State},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use platform::{
    db::Db,
    http::{Json, Path, Query},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit as PageLimit},
    problem::{In, Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::{
    id::AccountId,
    money::{Currency, Money},
};
use utoipa::ToSchema;

use super::{
    BalancesRead, TransfersRead,
    wire::{Shown, instant},
};
use crate::{
    account::Account,
    books,
    limit::{Direction, Limit, Window},
    transfer::{Posted, Side},
};

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(balance_get, &codes::NOT_FOUND))
        .routes(operation!(balance_explain, &codes::NOT_FOUND, &codes::INVALID_CURSOR))
        .routes(operation!(limit_list, &codes::NOT_FOUND))
        .routes(operation!(trial_balance_get))
}

/// A sum that the rules keep within an `i64`.
fn whole(sum: Option<i64>) -> Result<i64, Problem> {
    sum.ok_or_else(|| Problem::internal("a balance of the ledger is beyond 64 bits"))
}

fn not_found() -> Problem {
    Problem::new(&codes::NOT_FOUND)
}

/// When.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AtQuery {
    /// The posted balance as of this instant, by the times at which transfers took effect.
    #[serde(default, deserialize_with = "instant")]
    #[param(required = false)]
    at: Option<DateTime<Utc>>,
}

/// The balance of an account, on its normal side: positive is what the customer has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Balance, example = json!({
    "account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "posted": {"amount": 87500, "currency": "MXN"},
    "held": {"amount": 12500, "currency": "MXN"}, "incoming": {"amount": 0, "currency": "MXN"},
    "available": {"amount": 75000, "currency": "MXN"}
}))]
struct Balance {
    account_id: AccountId,
    /// The instant that was asked for. Then there is only `posted`.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<DateTime<Utc>>,
    /// The sum of posted transfers.
    posted: Money,
    /// Set aside by holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Money>,
    /// What holds will bring in if they are captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    incoming: Option<Money>,
    /// Posted less held: what may go out.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<Money>,
}

/// Reads an account's balance, now or as of an instant.
#[utoipa::path(get, path = "/v1/accounts/{id}/balance", operation_id = "balance_get", tag = "balances",
    params(("id" = AccountId, Path, description = "The account"), AtQuery),
    responses((status = 200, description = "The balance", body = Balance)))]
async fn balance_get(
    ctx: Authorized<BalancesRead>,
    State(db): State<Db>,
    Path(id): Path<AccountId>,
    Query(AtQuery { at }): Query<AtQuery>,
) -> Result<Json<Balance>, Problem> {
    let tx = db.begin_read(ctx.scope).await?;
    let account = books::account(&tx, ctx.scope, id).await?;
    let then = match at {
        // Boxed: it needs more room than all the rest, and is rare.
        Some(at) => Some(Box::pin(books::balance_at(&tx, ctx.scope, id, at)).await?.unwrap_or_default()),
        None => None,
    };
    tx.commit().await?;
    let account = account.ok_or_else(not_found)?;
    let money = |amount| Money::new(amount, account.currency);
    Ok(Json(match then {
        Some(posted) => {
            Balance { account_id: id, at, posted: money(posted), held: None, incoming: None, available: None }
        }
        None => Balance {
            account_id: id,
            at: None,
            posted: money(whole(account.balance())?),
            held: Some(money(account.held())),
            incoming: Some(money(account.incoming())),
            available: Some(money(whole(account.available())?)),
        },
    }))
}

/// Which part of an explanation.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainQuery {
    /// How many transfers at most: 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    limit: PageLimit,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// A balance as the transfers that make it, oldest first.
#[derive(Serialize, ToSchema)]
#[schema(as = BalanceExplanation)]
struct Explanation<'a> {
    account_id: AccountId,
    /// The balance before this page's transfers.
    opening_balance: Money,
    /// The opening balance and the changes of this page, summed.
    closing_balance: Money,
    /// What the account's own totals say, at the same moment.
    balance: Money,
    /// Every running balance equals the one that its transfer recorded, and on the last page the sum equals `balance`.
    agrees: bool,
    data: Vec<Step<'a>>,
    /// The cursor of the next page; null on the last one.
    next_cursor: Option<Cursor>,
    /// Whether there are more transfers.
    has_more: bool,
}

/// One transfer of an explanation.
#[derive(Serialize, ToSchema)]
#[schema(as = BalanceStep)]
struct Step<'a> {
    /// The account's side of it.
    side: Side,
    /// What it does to the posted balance; nothing, if it places or releases a hold.
    change: Money,
    /// The balance afterwards, summed from the first transfer on.
    balance: Money,
    #[schema(value_type = Shown)]
    transfer: Shown<'a>,
}

/// Explains an account's balance by its transfers, with a running balance.
#[utoipa::path(get, path = "/v1/accounts/{id}/balance/explanation", operation_id = "balance_explain", tag = "balances",
    params(("id" = AccountId, Path, description = "The account"), ExplainQuery),
    responses((status = 200, description = "A page of the explanation", body = Explanation)))]
async fn balance_explain(
    ctx: Authorized<TransfersRead>,
    State(db): State<Db>,
    Path(id): Path<AccountId>,
    Query(query): Query<ExplainQuery>,
) -> Result<Response, Problem> {
    const LIST: &str = "balance_explanation";
    let begin = Ok((id, 0_i64, 0_i64));
    let (of, after, opening) = query.cursor.map_or(begin, |cursor| cursor.key(LIST))?;
    if of != id {
        return Err(Problem::new(&codes::INVALID_CURSOR).parameter(
            In::Query,
            "cursor",
            &codes::INVALID_VALUE,
        ));
    }
    let tx = db.begin_read(ctx.scope).await?;
    let found = books::explanation(&tx, ctx.scope, id, after, query.limit.rows()).await?;
    tx.commit().await?;
    let (account, mut rows) = found.ok_or_else(not_found)?;
    let has_more = rows.len() > query.limit.get();
    rows.truncate(query.limit.get());
    let money = |amount| Money::new(amount, account.currency);
    let balance = whole(account.balance())?;
    let mut running = opening;
    let mut agrees = true;
    let mut data = Vec::with_capacity(rows.len());
    for (side, row) in &rows {
        let change = change(&account, *side, row);
        running = whole(running.checked_add(change))?;
        agrees &= running == if *side == Side::Debit { row.debit_balance } else { row.credit_balance };
        data.push(Step {
            side: *side,
            change: money(change),
            balance: money(running),
            transfer: Shown::from(row),
        });
    }
    agrees &= has_more || running == balance;
    let next_cursor =
        rows.last().filter(|_| has_more).map(|(_, row)| Cursor::after(LIST, &(id, row.seq, running)));
    let explanation = Explanation {
        account_id: id,
        opening_balance: money(opening),
        closing_balance: money(running),
        balance: money(balance),
        agrees,
        data,
        next_cursor,
        has_more,
    };
    Ok(Json(explanation).into_response())
}

/// What a transfer does to the account's posted balance.
fn change(account: &Account, side: Side, row: &Posted) -> i64 {
    match (row.kind.posts(), side == account.class.normal_side()) {
        (false, _) => 0,
        (true, true) => row.amount,
        (true, false) => row.amount.saturating_neg(),
    }
}

/// A limit of an account, and what is left of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountLimit)]
struct ShownLimit {
    /// Which way the money goes, seen from the account.
    direction: Direction,
    window: Window,
    maximum: Money,
    /// What is left now.
    remaining: Money,
    /// Where days and months begin, an IANA name.
    #[schema(example = "America/Mexico_City")]
    time_zone: &'static str,
}

/// The limits of an account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountLimits, example = json!({"data": [{
    "direction": "out", "window": "day", "maximum": {"amount": 5_000_000, "currency": "MXN"},
    "remaining": {"amount": 4_987_500, "currency": "MXN"}, "time_zone": "America/Mexico_City"
}]}))]
struct Limits {
    /// At most one per direction and window.
    data: Vec<ShownLimit>,
}

/// Lists an account's limits, with what is left of each.
#[utoipa::path(get, path = "/v1/accounts/{id}/limits", operation_id = "limit_list", tag = "balances",
    params(("id" = AccountId, Path, description = "The account")),
    responses((status = 200, description = "All of them", body = Limits)))]
async fn limit_list(
    ctx: Authorized<BalancesRead>,
    State(db): State<Db>,
    Path(id): Path<AccountId>,
) -> Result<Json<Limits>, Problem> {
    let tx = db.begin_read(ctx.scope).await?;
    let account = books::account(&tx, ctx.scope, id).await?;
    let limits = books::limits_of(&tx, ctx.scope, id).await?;
    tx.commit().await?;
    let account = account.ok_or_else(not_found)?;
    let now = ctx.now();
    let shown = |limit: &Limit| ShownLimit {
        direction: limit.rule.direction,
        window: limit.rule.window,
        maximum: Money::new(limit.rule.maximum, account.currency),
        remaining: Money::new(limit.left(&account, now).max(0), account.currency),
        time_zone: limit.rule.time_zone.name(),
    };
    Ok(Json(Limits { data: limits.iter().map(shown).collect() }))
}

/// The sums of one currency.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrialBalanceLine)]
struct Line {
    currency: Currency,
    /// All that was ever debited, in minor units; a text, since it may be beyond what JSON numbers hold.
    #[schema(example = "987654321")]
    debits: String,
    /// All that was ever credited, in minor units.
    #[schema(example = "987654321")]
    credits: String,
    /// Number of accounts.
    accounts: u64,
}

/// The trial balance of an environment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrialBalance, example = json!({"balanced": true, "data": [
    {"currency": "MXN", "debits": "987654321", "credits": "987654321", "accounts": 1000}
]}))]
struct TrialBalance {
    /// Debits equal credits in every currency.
    balanced: bool,
    /// A line per currency.
    data: Vec<Line>,
}

/// Sums the books of the environment, per currency.
#[utoipa::path(get, path = "/v1/trial-balance", operation_id = "trial_balance_get", tag = "balances",
    responses((status = 200, description = "The sums", body = TrialBalance)))]
async fn trial_balance_get(
    ctx: Authorized<BalancesRead>,
    State(db): State<Db>,
) -> Result<Json<TrialBalance>, Problem> {
    let tx = db.begin_read(ctx.scope).await?;
    let lines = books::trial_balance(&tx, ctx.scope).await?;
    tx.commit().await?;
    let balanced = lines.iter().all(|line| line.debits == line.credits);
    let data = lines
        .into_iter()
        .map(|line| Line {
            currency: line.currency,
            debits: line.debits.to_string(),
            credits: line.credits.to_string(),
            accounts: line.accounts,
        })
        .collect();
    Ok(Json(TrialBalance { balanced, data }))
}
