//! The calls of the link, over TLS that trusts one root.

use std::time::Duration;

use platform::{
    egress::{Egress, EgressConfig, EgressError, Mutual},
    pki::Identity,
};
use serde::{Serialize, de::DeserializeOwned};
use tenants::contract::{
    Desired, Enrol, Enrolled, Issued, Observed, Poll, Refusal, Renewal, SPOKEN, Taken, version::HEADER,
};

/// How long an answer may take beyond what the call itself waits for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
/// The longest answer, in bytes: the documents of one poll are a MiB, or one that is larger.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;

/// Why a call has not had its effect, or none that is known.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The control plane answered that it does not do this.
    #[error("the control plane refuses: {}: {}", .0.code, .0.detail)]
    Refused(Refusal),
    /// There is no whole answer.
    #[error("no answer of the control plane")]
    Lost(#[from] EgressError),
    /// The answer is longer than any of ours.
    #[error("the answer is longer than {LONGEST_ANSWER} bytes")]
    TooLong,
    /// The answer is not what the contract says.
    #[error("the answer cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// The control plane, or something before it, is not well.
    #[error("the control plane answered with the status {0}")]
    Unwell(u16),
}

/// Connections to the control plane as one identity, or as a stranger. They are kept.
#[derive(Debug, Clone)]
pub struct Wire {
    egress: Egress,
    url: String,
}

impl Wire {
    /// To `url`, whose certificate has to lead to `root_der`.
    ///
    /// # Errors
    /// The identity or the root cannot be used.
    pub fn new(
        config: &EgressConfig,
        url: &str,
        root_der: &[u8],
        identity: Option<&Identity>,
    ) -> Result<Self, EgressError> {
        let pem = identity.map(Identity::pem);
        let egress = Egress::mutual(config, &Mutual { root_der, identity_pem: pem.as_deref() })?;
        Ok(Self { egress, url: url.trim_end_matches('/').to_owned() })
    }

    /// Where the control plane takes links.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks to be let in.
    pub async fn enrol(&self, asked: &Enrol) -> Result<Enrolled, Failure> {
        self.post("enrolments", asked).await
    }

    /// Asks for the next certificate.
    pub async fn renew(&self, asked: &Renewal) -> Result<Issued, Failure> {
        self.post("renewals", asked).await
    }

    /// Reports.
    pub async fn report(&self, report: &Observed) -> Result<Taken, Failure> {
        self.post("observed", report).await
    }

    /// Asks what is wanted, and waits for news.
    pub async fn poll(&self, Poll { after, lineage, wait_ms }: &Poll) -> Result<Desired, Failure> {
        let query = format!("after={after}&lineage={lineage}&wait_ms={wait_ms}");
        let request = self.egress.get(&format!("{}/link/v1/desired?{query}", self.url))?;
        let limit = ANSWERS_WITHIN.saturating_add(Duration::from_millis((*wait_ms).into()));
        answer(request.timeout(limit)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let request = self.egress.post(&format!("{}/link/v1/{path}", self.url))?;
        answer(request.timeout(ANSWERS_WITHIN).json(body)).await
    }
}

/// Sends, and reads the whole answer: half of one is none.
async fn answer<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, Failure> {
    let mut response = Egress::send(request.header(HEADER, SPOKEN.to_string())).await?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(EgressError::from)? {
        if body.len().saturating_add(part.len()) > LONGEST_ANSWER {
            return Err(Failure::TooLong);
        }
        body.extend_from_slice(&part);
    }
    if status.is_success() {
        return Ok(serde_json::from_slice(&body)?);
    }
    match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) if status.is_client_error() => Err(Failure::Refused(refusal)),
        _ => Err(Failure::Unwell(status.as_u16())),
    }
}
