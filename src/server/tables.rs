//! The tables that native is handed: which dialects and settings apps can have. Adapters may not see each
//! other, so their parts are put together here.
//!
//! **Must never know:** what a setting does.

use crate::adapters::native::catalog::{Catalog, DoorSpec, SettingKind, SettingSpec};
use crate::adapters::pusher;
use crate::core::channel::registry::{HISTORY_BYTES, SUBSCRIPTION_COUNT};
use crate::core::limits;

/// All dialects and settings of this build.
#[must_use]
pub(super) fn catalog() -> Catalog {
    let door = |name, default_open| DoorSpec { name, default_open };
    let spec = |name, kind| SettingSpec {
        name,
        kind,
        operators_only: false,
    };
    let number = |name| spec(name, SettingKind::Number);
    let switch = |name| spec(name, SettingKind::Switch);
    let special = [
        spec(SUBSCRIPTION_COUNT.name, SettingKind::Switch),
        spec(
            pusher::webhooks::SETTING,
            SettingKind::Document(pusher::webhooks::hook::check),
        ),
        SettingSpec {
            operators_only: true,
            ..switch(pusher::limits::WEBHOOK_PRIVATE_TARGETS.name)
        },
    ];
    let own = [
        limits::SUBSCRIPTIONS_PER_CONNECTION,
        limits::CONNECTIONS_PER_NODE,
        limits::OUTBOX_BYTES,
        limits::HISTORY_MESSAGES,
        limits::HISTORY_MS,
        limits::PRESENCE_CLIENTS,
        HISTORY_BYTES,
    ];
    let numbers = own.into_iter().chain(pusher::limits::NUMBERS);
    let switches = [limits::OPEN_WHILE_STALE]
        .into_iter()
        .chain(pusher::limits::SWITCHES);
    Catalog {
        doors: vec![
            door(pusher::DIALECT, pusher::default_open()),
            door("ably", Vec::new()),
            door("pubnub", Vec::new()),
            door("realtime", Vec::new()),
        ],
        settings: numbers
            .map(|setting| number(setting.name))
            .chain(switches.map(|setting| switch(setting.name)))
            .chain(special)
            .collect(),
    }
}
