//! Answers as tables and JSON. Whatever came from others is printed without what a terminal obeys.
//!
//! **Why it is said when the answer could not be written:** it may have held a secret that nobody has seen now, and a
//! script whose disk is full would take nothing for an answer.

use super::arguments::Output;
use super::{Exit, Failure};
use serde_json::{Value, json};
use std::io::{self, ErrorKind, Write as _};

/// The most that is repeated of an answer that nobody understands, characters.
const EXCERPT: usize = 1_000;

/// How much of a text was taken by whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// All of it.
    Whole,
    /// The reader has gone, which is its decision and no error.
    Closed,
}

/// Prints JSON as it came, indented.
///
/// # Errors
/// When it cannot be written.
pub fn json(text: &str) -> Result<Printed, Failure> {
    print(&format!("{}\n", escaped(&indented(text))))
}

/// Prints JSON in one line.
///
/// # Errors
/// When it cannot be written.
pub fn json_line(value: &Value) -> Result<Printed, Failure> {
    print(&format!("{}\n", line_of_json(value)))
}

/// JSON in one line, as it is printed.
#[must_use]
pub fn line_of_json(value: &Value) -> String {
    escaped(&value.to_string())
}

/// Prints a list as a table, and everything else as `name  value` lines.
///
/// # Errors
/// When it cannot be written.
pub fn table(answer: &Value, list: Option<(&str, &[&str])>) -> Result<Printed, Failure> {
    print(&rendered(answer, list))
}

/// Prints to stdout.
///
/// # Errors
/// When it cannot be written, though somebody is there to read it.
pub fn print(text: &str) -> Result<Printed, Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    taken(written)
}

fn taken(written: io::Result<()>) -> Result<Printed, Failure> {
    match written {
        Ok(()) => Ok(Printed::Whole),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Printed::Closed),
        Err(error) => {
            let message = format!("standard output could not be written: {error}");
            Err(Failure::new(Exit::Failed, message))
        }
    }
}

/// Prints the command line's own answer: its help, its version.
///
/// # Errors
/// When it cannot be written.
pub fn help(answer: &clap::Error) -> Result<Printed, Failure> {
    taken(answer.print().and_then(|()| io::stdout().flush()))
}

/// Prints an error to stderr.
pub fn complain(text: &str) {
    let mut out = io::stderr().lock();
    let _ = writeln!(out, "gatecast: {}", lines(text));
}

/// Prints to stderr why a command failed, in the form that was asked for.
pub fn failed(failure: &Failure, shown: Output) {
    match shown {
        // What the line's own reader says begins like this already.
        Output::Table if failure.message.starts_with("error: ") => {
            let _ = writeln!(io::stderr().lock(), "{}", lines(&failure.message));
        }
        Output::Table => complain(&failure.message),
        Output::Json => {
            let mut out = io::stderr().lock();
            let _ = writeln!(out, "{}", escaped(&format!("{:#}", as_json(failure))));
        }
    }
}

fn as_json(failure: &Failure) -> Value {
    // Servers of others say `{"error": "a text"}`: that is in the message.
    let details = failure.details.clone().filter(Value::is_object);
    let mut error = details.unwrap_or_else(|| json!({}));
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
                let name = &clean(name);
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
    clean(&text)
}

/// What a terminal obeys or what misleads its reader: controls, and the marks that turn the direction of what follows.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// A text without what a terminal obeys, in one line.
pub(super) fn clean(text: &str) -> String {
    let harmless = |c| if is_obeyed(c) { '\u{FFFD}' } else { c };
    text.chars().map(harmless).collect()
}

/// As [`clean`], with its lines.
fn lines(text: &str) -> String {
    let cleaned: Vec<String> = text.split('\n').map(clean).collect();
    cleaned.join("\n")
}

/// As [`clean`], and cut off where it is too long to be read.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(EXCERPT) {
        None => clean(text),
        Some((end, _)) => format!("{}…", clean(text.get(..end).unwrap_or_default())),
    }
}

