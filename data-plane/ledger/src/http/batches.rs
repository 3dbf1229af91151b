//! Many transfers in one request.

use axum::{
    extract::{FromRef, State},
    response::Response,
};
use platform::{
    http::Json,
    idempotency::{KeyText, Replayed},
    layers::body_limit,
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    problem::{Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize, Serializer};
use tenants::{id::TransferId, money::Money};
use utoipa::ToSchema;

use super::{
    TransfersWrite,
    codes::{self as own, Names, field, unavailable},
    posting::{Id, id_of},
    transfers::may_import,
    wire::NewTransfer,
};
use crate::{
    Ledger, MAX_BATCH,
    limit::{Direction, Window},
    outcome::{Detail, Outcome, Reason, Rejection},
    transfer::{Posted, Transfer, shape},
};

/// 8,000 transfers with the longest references, escaped, have room.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

pub(super) fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Ledger: FromRef<S>,
    Access: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(
            transfer_batch_create,
            &codes::IDEMPOTENCY_KEY_MISSING,
            &own::BATCH_TOO_LARGE,
            &own::LEDGER_UNAVAILABLE,
            &own::OUTCOME_UNKNOWN,
            &own::LEDGER_OVERLOADED,
            &codes::STORAGE_FULL,
        ))
        .layer(body_limit(BODY_LIMIT))
}

/// Transfers to be posted in order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTransferBatch, example = json!({"transfers": [{
    "id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t6", "type": "transfer",
    "debit_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "credit_account_id": "acct_01jd4q8e7yg3s0m4n6p8q1t5v7",
    "amount": {"amount": 12500, "currency": "MXN"}
}]}))]
struct NewBatch {
    /// At most 8,000.
    #[schema(min_items = 1, max_items = 8000)]
    transfers: Vec<NewTransfer>,
}

/// What became of a batch's transfers.
#[derive(Serialize, ToSchema)]
#[schema(as = TransferBatch, example = json!({"posted": 1, "replayed": 0, "rejected": 1, "data": [
    {"id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t6", "outcome": "posted", "position": 4711},
    {"id": "trf_01jd4q8e7yg3s0m4n6p8q1t5v7", "outcome": "rejected", "code": "insufficient_funds",
        "pointer": "/amount/amount", "available": 300}
]}))]
struct Answer<'a> {
    posted: usize,
    replayed: usize,
    rejected: usize,
    /// One outcome per transfer, in the order of the request.
    #[schema(value_type = Vec<Item>)]
    data: Items<'a>,
}

/// Written item by item, without a list of them in between.
struct Items<'a> {
    outcomes: &'a [Outcome],
    asked: &'a [Asked],
}

impl Serialize for Items<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer
            .collect_seq(self.outcomes.iter().zip(self.asked).map(|(outcome, asked)| asked.item(outcome)))
    }
}

/// What the answer needs of a request once the ledger has it.
struct Asked {
    id: Id,
    amount: i64,
}

/// What became of a transfer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = TransferResult)]
enum Became {
    /// Done, durably.
    Posted,
    /// Done before under this id; nothing happened now.
    Replayed,
    /// Not done.
    Rejected,
}

/// The outcome of one transfer of a batch.
#[derive(Serialize, ToSchema)]
#[schema(as = TransferOutcome)]
struct Item {
    id: TransferId,
    outcome: Became,
    /// Of a posted one: its place in the order of all transfers of its shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<i64>,
    /// What moved, where that is less than was asked for (`balancing`).
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<Money>,
    /// Of a rejected one: why, a code of the catalogue of problems.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// The field of the transfer that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'static str>,
    /// `insufficient_funds`: what was available, in minor units.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<i64>,
    /// `limit_exceeded`: which limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Passed>,
}

/// A limit that would have been passed; minor units.
#[derive(Serialize, ToSchema)]
#[schema(as = PassedLimit)]
struct Passed {
    direction: Direction,
    window: Window,
    maximum: i64,
    remaining: i64,
}

