//! The way of the client crate's requests to one server.

use std::time::Duration;

use client::{Body, Client, Error, Lost, Transport};
use futures::{StreamExt, stream};
use http::{Request, Response, header::ACCEPT};
use platform::{
    egress::{Egress, EgressConfig, EgressError},
    random,
};
use reqwest::Url;

/// How long a stream of events may be silent: its server says something every 15 seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a stream of events may last; whoever follows it comes back.
const STREAM_LASTS: Duration = Duration::from_secs(3600);

/// A way to one server, which may call nobody else.
#[derive(Debug, Clone)]
pub struct Http {
    egress: Egress,
    /// Without a slash at the end.
    url: String,
}

impl Http {
    /// The way to an origin, such as `http://127.0.0.1:8070`.
    ///
    /// # Errors
    /// It is not a URL of an origin, or not one that may be called: plain HTTP is for this machine.
    pub fn to(url: &str, timeout: Duration) -> Result<Self, EgressError> {
        let parsed = Url::parse(url).map_err(|_| EgressError::Url(url.to_owned()))?;
        let host = parsed.host_str().ok_or_else(|| EgressError::Url(url.to_owned()))?;
        let port = parsed.port_or_known_default().ok_or_else(|| EgressError::Url(url.to_owned()))?;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let config =
            EgressConfig { allow: vec![format!("{host}:{port}")], timeout_ms, ..EgressConfig::default() };
        let http = Self { egress: Egress::new(&config)?, url: url.trim_end_matches('/').to_owned() };
        // Refused now, and not at the first call.
        drop(http.egress.get(&http.url)?);
        Ok(http)
    }

    /// Whether the server says that it is ready, asked once.
    pub async fn is_ready(&self) -> bool {
        let Ok(request) = self.egress.get(&format!("{}/readyz", self.url)) else { return false };
        Egress::send(request).await.is_ok_and(|answer| answer.status().is_success())
    }

    /// A client on this way, whose keys nobody else has.
    ///
    /// # Errors
    /// The token or the language cannot stand in a header.
    pub fn client(self, token: &str, language: &str) -> Result<Client<Self>, Error> {
        Client::new(self, random::bits()).token(token)?.language(language)
    }
}

impl Transport for Http {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, Lost> {
        let (head, body) = request.into_parts();
        let url = format!("{}{}", self.url, head.uri);
        let mut built = self.egress.request(head.method, &url).map_err(lost)?.body(body);
        if head.headers.get(ACCEPT).is_some_and(|accept| accept == "text/event-stream") {
            built = built.timeout(STREAM_LASTS);
        }
        let mut answer = Egress::send(built.headers(head.headers)).await.map_err(lost)?;
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let parts = stream::unfold(Some(answer.bytes_stream()), |parts| async {
            let mut parts = parts?;
            match tokio::time::timeout(SILENCE, parts.next()).await {
                Ok(None) => None,
                Ok(Some(Ok(part))) => Some((Ok(part), Some(parts))),
                Ok(Some(Err(error))) => Some((Err(lost(error.into())), None)),
                Err(_) => Some((Err(Lost::again("the other side has gone silent")), None)),
            }
        });
        let mut response = Response::new(Box::pin(parts) as Body);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }

    async fn pause(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
    }
}

/// Whoever has waited to the end of a timeout is told, and not made to wait again.
fn lost(error: EgressError) -> Lost {
    match error {
        EgressError::Unreachable(_) | EgressError::Failed(_) => Lost::again(error),
        _ => Lost::for_good(error),
    }
}
