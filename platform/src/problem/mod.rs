//! Problems: what the API answers when it cannot do what was asked (RFC 9457, `application/problem+json`).
//!
//! - A [`Code`] is stable: callers branch on it. Each slice declares its own with [`problem_codes!`](crate::problem_codes),
//!   each crate gathers them with their texts into one [`Domain`], and a [`Catalogue`] of all domains refuses to be
//!   made when a code lacks a text in any language.
//! - A [`Problem`] has a public side (code, arguments, faults of single fields) and a private one
//!   ([`Problem::cause`]). The private side is logged once at the edge and never shown.
//! - A handler returns `Result<_, Problem>`. The edge layer writes the body in the caller's language; without that
//!   layer the body has the code and no texts.

mod catalogue;
mod database;
mod page;

pub use catalogue::{Catalogue, CatalogueError, Domain, Language, Texts};
pub use page::router;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap, Serializer};
use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;

/// A stable, public name of a kind of problem.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The name on the wire, snake_case, unique over all crates.
    pub name: &'static str,
    /// The HTTP status it is answered with.
    pub status: u16,
    /// Whether the same request may succeed later without being changed.
    pub retryable: bool,
}

/// Declares problem codes as statics, and `CODES`, the list of them.
///
/// ```
/// platform::problem_codes! {
///     /// The debit account has less available than the amount.
///     INSUFFICIENT_FUNDS = 422 "insufficient_funds";
///     /// The rail is closed at this hour.
///     RAIL_CLOSED = 503 "rail_closed", retryable;
/// }
/// assert_eq!(CODES, &[&INSUFFICIENT_FUNDS, &RAIL_CLOSED]);
/// ```
#[macro_export]
macro_rules! problem_codes {
    (@retryable) => { false };
    (@retryable retryable) => { true };
    ($($(#[$doc:meta])+ $name:ident = $status:literal $text:literal $(, $retryable:ident)?;)+) => {
        $(
            $(#[$doc])+
            pub static $name: $crate::problem::Code = $crate::problem::Code {
                name: $text,
                status: $status,
                retryable: $crate::problem_codes!(@retryable $($retryable)?),
            };
        )+
        /// The codes declared here, for the crate's `Domain`.
        pub static CODES: &[&$crate::problem::Code] = &[$(&$name),+];
    };
}

/// The codes that any operation may answer, and those of the extractors.
pub mod codes {
    crate::problem_codes! {
        /// An error of ours; the request id finds its cause in the log.
        INTERNAL = 500 "internal";
        /// More requests are in flight than this process serves at once.
        OVERLOADED = 503 "overloaded", retryable;
        /// The request took longer than the limit; its effect is unknown until it is repeated with the same key.
        TIMEOUT = 504 "timeout", retryable;
        /// The database cannot be reached.
        DATABASE_UNAVAILABLE = 503 "database_unavailable", retryable;
        /// The database gave up after several attempts against concurrent work.
        DATABASE_BUSY = 503 "database_busy", retryable;
        /// The database has no room left.
        STORAGE_FULL = 507 "storage_full", retryable;
        /// No such route, or no such thing that this caller may know of.
        NOT_FOUND = 404 "not_found";
        /// The path exists, with other methods.
        METHOD_NOT_ALLOWED = 405 "method_not_allowed";
        /// The body is longer than the limit.
        BODY_TOO_LARGE = 413 "body_too_large";
        /// The body is not declared as what the operation takes.
        UNSUPPORTED_MEDIA_TYPE = 415 "unsupported_media_type";
        /// The body is not JSON.
        MALFORMED_JSON = 400 "malformed_json";
        /// The body could not be read to its end.
        BODY_UNREADABLE = 400 "body_unreadable";
        /// A field of the body is missing, unknown or has a value that is not acceptable.
        INVALID_FIELD = 422 "invalid_field";
        /// A parameter of the path or the query is missing, unknown or has a value that is not acceptable.
        INVALID_PARAMETER = 400 "invalid_parameter";
        /// Of one field: it is required.
        MISSING = 422 "missing";
        /// Of one field: there is no such field.
        UNKNOWN = 422 "unknown";
        /// Of one field: it stands there twice.
        DUPLICATE = 422 "duplicate";
        /// Of one field: the value has the wrong type or form, or is out of range.
        INVALID_VALUE = 422 "invalid_value";
        /// The cursor was not made by this list.
        INVALID_CURSOR = 400 "invalid_cursor";
        /// There is no token, or it is not valid.
        UNAUTHENTICATED = 401 "unauthenticated";
        /// The token is not bound to a key or a certificate as it has to be, or comes without what it is bound to.
        BINDING_REQUIRED = 401 "binding_required";
        /// The token lacks the scope that the operation needs.
        INSUFFICIENT_SCOPE = 403 "insufficient_scope";
        /// The token's environment answers nobody for now.
        ENVIRONMENT_SUSPENDED = 403 "environment_suspended";
        /// A change needs `If-Match`.
        IF_MATCH_MISSING = 428 "if_match_missing";
        /// What is to be changed has another version than `If-Match` names.
        VERSION_MISMATCH = 412 "version_mismatch";
        /// The operation needs an `Idempotency-Key`.
        IDEMPOTENCY_KEY_MISSING = 400 "idempotency_key_missing";
        /// The `Idempotency-Key` is not 1 to 255 visible ASCII characters.
        IDEMPOTENCY_KEY_INVALID = 400 "idempotency_key_invalid";
        /// The key was used with another request.
        IDEMPOTENCY_MISMATCH = 422 "idempotency_mismatch";
        /// The first request with this key is still running.
        IDEMPOTENCY_IN_PROGRESS = 409 "idempotency_in_progress", retryable;
    }
}

/// The codes and texts of this crate; every [`Catalogue`] has them.
pub static PLATFORM: Domain = Domain {
    name: "platform",
    codes: &[codes::CODES],
    en: include_str!("../../locales/en.ftl"),
    es: include_str!("../../locales/es.ftl"),
    pt: include_str!("../../locales/pt.ftl"),
};

/// A value that a localised text mentions.
#[derive(Debug, Clone, PartialEq)]
pub enum Arg {
    /// A word, an id, a formatted amount.
    Text(Cow<'static, str>),
    /// A count, which may choose a plural form.
    Count(i64),
}

impl From<&'static str> for Arg {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}
impl From<String> for Arg {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}
macro_rules! counts {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Arg {
            fn from(count: $integer) -> Self {
                Self::Count(i64::try_from(count).unwrap_or(i64::MAX))
            }
        }
    )*};
}
counts!(i64, u64, i32, u32, u16, usize);

pub(crate) type Args = Vec<(&'static str, Arg)>;

/// Where in the request a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum In {
    /// The JSON body.
    Body,
    /// The path.
    Path,
    /// The query.
    Query,
    /// A header.
    Header,
}

/// What is wrong with one field.
#[derive(Debug)]
pub(crate) struct Fault {
    pub pointer: Cow<'static, str>,
    pub place: In,
    pub code: &'static Code,
    pub args: Args,
}

#[derive(Debug)]
struct Inner {
    code: &'static Code,
    args: Args,
    faults: Vec<Fault>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

/// An answer other than success. One pointer wide, so that `Result<T, Problem>` stays small.
#[derive(Debug)]
pub struct Problem(Box<Inner>);

impl Problem {
    /// A problem with this code and nothing else said.
    #[must_use]
    pub fn new(code: &'static Code) -> Self {
        Self(Box::new(Inner { code, args: Vec::new(), faults: Vec::new(), headers: Vec::new(), cause: None }))
    }

    /// [`codes::INTERNAL`] with its private cause.
    #[must_use]
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(&codes::INTERNAL).cause(cause)
    }

    /// A value for the texts of the code, there `{ $name }`. Public.
    #[must_use]
    pub fn arg(mut self, name: &'static str, value: impl Into<Arg>) -> Self {
        self.0.args.push((name, value.into()));
        self
    }

    /// A fault of one field of the body, named by JSON pointer (RFC 6901).
    #[must_use]
    pub fn at(self, pointer: impl Into<Cow<'static, str>>, code: &'static Code) -> Self {
        self.in_at(In::Body, pointer, code, Vec::new())
    }

    /// Like [`Problem::at`], with one value for the fault's text.
    #[must_use]
    pub fn at_with(
        self,
        pointer: impl Into<Cow<'static, str>>,
        code: &'static Code,
        name: &'static str,
        value: impl Into<Arg>,
    ) -> Self {
        self.in_at(In::Body, pointer, code, vec![(name, value.into())])
    }

    /// Says that the problem itself is about this field of the body: a fault with its code and the arguments so far.
    #[must_use]
    pub fn on(self, pointer: impl Into<Cow<'static, str>>) -> Self {
        let (code, args) = (self.0.code, self.0.args.clone());
        self.in_at(In::Body, pointer, code, args)
    }

    /// A fault of one parameter of the path or the query, or of a header, by its name.
    #[must_use]
    pub fn parameter(self, place: In, name: impl Into<Cow<'static, str>>, code: &'static Code) -> Self {
        self.in_at(place, name, code, Vec::new())
    }

    pub(crate) fn in_at(
        mut self,
        place: In,
        pointer: impl Into<Cow<'static, str>>,
        code: &'static Code,
        args: Args,
    ) -> Self {
        self.0.faults.push(Fault { pointer: pointer.into(), place, code, args });
        self
    }

    /// The private cause, for the log only.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// When to come back: `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// A header of the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    #[cfg(test)]
    pub(crate) fn faults(&self) -> &[Fault] {
        &self.0.faults
    }

    /// The value of an argument given with [`Problem::arg`].
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&Arg> {
        self.0.args.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl std::fmt::Display for Problem {
    /// The code only: what else there is to say is either localised or private.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.code.name)
    }
}

impl Error for Problem {
    /// The private cause, so that [`db::retry`](crate::db::retry) finds the database's error in it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl From<&'static Code> for Problem {
    fn from(code: &'static Code) -> Self {
        Self::new(code)
    }
}

/// What travels in the extensions of a response until the edge layer writes the body.
#[derive(Clone, Debug)]
pub(crate) struct Carried(Arc<Inner>);

impl Carried {
    pub fn code(&self) -> &'static Code {
        self.0.code
    }

    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync)> {
        self.0.cause.as_deref()
    }

    /// The body, with texts where there is a catalogue.
    pub fn body(&self, texts: Option<(&Catalogue, Language)>, request_id: Option<&str>) -> Vec<u8> {
        let mut body = Vec::with_capacity(512);
        // Writing to a vector cannot fail, and no map here has keys other than text.
        let _ = serde_json::to_writer(&mut body, &Wire { problem: &self.0, texts, request_id });
        body
    }
}

/// The media type of problems.
pub const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let headers = std::mem::take(&mut self.0.headers);
        let carried = Carried(Arc::from(self.0));
        let mut response = Response::new(Body::from(carried.body(None, None)));
        *response.status_mut() =
            StatusCode::from_u16(carried.0.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(carried);
        response
    }
}

