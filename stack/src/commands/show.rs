//! What people and programs get on standard output.

use std::io::{self, Write};

use comfy_table::{LineStyle, Table, TableStyle};
use serde_json::Value;

use super::Failure;

/// One line below the head; words need no more.
const LINES: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// An object as it is.
pub fn json(thing: &Value) -> Result<(), Failure> {
    line(&format!("{thing:#}"))
}

/// A row per thing.
pub fn table(things: &[Value], columns: &[&str]) -> Result<(), Failure> {
    if things.is_empty() {
        crate::console::say("None.");
        return Ok(());
    }
    let mut table = Table::new();
    table.set_header(columns).load_style(LINES);
    table.add_rows(things.iter().map(|thing| columns.iter().map(|column| text(&thing[*column]))));
    line(&table.trim_fmt())
}

/// A row per field of one thing.
pub fn fields(thing: &Value) -> Result<(), Failure> {
    let Value::Object(fields) = thing else { return line(&text(thing)) };
    let wide = fields.keys().map(|name| name.chars().count()).max().unwrap_or_default();
    let rows = fields.iter().flat_map(|(name, value)| {
        let mut name = Some(name);
        let values = match value {
            Value::Array(values) if values.iter().any(Value::is_object) => {
                values.iter().map(inline).collect()
            }
            other => vec![text(other)],
        };
        values.into_iter().map(move |value| {
            let name = name.take().map(String::as_str).unwrap_or_default();
            format!("{name:wide$}  {value}").trim_end().to_owned()
        })
    });
    line(&rows.collect::<Vec<_>>().join("\n"))
}

/// A value in a cell.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(_) => inline(value),
        other => other.to_string(),
    }
}

/// A thing in a row.
fn inline(value: &Value) -> String {
    let Value::Object(fields) = value else { return text(value) };
    let fields = fields.iter().filter(|(_, value)| !value.is_null());
    fields.map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join(" ")
}

/// A line on standard output.
pub fn line(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        // Whoever reads has enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::Other(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_short() {
        assert_eq!(text(&json!(null)), "-");
        assert_eq!(text(&json!([])), "-");
        assert_eq!(text(&json!([1, 2])), "1, 2");
        assert_eq!(text(&json!({"code": "a", "detail": null, "more": [true]})), "code=a more=true");
    }
}
