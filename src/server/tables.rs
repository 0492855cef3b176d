//! The tables that native is handed: which dialects and settings apps can have. Adapters may not see each
//! other, so their parts are put together here.
//!
//! **Must never know:** what a setting does.

use crate::adapters::native::catalog::{
    Catalog, HandsOn, ProtocolSpec, SettingKind, SettingSpec, Settings,
};
use crate::adapters::{ably, pubnub, pusher, realtime};
use crate::core::authority::{Operations, Presented, ReadToken};
use crate::core::limits;
use crate::core::limits::SUBSCRIPTION_COUNT;

/// All dialects and settings of this build.
#[must_use]
pub(super) fn catalog() -> Catalog {
    Catalog {
        protocols: protocols(),
        settings: settings(),
    }
}

fn protocols() -> Vec<ProtocolSpec> {
    let protocol = |name, default_open: fn(&Settings) -> _, token| ProtocolSpec {
        name,
        default_open,
        opens_beside: |_| Vec::new(),
        token,
        keeps: |_| None,
    };
    // Tokens that are stored, and names of nothing signed.
    let stored: ReadToken = |_, _, _, _| Presented::Other;
    vec![
        protocol(pusher::DIALECT, |_| pusher::default_open(), stored),
        protocol(ably::DIALECT, |_| Vec::new(), ably::READ_TOKEN),
        ProtocolSpec {
            opens_beside: pubnub::opens_beside,
            ..protocol(pubnub::DIALECT, pubnub::default_open, pubnub::READ_TOKEN)
        },
        ProtocolSpec {
            keeps: realtime::keeps,
            ..protocol(realtime::DIALECT, realtime::default_open, stored)
        },
    ]
}

fn spec(name: &'static str, kind: SettingKind, default: u64) -> SettingSpec {
    SettingSpec {
        name,
        kind,
        operators_only: false,
        hands_on: HandsOn::Nothing,
        by_namespace: limits::BY_NAMESPACE.iter().any(|one| one.name == name),
        default,
    }
}

fn number(setting: limits::Setting) -> SettingSpec {
    spec(setting.name, SettingKind::Number, setting.default)
}

fn switch(setting: limits::Setting) -> SettingSpec {
    spec(setting.name, SettingKind::Switch, setting.default)
}

