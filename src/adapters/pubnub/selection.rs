//! What a request subscribes to: names, the channels behind them, and the rights that are asked for.

use super::admit::{Caller, requirement};
use super::envelope;
use super::groups;
use super::names::{self, split};
use super::outgoing::{Outgoing, What};
use crate::core::authority::{Operations, Pass, Resource};
use crate::core::broker::Broker;
use crate::core::channel::wildcard;
use crate::core::ids::{ChannelKey, Space, Text};
use crate::core::message::Broadcast;
use crate::core::polling::{Item, Requirement, Subscription};
use crate::core::session::Start;
use std::collections::HashMap;
use std::sync::Arc;

/// One way a channel's broadcasts reach the subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The subscription, as the client spelt it.
    pub(super) matched: Text,
    /// Its presence events, not its messages.
    pub(super) presence: bool,
}

/// What a request subscribes to.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// The routes of each channel.
    pub(super) routes: HashMap<Arc<ChannelKey>, Vec<Route>>,
    /// Names to be judged; those of one channel stand in `of`.
    pub(super) requirements: Vec<Requirement>,
    pub(super) of: HashMap<Arc<ChannelKey>, Vec<usize>>,
    /// The only item, if there is just one: it need not be named.
    pub(super) single: Option<Text>,
    /// Groups are among the names.
    pub(super) grouped: bool,
}

impl Selection {
    pub(super) fn of(broker: &Broker, caller: &Caller, channels: &[Text], groups: &[Text]) -> Self {
        let mut selection = Self::default();
        let app = caller.app.id;
        for name in channels {
            let (base, presence) = split(name);
            selection.requirements.push(requirement(
                Resource::Channel,
                name,
                Operations::SUBSCRIBE,
            ));
            let at = selection.requirements.len() - 1;
            selection.add(names::key(app, base), name, presence, at);
        }
        let view = broker.authority.view();
        for name in groups {
            let (base, presence) = split(name);
            selection
                .requirements
                .push(requirement(Resource::Group, name, Operations::SUBSCRIBE));
            let at = selection.requirements.len() - 1;
            for member in groups::members(&view, app, base) {
                selection.add(ChannelKey::channel(app, &member), name, presence, at);
            }
        }
        selection.grouped = !groups.is_empty();
        if let ([one], []) | ([], [one]) = (channels, groups) {
            selection.single = Some(one.clone());
        }
        selection
    }

    pub(super) fn add(&mut self, key: Arc<ChannelKey>, matched: &Text, presence: bool, at: usize) {
        let routes = self.routes.entry(key.clone()).or_default();
        if !routes.iter().any(|route| route.presence == presence) {
            let matched = matched.clone();
            routes.push(Route { matched, presence });
        }
        self.of.entry(key).or_default().push(at);
    }

    /// What to be attached to, by the passes of the requirements.
    pub(super) fn subscriptions(&self, passes: &[Pass], start: Start) -> Vec<Subscription> {
        let want = |(key, at): (&Arc<ChannelKey>, &Vec<usize>)| {
            let passes = at.iter().filter_map(|at| passes.get(*at));
            let pass = passes.cloned().reduce(|one, other| one.and(&other))?;
            let requirements = at.iter().filter_map(|at| self.requirements.get(*at));
            Some(Subscription {
                channel: key.clone(),
                requirements: requirements.cloned().collect(),
                pass,
                start,
            })
        };
        self.of.iter().filter_map(want).collect()
    }

    /// What of a broadcast is shown, if anything.
    pub(super) fn shown(&self, item: &Item) -> Option<Outgoing> {
        let wild = item.channel.space == Space::Wildcard;
        let repeated = match &item.broadcast {
            Broadcast::Message(one) if wild => Some(wildcard::repeats(one)?),
            Broadcast::Message(_) | Broadcast::Presence(_) | Broadcast::Count(_) => None,
        };
        let below = repeated.is_some();
        let (channel, broadcast) = match repeated {
            Some(one) => (one.channel, one.broadcast),
            None => (item.channel.name.clone(), item.broadcast.clone()),
        };
        let presence = match &broadcast {
            Broadcast::Message(_) => false,
            Broadcast::Presence(one) if envelope::is_told(one) => true,
            Broadcast::Presence(_) | Broadcast::Count(_) => return None,
        };
        let route = self.route(&item.channel, presence)?;
        if below && self.has_nearer(&item.channel, &channel, presence) {
            return None;
        }
        // A wildcard that is subscribed to itself is named for its presence too.
        let plain = self.route(&item.channel, false).filter(|_| wild);
        let matched = plain.unwrap_or(route).matched.clone();
        let what = What::Broadcast(broadcast);
        Some(Outgoing {
            channel,
            matched,
            below,
            what,
        })
    }

