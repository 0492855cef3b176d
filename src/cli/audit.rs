//! `audit`: who changed what: shown, exported, checked and proven.
//!
//! **Why what is checked is checked here and not by a node:** whoever doubts a node does not ask it whether it is right.

use super::address::encoded;
use super::arguments::{AuditCommand, Output, Remote, TailArgs};
use super::output::{self, Printed};
use super::request::{Request, set};
use super::{Exit, Failure, client};
use crate::adapters::native::audit_check::{Checker, head_line};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

/// How often it is asked for more.
const INTERVAL: Duration = Duration::from_secs(1);
/// Records of one answer.
const PAGE: usize = 1_000;
/// The longest line of an export, bytes.
const MAX_LINE: u64 = 1 << 20;
/// How often nodes that are behind are asked again.
const TRIES: usize = 20;
/// How long it is waited before that.
const BEHIND: Duration = Duration::from_millis(250);

const COLUMNS: &[&str] = &[
    "index", "revision", "time_ms", "app", "actor", "kind", "subjects", "effects", "touched",
    "narrowed", "reason",
];

/// Carries out `audit …`
///
/// # Errors
/// When a node does not agree, or what is checked is not whole.
pub fn carry_out(remote: &Remote, command: AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Tail(asked) => tail(remote, &asked),
        AuditCommand::Export => {
            let print = |line: &Value| output::json_line(line);
            let (first, last, hash) = walk(remote, print)?;
            output::json_line(&head_line(first, last, &hash)).map(drop)
        }
        AuditCommand::Verify { file, head } => {
            let checker = Checker::new(head.as_deref());
            let checker = checker.map_err(|error| Failure::new(Exit::Usage, error))?;
            let found = match file {
                Some(path) => verify_file(&path, checker)?,
                None => verify_nodes(remote, checker)?,
            };
            match remote.output {
                Output::Json => output::json(&found.to_string()).map(drop)?,
                Output::Table => output::table(&found, None).map(drop)?,
            }
            all_compared(&found)
        }
        AuditCommand::Prove { revision } => prove(remote, revision),
        AuditCommand::Retention {
            records,
            bytes,
            age,
        } => {
            let mut body = Map::new();
            set(&mut body, "records", records);
            set(&mut body, "bytes", bytes);
            set(&mut body, "age_ms", age);
            client::ask(remote, Request::new("PATCH", "/v1/audit").body(body.into()))
        }
    }
}

fn tail(remote: &Remote, asked: &TailArgs) -> Result<(), Failure> {
    let mut answer = client::answer_to(remote, &request(asked, None))?;
    let mut printed = print(remote, &answer)?;
    // Until nobody reads it any more.
    while asked.follow && printed == Printed::Whole {
        if answer.get("more") != Some(&Value::Bool(true)) {
            std::thread::sleep(INTERVAL);
        }
        let next = answer.get("next").and_then(Value::as_u64);
        answer = client::answer_to(remote, &request(asked, next))?;
        printed = print(remote, &answer)?;
    }
    Ok(())
}

fn request(asked: &TailArgs, from: Option<u64>) -> Request {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let given = [
        ("app", number(asked.app)),
        ("user", asked.user.clone()),
        ("actor", asked.actor.clone()),
        ("kind", asked.kind.clone()),
        ("since_ms", number(asked.since_ms)),
        ("until_ms", number(asked.until_ms)),
        ("from", number(from)),
    ];
    let given = given
        .into_iter()
        .filter_map(|(name, value)| Some(format!("&{name}={}", encoded(&value?))));
    let limit = asked.limit;
    let path = format!("/v1/audit?limit={limit}{}", given.collect::<String>());
    Request::new("GET", path)
}

fn print(remote: &Remote, answer: &Value) -> Result<Printed, Failure> {
    for one in records(answer) {
        let printed = match remote.output {
            Output::Json => output::json_line(one),
            Output::Table => output::print(&line(one)),
        };
        if printed? == Printed::Closed {
            return Ok(Printed::Closed);
        }
    }
    Ok(Printed::Whole)
}

