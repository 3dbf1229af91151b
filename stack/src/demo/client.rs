//! The API of one cell, called as any customer would call it.

use std::time::Duration;

use platform::egress::{Egress, EgressError};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::launch::{LaunchError, Site};

/// How often a request is sent anew that may have been lost, or was answered "not now".
const ATTEMPTS: u32 = 6;
/// How long to wait before the second attempt; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a request has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer.
    #[error("{request}: {error}")]
    Lost {
        /// Method and path.
        request: String,
        /// Why.
        error: EgressError,
    },
    /// A problem (RFC 9457): what is wrong, and what to do about it.
    #[error("{request}: {status} {code}: {detail} (request {request_id})")]
    Problem {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Its stable name.
        code: String,
        /// In the country's language.
        detail: String,
        /// For whoever looks into the cell's log.
        request_id: String,
    },
    /// An answer of another shape than the document says.
    #[error("{request}: the answer is not as documented: {error}")]
    Shape {
        /// Method and path.
        request: String,
        /// What does not fit.
        error: serde_json::Error,
    },
    /// The client cannot be made.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

/// A client of one environment. Clones share connections.
#[derive(Clone)]
pub struct Client {
    egress: Egress,
    url: String,
    token: String,
    language: String,
}

/// A good answer.
pub struct Answer<T> {
    /// Its body.
    pub body: T,
    /// Whether the effect was there before.
    pub replayed: bool,
}

impl Client {
    /// Of this cell's environment, in its country's language.
    pub fn of(site: &Site) -> Result<Self, ApiError> {
        Ok(Self {
            egress: site.egress()?,
            url: site.url(),
            token: site.token()?,
            language: site.jurisdiction().locale.clone(),
        })
    }

    /// `GET`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        Ok(self.send(&Method::GET, path, &|request| request).await?.body)
    }

    /// `POST` of JSON under an idempotency key.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<Answer<T>, ApiError> {
        self.send(&Method::POST, path, &|request| request.header("idempotency-key", key).json(body)).await
    }

    /// `POST` of a file.
    pub async fn post_csv<T: DeserializeOwned>(&self, path: &str, file: &str) -> Result<T, ApiError> {
        let with_file = |request: RequestBuilder| {
            request.header("content-type", "text/csv; charset=utf-8").body(file.to_owned())
        };
        Ok(self.send(&Method::POST, path, &with_file).await?.body)
    }

    /// All items of a list.
    pub async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ApiError> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let more = if path.contains('?') { '&' } else { '?' };
            let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page: Page<T> = self.get(&format!("{path}{more}limit=200{from}")).await?;
            all.extend(page.data);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Sends until there is an answer that will not change. Every request here may be repeated: it reads, or carries its
    /// own record of idempotency.
    async fn send<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        with: &(dyn Fn(RequestBuilder) -> RequestBuilder + Sync),
    ) -> Result<Answer<T>, ApiError> {
        let request = format!("{method} {path}");
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.once(method, path, &request, with).await {
                Err((_, true)) if attempt < ATTEMPTS => tokio::time::sleep(pause).await,
                Err((error, _)) => return Err(error),
                Ok(answer) => return Ok(answer),
            }
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    /// One attempt; with an error, whether another one may succeed.
    async fn once<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        request: &str,
        with: &(dyn Fn(RequestBuilder) -> RequestBuilder + Sync),
    ) -> Result<Answer<T>, (ApiError, bool)> {
        let lost = |error: EgressError| {
            let again = matches!(error, EgressError::Unreachable(_) | EgressError::Failed(_));
            (ApiError::Lost { request: request.to_owned(), error }, again)
        };
        let built = self.egress.request(method.clone(), &format!("{}{path}", self.url)).map_err(lost)?;
        let built = built.bearer_auth(&self.token).header("accept-language", &self.language);
        let answer = Egress::send(with(built)).await.map_err(lost)?;
        let status = answer.status();
        let replayed = answer.headers().get("idempotency-replayed").is_some();
        let body = answer.bytes().await.map_err(|error| lost(error.into()))?;
        if !status.is_success() {
            return Err(problem(request, status, &body));
        }
        let shape = |error| (ApiError::Shape { request: request.to_owned(), error }, false);
        Ok(Answer { body: serde_json::from_slice(&body).map_err(shape)?, replayed })
    }
}

#[derive(serde::Deserialize)]
struct Page<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

fn problem(request: &str, status: StatusCode, body: &[u8]) -> (ApiError, bool) {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let error = ApiError::Problem {
        request: request.to_owned(),
        status: status.as_u16(),
        code: text("code"),
        detail: text("detail"),
        request_id: text("request_id"),
    };
    (error, problem["retryable"].as_bool().unwrap_or(status.is_server_error()))
}
