//! Routes of previews and payments.

use std::sync::Arc;

use axum::{
    extract::{FromRef, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use chrono::{DateTime, Utc};
use ledger::{
    MAX_REFERENCE,
    http::{arguments, code as refused_as, refusal},
    outcome::Reason,
};
use platform::{
    db::Db,
    http::{Json, Path, Query},
    idempotency::{Keyed, Replayed},
    keys::Keys,
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page},
    problem::{Catalogue, Language, Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use tenants::{
    id::{AccountId, PaymentId, PreviewId, TransferId},
    money::Money,
};
use tokio::sync::Notify;
use utoipa::{IntoParams, ToSchema};

use super::{Done, Error, Filter, Order, Payment, Shown, Status};

platform::scopes! {
    /// Read payments.
    PaymentsRead = "payments:read";
    /// Preview and commit payments.
    PaymentsWrite = "payments:write";
}

platform::problem_codes! {
    /// The client was shown no preview of this id.
    PREVIEW_UNKNOWN = 422 "preview_unknown";
    /// The preview's time is over.
    PREVIEW_EXPIRED = 409 "preview_expired";
    /// The preview has become a payment.
    PREVIEW_USED = 409 "preview_used";
    /// Another payment of the environment has this `external_id`.
    PAYMENT_EXTERNAL_ID_TAKEN = 409 "payment_external_id_taken";
    /// Payments lead between customers' accounts.
    PAYMENT_ACCOUNT_INTERNAL = 422 "payment_account_internal";
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Arc<Keys>: FromRef<S>,
    Arc<Catalogue>: FromRef<S>,
    Arc<Notify>: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            preview_create,
            &PAYMENT_ACCOUNT_INTERNAL,
            refused_as(Reason::AmountNotPositive),
            refused_as(Reason::AmountTooLarge),
            refused_as(Reason::AccountsIdentical),
            refused_as(Reason::DebitAccountNotFound),
            refused_as(Reason::CreditAccountNotFound),
            refused_as(Reason::CurrencyMismatch),
            refused_as(Reason::DebitAccountClosed),
            refused_as(Reason::CreditAccountClosed),
            refused_as(Reason::DebitAccountFrozen),
            refused_as(Reason::CreditAccountFrozen),
            refused_as(Reason::BalanceOverflow),
            refused_as(Reason::InsufficientFunds),
            &codes::STORAGE_FULL,
        ))
        .routes(operation!(preview_get, &codes::NOT_FOUND))
        .routes(operation!(
            payment_create,
            &PREVIEW_UNKNOWN,
            &PREVIEW_EXPIRED,
            &PREVIEW_USED,
            &PAYMENT_EXTERNAL_ID_TAKEN,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(payment_get, &codes::NOT_FOUND))
        .routes(operation!(payment_list, &codes::INVALID_CURSOR))
}

/// A text on one line that every database can keep.
fn line<'de, D: Deserializer<'de>>(deserializer: D, longest: usize) -> Result<Option<String>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let fits = (1..=longest).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits {
        Ok(Some(text))
    } else {
        Err(D::Error::custom("the text is empty, too long, or has control characters"))
    }
}

fn reference<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    line(deserializer, MAX_REFERENCE)
}

fn external_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    const LONGEST: usize = 120;
    line(deserializer, LONGEST)
}

/// What is to be paid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPaymentPreview, example = json!({
    "debit_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "credit_account_id": "acct_01jd4q8e7yg3s0m4n6p8q1t5v7",
    "amount": {"amount": 12500, "currency": "MXN"}, "reference": "Invoice 4711"
}))]
struct NewPreview {
    /// The customer's account that pays.
    debit_account_id: AccountId,
    /// The customer's account that is paid.
    credit_account_id: AccountId,
    amount: Money,
    /// Stands on both statements; no personal data.
    #[serde(default, deserialize_with = "reference")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 140)]
    reference: Option<String>,
}

/// Whether a preview may still be committed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentPreviewStatus)]
enum PreviewStatus {
    /// It may be committed.
    Open,
    /// It has become a payment.
    Committed,
    /// Its time is over.
    Expired,
}

