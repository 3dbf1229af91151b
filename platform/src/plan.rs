//! What a change would do: the answer to a dry run.
//!
//! A dry run is the change itself, in a transaction that is rolled back: it answers the same problems, and where there
//! is none, the difference that a reader would see.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// Every field that would be another one; none if nothing would change.
    pub changes: Vec<Change>,
}

/// One field that would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PlannedChange)]
pub struct Change {
    /// The field, as a JSON pointer (RFC 6901) into what a reader would see.
    pub pointer: String,
    /// What it is; null if it is not there.
    pub before: Value,
    /// What it would be; null if it would not be there.
    pub after: Value,
}

/// Fields that every change changes, and that a caller cannot choose.
const KEPT_BY_US: [&str; 4] = ["id", "version", "created_at", "updated_at"];

impl Plan {
    /// The difference between what a reader sees and what they would see; `None` before something is made.
    pub fn between<T: Serialize>(before: Option<&T>, after: &T) -> Self {
        // Wire types have a JSON form.
        let value = |shown: Option<&T>| serde_json::to_value(shown).unwrap_or_default();
        let mut changes = Vec::new();
        compare("", &value(before), &value(Some(after)), &mut changes);
        Self { changes }
    }
}

fn compare(at: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    if before == after {
        return;
    }
    let empty = serde_json::Map::new();
    let fields = |value: &Value| match value {
        Value::Object(fields) => Some(fields.clone()),
        // The whole is made: each of its fields is new.
        Value::Null if at.is_empty() => Some(empty.clone()),
        _ => None,
    };
    let (Some(old), Some(new)) = (fields(before), fields(after)) else {
        changes.push(Change { pointer: at.to_owned(), before: before.clone(), after: after.clone() });
        return;
    };
    let added = new.keys().filter(|name| !old.contains_key(*name));
    for name in old.keys().chain(added) {
        if at.is_empty() && KEPT_BY_US.contains(&name.as_str()) {
            continue;
        }
        let [before, after] = [&old, &new].map(|fields| fields.get(name).unwrap_or(&Value::Null));
        let name = name.replace('~', "~0").replace('/', "~1");
        compare(&format!("{at}/{name}"), before, after, changes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pointers(before: Option<Value>, after: Value) -> Vec<String> {
        Plan::between(before.as_ref(), &after).changes.into_iter().map(|change| change.pointer).collect()
    }

    #[test]
    fn only_what_differs_and_what_a_caller_chose_is_told() {
        let before =
            json!({"id": "a", "version": 1, "name": "x", "place": {"region": "r", "a/b": 1}, "tags": [1]});
        let after =
            json!({"id": "a", "version": 2, "name": "y", "place": {"region": "r", "a/b": 2}, "tags": [2]});
        assert_eq!(pointers(Some(before.clone()), after.clone()), ["/name", "/place/a~1b", "/tags"]);
        assert_eq!(pointers(Some(before.clone()), before), Vec::<String>::new());
        assert_eq!(pointers(None, after), ["/name", "/place", "/tags"]);
    }

    #[test]
    fn what_comes_and_goes_is_null_on_one_side() {
        let plan = Plan::between(Some(&json!({"a": 1})), &json!({"b": {"c": 2}}));
        let [a, b] = &plan.changes[..] else { panic!("{plan:?}") };
        assert_eq!((&a.pointer[..], &a.before, &a.after), ("/a", &json!(1), &Value::Null));
        assert_eq!((&b.pointer[..], &b.before, &b.after), ("/b", &Value::Null, &json!({"c": 2})));
    }
}
