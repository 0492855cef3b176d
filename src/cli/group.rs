//! `gatecast group …`, as one request of `/v1`. Pure.

use super::address::named;
use super::arguments::{GroupCommand, MemberArgs};
use super::request::{Request, block_body};
use serde_json::{Value, json};

/// The request behind a command `group …`.
#[must_use]
pub fn group(command: GroupCommand, reason: Option<String>) -> Request {
    let path =
        |app: u64, group: &str, verb: &str| named(&format!("/v1/apps/{app}/groups"), group, verb);
    match command {
        GroupCommand::List { app } => {
            Request::new("GET", format!("/v1/apps/{app}/groups?limit=10000"))
                .table("groups", &["group", "in", "members_below"])
        }
        GroupCommand::Show { app, group } => Request::new("GET", path(app, &group, "")),
        GroupCommand::Members { app, group } => {
            Request::new("GET", path(app, &group, "/members")).table("members", &["group", "user"])
        }
        GroupCommand::Add {
            app,
            group,
            members,
        } => Request::new("POST", path(app, &group, "/members"))
            .body(json!({ "add": list(members) })),
        GroupCommand::Remove {
            app,
            group,
            members,
            wait,
        } => Request::new("POST", path(app, &group, "/members"))
            .body(json!({ "remove": list(members), "wait": wait.word() })),
        GroupCommand::Delete { app, group } => {
            let what = format!(
                "group {group} goes for good: who is in it, what it is in, and the grants stored for it"
            );
            Request::new("DELETE", path(app, &group, "")).destroys(what)
        }
        GroupCommand::Disconnect { app, group, wait } => {
            Request::new("POST", path(app, &group, "/disconnect"))
                .body(json!({ "wait": wait.word() }))
        }
        GroupCommand::Block {
            app,
            group,
            for_ms,
            wait,
        } => {
            let body = block_body(for_ms, reason, wait.word());
            Request::new("POST", path(app, &group, "/block")).body(body)
        }
        GroupCommand::Unblock { app, group } => Request::new("DELETE", path(app, &group, "/block")),
    }
}

fn list(members: MemberArgs) -> Vec<Value> {
    let users = members
        .users
        .into_iter()
        .map(|user| json!({ "user": user }));
    let groups = members.groups.into_iter();
    users
        .chain(groups.map(|group| json!({ "group": group })))
        .collect()
}
