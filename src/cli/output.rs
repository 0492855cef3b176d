//! Answers as tables and JSON. Whatever came from others is printed without control characters.

use super::Failure;
use super::arguments::Output;
use serde_json::{Value, json};
use std::io::Write as _;

/// Prints as it came, indented.
pub fn json(answer: &Value) {
    print(&format!("{answer:#}\n"));
}

/// Prints a list as a table, and everything else as `name  value` lines.
pub fn table(answer: &Value, list: Option<(&str, &[&str])>) {
    print(&rendered(answer, list));
}

/// Prints to stdout. A closed pipe is the reader's decision, not an error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints an error to stderr.
pub fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "gatecast: {text}");
}

/// Prints to stderr why a command failed, in the form that was asked for.
pub fn failed(failure: &Failure, shown: Output) {
    match shown {
        Output::Table => complain(&failure.message),
        Output::Json => {
            let mut out = std::io::stderr().lock();
            let _ = writeln!(out, "{:#}", as_json(failure));
        }
    }
}

fn as_json(failure: &Failure) -> Value {
    let mut error = failure.details.clone().unwrap_or_else(|| json!({}));
    if let Some(fields) = error.as_object_mut() {
        fields
            .entry("message")
            .or_insert_with(|| failure.message.clone().into());
        fields.insert("exit".into(), (failure.exit as u8).into());
    }
    json!({ "error": error })
}

fn rendered(answer: &Value, list: Option<(&str, &[&str])>) -> String {
    let mut rest = answer.clone();
    let mut text = String::new();
    if let (Some((name, columns)), Some(fields)) = (list, rest.as_object_mut())
        && let Some(Value::Array(rows)) = fields.remove(name)
    {
        text += &grid(&rows, columns);
    }
    let mut lines = Vec::new();
    flatten("", &rest, &mut lines);
    let width = lines
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, value) in lines {
        text += &format!("{name:width$}  {value}\n");
    }
    text
}

fn grid(rows: &[Value], columns: &[&str]) -> String {
    let header = columns.iter().map(|column| column.to_uppercase()).collect();
    let cells = rows.iter().map(|row| {
        let cell = |column: &&str| row.get(*column).map_or_else(String::new, plain);
        columns.iter().map(cell).collect::<Vec<String>>()
    });
    let lines: Vec<Vec<String>> = std::iter::once(header).chain(cells).collect();
    let width = |at: usize| {
        let lengths = lines.iter().filter_map(|line| line.get(at));
        lengths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    lines.iter().map(line).collect()
}

fn flatten(prefix: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                // Environment names are pasted as they are.
                let shouted = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
                let path = match prefix.is_empty() || shouted {
                    true => name.clone(),
                    false => format!("{prefix}.{name}"),
                };
                flatten(&path, value, lines);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{prefix}.{at}"), item, lines);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            lines.push((prefix.to_owned(), plain(value)));
        }
    }
}

/// A value in a line, without what a terminal would obey.
pub(super) fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    };
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_becomes_a_table_and_the_rest_follows() {
        let answer = json!({"revision": 9, "apps": [
            {"id": "7", "name": "demo", "protocols": ["pusher", "ably"]}, {"id": "10", "name": null},
        ]});
        let text = rendered(&answer, Some(("apps", &["id", "name", "protocols"])));
        assert_eq!(
            text,
            "ID  NAME  PROTOCOLS\n7   demo  pusher,ably\n10  -\nrevision  9\n"
        );
    }

    #[test]
    fn a_failure_is_json_where_json_was_asked_for() {
        let own = Failure::new(super::super::Exit::Usage, "write name=value");
        let expected = json!({"error": {"message": "write name=value", "exit": 2}});
        assert_eq!(as_json(&own), expected);
        let theirs = Failure {
            details: Some(json!({"code": "taken", "message": "m", "hint": "h"})),
            ..Failure::new(super::super::Exit::Conflict, "m (taken)\n  h")
        };
        let expected = json!({"error": {"code": "taken", "message": "m", "hint": "h", "exit": 8}});
        assert_eq!(as_json(&theirs), expected);
    }

    #[test]
    fn nothing_a_terminal_obeys_gets_through() {
        let text = rendered(&json!({"name": "a\u{1b}[2J\nb"}), None);
        assert_eq!(text, "name  a\u{FFFD}[2J\u{FFFD}b\n");
    }
}
