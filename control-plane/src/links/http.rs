//! The routes that cells call, on a listener of their own: who they are is in their certificates.
//!
//! Answers other than success are problems, as everywhere; `code`, `detail` and `retryable` are what the contract calls
//! a refusal.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts, State},
    http::{HeaderName, HeaderValue, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use platform::{
    ctx::Clock,
    db::Db,
    drain::Drain,
    hash::sha256,
    http::{Json, Query},
    layers,
    openapi::{Argument, Description, Guard, Public, utoipa_axum::router::OpenApiRouter},
    operation,
    pki::{self, Ca, PeerCell},
    problem::{Problem, codes},
    tls::Peer,
};
use tenants::contract::{
    self, Desired, Enrol, Enrolled, Issued, MOST_ENVIRONMENTS, Observed, Poll, Renewal, SPOKEN, Taken,
    version::{HEADER, Versions},
};
use tokio::sync::Notify;
use uuid::Uuid;

use super::Waiters;
use crate::cells::{self, Cell, Certificate, Refusal};

platform::problem_codes! {
    /// Nobody made this join token.
    JOIN_TOKEN_UNKNOWN = 401 "join_token_unknown";
    /// The join token's time is over.
    JOIN_TOKEN_EXPIRED = 410 "join_token_expired";
    /// The join token was used with another request.
    JOIN_TOKEN_USED = 409 "join_token_used";
    /// There is no common version of the contract.
    CONTRACT_UNSUPPORTED = 409 "contract_unsupported";
    /// The clocks are too far apart.
    CLOCK_SKEW = 422 "clock_skew", retryable;
    /// The request for a certificate cannot be used.
    CSR_INVALID = 422 "csr_invalid";
    /// The request for a certificate is for another cell.
    CSR_FOR_ANOTHER_CELL = 422 "csr_for_another_cell";
    /// The cell is configured as another one.
    CELL_MISMATCH = 422 "cell_mismatch";
    /// Something that was said is out of its bounds.
    MESSAGE_UNUSABLE = 422 "message_unusable";
    /// There is no certificate of a cell.
    CERTIFICATE_MISSING = 401 "certificate_missing";
    /// The certificate is not honoured any more.
    CERTIFICATE_REVOKED = 403 "certificate_revoked";
    /// The certificate has ended.
    CERTIFICATE_EXPIRED = 403 "certificate_expired";
    /// Another database has this cell's identity.
    CELL_IDENTITY_TAKEN = 409 "cell_identity_taken";
    /// Two go on from one identity.
    CELL_FORKED = 409 "cell_forked";
    /// The cell is no more.
    CELL_RETIRED = 410 "cell_retired";
}

/// The longest report, in bytes: a full one with every intent.
const LONGEST_REPORT: usize = 8 * 1024 * 1024;
/// Of a certificate's life, what passes before the next one is asked for, in thirds.
const RENEW_AFTER: i32 = 2;

/// What the routes of links share. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Site {
    /// What signs certificates.
    pub ca: Arc<Ca>,
    /// The name of the database.
    pub lineage: Uuid,
    /// Wakes polls.
    pub waiters: Waiters,
    /// Ends polls.
    pub drain: Drain,
    /// Wakes what converges.
    pub worker: Arc<Notify>,
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Clock: FromRef<S>,
    Site: FromRef<S>,
{
    let reports = OpenApiRouter::new().routes(operation!(
        link_observe,
        &MESSAGE_UNUSABLE,
        &CELL_IDENTITY_TAKEN,
        &CELL_FORKED,
        &codes::STORAGE_FULL
    ));
    OpenApiRouter::new()
        .routes(operation!(
            link_enrol,
            &JOIN_TOKEN_UNKNOWN,
            &JOIN_TOKEN_EXPIRED,
            &JOIN_TOKEN_USED,
            &CONTRACT_UNSUPPORTED,
            &CLOCK_SKEW,
            &CSR_INVALID,
            &CSR_FOR_ANOTHER_CELL,
            &CELL_MISMATCH,
            &MESSAGE_UNUSABLE,
            &CELL_IDENTITY_TAKEN,
            &CERTIFICATE_REVOKED,
            &CELL_RETIRED,
            &codes::DATABASE_UNAVAILABLE,
            &codes::DATABASE_BUSY,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(
            link_renew,
            &CSR_INVALID,
            &CSR_FOR_ANOTHER_CELL,
            &CELL_IDENTITY_TAKEN,
            &CELL_FORKED,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(link_desired))
        .merge(reports.layer(layers::body_limit(LONGEST_REPORT)))
}

/// The cell that asks: its certificate is honoured and has not ended.
#[derive(Debug, Clone)]
pub struct FromCell {
    /// The cell.
    pub cell: Cell,
    /// Its certificate.
    pub peer: PeerCell,
}

/// The cell that asks, even with a certificate that has ended, within the grace: for renewal and nothing else.
#[derive(Debug, Clone)]
pub struct FromEnded(pub FromCell);

async fn from_cell<S>(parts: &Parts, state: &S) -> Result<FromCell, Problem>
where
    Db: FromRef<S>,
{
    let der = parts.extensions.get::<Peer>().and_then(|peer| peer.0.as_ref());
    let peer = der.and_then(|der| pki::peer(der).ok()).ok_or(Refusal::NoCertificate)?;
    let cell = cells::known(&Db::from_ref(state), &peer).await?;
    Ok(FromCell { cell, peer })
}

impl<S: Send + Sync> FromRequestParts<S> for FromCell
where
    Db: FromRef<S>,
    Clock: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let from = from_cell(parts, state).await?;
        if from.peer.not_after <= Clock::from_ref(state).now() {
            return Err(Refusal::Ended.into());
        }
        Ok(from)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for FromEnded
where
    Db: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        from_cell(parts, state).await.map(Self)
    }
}

impl Guard for FromEnded {
    fn describe(description: &mut Description) {
        description.codes(&[
            &CERTIFICATE_MISSING,
            &CERTIFICATE_REVOKED,
            &CELL_RETIRED,
            &codes::DATABASE_UNAVAILABLE,
            &codes::DATABASE_BUSY,
        ]);
    }
}

impl Guard for FromCell {
    fn describe(description: &mut Description) {
        <FromEnded as Guard>::describe(description);
        description.codes(&[&CERTIFICATE_EXPIRED]);
    }
}

/// The version of the contract that is spoken: the highest that both sides can; and those that the cell can, lowest and
/// highest.
#[derive(Debug, Clone, Copy)]
pub struct Spoken(u16, [u16; 2]);

const CONTRACT: HeaderName = HeaderName::from_static(HEADER);

impl<S: Sync> FromRequestParts<S> for Spoken {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let theirs =
            parts.headers.get(CONTRACT).and_then(|value| value.to_str().ok()?.parse::<Versions>().ok());
        let theirs = theirs.ok_or(Refusal::Contract)?;
        let common = SPOKEN.agree(&theirs).map_err(|_| Refusal::Contract)?;
        Ok(Self(common, [theirs.lowest(), theirs.highest()]))
    }
}