/// The JSON of a problem; members in the order a reader wants them.
struct Wire<'a> {
    problem: &'a Inner,
    texts: Option<(&'a Catalogue, Language)>,
    request_id: Option<&'a str>,
}

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Inner { code, args, faults, .. } = self.problem;
        let texts = self.texts.map(|(catalogue, language)| catalogue.texts(code, language, args));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("/problems/{}", code.name))?;
        map.serialize_entry("title", texts.as_ref().map_or(code.name, |texts| &texts.title))?;
        map.serialize_entry("status", &code.status)?;
        map.serialize_entry("code", code.name)?;
        if let Some(texts) = &texts {
            map.serialize_entry("detail", &texts.detail)?;
            map.serialize_entry("remedy", &texts.remedy)?;
        }
        if !faults.is_empty() {
            let faults: Vec<_> = faults.iter().map(|fault| WireFault { fault, texts: self.texts }).collect();
            map.serialize_entry("errors", &faults)?;
        }
        if let Some(request_id) = self.request_id {
            map.serialize_entry("request_id", request_id)?;
        }
        map.serialize_entry("retryable", &code.retryable)?;
        map.end()
    }
}

struct WireFault<'a> {
    fault: &'a Fault,
    texts: Option<(&'a Catalogue, Language)>,
}

