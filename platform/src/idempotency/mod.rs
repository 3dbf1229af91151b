//! Idempotency: a repeated request has its effect once.
//!
//! - The key is the caller's, in the header `Idempotency-Key`; its scope is environment, client and route. The request's
//!   hash (method, path, query, body) is kept with it, so that the same key with another request is refused.
//! - The row is written in the transaction of the effect: both are there, or neither. A request that failed leaves no
//!   row, and its repetition is a first attempt.
//! - The answer to a repetition is rendered anew from the resource, not stored.
//! - Two at once: the second waits for the first's transaction (the unique key makes it), for two seconds on PostgreSQL,
//!   then answers `idempotency_in_progress`.
//! - Rows are kept 30 days. Ids of money movements are kept for ever, by the ledger, which needs no row here.
//!
//! Cost: one insert (on PostgreSQL and one `SET LOCAL`) for a first attempt, one select more for a repetition.

mod store;
pub mod system;

pub use store::{Entity, MIGRATION};

use crate::ctx::Ctx;
use crate::db::{self, Backend, Tx};
use crate::http::{self, visible};
use crate::openapi::{Argument, Description};
use crate::problem::{Code, In, Problem, codes};
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use ring::digest;
use sea_orm::{ConnectionTrait, DbErr};
use serde::de::DeserializeOwned;
use utoipa::openapi::Required;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use uuid::Uuid;

const HEADER: &str = "idempotency-key";
/// The longest key, in characters.
pub const LONGEST: usize = 255;
/// How long rows are kept, in days.
pub const KEPT_DAYS: i64 = 30;

/// The key of a request that has an effect. As an argument of its own it is for operations without a body; others take
/// [`Keyed`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    text: Box<str>,
    route: Box<str>,
    hash: [u8; 32],
}

impl Key {
    fn of(parts: &Parts, body: &[u8]) -> Result<Self, Problem> {
        let invalid = |()| {
            Problem::new(&codes::IDEMPOTENCY_KEY_INVALID).parameter(In::Header, HEADER, &codes::INVALID_VALUE)
        };
        let missing =
            || Problem::new(&codes::IDEMPOTENCY_KEY_MISSING).parameter(In::Header, HEADER, &codes::MISSING);
        let text = visible(&parts.headers, HEADER, LONGEST).map_err(invalid)?.ok_or_else(missing)?;
        let path =
            parts.extensions.get::<MatchedPath>().map_or_else(|| parts.uri.path(), MatchedPath::as_str);
        let mut hash = digest::Context::new(&digest::SHA256);
        // Neither a method nor a path holds a line break, so that no two requests read the same.
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        for part in [parts.method.as_str().as_bytes(), b"\n", target.as_bytes(), b"\n", body] {
            hash.update(part);
        }
        let mut key =
            Self { text: text.into(), route: format!("{} {path}", parts.method).into(), hash: [0; 32] };
        key.hash.copy_from_slice(hash.finish().as_ref());
        Ok(key)
    }

    /// The caller's text, for ids that are derived from it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

const KEY_CODES: &[&Code] = &[
    &codes::IDEMPOTENCY_KEY_MISSING,
    &codes::IDEMPOTENCY_KEY_INVALID,
    &codes::IDEMPOTENCY_MISMATCH,
    &codes::IDEMPOTENCY_IN_PROGRESS,
];

fn describe(description: &mut Description, required: Required) {
    let text = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .min_length(Some(1))
        .max_length(Some(LONGEST));
    description.parameter(
        ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(required)
            .description(Some("A fresh text per effect; the same when a request is repeated"))
            .schema(Some(text))
            .build(),
    );
}

impl<S: Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts, &[])
    }
}

impl Argument for Key {
    fn describe(description: &mut Description) {
        description.codes(KEY_CODES);
        describe(description, Required::True);
    }
}

/// A JSON body and the key of its request: the last argument of a POST or PATCH with an effect. Name the body's type in
/// `#[utoipa::path(request_body = …)]`.
#[derive(Debug, Clone)]
pub struct Keyed<T> {
    /// The key, with the hash of the whole request.
    pub key: Key,
    /// The body.
    pub body: T,
}

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Keyed<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        http::declared_json(request.headers())?;
        let (parts, body) = request.into_parts();
        let text = http::read(&parts, body).await?;
        Ok(Self { key: Key::of(&parts, &text)?, body: http::parse(&text)? })
    }
}

impl<T> Argument for Keyed<T> {
    fn describe(description: &mut Description) {
        description.codes(http::JSON_CODES);
        Key::describe(description);
    }
}

/// The key's text alone and only if there is one: for operations whose resource's id is the idempotency record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyText(pub Option<Box<str>>);