impl Argument for Spoken {
    fn describe(description: &mut Description) {
        description.codes(&[&CONTRACT_UNSUPPORTED]);
    }
}

impl Spoken {
    /// An answer in this version.
    fn answer(self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        response.headers_mut().insert(CONTRACT, HeaderValue::from(self.0));
        response
    }
}

/// When to ask for the next certificate: at two thirds of this one's life.
fn renew_at(issued: &Certificate) -> DateTime<Utc> {
    let life = issued.not_after.signed_duration_since(issued.issued_at);
    issued.issued_at.checked_add_signed(life * RENEW_AFTER / 3).unwrap_or(issued.issued_at)
}

/// Lets a cell in, by a join token and a request for its certificate.
///
/// Without a client certificate. The same token and request again get the same answer.
#[utoipa::path(post, path = "/link/v1/enrolments", operation_id = "link_enrol", tag = "link", request_body = Enrol,
    responses((status = 201, description = "The cell is let in", body = Enrolled)))]
async fn link_enrol(
    _: Public,
    State(db): State<Db>,
    State(clock): State<Clock>,
    State(site): State<Site>,
    Json(asked): Json<Enrol>,
) -> Result<Response, Problem> {
    let (cell, issued) = cells::enrol(&db, &site.ca, clock.now(), &asked).await?;
    let [lowest, highest] = asked.contract;
    let contract =
        SPOKEN.agree(&Versions::new(lowest, highest)).map_err(|_| Problem::from(Refusal::Contract))?;
    let enrolled = Enrolled {
        cell: cell.id,
        contract,
        renew_at: renew_at(&issued),
        certificate_pem: issued.certificate_pem,
        chain_pem: issued.chain_pem,
        root_pem: site.ca.root_pem().to_owned(),
        not_after: issued.not_after,
        lineage: site.lineage,
        now_at: clock.now(),
    };
    Ok(Spoken(contract, asked.contract).answer((StatusCode::CREATED, Json(enrolled))))
}

