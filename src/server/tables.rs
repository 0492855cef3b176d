//! The tables that native is handed: which dialects and settings apps can have. Adapters may not see each
//! other, so their parts are put together here.
//!
//! **Must never know:** what a setting does.

use crate::adapters::native::catalog::{Catalog, DoorSpec, SettingKind, SettingSpec};
use crate::adapters::{ably, pusher};
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
    let own = [
        limits::SUBSCRIPTIONS_PER_CONNECTION,
        limits::CONNECTIONS_PER_NODE,
        limits::OUTBOX_BYTES,
        limits::HISTORY_MESSAGES,
        limits::HISTORY_MS,
        limits::PRESENCE_CLIENTS,
    ];
    let numbers = own
        .into_iter()
        .chain(pusher::limits::NUMBERS)
        .chain(ably::limits::NUMBERS);
    let switches = pusher::limits::SWITCHES.into_iter();
    Catalog {
        doors: vec![
            door(pusher::DIALECT, pusher::default_open()),
            door(ably::DIALECT, Vec::new()),
            door("pubnub", Vec::new()),
            door("realtime", Vec::new()),
        ],
        settings: numbers
            .map(|setting| number(setting.name))
            .chain(switches.map(|setting| switch(setting.name)))
            .collect(),
    }
}
