//! The ledger over HTTP: transfers, batches, holds, balances.
//!
//! **The id is the record.** A movement's id makes its request repeatable for ever: the caller chooses it, or sends an
//! `Idempotency-Key`, of which environment, client and operation make one. The repetition of a request is answered as
//! the first was, with `Idempotency-Replayed: true`; a refusal that depended on the books stays a refusal. An id that
//! was used for something else is `id_reused`, a key `idempotency_mismatch`.
//!
//! **Cost.** Nothing stands between a posting request and the ledger's writer: no statement of its own, no intent row,
//! no second commit. Reading a balance is one statement.

mod balances;
mod batches;
mod codes;
mod holds;
mod posting;
mod transfers;
mod wire;

use axum::extract::FromRef;
use platform::{db::Db, openapi::utoipa_axum::router::OpenApiRouter, problem::Domain, token::Access};

pub use self::codes::{
    CODES, LEDGER_OVERLOADED, LEDGER_UNAVAILABLE, OUTCOME_UNKNOWN, arguments, code, refusal, unavailable,
};
use crate::Ledger;

platform::scopes! {
    /// Post transfers, and reverse them.
    TransfersWrite = "transfers:write";
    /// Post transfers with past dates, from another system.
    TransfersImport = "transfers:import";
    /// Read transfers.
    TransfersRead = "transfers:read";
    /// Place, capture and void holds.
    HoldsWrite = "holds:write";
    /// Read holds.
    HoldsRead = "holds:read";
    /// Read balances, limits and the trial balance.
    BalancesRead = "balances:read";
}

/// The problem codes of this crate, and their texts.
pub static DOMAIN: Domain = Domain {
    name: "data-plane/ledger",
    codes: &[CODES],
    en: include_str!("../../locales/en.ftl"),
    es: include_str!("../../locales/es.ftl"),
    pt: include_str!("../../locales/pt.ftl"),
};

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Ledger: FromRef<S>,
    Access: FromRef<S>,
{
    OpenApiRouter::new()
        .merge(transfers::router())
        .merge(batches::router())
        .merge(holds::router())
        .merge(balances::router())
}
