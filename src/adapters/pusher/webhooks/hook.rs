//! What an app asks for: where to, which events, which channels. Kept as a JSON document among its settings.
//!
//! **Why checked when it is written:** a misspelt event type that is silently kept looks like a server that sends
//! nothing.

use crate::core::authority::{App, SettingValue};
use crate::core::suggest::did_you_mean;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The events an app can ask for.
pub const EVENT_TYPES: [&str; 7] = [
    "channel_occupied",
    "channel_vacated",
    "member_added",
    "member_removed",
    "client_event",
    "cache_miss",
    "subscription_count",
];

/// Hooks of one app.
const MAX_HOOKS: usize = 10;
/// Headers of one hook.
const MAX_HEADERS: usize = 16;
/// Longest text in a hook, bytes.
const MAX_TEXT: usize = 1_024;
/// Longest document, bytes.
const MAX_DOCUMENT: usize = 12 * 1_024;
/// Headers that are not the app's to set.
const RESERVED: [&str; 7] = [
    "host",
    "content-type",
    "content-length",
    "connection",
    "transfer-encoding",
    "upgrade",
    "te",
];

/// How the names of others begin.
const RESERVED_STARTS: [&str; 2] = ["x-pusher-", "x-gatecast-"];

/// One receiver of webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The address that requests go to.
    pub url: String,
    /// Which events; none = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    /// Which channels it is for.
    #[serde(default, skip_serializing_if = "Filter::is_empty")]
    pub filter: Filter,
    /// Headers that are sent along.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Several events in one request.
    #[serde(default)]
    pub batch: bool,
}

/// Which channels a hook is about: all of what is said has to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// The start of the name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel_name_starts_with: String,
    /// How the channel's name ends.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel_name_ends_with: String,
}

impl Filter {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Hook {
    /// Whether it is about this event of this channel.
    #[must_use]
    pub fn wants(&self, event: &str, channel: &str) -> bool {
        (self.event_types.is_empty() || self.event_types.iter().any(|one| one == event))
            && channel.starts_with(&self.filter.channel_name_starts_with)
            && channel.ends_with(&self.filter.channel_name_ends_with)
    }

    fn check(&self) -> Result<(), String> {
        let url = Url::parse(&self.url).map_err(|error| format!("url: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("url: must be http:// or https:// with a host".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("url: put credentials into headers, not into the address".into());
        }
        for event in &self.event_types {
            if !EVENT_TYPES.contains(&event.as_str()) {
                let hint = did_you_mean(event, EVENT_TYPES);
                return Err(format!("event_types: there is no `{event}`{hint}"));
            }
        }
        let Filter {
            channel_name_starts_with: start,
            channel_name_ends_with: end,
        } = &self.filter;
        if [&self.url, start, end]
            .iter()
            .any(|text| text.len() > MAX_TEXT)
        {
            return Err(format!("a text is longer than {MAX_TEXT} bytes"));
        }
        self.check_headers()
    }

    fn check_headers(&self) -> Result<(), String> {
        if self.headers.len() > MAX_HEADERS {
            return Err(format!("headers: more than {MAX_HEADERS}"));
        }
        for (name, value) in &self.headers {
            let lower = name.to_ascii_lowercase();
            if RESERVED.contains(&lower.as_str())
                || RESERVED_STARTS.iter().any(|start| lower.starts_with(start))
            {
                return Err(format!("headers: `{name}` is not yours to set"));
            }
            let good = HeaderName::try_from(name.as_str()).is_ok()
                && HeaderValue::try_from(value.as_str()).is_ok()
                && value.len() <= MAX_TEXT;
            if !good {
                return Err(format!("headers: `{name}` or its value cannot be sent"));
            }
        }
        Ok(())
    }
}

/// Checks hooks as they are given; gives the document to keep.
///
/// # Errors
/// What is wrong, with the place of the hook.
pub fn check(given: &Value) -> Result<String, String> {
    let Value::Array(list) = given else {
        return Err("must be a list of hooks".into());
    };
    if list.len() > MAX_HOOKS {
        return Err(format!("more than {MAX_HOOKS} hooks"));
    }
    let read = |(index, one): (usize, &Value)| {
        let at = |error: String| format!("hook {index}: {error}");
        let hook: Hook =
            serde_json::from_value(one.clone()).map_err(|error| at(error.to_string()))?;
        hook.check().map_err(at)?;
        Ok(hook)
    };
    let hooks: Vec<Hook> = list
        .iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, String>>()?;
    let text = serde_json::to_string(&hooks).map_err(|error| error.to_string())?;
    match text.len() > MAX_DOCUMENT {
        true => Err(format!("longer than {MAX_DOCUMENT} bytes in all")),
        false => Ok(text),
    }
}

/// The hooks of a kept document. One that a newer version wrote and this one cannot read is none.
#[must_use]
pub fn read(document: &str) -> Vec<Hook> {
    serde_json::from_str(document).unwrap_or_default()
}

/// The hooks of an app.
pub(super) fn of_app(app: &App) -> Vec<Hook> {
    match app.settings.get(super::SETTING) {
        Some(SettingValue::Text(document)) => read(document),
        Some(SettingValue::Bool(_) | SettingValue::Int(_)) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use serde_json::json;

    #[test]
    fn hooks_are_kept_as_given_and_read_back() {
        let given = json!([{"url": "https://a.example/x?y=1", "event_types": ["client_event"],
            "filter": {"channel_name_starts_with": "presence-"}, "headers": {"X-Mine": "1"}, "batch": true}]);
        let hooks = read(&check(&given).unwrap());
        assert_eq!(serde_json::to_value(&hooks).unwrap(), given);
        let hook = &hooks[0];
        assert!(hook.wants("client_event", "presence-a"));
        assert!(!hook.wants("client_event", "private-a"));
        assert!(!hook.wants("cache_miss", "presence-a"));
        assert_eq!(check(&json!([])).unwrap(), "[]");
    }

    #[test]
    fn ends_of_names_filter_too() {
        let given = json!([{"url": "http://a", "filter": {"channel_name_ends_with": "-x"}}]);
        let hooks = read(&check(&given).unwrap());
        assert!(
            hooks[0].wants("channel_vacated", "a-x") && !hooks[0].wants("channel_vacated", "a-y")
        );
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let cases = [
            (json!({}), "list"),
            (json!([{"url": "ftp://a"}]), "http"),
            (json!([{"url": "nonsense"}]), "url"),
            (json!([{"url": "http://u:p@a"}]), "credentials"),
            (
                json!([{"url": "http://a", "event_types": ["channel_ocupied"]}]),
                "channel_occupied",
            ),
            (
                json!([{"url": "http://a", "headers": {"X-Pusher-Key": "x"}}]),
                "not yours",
            ),
            (
                json!([{"url": "http://a", "headers": {"Content-Type": "x"}}]),
                "not yours",
            ),
            (
                json!([{"url": "http://a", "headers": {"x-gatecast-event-ids": "x"}}]),
                "not yours",
            ),
            (
                json!([{"url": "http://a", "headers": {"X": "a\nb"}}]),
                "cannot be sent",
            ),
            (
                json!([{"url": "http://a", "evnt_types": []}]),
                "unknown field",
            ),
            (json!([{"event_types": []}]), "missing field"),
        ];
        for (given, part) in cases {
            let error = check(&given).unwrap_err();
            assert!(error.contains(part), "{given}: {error}");
        }
        assert!(check(&json!(vec![json!({"url": "http://a"}); 11])).is_err());
    }
}
