//! The table that native is handed: which dialects and settings apps can have. Adapters may not see each
//! other, so their parts are put together here.
//!
//! **Must never know:** what a setting does, or any dialect by name.

use crate::adapters::dialect::{Dialects, HandsOn, SettingSpec};
use crate::adapters::native::catalog::Catalog;
use crate::core::authority::Operations;
use crate::core::limits;
use crate::core::limits::SUBSCRIPTION_COUNT;

/// These dialects, and all settings: the core's and theirs.
#[must_use]
pub(super) fn catalog(dialects: Dialects) -> Catalog {
    let numbers = [
        limits::SUBSCRIPTIONS_PER_CONNECTION,
        limits::CONNECTIONS_PER_NODE,
        limits::OUTBOX_BYTES,
        limits::HISTORY_MESSAGES,
        limits::HISTORY_MS,
        limits::PRESENCE_CLIENTS,
        limits::HISTORY_BYTES,
        limits::DEAD_LETTERS,
        limits::SHORTEST_TOKEN_BYTES,
    ];
    let switches = [
        SettingSpec::switch(limits::WILDCARDS),
        SettingSpec {
            operators_only: true,
            ..SettingSpec::switch(limits::PROVIDER_PRIVATE_TARGETS)
        },
        SettingSpec {
            // Whoever subscribes is told how many do.
            hands_on: HandsOn::On(Operations::METADATA),
            ..SettingSpec::switch(SUBSCRIPTION_COUNT)
        },
        SettingSpec {
            // What the app opens to everybody reaches also whoever was blocked a moment ago.
            hands_on: HandsOn::On(Operations::CLIENT),
            ..SettingSpec::switch(limits::OPEN_WHILE_STALE)
        },
        SettingSpec {
            // Whoever is kept out by the id of a presence entry comes back by it: as if every block were lifted.
            hands_on: HandsOn::Off(Operations::REVOKE),
            ..SettingSpec::switch(limits::PRESENCE_IS_USER)
        },
    ];
    let own = numbers.into_iter().map(SettingSpec::number);
    Catalog {
        dialects,
        settings: own
            .chain(switches)
            .chain(dialects.iter().flat_map(|dialect| dialect.settings()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::ALL;
    use crate::adapters::dialect::Settings;
    use crate::adapters::native::app::{AppIn, env};
    use crate::adapters::native::id_source::IdSource;
    use crate::core::authority::{App, AppChange, AppId, Capability, Resource, SettingValue, Text};
    use serde_json::{Value, json};

    /// The protocols of an app that is asked for so, and the names in the environment that its maker gets.
    fn made(body: Value) -> (Vec<String>, Vec<String>) {
        let asked: AppIn = serde_json::from_value(body).unwrap();
        let spec = asked
            .spec(&catalog(ALL), &mut IdSource::random())
            .ok()
            .unwrap();
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
        let env = env(ALL, &app, spec.keys.first().unwrap());
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
            protocols: catalog(ALL).protocols(protocols, &settings).unwrap(),
            open: Vec::new(),
            settings,
            aliases: Vec::new(),
            revision: 1,
        }
    }

    fn handed_on(before: &App, change: &AppChange) -> Vec<(Resource, Operations)> {
        let Capability { rights } = catalog(ALL).hands_on(before, change);
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
    fn presence_ids_are_freed_of_blocks_by_whoever_may_lift_them() {
        let name = limits::PRESENCE_IS_USER.name;
        let (on, off) = (app(&["pusher"], &[]), app(&["pusher"], &[(name, false)]));
        let all = [(Resource::Channel, Operations::REVOKE)];
        assert_eq!(handed_on(&on, &set(name, Some(false))), all);
        assert_eq!(handed_on(&off, &set(name, Some(false))), [], "it is so");
        for more in [Some(true), None] {
            assert_eq!(handed_on(&off, &set(name, more)), []);
        }
    }

    #[test]
    fn an_access_manager_that_is_switched_off_opens_more_than_channels() {
        let name = "pubnub_access_manager";
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
