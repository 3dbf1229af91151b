//! Sends calls until there is an answer that will not change by waiting.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header, response::Parts};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde::de::DeserializeOwned;

use crate::{
    call::{Call, Key, Page},
    error::{Error, Problem},
    transport::{Body, Lost, Transport},
};

/// How often a request is sent at most.
pub(crate) const ATTEMPTS: u32 = 6;
/// The pause before the second attempt; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(50);
/// How long all pauses of one call may take together.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer that is read, in bytes.
const LONGEST: usize = 64 * 1024 * 1024;
/// How many items are asked for at a time where a list is read to its end.
const PAGE: u16 = 200;

/// A client of one server with one credential. Clones are the same client.
#[derive(Debug, Clone)]
pub struct Client<T> {
    transport: T,
    authorization: Option<HeaderValue>,
    language: Option<HeaderValue>,
    seed: u128,
    count: Arc<AtomicU64>,
}

/// A good answer.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// Its body.
    pub body: T,
    /// Whether the effect was there before.
    pub replayed: bool,
    /// The version of what was answered, for `if_match`; of what has one.
    pub version: Option<i64>,
}

impl<T: Transport> Client<T> {
    /// A client without a credential. From the seed come its idempotency keys, so that no two clients may have the same
    /// one, unless the same requests shall have one effect; and its jitter.
    pub fn new(transport: T, seed: u128) -> Self {
        Self { transport, authorization: None, language: None, seed, count: Arc::default() }
    }

    /// With an access token.
    ///
    /// # Errors
    /// The text cannot stand in a header.
    pub fn token(mut self, token: &str) -> Result<Self, Error> {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| Error::Unusable("the token has control characters".to_owned()))?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Problems in these languages, as `Accept-Language` names them (RFC 9110 §12.5.4).
    ///
    /// # Errors
    /// The text cannot stand in a header.
    pub fn language(mut self, languages: &str) -> Result<Self, Error> {
        let value = HeaderValue::try_from(languages);
        self.language = Some(value.map_err(|_| Error::Unusable(format!("no language: {languages:?}")))?);
        Ok(self)
    }

    /// Makes a call.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn send<R: DeserializeOwned, How>(&self, call: Call<R, How>) -> Result<Answer<R>, Error> {
        let what = call.what();
        let (head, body) = self.whole(&call).await?;
        let body = serde_json::from_slice(&body)
            .map_err(|error| Error::Shape { request: what, reason: error.to_string() })?;
        let version = head.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let version = version.and_then(|tag| tag.trim_matches('"').parse().ok());
        Ok(Answer { body, replayed: head.contains_key("idempotency-replayed"), version })
    }

    /// Makes a call, for what it answers alone.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn read<R: DeserializeOwned, How>(&self, call: Call<R, How>) -> Result<R, Error> {
        Ok(self.send(call).await?.body)
    }

    /// Makes a call that answers text.
    ///
    /// # Errors
    /// As [`Error`] says; also where the text is not UTF-8.
    pub async fn text<How>(&self, call: Call<String, How>) -> Result<String, Error> {
        let request = call.what();
        let (_, body) = self.whole(&call).await?;
        String::from_utf8(body).map_err(|error| Error::Shape { request, reason: error.to_string() })
    }

    /// The items of a list, page by page as they are wanted.
    pub fn items<R, How>(&self, list: Call<Page<R>, How>) -> impl Stream<Item = Result<R, Error>>
    where
        R: DeserializeOwned,
    {
        let list = list.limit(PAGE);
        let pages = stream::try_unfold(Some(None::<String>), move |at| {
            let next = at.map(|cursor| list.from(cursor.as_deref()));
            async move {
                let Some(call) = next else { return Ok::<_, Error>(None) };
                let page = self.read(call).await?;
                Ok(Some((stream::iter(page.data.into_iter().map(Ok)), page.next_cursor.map(Some))))
            }
        });
        pages.try_flatten()
    }

    /// All items of a list.
    ///
    /// # Errors
    /// As [`Error`] says.
    pub async fn list<R: DeserializeOwned, How>(&self, list: Call<Page<R>, How>) -> Result<Vec<R>, Error> {
        self.items(list).try_collect().await
    }

    pub(crate) fn transport(&self) -> &T {
        &self.transport
    }

    /// The number of a call, and the seed of its jitter.
    pub(crate) fn next(&self) -> (u64, u64) {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        // The lower half of the seed is random enough.
        (count, (self.seed as u64).wrapping_add(count))
    }

    async fn whole<R, How>(&self, call: &Call<R, How>) -> Result<(HeaderMap, Vec<u8>), Error> {
        let (head, body) = self.exchange(call, collect).await?;
        Ok((head.headers, body))
    }

    /// The body of a good answer, as it comes.
    pub(crate) async fn open<R, How>(&self, call: &Call<R, How>) -> Result<Body, Error> {
        Ok(self.exchange(call, |body| std::future::ready(Ok(body))).await?.1)
    }

    /// The attempts, until there is a good answer and `take` has of its body what belongs to an attempt.
    async fn exchange<R, How, B, F>(
        &self,
        call: &Call<R, How>,
        take: impl Fn(Body) -> F + Send + Sync,
    ) -> Result<(Parts, B), Error>
    where
        B: Send,
        F: Future<Output = Result<B, Lost>> + Send,
    {
        let mut attempts = self.attempts(call)?;
        loop {
            let lost = match self.transport.send(attempts.request()).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    if head.status.is_success() {
                        match take(body).await {
                            Ok(taken) => return Ok((head, taken)),
                            Err(lost) => lost,
                        }
                    } else {
                        match collect(body).await {
                            Ok(body) => {
                                let failed = refused(&attempts.what, head.status, &body);
                                attempts.wait(&self.transport, failed, Some(&head.headers)).await?;
                                continue;
                            }
                            Err(lost) => lost,
                        }
                    }
                }
                Err(lost) => lost,
            };
            let failed = Failed::lost(&attempts.what, lost);
            attempts.wait(&self.transport, failed, None).await?;
        }
    }

    fn attempts<R, How>(&self, call: &Call<R, How>) -> Result<Attempts, Error> {
        let (count, chance) = self.next();
        let unusable = |error: http::Error| Error::Unusable(error.to_string());
        let body = call.body.clone().map_err(Error::Unusable)?;
        let mut request = Request::builder().method(call.method.clone()).uri(call.target());
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(value) = &self.language {
            request = request.header(header::ACCEPT_LANGUAGE, value);
        }
        let key = match &call.key {
            Key::Needless => None,
            Key::Fresh => Some(format!("{:032x}-{count}", self.seed)),
            Key::Given(key) => Some(key.clone()),
        };
        if let Some(key) = key {
            request = request.header(HeaderName::from_static("idempotency-key"), key);
        }
        let request = request.body(body).map_err(unusable)?;
        Ok(Attempts {
            what: call.what(),
            request,
            made: 0,
            waited: Duration::ZERO,
            chance: SmallRng::seed_from_u64(chance),
        })
    }
}