    /// Whether one cursor spans what several homes stamp.
    pub(super) fn is_several(&self) -> bool {
        self.routes.len() > 1 || self.has_wildcard()
    }

    /// Whether a wildcard is among the names.
    pub(super) fn has_wildcard(&self) -> bool {
        self.routes.keys().any(|key| key.space == Space::Wildcard)
    }

    fn route(&self, key: &ChannelKey, presence: bool) -> Option<&Route> {
        let routes = self.routes.get(key)?;
        routes.iter().find(|route| route.presence == presence)
    }

    /// Whether what a wildcard repeats of a channel comes by itself too, or through a longer wildcard.
    fn has_nearer(&self, through: &ChannelKey, channel: &str, presence: bool) -> bool {
        let key = ChannelKey::channel(through.app, channel);
        let mut longer = wildcard::parent_wildcards(&key).into_iter();
        self.route(&key, presence).is_some()
            || longer.any(|one| {
                one.name.len() > through.name.len() && self.route(&one, presence).is_some()
            })
    }

    /// The channels whose presence the subscriber is part of.
    pub(super) fn attended(&self) -> Vec<Arc<ChannelKey>> {
        let routes = self.routes.iter();
        let messages = routes.filter(|(_, routes)| routes.iter().any(|route| !route.presence));
        messages.map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::envelope::tests::{draft, publication};
    use super::*;
    use crate::core::authority::fixture::{allowing, judge};
    use crate::core::authority::{Authority, Principal};
    use crate::core::ids::AppId;
    use crate::core::message::ContentKind;

    const APP: AppId = AppId(1);

    fn selection(names: &[&str]) -> Selection {
        let mut selection = Selection::default();
        for (at, name) in names.iter().enumerate() {
            let (base, presence) = split(name);
            selection.add(names::key(APP, base), &(*name).into(), presence, at);
        }
        selection
    }

    /// What is published to a channel, as it comes through a wildcard.
    fn through(wild: &str, channel: &str) -> Item {
        let message = publication(draft("1", ContentKind::Json), 17);
        let draft = wildcard::repeated(channel, &message).unwrap();
        Item {
            channel: ChannelKey::wildcard(APP, wild),
            broadcast: publication(draft, 99),
        }
    }

    #[test]
    fn a_channel_of_two_names_is_wanted_while_both_allow_it() {
        let ends = |end: u16, revision| {
            let mut state = allowing(Operations::ALL, revision);
            state.version = end;
            let authority = Authority::fixed_by(state, 1, judge);
            let anyone = Principal::anonymous(APP, None, 1);
            let ask = requirement(Resource::Channel, "a", Operations::SUBSCRIBE);
            authority.decide(&anyone, None, ask.ask()).unwrap()
        };
        let wants =
            selection(&["a", "a-pnpres"]).subscriptions(&[ends(900, 7), ends(500, 8)], Start::Now);
        assert_eq!(wants.len(), 1);
        let pass = &wants.first().unwrap().pass;
        assert_eq!((pass.until_ms(), pass.revision()), (Some(500), 7));
    }

    #[test]
    fn what_comes_through_a_wildcard_shows_its_channel() {
        let shown = selection(&["a.*"]).shown(&through("a.*", "a.b.c")).unwrap();
        assert_eq!((&*shown.channel, &*shown.matched), ("a.b.c", "a.*"));
        assert!(shown.below && !shown.is_presence());
        let What::Broadcast(broadcast) = &shown.what else {
            unreachable!("a broadcast");
        };
        assert_eq!(crate::core::polling::stamp(broadcast), 17);
        assert!(
            selection(&["a.*-pnpres"])
                .shown(&through("a.*", "a.b"))
                .is_none()
        );
    }

    #[test]
    fn what_comes_twice_is_shown_once_by_its_nearest_name() {
        let all = selection(&["a.*", "a.b.*", "a.b.c", "a.d-pnpres"]);
        assert!(all.shown(&through("a.*", "a.b.c")).is_none());
        assert!(all.shown(&through("a.b.*", "a.b.c")).is_none());
        assert!(all.shown(&through("a.*", "a.b.d")).is_none());
        assert_eq!(
            &*all.shown(&through("a.b.*", "a.b.d")).unwrap().matched,
            "a.b.*"
        );
        assert!(
            all.shown(&through("a.*", "a.d")).is_some(),
            "only its presence is subscribed to"
        );
    }
}
