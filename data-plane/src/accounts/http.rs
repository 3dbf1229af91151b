//! Routes of accounts.

use axum::{
    extract::{FromRef, State},
    http::StatusCode,
    response::Response,
};
use chrono::{DateTime, Utc};
use ledger::{Ledger, account::Class};
use platform::{
    db::Db,
    http::{Json, Path, Query},
    idempotency::{Key, Keyed, Replayed},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page},
    problem::{Problem, codes},
    token::{Access, Authorized, ScopeName},
};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{AccountId, PartyId},
    money::{Currency, Money},
};
use utoipa::{IntoParams, ToSchema};

use super::{
    Account, Direction, Done, Draft, Error, Filter, Kind, Metadata, Move, Owner, Reason, Standing, block,
    get, list, move_state, open, statement,
};
use crate::environments::Environments;

platform::scopes! {
    /// Read accounts, balances and statements.
    AccountsRead = "accounts:read";
    /// Open customers' accounts, and freeze, unfreeze, block and close them.
    AccountsWrite = "accounts:write";
    /// Open the institution's own accounts, and move their state.
    InternalAccountsWrite = "internal-accounts:write";
}

platform::problem_codes! {
    /// Another account of the environment has this `external_id`.
    ACCOUNT_EXTERNAL_ID_TAKEN = 409 "account_external_id_taken";
    /// No party of the environment has this id.
    ACCOUNT_PARTY_UNKNOWN = 422 "account_party_unknown";
    /// The environment's books are in another currency.
    CURRENCY_NOT_OFFERED = 422 "currency_not_offered";
    /// The account is in a state that the request does not start from.
    ACCOUNT_STATE = 409 "account_state";
    /// Only an account without a balance and without holds closes.
    ACCOUNT_NOT_EMPTY = 409 "account_not_empty";
    /// Only customers' accounts are blocked.
    NOT_A_CUSTOMERS_ACCOUNT = 422 "not_a_customers_account";
    /// What would receive a blocked amount is an open internal account.
    BLOCK_BENEFICIARY = 422 "block_beneficiary";
    /// Nothing is available that could be blocked.
    NOTHING_TO_BLOCK = 409 "nothing_to_block";
    /// A block is released once.
    BLOCK_ENDED = 409 "block_ended";
    /// The ledger refuses the block.
    BLOCK_REFUSED = 422 "block_refused";
    /// The period ends before it begins.
    PERIOD_REVERSED = 400 "period_reversed";
    /// The period has more days than a statement may have.
    PERIOD_TOO_LONG = 400 "period_too_long";
    /// The period ends after today.
    PERIOD_IN_FUTURE = 400 "period_in_future";
    /// The caller accepts none of the forms there are.
    NOT_ACCEPTABLE = 406 "not_acceptable";
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Ledger: FromRef<S>,
    Environments: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            account_create,
            &ACCOUNT_EXTERNAL_ID_TAKEN,
            &ACCOUNT_PARTY_UNKNOWN,
            &CURRENCY_NOT_OFFERED,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(
            internal_account_create,
            &ACCOUNT_EXTERNAL_ID_TAKEN,
            &CURRENCY_NOT_OFFERED,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(account_list, &codes::INVALID_CURSOR))
        .routes(operation!(account_get, &codes::NOT_FOUND))
        .routes(operation!(account_freeze, &codes::NOT_FOUND, &ACCOUNT_STATE, &codes::STORAGE_FULL))
        .routes(operation!(account_unfreeze, &codes::NOT_FOUND, &ACCOUNT_STATE, &codes::STORAGE_FULL))
        .routes(operation!(
            account_close,
            &codes::NOT_FOUND,
            &ACCOUNT_STATE,
            &ACCOUNT_NOT_EMPTY,
            &codes::STORAGE_FULL
        ))
        .merge(block::http::router())
        .merge(statement::http::router())
}

/// A customer's account to be opened.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewAccount, example = json!({
    "party_id": "pty_01jd4q8e7xf2r9k3m5n7p0s4t6", "external_id": "core-4711", "metadata": {"branch": "Roma Norte"}
}))]
struct NewWire {
    /// Whose account it is.
    party_id: PartyId,
    /// That of the environment's books, if it is not given.
    currency: Option<Currency>,
    /// Your own id, unique in the environment.
    #[schema(min_length = 1, max_length = 120)]
    external_id: Option<String>,
    /// Your own pairs of text: at most 50, keys of at most 60 and values of at most 500 characters, no control characters.
    /// Never searched.
    #[serde(default)]
    #[schema(required = false)]
    metadata: Metadata,
}