/// Why one attempt failed, and whether another one may not.
struct Failed {
    error: Error,
    again: bool,
}

impl Failed {
    fn lost(request: &str, lost: Lost) -> Self {
        let again = lost.again;
        Self { error: Error::Lost { request: request.to_owned(), lost }, again }
    }
}

/// The attempts of one call.
struct Attempts {
    what: String,
    request: Request<Vec<u8>>,
    made: u32,
    waited: Duration,
    chance: SmallRng,
}

impl Attempts {
    fn request(&mut self) -> Request<Vec<u8>> {
        self.made += 1;
        self.request.clone()
    }

    /// Waits for the next attempt, or gives the failure back if there is to be none.
    async fn wait(
        &mut self,
        transport: &impl Transport,
        failed: Failed,
        headers: Option<&HeaderMap>,
    ) -> Result<(), Error> {
        if !failed.again || self.made >= ATTEMPTS {
            return Err(failed.error);
        }
        let told = headers.and_then(|headers| headers.get(header::RETRY_AFTER));
        let told = told.and_then(|told| told.to_str().ok()).and_then(|told| told.parse().ok());
        let pause = pause(self.made, told.map(Duration::from_secs), &mut self.chance);
        if self.waited + pause > PATIENCE {
            return Err(failed.error);
        }
        self.waited += pause;
        transport.pause(pause).await;
        Ok(())
    }
}

/// Twice as long each time, of which up to half is left to chance, so that clients that failed together do not come back
/// together; never earlier than told.
pub(crate) fn pause(made: u32, told: Option<Duration>, chance: &mut impl Rng) -> Duration {
    let longest = PAUSE * 2_u32.saturating_pow(made.saturating_sub(1));
    let spread = longest.mul_f64(chance.random_range(0.5..1.0));
    told.map_or(spread, |told| told + spread)
}

pub(crate) async fn collect(mut body: Body) -> Result<Vec<u8>, Lost> {
    let mut all = Vec::new();
    while let Some(part) = body.next().await {
        all.extend_from_slice(&part?);
        if all.len() > LONGEST {
            return Err(Lost::for_good(format!("the answer is longer than {LONGEST} bytes")));
        }
    }
    Ok(all)
}

/// What a bad answer says. Where something on the way answers in the server's place, its status is all there is.
fn refused(request: &str, status: StatusCode, body: &[u8]) -> Failed {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => {
            let again = problem.retryable;
            Failed {
                error: Error::Problem { request: request.to_owned(), problem: Box::new(problem) },
                again,
            }
        }
        Err(error) => {
            let again = matches!(
                status,
                StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
            );
            let reason = format!("{status} without a problem: {error}");
            Failed { error: Error::Shape { request: request.to_owned(), reason }, again }
        }
    }
}
