//! Extractors that answer problems where axum's answer text, and refuse what they do not know.
//!
//! Wire types carry `#[serde(deny_unknown_fields)]`. A body that is JSON but not what was asked for is `invalid_field`
//! with a JSON pointer per fault; a parameter is `invalid_parameter` with its name. Limits come from [`BodyLimit`].

use crate::openapi::{Argument, Description};
use crate::problem::{Code, In, Problem, codes};
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_path_to_error::{Path as Trail, Segment};
use std::convert::Infallible;
use std::error::Error;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

/// The longest body, in bytes, that the extractors read. An inner layer overrides an outer one.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimit(pub usize);

/// Where no layer says otherwise: 1 MiB.
const DEFAULT_BODY_LIMIT: BodyLimit = BodyLimit(1024 * 1024);

/// A JSON body, in a request or an answer.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        declared_json(request.headers())?;
        let (parts, body) = request.into_parts();
        parse(&read(&parts, body).await?).map(Self)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The problems of a JSON body.
pub(crate) const JSON_CODES: &[&Code] = &[
    &codes::UNSUPPORTED_MEDIA_TYPE,
    &codes::BODY_TOO_LARGE,
    &codes::BODY_UNREADABLE,
    &codes::MALFORMED_JSON,
    &codes::INVALID_FIELD,
];

impl<T> Argument for Json<T> {
    fn describe(description: &mut Description) {
        description.codes(JSON_CODES);
    }
}

/// Refuses a body that is not declared as `application/json` (or `application/…+json`).
pub(crate) fn declared_json(headers: &HeaderMap) -> Result<(), Problem> {
    let essence = essence(headers);
    let json = essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 5
            && essence.get(..12).is_some_and(|kind| kind.eq_ignore_ascii_case("application/"))
            && essence.get(essence.len() - 5..).is_some_and(|suffix| suffix.eq_ignore_ascii_case("+json")));
    if json { Ok(()) } else { Err(not_declared("application/json")) }
}

fn not_declared(expected: &'static str) -> Problem {
    Problem::new(&codes::UNSUPPORTED_MEDIA_TYPE).arg("expected", expected)
}

/// A body of comma-separated values (`text/csv`, RFC 4180), as bytes. Name it in
/// `#[utoipa::path(request_body(content = String, content_type = "text/csv"))]`.
#[derive(Debug, Clone)]
pub struct Csv(pub Bytes);

impl<S: Sync> FromRequest<S> for Csv {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !essence(request.headers()).eq_ignore_ascii_case("text/csv") {
            return Err(not_declared("text/csv"));
        }
        let (parts, body) = request.into_parts();
        read(&parts, body).await.map(Self)
    }
}

impl Argument for Csv {
    fn describe(description: &mut Description) {
        description.codes(&[&codes::UNSUPPORTED_MEDIA_TYPE, &codes::BODY_TOO_LARGE, &codes::BODY_UNREADABLE]);
    }
}

/// The declared media type without its parameters.
pub(crate) fn essence(headers: &HeaderMap) -> &str {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim()
}

/// The whole body, if it is not longer than the limit; an honest `Content-Length` is refused before reading.
pub(crate) async fn read(parts: &Parts, body: Body) -> Result<Bytes, Problem> {
    let limit = parts.extensions.get::<BodyLimit>().unwrap_or(&DEFAULT_BODY_LIMIT).0;
    let too_large = || Problem::new(&codes::BODY_TOO_LARGE).arg("limit", limit);
    let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if declared.and_then(|length| length.parse::<u64>().ok()).is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(error) => Err(Problem::new(&codes::BODY_UNREADABLE).cause(error)),
    }
}

/// The value of a JSON text. Only a failure pays for finding out where it failed.
///
/// # Errors
/// `malformed_json` with line and column, or `invalid_field` with a pointer.
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    let error = match serde_json::from_slice(text) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if !error.is_data() {
        let problem = Problem::new(&codes::MALFORMED_JSON);
        return Err(problem.arg("line", error.line()).arg("column", error.column()));
    }
    let deserializer = &mut serde_json::Deserializer::from_slice(text);
    let problem = Problem::new(&codes::INVALID_FIELD);
    Err(match serde_path_to_error::deserialize::<_, T>(deserializer) {
        // The same text cannot succeed the second time; if it did, the first error still stands.
        Ok(_) => problem,
        Err(error) => {
            let (code, field) = fault(&error.inner().to_string());
            problem.at(pointer(error.path(), field.as_deref()), code)
        }
    })
}