/// An account of the institution's own to be opened.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewInternalAccount, example = json!({"name": "Settlement at the central bank", "class": "asset", "may_overdraw": true}))]
struct NewInternalWire {
    /// What people call it.
    #[schema(min_length = 1, max_length = 120)]
    name: String,
    /// The element of the accounting equation; fixes the side on which it grows.
    class: Class,
    /// Whether its balance may fall below zero.
    #[serde(default)]
    #[schema(required = false)]
    may_overdraw: bool,
    /// That of the environment's books, if it is not given.
    currency: Option<Currency>,
    /// Your own id, unique in the environment.
    #[schema(min_length = 1, max_length = 120)]
    external_id: Option<String>,
    /// Your own pairs of text: at most 50, keys of at most 60 and values of at most 500 characters, no control characters.
    /// Never searched.
    #[serde(default)]
    #[schema(required = false)]
    metadata: Metadata,
}

/// What stands in an account now. Each amount grows with the account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountBalance)]
struct BalanceWire {
    /// Posted; negative when overdrawn.
    posted: Money,
    /// Set aside by holds and blocks, on its way out.
    held: Money,
    /// What holds will bring in if they are captured; not available yet.
    incoming: Money,
    /// Posted less held.
    available: Money,
}

/// An account.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Account, example = json!({
    "id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "kind": "customer", "party_id": "pty_01jd4q8e7xf2r9k3m5n7p0s4t6",
    "name": null, "external_id": "core-4711", "class": "liability", "currency": "MXN", "may_overdraw": false,
    "state": "open", "frozen": null, "state_reason": null, "balance": {
        "posted": {"amount": 150_000, "currency": "MXN"}, "held": {"amount": 20_000, "currency": "MXN"},
        "incoming": {"amount": 0, "currency": "MXN"}, "available": {"amount": 130_000, "currency": "MXN"}
    }, "metadata": {"branch": "Roma Norte"}, "opened_at": "2026-11-21T16:04:05.123456Z"
}))]
struct Wire {
    id: AccountId,
    kind: Kind,
    /// A customer's account: whose it is.
    party_id: Option<PartyId>,
    /// An internal account: what people call it.
    name: Option<String>,
    external_id: Option<String>,
    class: Class,
    currency: Currency,
    may_overdraw: bool,
    state: Standing,
    /// Which postings its freeze keeps off; null unless it is frozen.
    frozen: Option<Direction>,
    /// Why it is in its state; null until that has moved.
    state_reason: Option<Reason>,
    balance: BalanceWire,
    metadata: Metadata,
    /// Environment time.
    opened_at: DateTime<Utc>,
}

impl Wire {
    fn of(account: Account) -> Result<Self, Problem> {
        let Account { record, books, reason } = account;
        let money = |amount| Money::new(amount, books.currency);
        let overflow = || Problem::internal("a balance does not fit");
        let balance = BalanceWire {
            posted: money(books.balance().ok_or_else(overflow)?),
            held: money(books.held()),
            incoming: money(books.incoming()),
            available: money(books.available().ok_or_else(overflow)?),
        };
        let (kind, party_id, name) = match record.owner {
            Owner::Customer(party) => (Kind::Customer, Some(party), None),
            Owner::Internal(name) => (Kind::Internal, None, Some(name)),
        };
        Ok(Self {
            id: record.id,
            kind,
            party_id,
            name,
            external_id: record.external_id,
            class: books.class,
            currency: books.currency,
            may_overdraw: books.may_overdraw,
            state: Standing::of(books.state),
            frozen: Direction::of(books.state),
            state_reason: reason,
            balance,
            metadata: record.metadata,
            opened_at: record.opened_at,
        })
    }
}

fn answer(status: StatusCode, done: Done<Account>) -> Result<Response, Problem> {
    let body = (status, Json(Wire::of(done.what)?));
    Ok(Replayed::when(done.replayed, body))
}

/// Opens a customer's account: a liability that never falls below zero.
#[utoipa::path(post, path = "/v1/accounts", operation_id = "account_create", tag = "accounts",
    request_body = NewWire, responses((status = 201, description = "The account is open", body = Wire)))]