/// What a payment would be. Nothing is set aside by it.
#[derive(Serialize, ToSchema)]
#[schema(as = PaymentPreview, example = json!({
    "id": "prv_01jd4q8e7xf2r9k3m5n7p0s4t6", "status": "open",
    "debit_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "credit_account_id": "acct_01jd4q8e7yg3s0m4n6p8q1t5v7",
    "payee_name": "Ana*** Gar***", "amount": {"amount": 12500, "currency": "MXN"},
    "fee": {"amount": 0, "currency": "MXN"}, "total": {"amount": 12500, "currency": "MXN"},
    "available_before": {"amount": 100_000, "currency": "MXN"}, "available_after": {"amount": 87500, "currency": "MXN"},
    "reference": "Invoice 4711", "created_at": "2026-11-21T16:04:05.123456Z",
    "expires_at": "2026-11-21T16:09:05.123456Z", "payment_id": null
}))]
struct PreviewWire {
    id: PreviewId,
    status: PreviewStatus,
    debit_account_id: AccountId,
    credit_account_id: AccountId,
    /// Who is paid: of a natural person the first letters, enough to notice a wrong account.
    payee_name: String,
    /// What the payee gets.
    amount: Money,
    /// What the payer pays for it.
    fee: Money,
    /// What leaves the payer's account.
    total: Money,
    /// What the payer's account had available when this was shown.
    available_before: Money,
    /// What it would have available afterwards.
    available_after: Money,
    reference: Option<String>,
    /// Environment time.
    created_at: DateTime<Utc>,
    /// From then on it cannot be committed; environment time.
    expires_at: DateTime<Utc>,
    /// The payment that it became.
    payment_id: Option<PaymentId>,
}

impl PreviewWire {
    fn of(Shown { preview, payee }: Shown, now: DateTime<Utc>) -> Self {
        let money = preview.order.money;
        let of = |amount| Money::new(amount, money.currency);
        let status = match preview.payment {
            Some(_) => PreviewStatus::Committed,
            None if now >= preview.expires_at => PreviewStatus::Expired,
            None => PreviewStatus::Open,
        };
        Self {
            id: preview.id,
            status,
            debit_account_id: preview.order.debit,
            credit_account_id: preview.order.credit,
            payee_name: payee,
            amount: money,
            fee: of(0),
            total: money,
            available_before: of(preview.available),
            available_after: of(preview.available.saturating_sub(money.amount)),
            reference: preview.order.reference,
            created_at: preview.created_at,
            expires_at: preview.expires_at,
            payment_id: preview.payment,
        }
    }
}

/// Which preview to commit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPayment, example = json!({
    "preview_id": "prv_01jd4q8e7xf2r9k3m5n7p0s4t6", "external_id": "order-4711"
}))]
struct New {
    preview_id: PreviewId,
    /// Your own id, unique in the environment.
    #[serde(default, deserialize_with = "external_id")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 120)]
    external_id: Option<String>,
}

/// Why a payment stands where it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PaymentReason)]
struct ReasonWire {
    /// To branch on: the name of the ledger's refusal.
    code: &'static str,
    /// For people, in your language.
    detail: String,
}

/// A payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment, example = json!({
    "id": "pay_01jd4q8e7xf2r9k3m5n7p0s4t6", "status": "settled", "status_reason": null,
    "preview_id": "prv_01jd4q8e7xf2r9k3m5n7p0s4t6", "external_id": "order-4711",
    "debit_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "credit_account_id": "acct_01jd4q8e7yg3s0m4n6p8q1t5v7",
    "amount": {"amount": 12500, "currency": "MXN"}, "settled_amount": {"amount": 12500, "currency": "MXN"},
    "reference": "Invoice 4711", "hold_id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t6",
    "transfer_id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t7", "created_at": "2026-11-21T16:04:05.123456Z",
    "expires_at": "2026-11-21T16:19:05.123456Z", "authorised_at": "2026-11-21T16:04:05.133456Z",
    "ended_at": "2026-11-21T16:04:05.143456Z"
}))]
struct Wire {
    id: PaymentId,
    status: Status,
    /// Why it was rejected or has expired.
    status_reason: Option<ReasonWire>,
    preview_id: PreviewId,
    external_id: Option<String>,
    debit_account_id: AccountId,
    credit_account_id: AccountId,
    /// What was ordered.
    amount: Money,
    /// What has moved, once it has: the whole, unless the hold was captured in part past this payment.
    settled_amount: Option<Money>,
    reference: Option<String>,
    /// The hold that sets the amount aside, once that is done.
    hold_id: Option<TransferId>,
    /// The transfer that moved the money, once it has.
    transfer_id: Option<TransferId>,
    /// Environment time.
    created_at: DateTime<Utc>,
    /// When it expires if it is not settled by then; environment time.
    expires_at: DateTime<Utc>,
    /// When the amount was set aside; environment time.
    authorised_at: Option<DateTime<Utc>>,
    /// When it reached its final status; environment time.
    ended_at: Option<DateTime<Utc>>,
}