/// Signs the next certificate of a cell, for a new key.
///
/// The one before stays good to its end. A cell that was offline longer than that may still ask, for 30 days.
#[utoipa::path(post, path = "/link/v1/renewals", operation_id = "link_renew", tag = "link", request_body = Renewal,
    responses((status = 201, description = "The certificate", body = Issued)))]
async fn link_renew(
    FromEnded(from): FromEnded,
    spoken: Spoken,
    State(db): State<Db>,
    State(clock): State<Clock>,
    State(site): State<Site>,
    Json(asked): Json<Renewal>,
) -> Result<Response, Problem> {
    let issued = cells::renew(&db, &site.ca, clock.now(), from.peer.serial, &asked).await?;
    let answer = Issued {
        renew_at: renew_at(&issued),
        certificate_pem: issued.certificate_pem,
        chain_pem: issued.chain_pem,
        not_after: issued.not_after,
        now_at: clock.now(),
    };
    Ok(spoken.answer((StatusCode::CREATED, Json(answer))))
}

/// What is wanted of the cell since its cursor; waits for something to say.
#[utoipa::path(get, path = "/link/v1/desired", operation_id = "link_desired", tag = "link", params(Poll),
    responses((status = 200, description = "Documents, or none", body = Desired)))]
async fn link_desired(
    from: FromCell,
    spoken: Spoken,
    State(db): State<Db>,
    State(clock): State<Clock>,
    State(site): State<Site>,
    Query(poll): Query<Poll>,
) -> Result<Response, Problem> {
    let Site { lineage, waiters, drain, .. } = &site;
    let desired = super::desired(&db, waiters, drain, *lineage, from.cell.id, &poll, || clock.now()).await?;
    Ok(spoken.answer(Json(desired)))
}

/// Takes a report of a cell: how it is, and what became of its environments.
#[utoipa::path(post, path = "/link/v1/observed", operation_id = "link_observe", tag = "link", request_body = Observed,
    responses((status = 200, description = "The report was taken", body = Taken)))]
async fn link_observe(
    from: FromCell,
    spoken: Spoken,
    State(db): State<Db>,
    State(clock): State<Clock>,
    State(site): State<Site>,
    Json(report): Json<Observed>,
) -> Result<Response, Problem> {
    if report.environments.len() > MOST_ENVIRONMENTS {
        return Err(Refusal::Unusable("environments").into());
    }
    let taken = super::system::observed(
        &db,
        site.lineage,
        from.cell.id,
        &report,
        &sha256(contract::canonical(&report)),
        (spoken.0, spoken.1),
        clock.now(),
    )
    .await?;
    site.worker.notify_one();
    Ok(spoken.answer(Json(taken)))
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::TokenUnknown => &JOIN_TOKEN_UNKNOWN,
            Refusal::TokenExpired => &JOIN_TOKEN_EXPIRED,
            Refusal::TokenUsed => &JOIN_TOKEN_USED,
            Refusal::Contract => {
                // The range, where an answer has one number.
                let range = HeaderValue::try_from(SPOKEN.to_string()).unwrap_or(HeaderValue::from_static(""));
                return Self::new(&CONTRACT_UNSUPPORTED)
                    .arg("supported", SPOKEN.to_string())
                    .header(CONTRACT, range);
            }
            Refusal::Skew(ms) => return Self::new(&CLOCK_SKEW).arg("skew_ms", *ms),
            Refusal::Csr(_) => &CSR_INVALID,
            Refusal::OtherCell => &CSR_FOR_ANOTHER_CELL,
            Refusal::Mismatch(field) => {
                return Self::new(&CELL_MISMATCH).arg("field", *field).on(format!("/{field}"));
            }
            Refusal::Unusable(field) => return Self::new(&MESSAGE_UNUSABLE).on(format!("/{field}")),
            Refusal::NoCertificate => &CERTIFICATE_MISSING,
            Refusal::Revoked => &CERTIFICATE_REVOKED,
            Refusal::Ended => &CERTIFICATE_EXPIRED,
            Refusal::IdentityTaken => &CELL_IDENTITY_TAKEN,
            Refusal::Forked => &CELL_FORKED,
            Refusal::Retired => &CELL_RETIRED,
            Refusal::Database(_) => {
                return match refusal {
                    Refusal::Database(error) => error.into(),
                    other => Self::internal(other),
                };
            }
        };
        Self::new(code).cause(refusal)
    }
}