impl Asked {
    fn item(&self, outcome: &Outcome) -> Item {
        let item = |outcome| Item {
            id: self.id.id,
            outcome,
            position: None,
            amount: None,
            code: None,
            pointer: None,
            available: None,
            limit: None,
        };
        let done = |outcome, row: &Posted| Item {
            position: Some(row.seq),
            amount: (row.amount != self.amount).then(|| Money::new(row.amount, row.currency)),
            ..item(outcome)
        };
        match outcome {
            Outcome::Posted(row) => done(Became::Posted, row),
            Outcome::Replayed(row) => done(Became::Replayed, row),
            Outcome::Rejected(rejection) => Item {
                code: Some(self.code(rejection)),
                pointer: field(rejection.reason, Names::Accounts),
                available: match rejection.detail {
                    Detail::Available(available) => Some(available),
                    _ => None,
                },
                limit: match rejection.detail {
                    Detail::Limit { direction, window, maximum, remaining } => {
                        Some(Passed { direction, window, maximum, remaining })
                    }
                    _ => None,
                },
                ..item(Became::Rejected)
            },
        }
    }

    fn code(&self, rejection: &Rejection) -> &'static str {
        match rejection.reason {
            Reason::IdReused if self.id.keyed => codes::IDEMPOTENCY_MISMATCH.name,
            reason => reason.code(),
        }
    }
}

/// Posts up to 8,000 transfers, each with its own outcome.
///
/// They are posted in order and durably together, but each for itself: a refused one does not harm the others, unless
/// they are `linked` to it. Ids are those of the transfers; where one has none, the request's `Idempotency-Key` and its
/// place in the batch stand for one. `Idempotency-Replayed` says that the whole batch had been answered before.
///
/// A key stands for one batch: if it was used for another one (other transfers, more, fewer, or linked otherwise), no transfer
/// without an id of its own is posted: `idempotency_mismatch`, and `linked_transfer_failed` for the others of a chain.
/// Transfers with an id are not the key's, and each is answered for itself. A key under which nothing was posted, nor
/// refused for the state of the books, is still free.
#[utoipa::path(post, path = "/v1/transfer-batches", operation_id = "transfer_batch_create", tag = "transfers",
    request_body = NewBatch, responses((status = 200, description = "An outcome per transfer", body = Answer)))]
async fn transfer_batch_create(
    ctx: Authorized<TransfersWrite>,
    State(ledger): State<Ledger>,
    KeyText(key): KeyText,
    Json(NewBatch { transfers }): Json<NewBatch>,
) -> Result<Response, Problem> {
    match transfers.len() {
        0 => return Err(Problem::new(&codes::INVALID_FIELD).at("/transfers", &codes::INVALID_VALUE)),
        1..=MAX_BATCH => {}
        _ => return Err(Problem::new(&own::BATCH_TOO_LARGE).arg("limit", MAX_BATCH).on("/transfers")),
    }
    if transfers.iter().any(|new| new.effective_at.is_some()) {
        may_import(&ctx)?;
    }
    let mut asked = Vec::with_capacity(transfers.len());
    let mut calls = Vec::with_capacity(transfers.len());
    let shape = shape(transfers.iter().map(|new| (new.linked, new.id.is_some())));
    for (place, new) in transfers.into_iter().enumerate() {
        let id = id_of(&ctx, "transfer_batch_create", new.id, key.as_deref(), place)?;
        asked.push(Asked { id, amount: new.amount.amount });
        let transfer = new.into_transfer(id.id, key.clone());
        calls.push(Transfer { shape: id.keyed.then_some(shape), ..transfer });
    }
    let outcomes = ledger.post(&ctx, calls).await.map_err(unavailable)?;
    let mut answer =
        Answer { posted: 0, replayed: 0, rejected: 0, data: Items { outcomes: &outcomes, asked: &asked } };
    let (mut repeated, mut fresh) = (false, false);
    for outcome in &outcomes {
        let count = match outcome {
            Outcome::Posted(_) => &mut answer.posted,
            Outcome::Replayed(_) => &mut answer.replayed,
            Outcome::Rejected(_) => &mut answer.rejected,
        };
        *count = count.saturating_add(1);
        // A refusal that follows from the request alone is neither: it is the same every time.
        match outcome {
            Outcome::Posted(_) => fresh = true,
            Outcome::Replayed(_) => repeated = true,
            Outcome::Rejected(rejection) if rejection.replayed => repeated = true,
            Outcome::Rejected(rejection) => fresh |= rejection.reason.is_kept(),
        }
    }
    Ok(Replayed::when(repeated && !fresh, Json(answer)))
}
