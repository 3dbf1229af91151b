//! What every posting request does: find its id, post, answer.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use platform::{
    ctx::Ctx,
    http::Json,
    idempotency::Replayed,
    problem::{In, Problem, codes},
};
use serde::Serialize;
use tenants::id::TransferId;

use super::codes::{Names, refused, unavailable};
use crate::{
    Ledger,
    outcome::Outcome,
    transfer::{Posted, Transfer, keyed_id},
};

/// The id of a request's movement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Id {
    pub id: TransferId,
    /// It was made of the key.
    pub keyed: bool,
}

/// The id that the caller chose, or the one that the key stands for at this position of the call.
///
/// # Errors
/// `idempotency_key_missing` where there is neither.
pub(super) fn id_of(
    ctx: &Ctx,
    operation: &str,
    chosen: Option<TransferId>,
    key: Option<&str>,
    position: usize,
) -> Result<Id, Problem> {
    if let Some(id) = chosen {
        return Ok(Id { id, keyed: false });
    }
    let missing = &codes::IDEMPOTENCY_KEY_MISSING;
    let key =
        key.ok_or_else(|| Problem::new(missing).parameter(In::Header, "idempotency-key", &codes::MISSING))?;
    Ok(Id { id: keyed_id(ctx.scope, &ctx.actor, operation, key, position), keyed: true })
}

/// Posts one movement; answers 201 with what `show` makes of its row, or the problem of its refusal.
pub(super) async fn post(
    ledger: &Ledger,
    ctx: &Ctx,
    id: Id,
    names: Names,
    transfer: Transfer,
    show: impl FnOnce(&Posted) -> Response,
) -> Result<Response, Problem> {
    let currency = transfer.currency;
    let outcome = ledger.post_one(ctx, transfer).await.map_err(unavailable)?;
    Ok(match &outcome {
        Outcome::Posted(row) => show(row),
        Outcome::Replayed(row) => Replayed(show(row)).into_response(),
        Outcome::Rejected(rejection) => {
            let problem = refused(rejection, id.keyed, names, currency);
            Replayed::when(rejection.replayed, problem)
        }
    })
}

/// 201 with this JSON.
pub(super) fn created(body: impl Serialize) -> Response {
    (StatusCode::CREATED, Json(body)).into_response()
}