async fn account_create(
    ctx: Authorized<AccountsWrite>,
    State(db): State<Db>,
    State(environments): State<Environments>,
    Keyed { key, body }: Keyed<NewWire>,
) -> Result<Response, Problem> {
    let draft = Draft {
        owner: Owner::Customer(body.party_id),
        class: Class::Liability,
        may_overdraw: false,
        currency: body.currency,
        external_id: body.external_id,
        metadata: body.metadata,
    };
    let currency = environments.of_ctx(&ctx)?.profile.jurisdiction.currency;
    answer(StatusCode::CREATED, open(&db, &ctx, currency, &key, &draft).await?)
}

/// Opens an account of the institution's own: settlement, cash, fees, capital.
#[utoipa::path(post, path = "/v1/internal-accounts", operation_id = "internal_account_create", tag = "accounts",
    request_body = NewInternalWire, responses((status = 201, description = "The account is open", body = Wire)))]
async fn internal_account_create(
    ctx: Authorized<InternalAccountsWrite>,
    State(db): State<Db>,
    State(environments): State<Environments>,
    Keyed { key, body }: Keyed<NewInternalWire>,
) -> Result<Response, Problem> {
    let draft = Draft {
        owner: Owner::Internal(body.name),
        class: body.class,
        may_overdraw: body.may_overdraw,
        currency: body.currency,
        external_id: body.external_id,
        metadata: body.metadata,
    };
    let currency = environments.of_ctx(&ctx)?.profile.jurisdiction.currency;
    answer(StatusCode::CREATED, open(&db, &ctx, currency, &key, &draft).await?)
}

/// Reads an account as it stands.
#[utoipa::path(get, path = "/v1/accounts/{id}", operation_id = "account_get", tag = "accounts",
    params(("id" = AccountId, Path)), responses((status = 200, description = "The account", body = Wire)))]
async fn account_get(
    ctx: Authorized<AccountsRead>,
    State(db): State<Db>,
    Path(id): Path<AccountId>,
) -> Result<Json<Wire>, Problem> {
    Wire::of(get(&db, ctx.scope, id).await?).map(Json)
}

/// Which accounts to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Those of this party.
    party_id: Option<PartyId>,
    /// The one with this id of yours.
    external_id: Option<String>,
    /// Those in this state.
    state: Option<Standing>,
    /// Those opened at this instant or later.
    opened_from_at: Option<DateTime<Utc>>,
    /// Those opened before this instant.
    opened_until_at: Option<DateTime<Utc>>,
    /// How many items at most: 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
}

/// Lists accounts, oldest first.
#[utoipa::path(get, path = "/v1/accounts", operation_id = "account_list", tag = "accounts",
    params(ListQuery), responses((status = 200, description = "A page of accounts", body = Page<Wire>)))]
async fn account_list(
    ctx: Authorized<AccountsRead>,
    State(db): State<Db>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Wire>>, Problem> {
    const LIST: &str = "accounts";
    let filter = Filter {
        after: query.cursor.map(|cursor| cursor.key(LIST)).transpose()?,
        party: query.party_id,
        external_id: query.external_id,
        state: query.state,
        from: query.opened_from_at,
        until: query.opened_until_at,
    };
    let rows = list(&db, ctx.scope, &filter, query.limit.rows()).await?;
    let wires = rows.into_iter().map(Wire::of).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(Page::of(LIST, wires, query.limit, |account| account.id)))
}

/// Why a state is to move.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountMove, example = json!({"reason": {"code": "customer_request", "detail": "Card lost"}}))]
pub(super) struct MoveWire {
    /// Recorded for ever, and shown as `state_reason`.
    pub(super) reason: Reason,
}

/// A freeze, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountFreeze, example = json!({
    "direction": "debit", "reason": {"code": "authority_order", "detail": "Order 4711/2026"}
}))]
struct FreezeWire {
    /// Which postings are kept off.
    direction: Direction,
    /// Recorded for ever, and shown as `state_reason`.
    reason: Reason,
}

/// Keeps debits, credits or both off an account.
///
/// A freeze only widens: on an account that is frozen in the other direction it freezes both, and one that adds nothing is
/// refused with `account_state`. What is frozen is released by an unfreeze alone.
#[utoipa::path(post, path = "/v1/accounts/{id}/freezes", operation_id = "account_freeze", tag = "accounts",
    params(("id" = AccountId, Path)), request_body = FreezeWire,
    responses((status = 200, description = "The account is frozen", body = Wire)))]