fn records(answer: &Value) -> impl Iterator<Item = &Value> {
    answer
        .get("records")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// One record in one line.
fn line(one: &Value) -> String {
    let told = |name: &&&str| {
        let value = one.get(**name);
        value.is_some_and(|value| !value.is_null() && *value != json!([]))
    };
    let shown = |name: &&str| match one[*name].as_array() {
        Some(pairs) => format!("{name}=[{}]", words(pairs)),
        None => format!("{name}={}", output::plain(&one[*name])),
    };
    let fields = COLUMNS.iter().filter(told).map(shown);
    format!("{}\n", fields.collect::<Vec<_>>().join(" "))
}

/// Pairs of names and values as words.
fn words(pairs: &[Value]) -> String {
    let pair = |pair: &Value| {
        let parts = pair.as_array().into_iter().flatten();
        parts.map(output::plain).collect::<Vec<_>>().join(" ")
    };
    pairs.iter().map(pair).collect::<Vec<_>>().join("; ")
}

/// Takes every record that is kept now, in order; the numbers of the first and the last, and the last hash.
fn walk(
    remote: &Remote,
    mut take: impl FnMut(&Value) -> Result<Printed, Failure>,
) -> Result<(u64, u64, String), Failure> {
    let number = |answer: &Value, name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    let page = |from: u64| {
        let path = format!("/v1/audit?limit={PAGE}&from={from}");
        client::answer_to(remote, &Request::new("GET", path))
    };
    let mut answer = page(0)?;
    let (first, last) = (number(&answer, "first"), number(&answer, "last"));
    let mut hash = answer
        .get("head")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let mut next = first;
    loop {
        for one in records(&answer) {
            let index = number(one, "index");
            if index > last {
                break;
            }
            if index != next {
                let message = format!(
                    "record {next} was dropped for its number, size or age while it was asked for: begin again"
                );
                return Err(Failure::new(Exit::Failed, message));
            }
            if index == last {
                hash = one
                    .get("hash")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
            }
            if take(one)? == Printed::Closed {
                return Ok((first, last, hash));
            }
            next += 1;
        }
        if next > last {
            return Ok((first, last, hash));
        }
        answer = page(next)?;
        if records(&answer).next().is_none() {
            let message = format!("record {next} was not answered: begin again");
            return Err(Failure::new(Exit::Failed, message));
        }
    }
}

fn broken(place: &str, why: &str) -> Failure {
    Failure::new(Exit::Failed, format!("{place}: {why}"))
}

fn verify_file(path: &Path, mut checker: Checker) -> Result<Value, Failure> {
    let name = path.display().to_string();
    let unread = |error: io::Error| broken(&name, &error.to_string());
    let mut input: Box<dyn BufRead> = match name.as_str() {
        "-" => Box::new(BufReader::new(io::stdin())),
        _file => Box::new(BufReader::new(File::open(path).map_err(unread)?)),
    };
    let mut number = 0u64;
    loop {
        let mut line = Vec::new();
        let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(unread)? == 0 {
            break;
        }
        number += 1;
        let place = format!("{name}, line {number}");
        let Some(whole) = line.strip_suffix(b"\n") else {
            return Err(broken(&place, "the line is too long or has no end"));
        };
        let text = std::str::from_utf8(whole);
        let text = text.map_err(|_| broken(&place, "it is no text"))?;
        let checked = checker.line(text, output::line_of_json);
        checked.map_err(|why| broken(&place, &why))?;
    }
    checker.end().map_err(|why| broken(&name, &why))
}

/// Every record through one node, and the last of them at every node.
fn verify_nodes(remote: &Remote, mut checker: Checker) -> Result<Value, Failure> {
    let (first, last, hash) = walk(remote, |one| {
        let checked = checker.record(one);
        checked.map_err(|why| broken("the audit", &why))?;
        Ok(Printed::Whole)
    })?;
    let said = head_line(first, last, &hash).to_string();
    let ended = checker
        .line(&said, Value::to_string)
        .and_then(|()| checker.end());
    let mut found = ended.map_err(|why| broken("the audit", &why))?;
    let (same, silent) = compare(remote, last, &hash)?;
    if let Some(fields) = found.as_object_mut() {
        fields.insert("nodes".into(), same.into());
        fields.insert("silent".into(), silent.into());
    }
    Ok(found)
}

/// What could not be compared has not passed.
fn all_compared(found: &Value) -> Result<(), Failure> {
    let silent = found.get("silent").and_then(Value::as_array);
    let silent: Vec<String> = silent.into_iter().flatten().map(Value::to_string).collect();
    match silent.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(
            Exit::Failed,
            format!(
                "the audit that was read is whole, but not every node could be compared: node {} did not say what it has; ask again when it is back",
                silent.join(", ")
            ),
        )),
    }
}

