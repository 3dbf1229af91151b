//! Requests as values.

use std::{fmt, marker::PhantomData};

use http::{HeaderName, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::Plan;

/// A call that can only be made.
#[derive(Debug)]
pub struct Plain;

/// A call that can also be tried: see [`Call::dry_run`].
#[derive(Debug)]
pub struct Planned;

/// A request whose good answer is a `T`.
#[derive(Debug)]
pub struct Call<T, How = Plain> {
    pub(crate) method: Method,
    path: String,
    query: Vec<(String, String)>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Or why it cannot be sent.
    pub(crate) body: Result<Vec<u8>, String>,
    pub(crate) key: Key,
    answer: PhantomData<fn() -> (T, How)>,
}

/// What makes it safe to send a request twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// It is of this kind anyway.
    Needless,
    /// An idempotency key of the client's making.
    Fresh,
    /// An idempotency key of the caller's.
    Given(String),
}

impl<T, How> Call<T, How> {
    /// A request to a path. `POST` and `PATCH` get an idempotency key.
    #[must_use]
    pub fn new(method: Method, path: String) -> Self {
        let effect = method == Method::POST || method == Method::PATCH;
        let key = if effect { Key::Fresh } else { Key::Needless };
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method, path, query, headers, body: Ok(Vec::new()), key, answer: PhantomData }
    }

    /// The idempotency key: of requests with the same one, one has an effect, in this process's life or another's.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Key::Given(key.into());
        self
    }

    /// It carries its own record of idempotency, or has the same effect however often it is sent.
    pub(crate) fn repeatable(mut self) -> Self {
        self.key = Key::Needless;
        self
    }

    /// With a body of JSON.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Self {
        self.body = serde_json::to_vec(body).map_err(|error| error.to_string());
        self.content("application/json")
    }

    /// With a body of CSV.
    pub(crate) fn csv(mut self, text: &str) -> Self {
        self.body = Ok(text.as_bytes().to_vec());
        self.content("text/csv; charset=utf-8")
    }

    fn content(mut self, kind: &'static str) -> Self {
        self.headers.push((header::CONTENT_TYPE, HeaderValue::from_static(kind)));
        self
    }

    /// Only if this version is still the one there is. Versions are the `ETag`s of what is configured.
    pub(crate) fn if_match(mut self, version: i64) -> Self {
        let tag = HeaderValue::try_from(format!("\"{version}\"")).expect("digits in quotes are a header");
        self.headers.push((header::IF_MATCH, tag));
        self
    }

    /// [`Call::if_match`], where a version is named.
    pub(crate) fn may_match(self, version: Option<i64>) -> Self {
        match version {
            Some(version) => self.if_match(version),
            None => self,
        }
    }

    /// With the fields of `which` that are there.
    pub(crate) fn query(mut self, which: &impl Serialize) -> Self {
        let fields = match serde_json::to_value(which) {
            Ok(Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        for (name, value) in fields {
            match value {
                Value::Null => {}
                Value::String(text) => self.query.push((name, text)),
                other => self.query.push((name, other.to_string())),
            }
        }
        self
    }

    pub(crate) fn and(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// With its answer as the server wrote it, whatever is in there.
    #[must_use]
    pub fn raw(self) -> Call<Value, How> {
        self.answered()
    }

    fn answered<U, Then>(self) -> Call<U, Then> {
        let Self { method, path, query, headers, body, key, answer: _ } = self;
        Call { method, path, query, headers, body, key, answer: PhantomData }
    }

    /// Path and query.
    pub(crate) fn target(&self) -> String {
        if self.query.is_empty() {
            return self.path.clone();
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.query);
        format!("{}?{}", self.path, query.finish())
    }

    /// Method and path, for people.
    pub(crate) fn what(&self) -> String {
        format!("{} {}", self.method, self.target())
    }
}

impl<T> Call<T, Planned> {
    /// Checks everything, changes nothing, and answers what would change.
    #[must_use]
    pub fn dry_run(self) -> Call<Plan> {
        self.answered().and("dry_run", true)
    }
}

impl<T, How> Call<Page<T>, How> {
    /// At most so many items per page: 1 to 200.
    #[must_use]
    pub fn limit(self, limit: u16) -> Self {
        self.and("limit", limit)
    }

    /// The page after the one whose `next_cursor` this was.
    #[must_use]
    pub fn cursor(self, cursor: &str) -> Self {
        self.and("cursor", cursor)
    }

    /// With its items as the server wrote them.
    #[must_use]
    pub fn raw_items(self) -> Call<Page<Value>, How> {
        self.answered()
    }

    /// The same list from there on.
    pub(crate) fn from(&self, cursor: Option<&str>) -> Self {
        let Self { method, path, headers, body, key, .. } = self;
        let query = self.query.iter().filter(|(name, _)| cursor.is_none() || name != "cursor");
        let again = Self {
            method: method.clone(),
            path: path.clone(),
            query: query.cloned().collect(),
            headers: headers.clone(),
            body: body.clone(),
            key: key.clone(),
            answer: PhantomData,
        };
        match cursor {
            Some(cursor) => again.cursor(cursor),
            None => again,
        }
    }
}

/// A part of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub data: Vec<T>,
    /// Where the next page begins; none after the last.
    pub next_cursor: Option<String>,
}

/// One segment of a path: any text.
#[derive(Debug, Clone)]
pub struct Segment(String);

impl From<&str> for Segment {
    fn from(text: &str) -> Self {
        // A form writes a blank as `+`, which a path does not read so.
        let text: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        Self(text.replace('+', "%20"))
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an `operations!` list says about one operation, for the test that compares it with the
/// document.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// `operationId`.
    pub id: &'static str,
    /// `GET`, …
    pub method: &'static str,
    /// With its parameters in braces.
    pub path: &'static str,
    /// `Plain` or `Planned`.
    pub how: &'static str,
    /// How the request is built: `json`, `if_match`, …
    pub steps: &'static [&'static str],
}

/// Declares the calls of a plane: one function per operation, and `OPERATIONS`, the list of them.
macro_rules! operations {
    ($(
        $(#[$doc:meta])+
        $name:ident($($argument:ident: $type:ty),*) -> $answer:ty, $how:ident
            = $method:ident $path:literal $(.$step:ident($($value:expr),*))*;
    )+) => {
        $(
            $(#[$doc])+
            #[must_use]
            pub fn $name($($argument: $type),*) -> $crate::Call<$answer, $crate::$how> {
                $crate::Call::new(::http::Method::$method, format!($path))$(.$step($($value),*))*
            }
        )+
        /// Every call of this module.
        pub const OPERATIONS: &[$crate::Declared] = &[$($crate::Declared {
            id: stringify!($name),
            method: stringify!($method),
            path: $path,
            how: stringify!($how),
            steps: &[$(stringify!($step)),*],
        }),+];
    };
}
pub(crate) use operations;