impl<S: Sync> FromRequestParts<S> for KeyText {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let invalid = |()| {
            Problem::new(&codes::IDEMPOTENCY_KEY_INVALID).parameter(In::Header, HEADER, &codes::INVALID_VALUE)
        };
        Ok(Self(visible(&parts.headers, HEADER, LONGEST).map_err(invalid)?.map(Into::into)))
    }
}

impl Argument for KeyText {
    fn describe(description: &mut Description) {
        description.codes(&[&codes::IDEMPOTENCY_KEY_INVALID]);
        describe(description, Required::False);
    }
}

/// Whether a request is the first with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is: make the resource, with the id that was given, and commit.
    New,
    /// It is not: the first one made the resource with this id. Read it and answer as [`Replayed`].
    Replay(Uuid),
}

/// Takes the key in the caller's transaction, for the resource that the caller is about to make under `resource`.
///
/// # Errors
/// `idempotency_mismatch` when the key was used with another request, `idempotency_in_progress` when the first request
/// is still running; and the database's. The transaction has to be dropped then.
pub async fn begin_in_tx(tx: &Tx, ctx: &Ctx, key: &Key, resource: Uuid) -> Result<Outcome, Problem> {
    if tx.backend() == Backend::Postgres {
        tx.execute_unprepared("SET LOCAL lock_timeout = '2s'").await?;
    }
    let client = ctx.actor.to_string();
    if store::insert(tx, ctx, &client, key, resource).await.map_err(refused)? {
        return Ok(Outcome::New);
    }
    let found = store::find(tx, ctx.scope, &client, key).await?;
    let first = found.ok_or_else(|| Problem::internal("an idempotency key is taken and cannot be read"))?;
    if first.body_hash != key.hash {
        return Err(Problem::new(&codes::IDEMPOTENCY_MISMATCH));
    }
    Ok(Outcome::Replay(first.resource_id))
}

/// PostgreSQL's `lock_not_available`: the first request's transaction did not end in time.
fn refused(error: DbErr) -> Problem {
    match db::error::code(&error).as_deref() {
        Some("55P03") => Problem::new(&codes::IDEMPOTENCY_IN_PROGRESS).retry_after(1).cause(error),
        _ => error.into(),
    }
}

/// A result, and whether an earlier request under the same key had brought it about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<T> {
    /// As it stands.
    pub what: T,
    /// Whether this is the answer to a repetition.
    pub replayed: bool,
}

/// An answer to a repeated request: the header `Idempotency-Replayed: true` says so.
#[derive(Debug, Clone, Copy)]
pub struct Replayed<R>(pub R);

impl<R: IntoResponse> Replayed<R> {
    /// `answer`, marked if the request was `replayed`.
    pub fn when(replayed: bool, answer: R) -> Response {
        if replayed { Self(answer).into_response() } else { answer.into_response() }
    }
}

impl<R: IntoResponse> IntoResponse for Replayed<R> {
    fn into_response(self) -> Response {
        const NAME: HeaderName = HeaderName::from_static("idempotency-replayed");
        let mut response = self.0.into_response();
        response.headers_mut().insert(NAME, HeaderValue::from_static("true"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(method: &str, target: &str, text: Option<&str>, body: &str) -> Result<Key, &'static Code> {
        let mut request = Request::builder().method(method).uri(target);
        if let Some(text) = text {
            request = request.header(HEADER, text);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Key::of(&parts, body.as_bytes()).map_err(|problem| problem.code())
    }

    #[test]
    fn the_hash_is_of_the_whole_request() {
        let first = key("POST", "/v1/things?a=1", Some("k"), "{}").unwrap();
        assert_eq!(key("POST", "/v1/things?a=1", Some("k"), "{}").unwrap(), first);
        for (method, target, body) in [
            ("PATCH", "/v1/things?a=1", "{}"),
            ("POST", "/v1/thing?a=1", "{}"),
            ("POST", "/v1/things?a=2", "{}"),
            ("POST", "/v1/things?a=1", "{ }"),
        ] {
            assert_ne!(
                key(method, target, Some("k"), body).unwrap().hash,
                first.hash,
                "{method} {target} {body}"
            );
        }
    }

    #[test]
    fn a_key_is_visible_and_bounded() {
        let long = "x".repeat(LONGEST);
        for (text, expected) in [
            (None, Some(&codes::IDEMPOTENCY_KEY_MISSING)),
            (Some(""), Some(&codes::IDEMPOTENCY_KEY_INVALID)),
            (Some("a b"), Some(&codes::IDEMPOTENCY_KEY_INVALID)),
            (Some(&*format!("{long}x")), Some(&codes::IDEMPOTENCY_KEY_INVALID)),
            (Some(&*long), None),
        ] {
            assert_eq!(key("POST", "/", text, "").err(), expected, "{text:?}");
        }
    }
}
