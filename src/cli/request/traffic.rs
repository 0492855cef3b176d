//! Requests about what goes through a cluster: connections, channels, webhooks.

use super::{Request, set};
use crate::cli::address::{encoded, named};
use crate::cli::arguments::{ChannelCommand, ConnCommand, WebhookCommand};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// The request behind a command `conn …`.
#[must_use]
pub fn conn(command: ConnCommand) -> Request {
    let ConnCommand::List { app, user, limit } = command;
    let user = user.map(|user| format!("&user={}", encoded(&user)));
    let path = format!(
        "/v1/apps/{app}/connections?limit={limit}{}",
        user.unwrap_or_default()
    );
    Request::new("GET", path).table(
        "connections",
        &[
            "id",
            "node",
            "user",
            "dialect",
            "remote",
            "subscriptions",
            "queued_bytes",
            "since_ms",
        ],
    )
}

/// The request behind a command `webhook …`.
#[must_use]
pub fn webhook(command: WebhookCommand) -> Request {
    match command {
        WebhookCommand::List { app, limit } => {
            let path = format!("/v1/apps/{app}/webhooks/deliveries?limit={limit}");
            let columns = &["id", "target", "events", "count", "at_ms", "state", "error"];
            Request::new("GET", path).table("deliveries", columns)
        }
        WebhookCommand::Dead { app, limit } => {
            let path = format!("/v1/apps/{app}/webhooks/dead?limit={limit}");
            let columns = &[
                "id", "target", "events", "at_ms", "attempts", "status", "error",
            ];
            Request::new("GET", path).table("dead_letters", columns)
        }
        WebhookCommand::Replay { app, ids } => {
            let mut body = Map::new();
            set(&mut body, "ids", (!ids.is_empty()).then_some(ids));
            let path = format!("/v1/apps/{app}/webhooks/replay");
            Request::new("POST", path).body(body.into())
        }
    }
}

/// The request behind a command `channel …`.
#[must_use]
pub fn channel(command: ChannelCommand) -> Request {
    match command {
        ChannelCommand::Show { app, channel } => Request::new(
            "GET",
            named(&format!("/v1/apps/{app}/channels"), &channel, ""),
        ),
        ChannelCommand::Publish {
            app,
            channel,
            event,
            data,
        } => {
            // JSON goes as it was typed: its numbers, the order of its fields and those that are there twice.
            let json = match serde_json::from_str::<&RawValue>(&data) {
                Ok(json) => json.get().to_owned(),
                Err(_text) => Value::String(data).to_string(),
            };
            let request = Request::new("POST", format!("/v1/apps/{app}/publish"))
                .body(json!({ "channel": channel, "name": event }));
            Request {
                typed: Some(("data", json)),
                ..request
            }
        }
        ChannelCommand::List { app, prefix, limit } => {
            let prefix = encoded(&prefix);
            let path = format!("/v1/apps/{app}/channels?limit={limit}&prefix={prefix}");
            Request::new("GET", path)
                .table("channels", &["name", "subscribers", "clients", "members"])
        }
        ChannelCommand::Members { app, channel } => {
            let path = named(&format!("/v1/apps/{app}/channels"), &channel, "/members");
            Request::new("GET", path).table("members", &["client", "connection", "node", "data"])
        }
    }
}
