//! The tables that native is handed: which dialects and settings apps can have. Adapters may not see each
//! other, so their parts are put together here.
//!
//! **Must never know:** what a setting does.

use crate::adapters::native::catalog::{Catalog, DoorSpec, SettingKind, SettingSpec};
use crate::core::authority::{OpenRule, Operations, Pattern};
use crate::core::limits;

/// All dialects and settings of this build.
#[must_use]
pub(super) fn catalog() -> Catalog {
    let door = |name, default_open| DoorSpec { name, default_open };
    let number = |name| SettingSpec {
        name,
        kind: SettingKind::Number,
    };
    let switch = |name| SettingSpec {
        name,
        kind: SettingKind::Switch,
    };
    let limits = [
        limits::SUBSCRIPTIONS_PER_CONNECTION,
        limits::CONNECTIONS_PER_NODE,
        limits::OUTBOX_BYTES,
        limits::HISTORY_MESSAGES,
        limits::HISTORY_MS,
        limits::PRESENCE_CLIENTS,
    ];
    let switches = [
        "client_events",
        "user_sign_in",
        "authorized_connections",
        "grants_open_channels",
        "subscription_count",
    ];
    let limits = limits.map(|limit| number(limit.name));
    Catalog {
        doors: vec![
            door("pusher", pusher_open()),
            door("ably", Vec::new()),
            door("pubnub", Vec::new()),
            door("realtime", Vec::new()),
        ],
        settings: limits.into_iter().chain(switches.map(switch)).collect(),
    }
}

// MERGE: becomes `adapters::pusher::default_open()`.
fn pusher_open() -> Vec<OpenRule> {
    vec![OpenRule {
        pattern: Pattern::Except(vec!["presence-".into(), "private-".into()]),
        operations: Operations::SUBSCRIBE,
    }]
}