/// What serde's message is about, and the field it names where the path does not. Its text goes nowhere, not even into logs:
/// it repeats what was sent, which may be somebody's name or identifier.
fn fault(message: &str) -> (&'static Code, Option<String>) {
    let named = || Some(message.split('`').nth(1)?.to_owned());
    match message {
        message if message.starts_with("missing field") => (&codes::MISSING, named()),
        message if message.starts_with("unknown field") => (&codes::UNKNOWN, named()),
        message if message.starts_with("duplicate field") => (&codes::DUPLICATE, named()),
        _ => (&codes::INVALID_VALUE, None),
    }
}

/// The JSON pointer (RFC 6901) of a path, and of the named field in it.
fn pointer(trail: &Trail, field: Option<&str>) -> String {
    let mut pointer = String::new();
    let mut last = None;
    let mut push = |key: &str| {
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
    };
    for segment in trail {
        match segment {
            Segment::Map { key } => {
                push(key);
                last = Some(key.as_str());
            }
            Segment::Seq { index } => {
                push(&index.to_string());
                last = None;
            }
            Segment::Enum { .. } | Segment::Unknown => last = None,
        }
    }
    if let Some(field) = field
        && last != Some(field)
    {
        push(field);
    }
    pointer
}

/// The query of a request.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let error = match axum::extract::Query::<T>::try_from_uri(&parts.uri) {
            Ok(query) => return Ok(Self(query.0)),
            Err(error) => error,
        };
        type Located = serde_path_to_error::Error<serde::de::value::Error>;
        let mut source: Option<&(dyn Error + 'static)> = Some(&error);
        let mut found = None;
        while let Some(error) = source {
            found = found.or(error.downcast_ref::<Located>());
            source = error.source();
        }
        let problem = Problem::new(&codes::INVALID_PARAMETER);
        Err(match found {
            Some(located) => {
                let (code, field) = fault(&located.inner().to_string());
                let path = pointer(located.path(), field.as_deref());
                problem.parameter(In::Query, path.trim_start_matches('/').to_owned(), code)
            }
            None => problem,
        })
    }
}

impl<T> Argument for Query<T> {
    fn describe(description: &mut Description) {
        description.codes(&[&codes::INVALID_PARAMETER]);
    }
}

/// The parameters of a path.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(path) => Ok(Self(path.0)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                use axum::extract::path::ErrorKind;
                let name = match error.kind() {
                    ErrorKind::ParseErrorAtKey { key, .. }
                    | ErrorKind::DeserializeError { key, .. }
                    | ErrorKind::InvalidUtf8InPathParam { key } => key.clone(),
                    _ => last_parameter(parts),
                };
                let problem = Problem::new(&codes::INVALID_PARAMETER);
                Err(problem.parameter(In::Path, name, &codes::INVALID_VALUE))
            }
            Err(error) => Err(Problem::internal(error)),
        }
    }
}

/// The name of the path's last parameter: where there is one only, axum's error does not name it.
fn last_parameter(parts: &Parts) -> String {
    let path = parts.extensions.get::<axum::extract::MatchedPath>().map_or("", |path| path.as_str());
    path.rsplit_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(name, _)| name).to_owned()
}

impl<T> Argument for Path<T> {
    fn describe(description: &mut Description) {
        description.codes(&[&codes::INVALID_PARAMETER]);
    }
}

/// The `ETag` of a resource: its version, which counts its changes.
#[must_use]
pub fn etag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes are a header's value")
}

/// An answer with the `ETag` of what it shows.
pub fn tagged(version: i64, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(header::ETAG, etag(version));
    response
}

/// The versions that a change may meet (RFC 9110 §13.1.1). An operation that takes it refuses requests without.
#[derive(Debug, Clone)]
pub struct IfMatch(HeaderValue);

impl IfMatch {
    /// Whether the caller has seen this version, or takes any.
    #[must_use]
    pub fn admits(&self, version: i64) -> bool {
        let tag = etag(version);
        let mut given = self.0.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        given.any(|given| given == b"*" || given == tag.as_bytes())
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing =
            || Problem::new(&codes::IF_MATCH_MISSING).parameter(In::Header, "if-match", &codes::MISSING);
        parts.headers.get(header::IF_MATCH).cloned().map(Self).ok_or_else(missing)
    }
}

fn if_match(required: Required) -> Parameter {
    ParameterBuilder::new()
        .name("If-Match")
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some("The `ETag` of what is changed, as you have seen it"))
        .schema(Some(ObjectBuilder::new().schema_type(SchemaType::Type(Type::String))))
        .build()
}

impl Argument for IfMatch {
    fn describe(description: &mut Description) {
        description.codes(&[&codes::IF_MATCH_MISSING]);
        description.parameter(if_match(Required::True));
    }
}

