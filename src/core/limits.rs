//! Limits as data: names, defaults, and how an app's settings override them.
//!
//! **Must never know:** which dialect documents which number (adapters pass their own defaults).

use super::authority::{App, SettingValue, Text};
use std::collections::BTreeMap;

/// One limit or switch an app can set, with its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name in `/v1` and in refusals. Ends in its unit (`_bytes`, `_ms`, `_per_second`) or a plural.
    pub name: &'static str,
    /// What holds when the app says nothing.
    pub default: u64,
}

impl Setting {
    /// The app's value.
    #[must_use]
    pub fn of(&self, app: &App) -> u64 {
        self.among(&app.settings)
    }

    /// The value among settings that may not be an app's yet.
    #[must_use]
    pub fn among(&self, settings: &BTreeMap<Text, SettingValue>) -> u64 {
        match settings.get(self.name) {
            Some(SettingValue::Int(value)) => *value,
            Some(SettingValue::Bool(on)) => u64::from(*on),
            Some(SettingValue::Text(_)) | None => self.default,
        }
    }

    /// Whether the app has it switched on.
    #[must_use]
    pub fn on(&self, app: &App) -> bool {
        self.of(app) != 0
    }
}

/// Most subscriptions one connection may hold.
pub const SUBSCRIPTIONS_PER_CONNECTION: Setting = Setting {
    name: "subscriptions_per_connection",
    default: 1_000,
};
/// Most connections of an app on one node.
pub const CONNECTIONS_PER_NODE: Setting = Setting {
    name: "connections_per_node",
    default: 100_000,
};
/// Bytes that may wait for one connection before it counts as too slow.
pub const OUTBOX_BYTES: Setting = Setting {
    name: "outbox_bytes",
    default: 1 << 20,
};
/// Publications a channel keeps for late and returning subscribers.
pub const HISTORY_MESSAGES: Setting = Setting {
    name: "history_messages",
    default: 100,
};
/// How long it keeps them.
pub const HISTORY_MS: Setting = Setting {
    name: "history_ms",
    default: 120_000,
};
/// Channels that an app rule opens to anyone go on being delivered while a node is cut off from the cluster.
pub const OPEN_WHILE_STALE: Setting = Setting {
    name: "open_while_stale",
    default: 0,
};
/// What is published to a name with dots is repeated for those who subscribe by wildcard. Switched on by the first of them, unless
/// the app has switched it off.
pub const WILDCARDS: Setting = Setting {
    name: "wildcards",
    default: 0,
};
/// Most distinct clients in one presence set.
pub const PRESENCE_CLIENTS: Setting = Setting {
    name: "presence_clients",
    default: 100,
};
