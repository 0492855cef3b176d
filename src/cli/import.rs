//! `app import-env`: an app as Pusher's, Laravel Reverb's or soketi's variables describe it. Pure, apart from reading
//! the file.
//!
//! **Why what is left over is named:** a variable that silently means nothing here looks like one that was kept.

use super::request::Request;
use super::{Exit, Failure};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Whose variables, in the order in which they are believed.
const FAMILIES: [(&str, &str); 3] = [
    ("SOKETI_DEFAULT_APP_", "SOKETI_"),
    ("REVERB_APP_", "REVERB_"),
    ("PUSHER_APP_", "PUSHER_"),
];

/// Numbers: variable, setting, factor to our unit.
const NUMBERS: [(&str, &str, u64); 12] = [
    ("SOKETI_DEFAULT_APP_MAX_CONNS", "connections_per_node", 1),
    (
        "SOKETI_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SEC",
        "client_events_per_second",
        1,
    ),
    ("SOKETI_EVENT_MAX_CHANNELS_AT_ONCE", "channels_per_event", 1),
    ("SOKETI_EVENT_MAX_NAME_LENGTH", "event_name_bytes", 1),
    ("SOKETI_EVENT_MAX_SIZE_IN_KB", "event_bytes", 1_024),
    (
        "SOKETI_CHANNEL_LIMITS_MAX_NAME_LENGTH",
        "channel_name_bytes",
        1,
    ),
    ("SOKETI_PRESENCE_MAX_MEMBERS", "presence_clients", 1),
    (
        "SOKETI_PRESENCE_MAX_MEMBER_SIZE",
        "presence_member_bytes",
        1_024,
    ),
    ("SOKETI_CHANNEL_CACHE_TTL", "cache_ms", 1_000),
    ("REVERB_APP_MAX_CONNECTIONS", "connections_per_node", 1),
    ("REVERB_APP_MAX_MESSAGE_SIZE", "event_bytes", 1),
    ("REVERB_APP_ACTIVITY_TIMEOUT", "activity_timeout_ms", 1_000),
];

const SWITCHES: [(&str, &str); 2] = [
    ("SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "client_events"),
    ("SOKETI_DEFAULT_APP_USER_AUTHENTICATION", "user_sign_in"),
];

/// What is said of variables that belong to the node and not to the app.
const ELSEWHERE: [(&str, &str); 9] = [
    ("SOKETI_PORT", "`public` of the node's configuration"),
    (
        "SOKETI_PATH_PREFIX",
        "`path_prefix` of the node's configuration",
    ),
    ("SOKETI_SSL_CERT", "`tls_cert` of the node's configuration"),
    ("SOKETI_SSL_KEY", "`tls_key` of the node's configuration"),
    (
        "SOKETI_METRICS_SERVER_PORT",
        "`internal` of the node's configuration",
    ),
    (
        "SOKETI_SHUTDOWN_GRACE_PERIOD",
        "`drain_ms` of the node's configuration",
    ),
    ("REVERB_SERVER_PORT", "`public` of the node's configuration"),
    (
        "REVERB_HOST",
        "stays in your app: the host clients and servers connect to",
    ),
    (
        "REVERB_PORT",
        "stays in your app: the port clients and servers connect to",
    ),
];

/// The variables of a file in the form `NAME=value`, one per line.
///
/// # Errors
/// When it cannot be read.
pub fn file(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::new(Exit::Config, format!("--file {}: {error}", path.display()))
    })?;
    Ok(lines(&text))
}

fn lines(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        Some((name.trim().to_owned(), unquoted(value.trim()).to_owned()))
    };
    text.lines().filter_map(line).collect()
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inside = value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote));
        if let Some(inside) = inside {
            return inside;
        }
    }
    // A comment begins after a space; without one, `#` is part of the value.
    value
        .split_once(" #")
        .map_or(value, |(value, _)| value.trim_end())
}

/// The request that makes the app, and what is to be said about variables that did not become part of it.
///
/// # Errors
/// When there is no app in the variables, or a value cannot be used.
pub fn app(
    variables: &BTreeMap<String, String>,
    id: Option<u64>,
    name: Option<String>,
) -> Result<(Request, Vec<String>), Failure> {
    let value = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    let credentials = |family: &str| {
        let key = value(&format!("{family}KEY"))?;
        let secret = value(&format!("{family}SECRET"))?;
        Some((key, secret, value(&format!("{family}ID"))))
    };
    let found = FAMILIES.iter().find_map(|(app, family)| {
        // Some frameworks leave `APP_` out.
        credentials(app).or_else(|| credentials(family))
    });
    let (key, secret, given) = found.ok_or_else(|| {
        let wanted = FAMILIES.map(|(app, _)| format!("{app}KEY and {app}SECRET"));
        usage(format!("no app here: looked for {}", wanted.join(", ")))
    })?;
    let id = match (id, given) {
        (Some(id), _) => Some(id),
        (None, Some(text)) => Some(text.parse().map_err(|_| {
            usage(format!("app id `{text}` is not a number, which SDKs insist on: give one with --id and to your servers"))
        })?),
        (None, None) => None,
    };
    let mut body = Map::new();
    if let Some(id) = id {
        body.insert("id".into(), id.into());
    }
    body.insert(
        "name".into(),
        name.unwrap_or_else(|| "imported".into()).into(),
    );
    body.insert("protocols".into(), json!(["pusher"]));
    body.insert("settings".into(), settings(variables)?.into());
    body.insert("keys".into(), json!([{ "id": key, "secret": secret }]));
    let request = Request::new("POST", "/v1/apps").body(body.into());
    Ok((request, left_over(variables)))
}

