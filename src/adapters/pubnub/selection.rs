//! What a request subscribes to: names, the channels behind them, and the rights that are asked for.
//!
//! **Must never know:** cursors, how anything is delivered.

use super::admit::{Caller, claim};
use super::groups;
use super::names::{self, split};
use crate::core::authority::{Operations, Pass, Resource};
use crate::core::broker::Broker;
use crate::core::connection::Start;
use crate::core::ids::{ChannelKey, Text};
use crate::core::message::Broadcast;
use crate::core::polling::{Claim, Item, Want};
use std::collections::HashMap;
use std::sync::Arc;

/// One way a channel's broadcasts reach the subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The subscription, as the client spelt it.
    pub(super) matched: Text,
    /// Its presence events, not its messages.
    pub(super) presence: bool,
}

/// What a request subscribes to.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// By channel.
    pub(super) ways: HashMap<Arc<ChannelKey>, Vec<Way>>,
    /// Names to be judged; those of one channel stand in `of`.
    pub(super) claims: Vec<Claim>,
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
            selection
                .claims
                .push(claim(Resource::Channel, name, Operations::SUBSCRIBE));
            let at = selection.claims.len() - 1;
            selection.add(ChannelKey::channel(app, base), name, presence, at);
        }
        let view = broker.authority.view();
        for name in groups {
            let (base, presence) = split(name);
            selection
                .claims
                .push(claim(Resource::Group, name, Operations::SUBSCRIBE));
            let at = selection.claims.len() - 1;
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

    fn add(&mut self, key: Arc<ChannelKey>, matched: &Text, presence: bool, at: usize) {
        let ways = self.ways.entry(key.clone()).or_default();
        if !ways.iter().any(|way| way.presence == presence) {
            let matched = matched.clone();
            ways.push(Way { matched, presence });
        }
        self.of.entry(key).or_default().push(at);
    }

    /// What to be attached to, by the passes of the claims.
    pub(super) fn wants(&self, passes: &[Pass], start: Start) -> Vec<Want> {
        let want = |(key, at): (&Arc<ChannelKey>, &Vec<usize>)| {
            let pass = at.iter().find_map(|at| passes.get(*at))?;
            let claims = at.iter().filter_map(|at| self.claims.get(*at));
            Some(Want {
                channel: key.clone(),
                claims: claims.cloned().collect(),
                pass: pass.clone(),
                start,
            })
        };
        self.of.iter().filter_map(want).collect()
    }

    /// The way a broadcast takes, if any.
    pub(super) fn way(&self, item: &Item) -> Option<&Way> {
        let presence = matches!(item.broadcast, Broadcast::Presence(_));
        let ways = self.ways.get(&item.channel)?;
        ways.iter().find(|way| way.presence == presence)
    }

    /// The channels whose presence the subscriber is part of.
    pub(super) fn attended(&self) -> Vec<Arc<ChannelKey>> {
        let ways = self.ways.iter();
        let messages = ways.filter(|(_, ways)| ways.iter().any(|way| !way.presence));
        messages.map(|(key, _)| key.clone()).collect()
    }
}

/// What a subscription to just that would be called.
pub(super) fn of_channel(item: &Item, way: &Way) -> Text {
    match way.presence {
        true => format!("{}{}", item.channel.name, names::PRESENCE).into(),
        false => item.channel.name.clone(),
    }
}