/// What gives the texts of an answer.
struct Speaker {
    catalogue: Arc<Catalogue>,
    language: Language,
}

impl Speaker {
    fn of(catalogue: Arc<Catalogue>, headers: &HeaderMap) -> Self {
        let language = Language::negotiate(headers, catalogue.default_language());
        Self { catalogue, language }
    }

    fn show(&self, payment: Payment) -> Wire {
        let currency = payment.order.money.currency;
        let reason = payment.refusal.map(|why| {
            let code = refused_as(why.reason);
            let arguments = arguments(why.detail, Some(currency));
            let detail = self.catalogue.texts(code, self.language, &arguments).detail.into_owned();
            ReasonWire { code: code.name, detail }
        });
        Wire {
            hold_id: payment.authorised_at.map(|_| payment.hold_id()),
            id: payment.id,
            status: payment.status,
            status_reason: reason,
            preview_id: payment.preview,
            external_id: payment.external_id,
            debit_account_id: payment.order.debit,
            credit_account_id: payment.order.credit,
            amount: payment.order.money,
            settled_amount: payment.settlement.map(|done| Money::new(done.amount, currency)),
            reference: payment.order.reference,
            transfer_id: payment.settlement.map(|done| done.transfer),
            created_at: payment.created_at,
            expires_at: payment.expires_at,
            authorised_at: payment.authorised_at,
            ended_at: payment.ended_at,
        }
    }
}

fn answer<T: Serialize>(status: StatusCode, body: T, replayed: bool) -> Response {
    Replayed::when(replayed, (status, Json(body)))
}

/// Shows what a payment would be: payee, fee, balance before and after.
///
/// Nothing is set aside. The preview may be committed once, within five minutes, by the client that asked for it.
#[utoipa::path(post, path = "/v1/payment-previews", operation_id = "payment_preview_create", tag = "payments",
    request_body = NewPreview, responses((status = 201, description = "The preview", body = PreviewWire)))]
async fn preview_create(
    ctx: Authorized<PaymentsWrite>,
    State(db): State<Db>,
    State(keys): State<Arc<Keys>>,
    Keyed { key, body }: Keyed<NewPreview>,
) -> Result<Response, Problem> {
    let order = Order {
        debit: body.debit_account_id,
        credit: body.credit_account_id,
        money: body.amount,
        reference: body.reference,
    };
    let Done { what, replayed } = super::preview(&db, &keys, &ctx, &key, &order).await?;
    Ok(answer(StatusCode::CREATED, PreviewWire::of(what, ctx.now()), replayed))
}

/// Reads a preview that was shown to the client.
#[utoipa::path(get, path = "/v1/payment-previews/{id}", operation_id = "payment_preview_get", tag = "payments",
    params(("id" = PreviewId, Path, description = "The preview")),
    responses((status = 200, description = "The preview", body = PreviewWire)))]
async fn preview_get(
    ctx: Authorized<PaymentsRead>,
    State(db): State<Db>,
    State(keys): State<Arc<Keys>>,
    Path(id): Path<PreviewId>,
) -> Result<Json<PreviewWire>, Problem> {
    let shown = super::get_preview(&db, &keys, &ctx, id).await?;
    Ok(Json(PreviewWire::of(shown, ctx.now())))
}