impl Serialize for WireFault<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Fault { pointer, place, code, args } = self.fault;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("pointer", pointer)?;
        map.serialize_entry("in", place)?;
        map.serialize_entry("code", code.name)?;
        if let Some((catalogue, language)) = self.texts {
            map.serialize_entry("detail", &catalogue.texts(code, language, args).detail)?;
        }
        map.end()
    }
}

/// The shape of a problem in the OpenAPI document.
#[derive(utoipa::ToSchema)]
#[schema(as = Problem)]
#[allow(dead_code, reason = "only its schema is used; `Wire` writes the JSON")]
pub(crate) struct ProblemSchema {
    /// The page that explains the code.
    #[schema(format = "uri-reference", example = "/problems/invalid_field")]
    r#type: String,
    /// What the code means, in the caller's language.
    title: String,
    /// The HTTP status.
    status: u16,
    /// The stable name to branch on.
    code: String,
    /// What happened this time, in the caller's language.
    detail: String,
    /// What to do about it, in the caller's language.
    remedy: String,
    /// Single fields and what is wrong with each.
    errors: Option<Vec<FaultSchema>>,
    /// Name it when you ask for help.
    request_id: String,
    /// Whether the same request may succeed later unchanged.
    retryable: bool,
}

/// What is wrong with one field.
#[derive(utoipa::ToSchema)]
#[schema(as = ProblemFault)]
#[allow(dead_code, reason = "only its schema is used; `WireFault` writes the JSON")]
pub(crate) struct FaultSchema {
    /// JSON pointer into the body (RFC 6901), or the name of a parameter or header.
    pointer: String,
    /// Where: `body`, `path`, `query` or `header`.
    r#in: String,
    /// The stable name of the fault.
    code: String,
    /// The fault in the caller's language.
    detail: String,
}
