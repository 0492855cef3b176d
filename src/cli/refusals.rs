//! `refusals`: who was refused what lately and what to do about it, once or as it happens.
//!
//! **Why it asks again and again instead of listening:** the list is short, of every node, and has numbers by which what was
//! shown is known; a stream would be one more thing that a proxy can cut.

use super::address::encoded;
use super::arguments::{Output, RefusalsArgs, Remote};
use super::output::{self, Printed};
use super::request::Request;
use super::{Failure, client};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

/// How often the list is asked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most that one question brings.
const MOST: u32 = 1_000;

const COLUMNS: &[&str] = &[
    "at_ms", "node", "app", "dialect", "rule", "code", "channel", "key", "user", "remote",
    "detail", "advice",
];

/// Shows them.
///
/// # Errors
/// When a node does not agree.
pub fn carry_out(remote: &Remote, asked: &RefusalsArgs) -> Result<(), Failure> {
    if !asked.follow {
        return client::ask(remote, request(asked, asked.limit));
    }
    let mut shown = Shown::default();
    let first = client::answer_to(remote, &request(asked, asked.limit))?;
    let mut printed = print(remote, &shown.news(&first))?;
    // Until nobody reads it any more.
    while printed == Printed::Whole {
        std::thread::sleep(INTERVAL);
        let answer = client::answer_to(remote, &request(asked, MOST))?;
        printed = print(remote, &shown.news(&answer))?;
    }
    Ok(())
}

fn request(asked: &RefusalsArgs, limit: u32) -> Request {
    let place = match asked.app {
        Some(app) => format!("/v1/apps/{app}/refusals"),
        None => "/v1/refusals".to_owned(),
    };
    let user = asked.user.as_deref().map(encoded);
    let user = user.map_or_else(String::new, |user| format!("&user={user}"));
    Request::new("GET", format!("{place}?limit={limit}{user}")).table("refusals", COLUMNS)
}

fn print(remote: &Remote, news: &[Value]) -> Result<Printed, Failure> {
    for one in news {
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

/// One refusal in one line.
fn line(one: &Value) -> String {
    let told = |name: &&&str| {
        one.get(**name)
            .is_some_and(|value| !value.is_null() && value != "")
    };
    let fields = COLUMNS.iter().filter(told);
    let fields = fields.map(|name| match *name {
        "advice" => output::plain(&one["advice"]),
        name => format!("{name}={}", output::plain(&one[name])),
    });
    format!("{}\n", fields.collect::<Vec<_>>().join(" "))
}

/// What has been printed already. Only what the last answer held can come again.
#[derive(Debug, Default)]
struct Shown(BTreeSet<String>);

impl Shown {
    /// What of this answer is new, oldest first.
    fn news(&mut self, answer: &Value) -> Vec<Value> {
        let all = answer.get("refusals").and_then(Value::as_array);
        let all = all.map_or(&[][..], Vec::as_slice);
        let id = |one: &Value| format!("{}@{}", one["id"], one["at_ms"]);
        let new = all.iter().filter(|one| !self.0.contains(&id(one)));
        let mut new: Vec<Value> = new.cloned().collect();
        new.reverse();
        let now: BTreeSet<String> = all.iter().map(id).collect();
        // A shorter answer than the last may bring back, with the next one, what was shown before.
        match now.is_superset(&self.0) || new.is_empty() {
            true => self.0.extend(now),
            false => self.0 = now,
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(ids: &[&str]) -> Value {
        let one =
            |id: &&str| json!({"id": id, "at_ms": 1, "rule": "blocked", "advice": "Unblock."});
        json!({ "refusals": ids.iter().map(one).collect::<Vec<_>>() })
    }

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let mut shown = Shown::default();
        let ids = |news: Vec<Value>| -> Vec<String> {
            let id = |one: &Value| one["id"].as_str().unwrap_or_default().to_owned();
            news.iter().map(id).collect()
        };
        assert_eq!(ids(shown.news(&answer(&["1-2", "1-1"]))), ["1-1", "1-2"]);
        assert!(shown.news(&answer(&["1-2", "1-1"])).is_empty());
        assert_eq!(
            ids(shown.news(&answer(&["2-1", "1-3", "1-2"]))),
            ["1-3", "2-1"]
        );
        assert!(shown.news(&json!({})).is_empty());
    }

    #[test]
    fn a_line_says_what_is_known_and_what_to_do() {
        let one = json!({"at_ms": 5, "app": "7", "rule": "blocked", "channel": null, "advice": "Unblock her."});
        assert_eq!(line(&one), "at_ms=5 app=7 rule=blocked Unblock her.\n");
    }

    #[test]
    fn an_app_and_a_user_are_asked_for_by_address() {
        let mut asked = RefusalsArgs {
            app: Some(7),
            user: Some("a b".into()),
            limit: 5,
            follow: false,
        };
        assert_eq!(
            request(&asked, 5).path,
            "/v1/apps/7/refusals?limit=5&user=a%20b"
        );
        (asked.app, asked.user) = (None, None);
        assert_eq!(request(&asked, 5).path, "/v1/refusals?limit=5");
    }
}