fn settings(variables: &BTreeMap<String, String>) -> Result<Map<String, Value>, Failure> {
    let mut settings = Map::new();
    for (variable, setting, factor) in NUMBERS {
        let Some(text) = variables.get(variable).filter(|text| !text.is_empty()) else {
            continue;
        };
        let number: f64 = text
            .parse()
            .map_err(|_| usage(format!("{variable}: `{text}` is no number")))?;
        // Below zero stands for "no limit": ours has its default.
        if number >= 0.0 {
            let scaled = (number * factor as f64).round();
            settings.insert(setting.into(), json!(scaled as u64));
        }
    }
    for (variable, setting) in SWITCHES {
        if let Some(text) = variables.get(variable).filter(|text| !text.is_empty()) {
            let on = matches!(
                text.to_ascii_lowercase().as_str(),
                "1" | "true" | "yes" | "on"
            );
            settings.insert(setting.into(), on.into());
        }
    }
    if let Some(text) = variables
        .get("SOKETI_DEFAULT_APP_WEBHOOKS")
        .filter(|text| !text.is_empty())
    {
        let hooks: Value = serde_json::from_str(text)
            .map_err(|error| usage(format!("SOKETI_DEFAULT_APP_WEBHOOKS: {error}")))?;
        settings.insert("webhooks".into(), hooks);
    }
    Ok(settings)
}

/// A line for every variable of these families that has not become part of the app.
fn left_over(variables: &BTreeMap<String, String>) -> Vec<String> {
    let used = |name: &str| {
        let credential = |prefix: &str| {
            let rest = name.strip_prefix(prefix);
            rest.is_some_and(|rest| matches!(rest, "ID" | "KEY" | "SECRET"))
        };
        name == "SOKETI_DEFAULT_APP_WEBHOOKS"
            || NUMBERS.iter().any(|(variable, ..)| *variable == name)
            || SWITCHES.iter().any(|(variable, _)| *variable == name)
            || FAMILIES
                .iter()
                .any(|(app, family)| credential(app) || credential(family))
    };
    let ours = |name: &&String| FAMILIES.iter().any(|(_, family)| name.starts_with(family));
    let said = |name: &String| {
        let place = ELSEWHERE.iter().find(|(variable, _)| variable == name);
        place.map_or_else(
            || format!("{name} has no counterpart here and was left out"),
            |(_, place)| format!("{name}: {place}"),
        )
    };
    variables
        .keys()
        .filter(ours)
        .filter(|name| !used(name))
        .map(said)
        .collect()
}

fn usage(message: String) -> Failure {
    Failure::new(Exit::Usage, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn body(text: &str) -> Value {
        app(&lines(text), None, None).unwrap().0.body.unwrap()
    }

    #[test]
    fn each_family_becomes_an_app() {
        let pusher = "# mine\nPUSHER_APP_ID=42\nexport PUSHER_APP_KEY='app-key'\nPUSHER_APP_SECRET=\"s3cret\" \nPUSHER_APP_CLUSTER=mt1 # x\n";
        let wanted = json!({"id": 42, "name": "imported", "protocols": ["pusher"], "settings": {}, "keys": [{"id": "app-key", "secret": "s3cret"}]});
        assert_eq!(body(pusher), wanted);
        let reverb = body(
            "REVERB_APP_ID=7\nREVERB_APP_KEY=k\nREVERB_APP_SECRET=s\nREVERB_APP_MAX_MESSAGE_SIZE=10000",
        );
        assert_eq!(reverb["settings"], json!({"event_bytes": 10_000}));
        let soketi = body(
            "SOKETI_DEFAULT_APP_ID=1\nSOKETI_DEFAULT_APP_KEY=k\nSOKETI_DEFAULT_APP_SECRET=s\nSOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES=true\nSOKETI_DEFAULT_APP_MAX_CONNS=-1\nSOKETI_EVENT_MAX_SIZE_IN_KB=100\nSOKETI_PRESENCE_MAX_MEMBER_SIZE=0.5\nSOKETI_DEFAULT_APP_WEBHOOKS=[{\"url\":\"https://a\"}]",
        );
        let wanted = json!({"client_events": true, "event_bytes": 102_400, "presence_member_bytes": 512, "webhooks": [{"url": "https://a"}]});
        assert_eq!(soketi["settings"], wanted);
    }

    #[test]
    fn what_cannot_be_taken_over_is_said() {
        let refused = |text: &str| app(&lines(text), None, None).unwrap_err().message;
        assert!(refused("PUSHER_APP_KEY=k").contains("no app here"));
        let text = "SOKETI_DEFAULT_APP_ID=app-id\nSOKETI_DEFAULT_APP_KEY=k\nSOKETI_DEFAULT_APP_SECRET=s\nSOKETI_PORT=6001\nSOKETI_ADAPTER_DRIVER=redis\nOTHER=1";
        assert!(refused(text).contains("--id"));
        let (request, notes) = app(&lines(text), Some(5), None).unwrap();
        assert_eq!(request.body.unwrap()["id"], 5);
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes.iter().any(|note| note.contains("`public`")));
    }
}
