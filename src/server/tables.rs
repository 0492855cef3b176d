//! The tables that native is handed: which dialects and settings apps can have. Adapters may not see each
//! other, so their parts are put together here.
//!
//! **Must never know:** what a setting does.

use crate::adapters::native::catalog::{Catalog, DoorSpec, SettingKind, SettingSpec, Settings};
use crate::adapters::{ably, pubnub, pusher, realtime};
use crate::core::authority::{Operations, Presented, ReadToken};
use crate::core::channel::registry::SUBSCRIPTION_COUNT;
use crate::core::limits;

/// All dialects and settings of this build.
#[must_use]
pub(super) fn catalog() -> Catalog {
    let door = |name, default_open: fn(&Settings) -> _, token| DoorSpec {
        name,
        default_open,
        token,
    };
    // Tokens that are stored, and names of nothing signed.
    let stored: ReadToken = |_, _, _, _| Presented::Other;
    let spec = |name, kind, default| SettingSpec {
        name,
        kind,
        operators_only: false,
        hands_on: Operations::NONE,
        by_namespace: limits::BY_NAMESPACE.iter().any(|one| one.name == name),
        default,
    };
    let of = |kind| move |setting: limits::Setting| spec(setting.name, kind, setting.default);
    let (number, switch) = (of(SettingKind::Number), of(SettingKind::Switch));
    let special = [
        switch(SUBSCRIPTION_COUNT),
        SettingSpec {
            // Of every channel they tell what is said by clients, and who is there.
            hands_on: Operations::SUBSCRIBE | Operations::PRESENCE_READ | Operations::METADATA,
            ..spec(
                pusher::webhooks::SETTING,
                SettingKind::Document(pusher::webhooks::hook::check),
                0,
            )
        },
        SettingSpec {
            operators_only: true,
            ..switch(pusher::limits::WEBHOOK_PRIVATE_TARGETS)
        },
    ];
    let own = [
        limits::SUBSCRIPTIONS_PER_CONNECTION,
        limits::CONNECTIONS_PER_NODE,
        limits::OUTBOX_BYTES,
        limits::HISTORY_MESSAGES,
        limits::HISTORY_MS,
        limits::PRESENCE_CLIENTS,
        limits::HISTORY_BYTES,
    ];
    let numbers = own
        .into_iter()
        .chain(pusher::limits::NUMBERS)
        .chain(ably::limits::NUMBERS)
        .chain(realtime::limits::NUMBERS)
        .chain(pubnub::limits::NUMBERS);
    let switches = [limits::OPEN_WHILE_STALE, limits::WILDCARDS]
        .into_iter()
        .chain(pusher::limits::SWITCHES)
        .chain(realtime::limits::SWITCHES)
        .chain(pubnub::limits::SWITCHES);
    Catalog {
        doors: vec![
            door(pusher::DIALECT, |_| pusher::default_open(), stored),
            door(ably::DIALECT, |_| Vec::new(), ably::READ_TOKEN),
            door(pubnub::DIALECT, pubnub::default_open, pubnub::READ_TOKEN),
            door(realtime::DIALECT, realtime::default_open, stored),
        ],
        settings: numbers
            .map(number)
            .chain(switches.map(switch))
            .chain(special)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::native::app::{AppIn, env};
    use crate::adapters::native::mint::Mint;
    use crate::core::authority::App;
    use serde_json::{Value, json};

    /// The doors of an app that is asked for so, and the names in the environment that its maker gets.
    fn made(body: Value) -> (Vec<String>, Vec<String>) {
        let asked: AppIn = serde_json::from_value(body).unwrap();
        let spec = asked.spec(&catalog(), &mut Mint::random()).ok().unwrap();
        let app = App {
            id: spec.id,
            name: spec.name,
            enabled: true,
            doors: spec.doors,
            open: spec.open,
            settings: spec.settings,
            aliases: spec.aliases,
            revision: 1,
        };
        let env = env(&app, spec.keys.first().unwrap());
        let filled = env.as_object().unwrap().iter();
        let filled =
            filled.filter(|(_, value)| value.as_str().is_some_and(|text| !text.is_empty()));
        let doors = app.doors.iter().map(|door| door.name.to_string());
        (
            doors.collect(),
            filled.map(|(name, _)| name.clone()).collect(),
        )
    }

    #[test]
    fn an_app_speaks_every_dialect_unless_it_says_which_and_gets_credentials_for_those_only() {
        let (doors, all) = made(json!({}));
        assert_eq!(doors, ["pusher", "ably", "pubnub", "realtime"]);
        let ours = ["GATECAST_APP_ID", "GATECAST_KEY"];
        assert_eq!(
            made(json!({"doors": []})),
            (vec![], ours.map(String::from).into())
        );
        let mut together = Vec::from(ours.map(String::from));
        for door in &doors {
            let (only, env) = made(json!({"doors": [door]}));
            assert_eq!(only, [door.as_str()]);
            let (of, rest): (Vec<_>, Vec<_>) = env
                .into_iter()
                .partition(|name| name.starts_with(&door.to_uppercase()));
            assert!(!of.is_empty(), "nothing for {door}");
            assert_eq!(rest, ours, "with {door} alone");
            together.extend(of);
        }
        together.sort();
        assert_eq!(all, together);
    }
}
