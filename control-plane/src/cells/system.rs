//! Enrolment and renewal: what a cell proves itself with is the worker's, since only that role may read it.

use chrono::{DateTime, TimeDelta, Utc};
use platform::{
    db::{self, Db, Tx},
    hash::sha256,
    join::Join,
    pki::{Ca, CsrError, PeerCell, Serial},
};
use sea_orm::DbErr;
use tenants::contract::{self, Enrol, Renewal, version::Versions};

use super::{
    credentials::{self, Certificate},
    model::{Cell, Enrolled, Seen, State},
    store,
};

/// How long a cell's certificate lives.
pub const LIFE: TimeDelta = TimeDelta::hours(24);
/// How long after its end a cell may still ask for the next one.
pub const GRACE: TimeDelta = TimeDelta::days(30);
/// How far the clock of who enrols may be off.
pub const MOST_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Why a cell is not let in or not answered. Each is a stable word on the link.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody made this token, or its secret is another.
    #[error("the join token is not known")]
    TokenUnknown,
    /// Its time is over.
    #[error("the join token has expired")]
    TokenExpired,
    /// It was used with another request.
    #[error("the join token was used already")]
    TokenUsed,
    /// No version in common.
    #[error("no common version of the contract")]
    Contract,
    /// The clocks are too far apart.
    #[error("the clock is {0} ms off")]
    Skew(i64),
    /// No request, or not signed with its own key.
    #[error("the request for a certificate cannot be used")]
    Csr(#[source] CsrError),
    /// The request is for another cell.
    #[error("the request for a certificate is for another cell")]
    OtherCell,
    /// The cell is configured as another one.
    #[error("the {0} is not that of the cell")]
    Mismatch(&'static str),
    /// Something that was said is out of bounds.
    #[error("{0} is not acceptable")]
    Unusable(&'static str),
    /// The peer showed no certificate of a cell.
    #[error("a certificate of a cell is missing")]
    NoCertificate,
    /// Its certificate is not honoured any more.
    #[error("the certificate was revoked")]
    Revoked,
    /// Its certificate has ended.
    #[error("the certificate has ended")]
    Ended,
    /// Another database has this cell's identity.
    #[error("another instance has this cell's identity")]
    IdentityTaken,
    /// Two go on from the same identity.
    #[error("two go on from one identity")]
    Forked,
    /// The cell is no more.
    #[error("the cell is retired")]
    Retired,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
}

/// Lets a cell in: checks its token and what it says of itself, and signs its request. The same token with the same
/// request gets the same certificate again, since an answer may be lost.
///
/// # Errors
/// The first of the refusals that applies.
pub async fn enrol(
    db: &Db,
    ca: &Ca,
    now: DateTime<Utc>,
    asked: &Enrol,
) -> Result<(Cell, Certificate), Refusal> {
    let join: Join = asked.token.parse().map_err(|_| Refusal::TokenUnknown)?;
    let csr_sha256 = sha256(&asked.csr_pem);
    db::retry(|| async {
        let tx = db.begin_system().await?;
        let stored = credentials::lock_token(&tx, join.id).await?.ok_or(Refusal::TokenUnknown)?;
        if stored.secret_sha256 != sha256(&join.secret) {
            return Err(Refusal::TokenUnknown);
        }
        let cell = store::lock(&tx, stored.token.cell).await?.ok_or(Refusal::TokenUnknown)?;
        if let Some((csr, serial)) = &stored.used {
            if *csr != csr_sha256 {
                return Err(Refusal::TokenUsed);
            }
            let first = credentials::by_serial(&tx, *serial).await?.ok_or(Refusal::TokenUsed)?;
            honoured(&cell, &first)?;
            return Ok((cell, first));
        }
        if stored.token.expires_at <= now {
            return Err(Refusal::TokenExpired);
        }
        let told = check(&cell, asked, now)?;
        let other = cell.enrolled.as_ref().is_some_and(|known| known.instance != told.instance);
        if other && !stored.token.replace_instance {
            return Err(Refusal::IdentityTaken);
        }
        let issued =
            sign(&tx, ca, &cell, &asked.csr_pem, csr_sha256.clone(), now, stored.token.replace_instance)
                .await?;
        credentials::use_token(&tx, join.id, &csr_sha256, issued.serial, now).await?;
        let seen = if stored.token.replace_instance { Seen::default() } else { cell.seen.clone() };
        let skew_ms = skew(asked.sent_at, now);
        let state = if cell.state == State::Enrolling { State::Ready } else { cell.state };
        let seen = Seen { at: Some(now), skew_ms, told: None, ..seen };
        let cell = Cell { state, enrolled: Some(told), seen, ..cell };
        store::write_enrolled(&tx, &cell).await?;
        tx.commit().await?;
        Ok((cell, issued))
    })
    .await
}

/// What a cell says of itself, if it fits the row.
fn check(cell: &Cell, asked: &Enrol, now: DateTime<Utc>) -> Result<Enrolled, Refusal> {
    let [lowest, highest] = asked.contract;
    if lowest == 0 || lowest > highest || contract::SPOKEN.agree(&Versions::new(lowest, highest)).is_err() {
        return Err(Refusal::Contract);
    }
    let skew_ms = skew(asked.sent_at, now);
    if skew_ms.unsigned_abs() > MOST_SKEW.num_milliseconds().unsigned_abs() {
        return Err(Refusal::Skew(skew_ms));
    }
    let fields = [
        (cell.jurisdiction == asked.jurisdiction, "jurisdiction"),
        (cell.region == asked.region, "region"),
        (cell.mode == asked.mode, "mode"),
    ];
    if let Some((_, field)) = fields.iter().find(|(same, _)| !same) {
        return Err(Refusal::Mismatch(field));
    }
    if cell.state == State::Retired {
        return Err(Refusal::Retired);
    }
    if asked.shards < 1 {
        return Err(Refusal::Unusable("shards"));
    }
    for (text, field) in [(&asked.software, "software"), (&asked.url, "url")] {
        if !crate::names::is_text(text, 255) {
            return Err(Refusal::Unusable(field));
        }
    }
    Ok(Enrolled {
        instance: asked.instance,
        shards: asked.shards,
        software: asked.software.clone(),
        url: asked.url.clone(),
        contract: asked.contract,
    })
}

/// How far a clock is ahead, in milliseconds.
pub fn skew(sent_at: DateTime<Utc>, now: DateTime<Utc>) -> i64 {
    sent_at.signed_duration_since(now).num_milliseconds()
}

async fn sign(
    tx: &Tx,
    ca: &Ca,
    cell: &Cell,
    csr_pem: &str,
    csr_sha256: String,
    now: DateTime<Utc>,
    alone: bool,
) -> Result<Certificate, Refusal> {
    let issued = ca.sign_cell(csr_pem, cell.id, now, LIFE).map_err(|error| match error {
        CsrError::OtherCell => Refusal::OtherCell,
        error => Refusal::Csr(error),
    })?;
    if alone {
        credentials::revoke_all(tx, cell.id, now).await?;
    }
    let seq = credentials::newest(tx, cell.id).await?.map_or(0, |newest| newest.seq);
    let certificate = Certificate {
        serial: issued.serial,
        cell: cell.id,
        csr_sha256,
        certificate_pem: issued.certificate_pem,
        chain_pem: issued.chain_pem,
        not_after: issued.not_after,
        issued_at: now,
        seq: seq.saturating_add(1),
        revoked_at: None,
    };
    credentials::insert(tx, &certificate).await?;
    Ok(certificate)
}

fn honoured(cell: &Cell, certificate: &Certificate) -> Result<(), Refusal> {
    if cell.state == State::Retired {
        return Err(Refusal::Retired);
    }
    if certificate.revoked_at.is_some() || certificate.cell != cell.id {
        return Err(Refusal::Revoked);
    }
    Ok(())
}

/// The cell whose certificate this is, if it is honoured. Its end is the caller's to look at.
///
/// # Errors
/// [`Refusal::Revoked`], [`Refusal::Retired`], and the database's.
pub async fn known(db: &Db, peer: &PeerCell) -> Result<Cell, Refusal> {
    let tx = db.begin_system().await?;
    let certificate = credentials::by_serial(&tx, peer.serial).await?.ok_or(Refusal::Revoked)?;
    let cell = store::get(&tx, peer.cell).await?.ok_or(Refusal::Revoked)?;
    tx.commit().await?;
    honoured(&cell, &certificate)?;
    Ok(cell)
}

/// Signs the next certificate of a cell; the one before stays good to its end. The same request gets the same answer
/// again. Only the newest certificate is renewed: whoever comes with an older one and a new request goes on from where
/// somebody else has gone on already.
///
/// # Errors
/// The first of the refusals that applies.
pub async fn renew(
    db: &Db,
    ca: &Ca,
    now: DateTime<Utc>,
    serial: Serial,
    asked: &Renewal,
) -> Result<Certificate, Refusal> {
    let csr_sha256 = sha256(&asked.csr_pem);
    let renewed: Result<_, Refusal> = db::retry(|| async {
        let tx = db.begin_system().await?;
        let current = credentials::by_serial(&tx, serial).await?.ok_or(Refusal::Revoked)?;
        let cell = store::lock(&tx, current.cell).await?.ok_or(Refusal::Revoked)?;
        honoured(&cell, &current)?;
        instance(&cell, asked.instance)?;
        if let Some(first) = credentials::by_request(&tx, cell.id, &csr_sha256).await? {
            honoured(&cell, &first)?;
            return Ok(Ok(first));
        }
        let newest = credentials::newest(&tx, cell.id).await?;
        if newest.is_none_or(|newest| newest.serial != serial) {
            let seen = Seen { forked_at: Some(now), ..cell.seen.clone() };
            store::write_seen(&tx, cell.id, &seen).await?;
            tx.commit().await?;
            return Ok(Err(Refusal::Forked));
        }
        let issued = sign(&tx, ca, &cell, &asked.csr_pem, csr_sha256.clone(), now, false).await?;
        tx.commit().await?;
        Ok(Ok(issued))
    })
    .await;
    renewed?
}

/// Whether who speaks as this cell is the one that enrolled, and the only one.
///
/// # Errors
/// [`Refusal::IdentityTaken`], [`Refusal::Forked`].
pub fn instance(cell: &Cell, instance: uuid::Uuid) -> Result<(), Refusal> {
    if cell.enrolled.as_ref().is_none_or(|known| known.instance != instance) {
        return Err(Refusal::IdentityTaken);
    }
    if cell.seen.forked_at.is_some() { Err(Refusal::Forked) } else { Ok(()) }
}

/// Removes join tokens a day after their end, and certificates after their grace.
///
/// # Errors
/// The database's.
pub async fn forget(db: &Db, now: DateTime<Utc>) -> Result<(), DbErr> {
    let ago = |by: TimeDelta| now.checked_sub_signed(by).unwrap_or(now);
    let tx = db.begin_system().await?;
    credentials::forget_tokens(&tx, ago(TimeDelta::days(1))).await?;
    credentials::forget_certificates(&tx, ago(GRACE + TimeDelta::days(1))).await?;
    tx.commit().await
}
