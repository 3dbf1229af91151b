//! Lists in pages: a bounded `limit`, an opaque `cursor`, no offsets.
//!
//! A list reads `limit + 1` rows after the cursor's key in a stable order and makes a [`Page`] of them. A cursor is
//! bound to its list by name; it is not secret and grants nothing, since the scope is in the query anyway.

use crate::problem::{In, Problem, codes};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Object, RefOr};
use utoipa::{PartialSchema, ToSchema};

/// How many items a page has at most: 1 to 200, 50 where the caller says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(u16);

impl Limit {
    /// The largest.
    pub const MAX: u16 = 200;
    /// Where the caller says nothing.
    pub const DEFAULT: u16 = 50;

    /// The number of items.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// How many rows to read: one more than a page has, to know whether there are more.
    #[must_use]
    pub const fn rows(self) -> u64 {
        self.0 as u64 + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(Self::DEFAULT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u16::deserialize(deserializer)? {
            limit @ 1..=Self::MAX => Ok(Self(limit)),
            _ => Err(D::Error::custom("the limit is 1 to 200")),
        }
    }
}

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        let object = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
        let object: Object =
            object.minimum(Some(1)).maximum(Some(Self::MAX)).default(Some(Self::DEFAULT.into())).into();
        object.into()
    }
}
impl ToSchema for Limit {
    fn name() -> std::borrow::Cow<'static, str> {
        "PageLimit".into()
    }
}

/// Where a page begins: opaque to the caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct Cursor(String);

impl Cursor {
    /// The cursor behind the row with this key in this list.
    #[must_use]
    pub fn after<K: Serialize>(list: &str, key: &K) -> Self {
        // A key is a number, a text or a tuple of them: it has a JSON form.
        let json = serde_json::to_vec(&(list, key)).unwrap_or_default();
        Self(URL_SAFE_NO_PAD.encode(json))
    }

    /// The key it was made of.
    ///
    /// # Errors
    /// `invalid_cursor` when this list did not make it.
    pub fn key<K: DeserializeOwned>(&self, list: &str) -> Result<K, Problem> {
        let key = URL_SAFE_NO_PAD.decode(&self.0).ok().and_then(|json| {
            let (of, key) = serde_json::from_slice::<(String, K)>(&json).ok()?;
            (of == list).then_some(key)
        });
        let refused =
            || Problem::new(&codes::INVALID_CURSOR).parameter(In::Query, "cursor", &codes::INVALID_VALUE);
        key.ok_or_else(refused)
    }
}

/// The query of a list without filters. A list with filters has the same two fields in its own query type.
#[derive(Debug, Clone, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many items at most: 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    pub cursor: Option<Cursor>,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub data: Vec<T>,
    /// The cursor of the next page; null on the last one.
    pub next_cursor: Option<Cursor>,
    /// Whether there are more items.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// The page of the rows that were read, `limit.rows()` at most; `key` is that of the order.
    pub fn of<K: Serialize>(list: &str, mut rows: Vec<T>, limit: Limit, key: impl Fn(&T) -> K) -> Self {
        let has_more = rows.len() > limit.get();
        rows.truncate(limit.get());
        let next_cursor = rows.last().filter(|_| has_more).map(|row| Cursor::after(list, &key(row)));
        Self { data: rows, next_cursor, has_more }
    }

    /// The same page of other items, such as the wire types of rows.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        let Self { data, next_cursor, has_more } = self;
        Page { data: data.into_iter().map(item).collect(), next_cursor, has_more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let limit = Limit(3);
        let rows = |after: Option<u32>| {
            (0..7_u32).filter(|n| after.is_none_or(|after| *n > after)).take(4).collect()
        };
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = Page::of("numbers", rows(after), limit, |n| *n);
            seen.extend_from_slice(&page.data);
            assert_eq!(page.has_more, page.next_cursor.is_some());
            match page.next_cursor {
                Some(cursor) => after = Some(cursor.key::<u32>("numbers").unwrap()),
                None => break,
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let cursor = Cursor::after("accounts", &7);
        assert_eq!(cursor.key::<i32>("parties").unwrap_err().code(), &codes::INVALID_CURSOR);
        assert_eq!(
            Cursor("%%".to_owned()).key::<i32>("accounts").unwrap_err().code(),
            &codes::INVALID_CURSOR
        );
    }

    #[test]
    fn limits_are_bounded() {
        for (text, accepted) in
            [("1", true), ("200", true), ("0", false), ("201", false), ("-1", false), ("x", false)]
        {
            assert_eq!(serde_json::from_str::<Limit>(text).is_ok(), accepted, "{text}");
        }
    }
}