async fn account_freeze(
    ctx: Authorized<AccountsWrite>,
    State(db): State<Db>,
    Path(id): Path<AccountId>,
    Keyed { key, body }: Keyed<FreezeWire>,
) -> Result<Response, Problem> {
    moved(&ctx, &db, id, &key, &body.reason, Move::Freeze(body.direction)).await
}

/// Lifts a freeze.
#[utoipa::path(post, path = "/v1/accounts/{id}/unfreezes", operation_id = "account_unfreeze", tag = "accounts",
    params(("id" = AccountId, Path)), request_body = MoveWire,
    responses((status = 200, description = "The account is open again", body = Wire)))]
async fn account_unfreeze(
    ctx: Authorized<AccountsWrite>,
    State(db): State<Db>,
    Path(id): Path<AccountId>,
    Keyed { key, body }: Keyed<MoveWire>,
) -> Result<Response, Problem> {
    moved(&ctx, &db, id, &key, &body.reason, Move::Unfreeze).await
}

/// Closes an open account that is empty, for ever.
#[utoipa::path(post, path = "/v1/accounts/{id}/closures", operation_id = "account_close", tag = "accounts",
    params(("id" = AccountId, Path)), request_body = MoveWire,
    responses((status = 200, description = "The account is closed", body = Wire)))]
async fn account_close(
    ctx: Authorized<AccountsWrite>,
    State(db): State<Db>,
    Path(id): Path<AccountId>,
    Keyed { key, body }: Keyed<MoveWire>,
) -> Result<Response, Problem> {
    moved(&ctx, &db, id, &key, &body.reason, Move::Close).await
}

async fn moved(
    ctx: &Authorized<AccountsWrite>,
    db: &Db,
    id: AccountId,
    key: &Key,
    reason: &Reason,
    way: Move,
) -> Result<Response, Problem> {
    let internal_too = ctx.claims().scope.contains(InternalAccountsWrite::NAME);
    answer(StatusCode::OK, move_state(db, ctx, key, id, way, reason, internal_too).await?)
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Invalid(flaws) => {
                flaws.into_iter().fold(Self::new(&codes::INVALID_FIELD), |problem, flaw| {
                    problem.at(flaw.0, &codes::INVALID_VALUE)
                })
            }
            Error::ExternalIdTaken => {
                Self::new(&ACCOUNT_EXTERNAL_ID_TAKEN).at("/external_id", &ACCOUNT_EXTERNAL_ID_TAKEN)
            }
            Error::UnknownParty => Self::new(&ACCOUNT_PARTY_UNKNOWN).at("/party_id", &ACCOUNT_PARTY_UNKNOWN),
            Error::OtherCurrency(currency, pointer) => Self::new(&CURRENCY_NOT_OFFERED)
                .arg("currency", currency.code().to_owned())
                .at_with(pointer, &CURRENCY_NOT_OFFERED, "currency", currency.code().to_owned()),
            Error::NotFound => Self::new(&codes::NOT_FOUND),
            Error::WrongState(state) => Self::new(&ACCOUNT_STATE).arg("state", Standing::of(state).name()),
            Error::NotEmpty { balance, held } => Self::new(&ACCOUNT_NOT_EMPTY)
                .arg("balance", balance.to_string())
                .arg("held", held.to_string()),
            Error::NotAllowed => {
                Self::new(&codes::INSUFFICIENT_SCOPE).arg("scope", InternalAccountsWrite::NAME)
            }
            Error::NotACustomers => Self::new(&NOT_A_CUSTOMERS_ACCOUNT),
            Error::NoBeneficiary => {
                Self::new(&BLOCK_BENEFICIARY).at("/beneficiary_account_id", &BLOCK_BENEFICIARY)
            }
            Error::NothingToBlock(available) => {
                Self::new(&NOTHING_TO_BLOCK).arg("available", available.to_string())
            }
            Error::BlockEnded => Self::new(&BLOCK_ENDED),
            Error::Refused(reason) => Self::new(&BLOCK_REFUSED).arg("reason", reason.code()),
            error @ Error::Unbalanced(_) => Self::internal(error),
            Error::Ledger(error) => ledger::http::unavailable(error),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