/// The nodes that have this hash at that number, and those that did not say. One with another is a failure.
fn compare(remote: &Remote, last: u64, hash: &str) -> Result<(Vec<u64>, Vec<u64>), Failure> {
    let request = Request::new("GET", format!("/v1/audit/heads?index={last}"));
    for attempt in 0.. {
        let answer = client::answer_to(remote, &request)?;
        let (mut same, mut silent) = (Vec::new(), Vec::new());
        let nodes = answer.get("nodes").and_then(Value::as_array);
        for node in nodes.into_iter().flatten() {
            let id = node.get("node").and_then(Value::as_u64).unwrap_or(0);
            match node.get("hash").and_then(Value::as_str) {
                Some(there) if there == hash => same.push(id),
                Some(there) => {
                    let message = format!(
                        "node {id} has another audit: its record {last} has the hash {there}, and not {hash}"
                    );
                    return Err(Failure::new(Exit::Failed, message));
                }
                None => silent.push(id),
            }
        }
        if silent.is_empty() || attempt >= TRIES {
            return Ok((same, silent));
        }
        std::thread::sleep(BEHIND);
    }
    Ok((Vec::new(), Vec::new()))
}

fn prove(remote: &Remote, revision: u64) -> Result<(), Failure> {
    let path = format!("/v1/audit/proofs?revision={revision}");
    let answer = client::answer_to(remote, &Request::new("GET", path))?;
    let last = answer.get("last").and_then(Value::as_u64).unwrap_or(0);
    let hash = answer
        .get("head")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let proofs = answer.get("proofs").and_then(Value::as_array);
    let proofs = proofs.cloned().unwrap_or_default();
    let head = head_line(1, last, hash);
    let mut checker = Checker::default();
    for line in proofs.iter().chain([&head]) {
        let text = line.to_string();
        let checked = checker.line(&text, Value::to_string);
        checked.map_err(|why| broken("the proof", &why))?;
    }
    checker.end().map_err(|why| broken("the proof", &why))?;
    for line in proofs.iter().chain([&head]) {
        if output::json_line(line)? == Printed::Closed {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_is_asked_for_stands_in_the_address() {
        let mut asked = TailArgs {
            app: Some(7),
            user: Some("a&b".into()),
            actor: Some("key k".into()),
            kind: None,
            since_ms: Some(5),
            until_ms: None,
            limit: 3,
            follow: false,
        };
        let path = request(&asked, Some(9)).path;
        let expected = "/v1/audit?limit=3&app=7&user=a%26b&actor=key%20k&since_ms=5&from=9";
        assert_eq!(path, expected);
        (asked.app, asked.user, asked.actor, asked.since_ms) = (None, None, None, None);
        assert_eq!(request(&asked, None).path, "/v1/audit?limit=3");
    }

    #[test]
    fn a_line_says_what_is_known() {
        let one = json!({
            "index": 4, "actor": "operator", "kind": "revoke", "app": "7", "reason": null, "effects": [],
            "subjects": [["user", "ana"], ["margin ms", "5"]], "narrowed": true,
        });
        let expected = "index=4 app=7 actor=operator kind=revoke subjects=[user ana; margin ms 5] narrowed=true\n";
        assert_eq!(line(&one), expected);
    }

    #[test]
    fn a_file_that_is_none_is_refused_with_its_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"{}\n").unwrap();
        let failure = verify_file(file.path(), Checker::default()).unwrap_err();
        assert!(failure.message.contains("line 1"), "{}", failure.message);
        let failure = verify_file(Path::new("/no/such/file"), Checker::default()).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
    }

    #[test]
    fn a_node_that_could_not_be_compared_has_not_passed() {
        let found = |silent: Value| serde_json::json!({"nodes": [1], "silent": silent});
        assert!(all_compared(&found(serde_json::json!([]))).is_ok());
        assert!(
            all_compared(&serde_json::json!({})).is_ok(),
            "a file has no nodes"
        );
        let failure = all_compared(&found(serde_json::json!([2, 3]))).unwrap_err();
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.message.contains("node 2, 3 did not say"));
    }
}