/// Those that take or give more than a limit does.
fn special() -> [SettingSpec; 4] {
    [
        SettingSpec {
            // Whoever subscribes is told how many do.
            hands_on: HandsOn::On(Operations::METADATA),
            ..switch(SUBSCRIPTION_COUNT)
        },
        SettingSpec {
            // What the app opens to everybody reaches also whoever was blocked a moment ago.
            hands_on: HandsOn::On(Operations::CLIENT),
            ..switch(limits::OPEN_WHILE_STALE)
        },
        SettingSpec {
            // Of every channel they tell what is said by clients, and who is there.
            hands_on: HandsOn::Given(
                Operations::SUBSCRIBE | Operations::PRESENCE_READ | Operations::METADATA,
            ),
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
    ]
}

fn settings() -> Vec<SettingSpec> {
    let own = [
        limits::SUBSCRIPTIONS_PER_CONNECTION,
        limits::CONNECTIONS_PER_NODE,
        limits::OUTBOX_BYTES,
        limits::HISTORY_MESSAGES,
        limits::HISTORY_MS,
        limits::PRESENCE_CLIENTS,
        limits::HISTORY_BYTES,
        limits::SHORTEST_TOKEN_BYTES,
    ];
    let numbers = own
        .into_iter()
        .chain(pusher::limits::NUMBERS)
        .chain(ably::limits::NUMBERS)
        .chain(realtime::limits::NUMBERS)
        .chain(pubnub::limits::NUMBERS);
    let switches = [limits::WILDCARDS]
        .into_iter()
        .chain(pusher::limits::SWITCHES)
        .chain(realtime::limits::SWITCHES)
        .chain(pubnub::limits::SWITCHES);
    numbers
        .map(number)
        .chain(switches.map(switch))
        .chain(special())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::native::app::{AppIn, env};
    use crate::adapters::native::mint::Mint;
    use crate::core::authority::{App, AppChange, AppId, Capability, Resource, SettingValue, Text};
    use serde_json::{Value, json};

    /// The protocols of an app that is asked for so, and the names in the environment that its maker gets.
    fn made(body: Value) -> (Vec<String>, Vec<String>) {
        let asked: AppIn = serde_json::from_value(body).unwrap();
        let spec = asked.spec(&catalog(), &mut Mint::random()).ok().unwrap();
        let app = App {
            id: spec.id,
            name: spec.name,
            enabled: true,
            protocols: spec.protocols,
            open: spec.open,
            settings: spec.settings,
            aliases: spec.aliases,
            revision: 1,
        };
        let env = env(&app, spec.keys.first().unwrap());
        let filled = env.as_object().unwrap().iter();
        let filled =
            filled.filter(|(_, value)| value.as_str().is_some_and(|text| !text.is_empty()));
        let protocols = app.protocols.iter().map(|one| one.name.to_string());
        (
            protocols.collect(),
            filled.map(|(name, _)| name.clone()).collect(),
        )
    }

    #[test]
    fn an_app_speaks_every_dialect_unless_it_says_which_and_gets_credentials_for_those_only() {
        let (protocols, all) = made(json!({}));
        assert_eq!(protocols, ["pusher", "ably", "pubnub", "realtime"]);
        let ours = ["GATECAST_APP_ID", "GATECAST_KEY"];
        assert_eq!(
            made(json!({"protocols": []})),
            (vec![], ours.map(String::from).into())
        );
        let mut together = Vec::from(ours.map(String::from));
        for protocol in &protocols {
            let (only, env) = made(json!({"protocols": [protocol]}));
            assert_eq!(only, [protocol.as_str()]);
            let (of, rest): (Vec<_>, Vec<_>) = env
                .into_iter()
                .partition(|name| name.starts_with(&protocol.to_uppercase()));
            assert!(!of.is_empty(), "nothing for {protocol}");
            assert_eq!(rest, ours, "with {protocol} alone");
            together.extend(of);
        }
        together.sort();
        assert_eq!(all, together);
    }

    fn app(protocols: &[&str], settings: &[(&'static str, bool)]) -> App {
        let settings: Settings = settings
            .iter()
            .map(|(name, on)| (Text::from(*name), SettingValue::Bool(*on)))
            .collect();
        App {
            id: AppId(1),
            name: "a".into(),
            enabled: true,
            protocols: catalog().protocols(protocols, &settings).unwrap(),
            open: Vec::new(),
            settings,
            aliases: Vec::new(),
            revision: 1,
        }
    }

    fn handed_on(before: &App, change: &AppChange) -> Vec<(Resource, Operations)> {
        let Capability { rights } = catalog().hands_on(before, change);
        let of = |right: &crate::core::authority::Right| (right.resource, right.operations);
        rights.iter().map(of).collect()
    }

    fn set(name: &str, value: Option<bool>) -> AppChange {
        AppChange {
            settings: [(name.into(), value.map(SettingValue::Bool))].into(),
            ..AppChange::default()
        }
    }

    #[test]
    fn what_outlives_a_block_is_handed_on_by_whoever_has_it() {
        let name = limits::OPEN_WHILE_STALE.name;
        let (off, on) = (app(&["pusher"], &[]), app(&["pusher"], &[(name, true)]));
        let all = [(Resource::Channel, Operations::CLIENT)];
        assert_eq!(handed_on(&off, &set(name, Some(true))), all);
        assert_eq!(handed_on(&on, &set(name, Some(true))), [], "it is so");
        for less in [Some(false), None] {
            assert_eq!(handed_on(&on, &set(name, less)), []);
        }
    }

    #[test]
    fn an_access_manager_that_is_switched_off_opens_more_than_channels() {
        let name = pubnub::limits::ACCESS_MANAGER.name;
        let both = [
            (Resource::Group, Operations::CLIENT),
            (Resource::User, Operations::CLIENT),
        ];
        let alone = app(&["pubnub"], &[]);
        assert_eq!(handed_on(&alone, &set(name, Some(false))), both);
        // Beside another protocol it opens nothing, until that one goes.
        let beside = app(&["pubnub", "ably"], &[]);
        assert_eq!(handed_on(&beside, &set(name, Some(false))), []);
        let waiting = app(&["pubnub", "ably"], &[(name, false)]);
        let closing = AppChange {
            protocols: Some(app(&["pubnub"], &[]).protocols),
            ..AppChange::default()
        };
        assert_eq!(handed_on(&waiting, &closing), both);
        let open = app(&["pubnub"], &[(name, false)]);
        assert_eq!(handed_on(&open, &set(name, None)), []);
        assert_eq!(handed_on(&open, &closing), [], "it was open before");
    }
}