/// The versions that an action may meet, where its caller names some: the state that it is taken in decides anyway.
#[derive(Debug, Clone)]
pub struct MayMatch(pub Option<IfMatch>);

impl MayMatch {
    /// Whether the caller has seen this version, takes any, or says nothing of it.
    #[must_use]
    pub fn admits(&self, version: i64) -> bool {
        self.0.as_ref().is_none_or(|seen| seen.admits(version))
    }
}

impl<S: Sync> FromRequestParts<S> for MayMatch {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.get(header::IF_MATCH).cloned().map(IfMatch)))
    }
}

impl Argument for MayMatch {
    fn describe(description: &mut Description) {
        description.parameter(if_match(Required::False));
    }
}

/// `?dry_run=true`: check everything and change nothing. For operations without a query of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DryRun(pub bool);

impl<S: Sync> FromRequestParts<S> for DryRun {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Asked {
            #[serde(default)]
            dry_run: bool,
        }
        let Query(asked) = Query::<Asked>::from_request_parts(parts, state).await?;
        Ok(Self(asked.dry_run))
    }
}

impl Argument for DryRun {
    fn describe(description: &mut Description) {
        description.codes(&[&codes::INVALID_PARAMETER]);
        description.parameter(
            ParameterBuilder::new()
                .name("dry_run")
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some("Check everything, change nothing, and answer what would change"))
                .schema(Some(ObjectBuilder::new().schema_type(SchemaType::Type(Type::Boolean))))
                .build(),
        );
    }
}

/// The value of a header that is at most `longest` visible ASCII characters; `Ok(None)` when it is absent.
pub(crate) fn visible<'a>(headers: &'a HeaderMap, name: &str, longest: usize) -> Result<Option<&'a str>, ()> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let bytes = value.as_bytes();
    let fits = (1..=longest).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    value.to_str().ok().filter(|_| fits).map(Some).ok_or(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Outer {
        amount: i64,
        legs: Vec<Leg>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Leg {
        account: tenants::id::AccountId,
    }

    /// The code and the first fault of what is answered to a body.
    fn answer(body: &str) -> String {
        let problem = parse::<Outer>(body.as_bytes()).unwrap_err();
        let mut text = problem.code().name.to_owned();
        for fault in problem.faults() {
            let _ = write!(text, " {} {}", fault.pointer, fault.code.name);
        }
        text
    }

    #[test]
    fn a_body_is_refused_where_it_is_wrong() {
        for (body, expected) in [
            ("", "malformed_json"),
            ("{", "malformed_json"),
            ("{\"amount\":1,\"legs\":[]} x", "malformed_json"),
            ("[]", "invalid_field  invalid_value"),
            ("{}", "invalid_field /amount missing"),
            ("{\"amount\":1.5,\"legs\":[]}", "invalid_field /amount invalid_value"),
            ("{\"amount\":99999999999999999999,\"legs\":[]}", "invalid_field /amount invalid_value"),
            ("{\"amount\":1,\"legs\":[],\"a/b\":1}", "invalid_field /a~1b unknown"),
            ("{\"amount\":1,\"amount\":1,\"legs\":[]}", "invalid_field /amount duplicate"),
            ("{\"amount\":1,\"legs\":[{}]}", "invalid_field /legs/0/account missing"),
            ("{\"amount\":1,\"legs\":[{\"account\":\"x\"}]}", "invalid_field /legs/0/account invalid_value"),
        ] {
            assert_eq!(answer(body), expected, "{body}");
        }
    }

    #[test]
    fn a_change_meets_the_versions_that_the_caller_names() {
        for (given, version, expected) in [
            ("\"3\"", 3, true),
            ("\"3\"", 33, false),
            ("\"1\", \"3\"", 3, true),
            ("*", 9, true),
            ("3", 3, false),
            ("W/\"3\"", 3, false),
            ("", 3, false),
        ] {
            let seen = IfMatch(HeaderValue::from_static(given));
            assert_eq!(seen.admits(version), expected, "{given} and {version}");
            assert_eq!(MayMatch(Some(seen)).admits(version), expected, "{given} and {version}");
        }
        assert!(MayMatch(None).admits(3), "who says nothing takes any");
    }

    #[test]
    fn only_json_is_declared_json() {
        for (value, accepted) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/merge-patch+json", true),
            ("text/json", false),
            ("application/jsonp", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(declared_json(&headers).is_ok(), accepted, "{value}");
        }
        assert!(declared_json(&HeaderMap::new()).is_err());
    }
}
