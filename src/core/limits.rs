//! Limits as data: names, defaults, and how an app's settings override them.
//!
//! **Must never know:** which dialect documents which number (adapters pass their own defaults).

use super::access::{App, SettingValue, Text};
use std::collections::BTreeMap;
use std::ops::Bound;

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

    /// The value for a channel: what the app says for the channel's namespace, else for all.
    #[must_use]
    pub fn at(&self, app: &App, channel: &str) -> u64 {
        // Asked for every channel that starts: no name is put together for an app that sets nothing by namespace.
        let said = self.namespaces(app).next().and_then(|_| {
            let namespace = namespace(channel);
            app.settings.get(&*format!("{}@{namespace}", self.name))
        });
        match said {
            Some(SettingValue::Int(value)) => *value,
            Some(SettingValue::Bool(_) | SettingValue::Text(_)) | None => self.of(app),
        }
    }

    /// What the app says for single namespaces.
    fn namespaces<'a>(&self, app: &'a App) -> impl Iterator<Item = &'a SettingValue> {
        let name = self.name;
        let behind = (Bound::Excluded(name), Bound::Unbounded);
        let named = app
            .settings
            .range::<str, _>(behind)
            .map_while(move |(other, value)| {
                let rest = other.strip_prefix(name)?;
                Some((rest, value))
            });
        named
            .filter(|(rest, _)| rest.starts_with('@'))
            .map(|(_, value)| value)
    }

    /// The largest value that any namespace of the app has.
    #[must_use]
    pub fn most(&self, app: &App) -> u64 {
        self.namespaces(app)
            .fold(self.of(app), |most, value| match value {
                SettingValue::Int(value) => most.max(*value),
                SettingValue::Bool(_) | SettingValue::Text(_) => most,
            })
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

/// A channel's namespace: what stands before its first `:`, or the whole name.
#[must_use]
pub fn namespace(channel: &str) -> &str {
    channel.split_once(':').map_or(channel, |(first, _)| first)
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
/// Most publications a channel keeps for late and returning subscribers. By default as many as their bytes allow.
pub const HISTORY_MESSAGES: Setting = Setting {
    name: "history_messages",
    default: 100_000,
};
/// How long it keeps them, as far as they fit [`HISTORY_BYTES`].
pub const HISTORY_MS: Setting = Setting {
    name: "history_ms",
    default: 120_000,
};
/// What they may weigh: payload, name, side data, and [`crate::core::channel::replica::history::OVERHEAD`] for each. Two minutes
/// of some 65 small messages a second.
pub const HISTORY_BYTES: Setting = Setting {
    name: "history_bytes",
    default: 2 << 20,
};
/// Above this a channel's copy would not fit the frame that takes it to another node.
pub const MAX_HISTORY_BYTES: u64 = 8 << 20;

/// What may wait for one connection that can be given a channel's whole history at once.
#[must_use]
pub fn outbox_with_history(outbox: u64, history: u64) -> usize {
    // On the wire a message is rarely more than twice what it weighs here.
    let bytes = outbox.saturating_add(2 * history.min(MAX_HISTORY_BYTES));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
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
/// Shortest token string that rights may be stored for. Such a string is its own secret, and the dialects' apps choose it;
/// by default the broker takes any.
pub const SHORTEST_TOKEN_BYTES: Setting = Setting {
    name: "shortest_token_bytes",
    default: 1,
};
/// Most deliveries of lifecycle events that are kept, of an app, once they were given up.
pub const DEAD_LETTERS: Setting = Setting {
    name: "dead_letters",
    default: 1_000,
};
/// How long they are kept at most, ms: a week.
pub const DEAD_LETTERS_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// What they may weigh, bytes.
pub const DEAD_LETTERS_BYTES: u64 = 4 << 20;
/// Whether keys of identity providers may be fetched from addresses that are not public, and without TLS. Operators set it,
/// not the app's own servers.
pub const PROVIDER_PRIVATE_TARGETS: Setting = Setting {
    name: "provider_private_targets",
    default: 0,
};
/// Whether subscribers are told how many subscriptions there are.
pub const SUBSCRIPTION_COUNT: Setting = Setting {
    name: "subscription_count",
    default: 0,
};
/// The id of a presence entry is a user: what blocks, disconnects or revokes that user reaches who entered under it,
/// where somebody has vouched for the id. It only ever takes, so an app that says nothing has it.
pub const PRESENCE_IS_USER: Setting = Setting {
    name: "presence_is_user",
    default: 1,
};
/// Most distinct clients in one presence set.
pub const PRESENCE_CLIENTS: Setting = Setting {
    name: "presence_clients",
    default: 100,
};

/// The limits of a channel that an app may set for one namespace alone, as `name@namespace`.
pub const BY_NAMESPACE: [Setting; 4] = [
    HISTORY_MESSAGES,
    HISTORY_MS,
    HISTORY_BYTES,
    PRESENCE_CLIENTS,
];