/// Commits a preview.
///
/// The answer is the payment as it was written down; it is carried out at once, and read with `GET
/// /v1/payments/{id}`. It ends `settled`, `rejected` or `expired`.
#[utoipa::path(post, path = "/v1/payments", operation_id = "payment_create", tag = "payments",
    request_body = New, responses((status = 202, description = "The payment is on its way", body = Wire)))]
async fn payment_create(
    ctx: Authorized<PaymentsWrite>,
    State(db): State<Db>,
    State(work): State<Arc<Notify>>,
    State(catalogue): State<Arc<Catalogue>>,
    headers: HeaderMap,
    Keyed { key, body }: Keyed<New>,
) -> Result<Response, Problem> {
    let committed = super::commit(&db, &ctx, &key, body.preview_id, body.external_id.as_deref()).await;
    let Done { what, replayed } = committed.map_err(|error| match error {
        Error::NotFound => Problem::new(&PREVIEW_UNKNOWN).on("/preview_id"),
        error => error.into(),
    })?;
    work.notify_one();
    Ok(answer(StatusCode::ACCEPTED, Speaker::of(catalogue, &headers).show(what), replayed))
}

/// Reads a payment.
#[utoipa::path(get, path = "/v1/payments/{id}", operation_id = "payment_get", tag = "payments",
    params(("id" = PaymentId, Path, description = "The payment")),
    responses((status = 200, description = "The payment", body = Wire)))]
async fn payment_get(
    ctx: Authorized<PaymentsRead>,
    State(db): State<Db>,
    State(catalogue): State<Arc<Catalogue>>,
    headers: HeaderMap,
    Path(id): Path<PaymentId>,
) -> Result<Json<Wire>, Problem> {
    let payment = super::get(&db, ctx.scope, id).await?;
    Ok(Json(Speaker::of(catalogue, &headers).show(payment)))
}

const LIST: &str = "payments";

/// Which payments to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// How many items at most: 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// Those in this status.
    status: Option<Status>,
    /// Those from or to this account.
    account_id: Option<AccountId>,
    /// The one with this id of yours.
    external_id: Option<String>,
    /// Those made at or after this instant.
    created_from_at: Option<DateTime<Utc>>,
    /// Those made before this instant.
    created_until_at: Option<DateTime<Utc>>,
}

/// Lists payments, the oldest first.
#[utoipa::path(get, path = "/v1/payments", operation_id = "payment_list", tag = "payments", params(Which),
    responses((status = 200, description = "A page of payments", body = Page<Wire>)))]
async fn payment_list(
    ctx: Authorized<PaymentsRead>,
    State(db): State<Db>,
    State(catalogue): State<Arc<Catalogue>>,
    headers: HeaderMap,
    Query(which): Query<Which>,
) -> Result<Json<Page<Wire>>, Problem> {
    let filter = Filter {
        after: which.cursor.map(|cursor| cursor.key(LIST)).transpose()?,
        external_id: which.external_id,
        account: which.account_id,
        status: which.status,
        from: which.created_from_at,
        until: which.created_until_at,
    };
    let payments = super::list(&db, ctx.scope, &filter, which.limit.rows()).await?;
    let speaker = Speaker::of(catalogue, &headers);
    let page = Page::of(LIST, payments, which.limit, |payment| payment.id);
    Ok(Json(page.map(|payment| speaker.show(payment))))
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(rejection, currency) => refusal(&rejection, currency),
            Error::Internal(field) => Problem::new(&PAYMENT_ACCOUNT_INTERNAL).on(field),
            Error::NotFound => Problem::new(&codes::NOT_FOUND),
            Error::Expired => Problem::new(&PREVIEW_EXPIRED).on("/preview_id"),
            Error::Used(payment) => {
                Problem::new(&PREVIEW_USED).arg("payment", payment.to_string()).on("/preview_id")
            }
            Error::ExternalIdTaken => Problem::new(&PAYMENT_EXTERNAL_ID_TAKEN).on("/external_id"),
            Error::Party(error) => error.into(),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
