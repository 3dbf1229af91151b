//! The way of the client crate's requests to one server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use client::{Body, Client, Error, Lost, Transport};
use futures::{StreamExt, stream};
use http::{
    HeaderValue, Request, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName},
    request::Parts,
};
use platform::{
    ctx::Clock,
    egress::{Egress, EgressConfig, EgressError, Trust},
    oauth::{Credential, TTL_S, http::TOKEN_PATH},
    random,
};
use reqwest::Url;
use serde::Deserialize;
use tenants::contract::Binding;
use tokio::sync::Mutex;

/// How long a stream of events may be silent: its server says something every 15 seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a stream of events may last; whoever follows it comes back.
const STREAM_LASTS: Duration = Duration::from_secs(3600);
/// How long a token is used: half of its life.
const TOKEN_LASTS: Duration = Duration::from_secs(TTL_S as u64 / 2);

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// A way to one server, which may call nobody else.
#[derive(Debug, Clone)]
pub struct Http {
    egress: Egress,
    /// Without a slash at the end.
    url: String,
    caller: Option<Arc<Caller>>,
}

/// Who calls, and with which token at the moment.
#[derive(Debug)]
struct Caller {
    credential: Credential,
    held: Mutex<Option<(Arc<str>, Instant)>>,
}

impl Http {
    /// The way to an origin, such as `http://127.0.0.1:8070`.
    ///
    /// # Errors
    /// It is not a URL of an origin, or not one that may be called: plain HTTP is for this machine.
    pub fn to(url: &str, timeout: Duration) -> Result<Self, EgressError> {
        Self::trusting(url, timeout, &Trust::default())
    }

    /// Like [`Http::to`], to an origin whose certificate leads to another root, or with a certificate of one's own.
    ///
    /// # Errors
    /// As [`Http::to`]; or what is trusted or shown is no PEM.
    pub fn trusting(url: &str, timeout: Duration, trust: &Trust<'_>) -> Result<Self, EgressError> {
        let parsed = Url::parse(url).map_err(|_| EgressError::Url(url.to_owned()))?;
        let host = parsed.host_str().ok_or_else(|| EgressError::Url(url.to_owned()))?;
        let port = parsed.port_or_known_default().ok_or_else(|| EgressError::Url(url.to_owned()))?;
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let config =
            EgressConfig { allow: vec![format!("{host}:{port}")], timeout_ms, ..EgressConfig::default() };
        let http = Self {
            egress: Egress::trusting(&config, trust)?,
            url: url.trim_end_matches('/').to_owned(),
            caller: None,
        };
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

    /// Like [`Http::client`], with tokens that the server itself issues to who has this credential, as they are needed.
    ///
    /// # Errors
    /// The language cannot stand in a header.
    pub fn client_of(mut self, credential: Credential, language: &str) -> Result<Client<Self>, Error> {
        self.caller = Some(Arc::new(Caller { credential, held: Mutex::default() }));
        Client::new(self, random::bits()).language(language)
    }

    /// A token that the server issues to who has this credential. The server has to be called by its own name, which the
    /// client signs: nobody else can use what was signed.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn token(&self, credential: &Credential) -> Result<String, Lost> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: Option<String>,
            error: Option<String>,
            error_description: Option<String>,
        }
        let form = credential.token_form(&self.url, Clock::system().now()).map_err(Lost::for_good)?;
        let request = self.egress.post(&format!("{}{TOKEN_PATH}", self.url)).map_err(lost)?;
        let mut request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        if credential.binding() == Binding::Dpop {
            request = request.header(DPOP, self.proof(credential, "POST", TOKEN_PATH, None)?);
        }
        let answer = Egress::send(request).await.map_err(lost)?;
        let status = answer.status();
        let answer: Answer = answer.json().await.map_err(|_| Lost::again(format!("{status} for a token")))?;
        let Answer { access_token, error, error_description } = answer;
        access_token.ok_or_else(|| {
            let (error, why) = (error.unwrap_or_default(), error_description.unwrap_or_default());
            let refused = format!("no token for {}: {status} {error} {why}", credential.id());
            if status.is_server_error() { Lost::again(refused) } else { Lost::for_good(refused) }
        })
    }

    /// A proof of the credential's key for one request (RFC 9449).
    fn proof(
        &self,
        credential: &Credential,
        method: &str,
        path: &str,
        token: Option<&str>,
    ) -> Result<HeaderValue, Lost> {
        let url = format!("{}{path}", self.url);
        let proof = credential.proof(method, &url, token, Clock::system().now()).map_err(Lost::for_good)?;
        HeaderValue::try_from(proof).map_err(Lost::for_good)
    }

    /// The headers that say who calls, for one request.
    async fn identify(&self, caller: &Caller, head: &mut Parts) -> Result<(), Lost> {
        let token = self.held(caller).await?;
        let dpop = caller.credential.binding() == Binding::Dpop;
        let scheme = if dpop { "DPoP" } else { "Bearer" };
        let mut value = HeaderValue::try_from(format!("{scheme} {token}")).map_err(Lost::for_good)?;
        value.set_sensitive(true);
        head.headers.insert(AUTHORIZATION, value);
        if dpop {
            let proof =
                self.proof(&caller.credential, head.method.as_str(), head.uri.path(), Some(&token))?;
            head.headers.insert(DPOP, proof);
        }
        Ok(())
    }

    async fn held(&self, caller: &Caller) -> Result<Arc<str>, Lost> {
        // Whoever comes meanwhile waits, and takes the same token.
        let mut held = caller.held.lock().await;
        if let Some((token, since)) = &*held
            && since.elapsed() < TOKEN_LASTS
        {
            return Ok(Arc::clone(token));
        }
        let token: Arc<str> = self.token(&caller.credential).await?.into();
        *held = Some((Arc::clone(&token), Instant::now()));
        Ok(token)
    }
}

impl Transport for Http {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, Lost> {
        let (mut head, body) = request.into_parts();
        if let Some(caller) = &self.caller {
            self.identify(caller, &mut head).await?;
        }
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
