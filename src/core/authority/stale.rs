//! What goes on while this node's view is past its lease: nothing, unless an app has asked for its open channels.
//!
//! **Why only what an app rule opens:** a right that somebody was given can be taken from her, and a node that cannot
//! hear of it must not act on it; what is open to anyone concerns nobody.

use super::facade::Authority;
use crate::core::access::{AppId, Decision, Operations, Principal, Question, Rule};
use crate::core::ids::{ChannelKey, Space};
use crate::core::limits::OPEN_WHILE_STALE;
use gatecast_cluster::access::decide;

impl Authority {
    /// Whether connections of this app may stay while the lease is over.
    #[must_use]
    pub fn stays_while_stale(&self, app: AppId) -> bool {
        let view = self.view();
        let app = view.apps.get(&app);
        app.is_some_and(|app| app.enabled && OPEN_WHILE_STALE.on(app))
    }

    /// Whether broadcasts of this channel may be delivered while the lease is over.
    #[must_use]
    pub fn flows_while_stale(&self, key: &ChannelKey) -> bool {
        if key.space != Space::Channel || !self.stays_while_stale(key.app) {
            return false;
        }
        let view = self.view();
        let anyone = Principal::anonymous(key.app, None, view.revision);
        let question = Question {
            principal: &anyone,
            proof: None,
            speaks_for: None,
            resource: crate::core::access::Resource::Channel,
            name: &key.name,
            operations: Operations::SUBSCRIBE,
            now_ms: self.now().cluster_ms,
        };
        matches!(decide(&view, &question), Decision::Allow(Rule::Open(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::state_after;
    use super::super::{AppSpec, Command, OpenRule, Pattern, SettingValue};
    use super::*;

    fn authority(on: Option<bool>) -> Authority {
        let setting = on.map(|on| (OPEN_WHILE_STALE.name.into(), SettingValue::Bool(on)));
        let app = AppSpec {
            id: AppId(1),
            name: "a".into(),
            protocols: Vec::new(),
            open: vec![OpenRule {
                pattern: Pattern::Prefix("public-".into()),
                operations: Operations::SUBSCRIBE,
            }],
            settings: setting.into_iter().collect(),
            aliases: Vec::new(),
            keys: Vec::new(),
        };
        Authority::fixed(state_after(&[Command::CreateApp(app)], 5), 5)
    }

    #[test]
    fn only_what_an_app_rule_opens_flows_and_only_where_the_app_says_so() {
        let open = ChannelKey::channel(AppId(1), "public-x");
        let closed = ChannelKey::channel(AppId(1), "private-x");
        for off in [None, Some(false)] {
            assert!(!authority(off).flows_while_stale(&open));
        }
        let on = authority(Some(true));
        assert!(on.flows_while_stale(&open) && on.stays_while_stale(AppId(1)));
        assert!(!on.flows_while_stale(&closed));
        assert!(!on.flows_while_stale(&ChannelKey::user(AppId(1), "public-x")));
        assert!(!on.flows_while_stale(&ChannelKey::channel(AppId(2), "public-x")));
    }
}