/// JSON that says the same without anything that a terminal obeys: outside of texts there is none of it but line breaks.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match is_obeyed(c) && c != '\n' {
            true => out += &format!("\\u{:04x}", u32::from(c)),
            false => out.push(c),
        }
    }
    out
}

/// Valid JSON with line breaks and indentation. Its numbers, and the order of its fields, stay as they are.
fn indented(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut depth, mut in_text, mut after_escape, mut opened) = (0_usize, false, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for c in json.chars() {
        if in_text {
            out.push(c);
            in_text = after_escape || c != '"';
            after_escape = c == '\\' && !after_escape;
            continue;
        }
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        depth -= usize::from(closes).min(depth);
        if opened != closes {
            line(&mut out, depth);
        }
        opened = matches!(c, '{' | '[');
        depth += usize::from(opened);
        out.push(c);
        match c {
            ',' => line(&mut out, depth),
            ':' => out.push(' '),
            _other => in_text = c == '"',
        }
    }
    out
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
    fn what_was_said_as_a_text_has_its_exit_too() {
        let theirs = Failure {
            details: Some("nope".into()),
            ..Failure::new(super::super::Exit::Failed, "the server answered 503")
        };
        let expected = json!({"error": {"message": "the server answered 503", "exit": 1}});
        assert_eq!(as_json(&theirs), expected);
    }

    #[test]
    fn json_is_indented_and_nothing_else_of_it_changes() {
        let came = r#"{"z":12345678901234567890123,"a":1.0,"a":"{\"x\": [1,2]}\\","e":{},"f":[ ],"l":[1,{"b":null}]}"#;
        let shown = indented(came);
        let expected = "{\n  \"z\": 12345678901234567890123,\n  \"a\": 1.0,\n  \"a\": \"{\\\"x\\\": [1,2]}\\\\\",\n  \"e\": {},\n  \"f\": [],\n  \"l\": [\n    1,\n    {\n      \"b\": null\n    }\n  ]\n}";
        assert_eq!(shown, expected);
        let value = json!({"a": [[], [1, "x y"]], "b": {"c": "\u{1b}", "d": {}}, "e": -1.5e3});
        assert_eq!(indented(&value.to_string()), format!("{value:#}"));
    }

    #[test]
    fn what_cannot_be_written_is_said_and_a_reader_may_go() {
        assert_eq!(taken(Ok(())), Ok(Printed::Whole));
        let gone = io::Error::from(ErrorKind::BrokenPipe);
        assert_eq!(taken(Err(gone)), Ok(Printed::Closed));
        let full = taken(Err(io::Error::from(ErrorKind::StorageFull)));
        assert!(full.is_err_and(|failure| failure.exit == Exit::Failed));
    }

    #[test]
    fn no_form_of_an_answer_says_anything_to_a_terminal() {
        let hostile = "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{7}b";
        let harmless = |text: &str| !text.chars().any(|c| is_obeyed(c) && c != '\n');
        let answer = json!({ hostile: hostile, "list": [{ hostile: hostile, "id": hostile }] });
        for text in [
            rendered(&answer, Some(("list", &["id"]))),
            rendered(&answer, None),
            escaped(&indented(&answer.to_string())),
            escaped(&format!("{answer:#}")),
            lines(hostile),
            excerpt(&hostile.repeat(1_000)),
        ] {
            assert!(harmless(&text), "{text:?}");
        }
        let same: Value = serde_json::from_str(&escaped(&answer.to_string())).unwrap_or_default();
        assert_eq!(same, answer);
    }

    #[test]
    fn nothing_a_terminal_obeys_gets_through() {
        let text = rendered(&json!({"name": "a\u{1b}[2J\nb"}), None);
        assert_eq!(text, "name  a\u{FFFD}[2J\u{FFFD}b\n");
    }
}
