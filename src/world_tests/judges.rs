//! What must hold of a whole history, by what clients could see.

use super::client::Seen;
use super::history::{Outcome, Sight};
use super::rights::Kind;
use super::world::World;
use crate::core::ids::Space;
use std::collections::{BTreeMap, BTreeSet};

/// Where a message stands: channel, epoch, number.
type Place = (usize, u64, u64);

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// Whoever wants a channel is subscribed to it, once everything is mended.
    Comes,
    /// What is published through any node once everything is mended is acknowledged.
    Answered,
    /// What was acknowledged is received, or the client is told that something is missing.
    Complete,
    /// The same for those who may get a message again: they get it at least once.
    AtLeastOnce,
    Once,
    /// All see one order.
    Order,
    /// One node orders at a time.
    OneOrderer,
    /// What was acknowledged is in the stream that follows.
    Kept,
    /// Who is there is seen by all who look.
    Presence,
    /// What a client was told fits what it was told before.
    Told,
    /// Listings count who is subscribed.
    Counts,
    /// Lifecycle events alternate, and end with the truth.
    Lifecycle,
    /// What was published after a right was gone for good reaches nobody who had it.
    Revoked,
    /// What was granted works at once.
    Granted,
    /// What was published as one stands as one, or not at all.
    Whole,
    /// Who is online is seen by all who watch.
    Watched,
}

/// What is broken, in a sentence.
pub(crate) type Broken = (Promise, String);

/// A time in which a client believes that it misses nothing.
#[derive(Debug, Default)]
struct Span {
    /// Since when, in the order of everything.
    begun: u64,
    /// It goes on at the end.
    open: bool,
    got: Vec<(u64, String)>,
}

/// The spans of one client: they end with a signal, and with a socket that is not carried on without a gap.
fn spans(sights: &[(u64, Sight)]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut current: Option<Span> = None;
    for (at, sight) in sights {
        match sight {
            Sight::Seen(Seen::Stands(true)) if current.is_some() => {}
            Sight::Seen(Seen::Stands(_)) => {
                spans.extend(current.take());
                current = Some(Span {
                    begun: *at,
                    ..Span::default()
                });
            }
            Sight::Seen(Seen::Ended | Seen::GaveUp) => spans.extend(current.take()),
            Sight::Seen(Seen::Got(text)) => {
                if let Some(span) = &mut current {
                    span.got.push((*at, text.clone()));
                }
            }
            Sight::Seen(_) | Sight::Opened | Sight::Closed => {}
        }
    }
    if let Some(span) = &mut current {
        let closed = sights.iter().rposition(|(_, one)| *one == Sight::Closed);
        let stood = sights
            .iter()
            .rposition(|(_, one)| matches!(one, Sight::Seen(Seen::Stands(_))));
        span.open = closed < stood;
    }
    spans.extend(current);
    spans
}

impl World {
    /// What is broken in this history, in sentences.
    pub(crate) fn judge_all(&mut self) -> Vec<Broken> {
        let forks = std::mem::take(&mut self.history.broken).into_iter();
        let mut broken: Vec<Broken> = forks.map(|what| (Promise::OneOrderer, what)).collect();
        let refused = std::mem::take(&mut self.history.refused).into_iter();
        broken.extend(refused.map(|what| (Promise::Granted, what)));
        let (places, wild_places) = (self.places(), self.wild_places());
        let mut orders = Vec::new();
        for (number, sights) in &self.history.sights {
            let client = &self.clients[*number];
            let who = format!("client {number} ({})", self.dialects[client.dialect].name());
            if !client.away && !self.stands(*number) {
                broken.push((
                    Promise::Comes,
                    format!("{who} is not subscribed at the end"),
                ));
            }
            let wrong = sights.iter().filter_map(|(_, sight)| match sight {
                Sight::Seen(Seen::Wrong(what)) => {
                    Some((Promise::Told, format!("{who} was told {what}")))
                }
                Sight::Seen(_) | Sight::Opened | Sight::Closed => None,
            });
            broken.extend(wrong);
            self.judge_rights(&who, *number, sights, &mut broken);
            // Whoever stays away does not come for what it has let pass.
            let owed = match client.at {
                Some(_) => BTreeSet::new(),
                None => client.model.owed(),
            };
            for mut span in spans(sights) {
                let model = &client.model;
                span.got
                    .extend(owed.iter().map(|text| (u64::MAX, text.clone())));
                let about = (client.channel, model.may_repeat(), model.is_silent());
                let places = match client.wild {
                    true => &wild_places,
                    false => &places,
                };
                self.judge_span(&who, about, &span, places, &mut broken);
                if !client.model.may_repeat() {
                    orders.push((who.clone(), client.channel, span));
                }
            }
        }
        self.judge_order(&orders, &places, &mut broken);
        self.judge_last_words(&mut broken);
        self.judge_homes(&mut broken);
        self.judge_kept(&mut broken);
        self.judge_batches(&mut broken);
        self.judge_watchlists(&mut broken);
        self.judge_presence(&mut broken);
        self.judge_lifecycle(&mut broken);
        broken
    }

    /// Whether a text has come to stand in the streams of two epochs.
    fn stands_twice(&self, text: &str) -> bool {
        let places = self.history.stamps.iter();
        let its = places.filter(|(_, own)| *own == text);
        let epochs: BTreeSet<u64> = its.map(|((_, epoch, _), _)| *epoch).collect();
        epochs.len() > 1
    }

    /// Where each text stands.
    fn places(&self) -> BTreeMap<&str, Place> {
        let stamps = self.history.stamps.iter();
        stamps
            .map(|(place, text)| (text.as_str(), *place))
            .collect()
    }

    /// The same of the wildcards: a message is repeated there in an order of their own. What was repeated twice has no
    /// place that its reader would have to have seen.
    fn wild_places(&self) -> BTreeMap<&str, Place> {
        let wild = |channel: usize| self.keys[channel].space == Space::Wildcard;
        let mut places: BTreeMap<&str, Vec<Place>> = BTreeMap::new();
        for (place, text) in self.history.aside.iter().filter(|(one, _)| wild(one.0)) {
            places.entry(text).or_default().push(*place);
        }
        let once = places.into_iter().filter(|(_, all)| all.len() == 1);
        once.map(|(text, all)| (text, all[0])).collect()
    }

    /// A subscription that stood on a right which was taken shows nothing that was published after the taking had
    /// returned; nor does any other, before the right is given back. Then whoever goes by a place in time reads the past,
    /// as its dialect's page says, and a subscription that was asked for before and is answered after stands on the new right.
    fn judge_rights(
        &self,
        who: &str,
        number: usize,
        sights: &[(u64, Sight)],
        broken: &mut Vec<Broken>,
    ) {
        let model = &self.clients[number].model;
        for (at, write) in self.history.writes.iter().enumerate() {
            let shut = write.kind == Kind::Shut;
            let concerns = write.kind == Kind::Revoke || shut && model.needs_open();
            let Some(returned) = write.returned.filter(|_| concerns) else {
                continue;
            };
            let mut later = self.history.writes[at..].iter();
            let open = later.find(|one| one.kind == Kind::Open && shut);
            let dark = returned..open.map_or(u64::MAX, |one| one.asked);
            let mut stood = 0;
            for (order, sight) in sights {
                match sight {
                    Sight::Opened | Sight::Seen(Seen::Stands(_)) => stood = *order,
                    Sight::Seen(Seen::Got(text)) if write.asked < *order => {
                        let published = self.history.of(text).map_or(0, |one| one.at);
                        let outlived = stood < write.asked && !(shut && model.is_silent());
                        let early = shut && *order < dark.end;
                        if dark.contains(&published) && (outlived || early) {
                            let what = format!(
                                "{who} got {text}, published after write {at} had returned"
                            );
                            broken.push((Promise::Revoked, what));
                        }
                    }
                    Sight::Seen(_) | Sight::Closed => {}
                }
            }
        }
    }

    fn judge_span(
        &self,
        who: &str,
        (channel, repeats, silent): (usize, bool, bool),
        span: &Span,
        places: &BTreeMap<&str, Place>,
        broken: &mut Vec<Broken>,
    ) {
        let complete = match repeats {
            true => Promise::AtLeastOnce,
            false => Promise::Complete,
        };
        let mut seen = BTreeSet::new();
        for (_, text) in &span.got {
            // What was asked for again after a stream was lost stands in the next one too, and who is told of no epochs
            // cannot be told that it does.
            let twice = !seen.insert(text.as_str()) && !repeats;
            if twice && !(silent && self.stands_twice(text)) {
                broken.push((Promise::Once, format!("{who} got {text} twice")));
            }
        }
        for (number, asked) in self.history.asked.iter().enumerate() {
            let text = format!("m{number}");
            if !asked.is_acknowledged() || asked.channel != channel || seen.contains(text.as_str())
            {
                continue;
            }
            // Its dialect has no word for what was lost with every node that held it.
            if silent && self.history.lost.contains(&number) {
                continue;
            }
            if span.open && asked.at > span.begun {
                broken.push((
                    complete,
                    format!("{who} never got {text}, which was acknowledged"),
                ));
                continue;
            }
            // Also where it went on later: what lies between two that it got was there to be got.
            let Some((_, epoch, seq)) = places.get(text.as_str()) else {
                continue;
            };
            // What was asked for again after a stream was lost stands in the next one too, and it is not known which was got.
            let once = |text: &&&str| !self.stands_twice(text);
            let its = seen.iter().filter(once).filter_map(|text| places.get(text));
            let of_epoch: Vec<u64> = its.filter(|one| one.1 == *epoch).map(|one| one.2).collect();
            let (first, last) = (of_epoch.iter().min(), of_epoch.iter().max());
            if first.is_some_and(|first| first < seq) && last.is_some_and(|last| seq < last) {
                broken.push((
                    complete,
                    format!("{who} has a hole where {text} stands, and no signal"),
                ));
            }
        }
    }

    /// What the homes say at the end is the truth.
    fn judge_homes(&self, broken: &mut Vec<Broken>) {
        for channel in 0..self.channels {
            let replicas = self.running.values().filter_map(|at| {
                let actor = self.processes[*at].channels.get(&channel)?;
                let replica = actor.replica.as_ref()?;
                replica
                    .is_home()
                    .then_some((self.processes[*at].node, replica))
            });
            let homes: Vec<_> = replicas.collect();
            let wanted = self.clients.iter().filter(|one| one.subscribes(channel));
            let subscribers = wanted.count() as u64;
            match homes.as_slice() {
                [] if subscribers == 0 => {}
                [(node, home)] => {
                    let counted = home.occupancy().unwrap_or_default().subscribers;
                    if counted != subscribers {
                        broken.push((
                            Promise::Counts,
                            format!(
                                "home {node} of channel {channel} counts {counted} of {subscribers}"
                            ),
                        ));
                    }
                    self.judge_history(channel, home, broken);
                }
                other => {
                    let nodes: Vec<_> = other.iter().map(|(node, _)| node).collect();
                    broken.push((
                        Promise::Counts,
                        format!("the homes of channel {channel} are {nodes:?}"),
                    ));
                }
            }
        }
    }

    /// Who can see the presence set sees who is there.
    fn judge_presence(&self, broken: &mut Vec<Broken>) {
        for channel in 0..self.channels {
            let here = self.clients.iter().filter(|one| one.channel == channel);
            let there: BTreeSet<String> = here
                .clone()
                .filter(|one| one.at.is_some())
                .filter_map(|one| one.model.is())
                .collect();
            for (number, client) in self.clients.iter().enumerate() {
                let sees = client.model.present().filter(|_| client.at.is_some());
                if let Some(sees) = sees.filter(|_| client.channel == channel)
                    && sees != there
                {
                    let name = self.dialects[client.dialect].name();
                    broken.push((
                        Promise::Presence,
                        format!("client {number} ({name}) sees {sees:?}, there are {there:?}"),
                    ));
                }
            }
        }
    }

    /// What was acknowledged is in the stream that follows, or a new epoch says that it is not.
    fn judge_history(
        &self,
        channel: usize,
        home: &crate::core::channel::replica::Replica,
        broken: &mut Vec<Broken>,
    ) {
        let history = home.home_history();
        let epoch = home.home_view().map(|(_, epoch)| epoch);
        let first = history.first().map_or(u64::MAX, |one| one.position.seq);
        for (number, asked) in self.history.asked.iter().enumerate() {
            let Outcome::Stamped(place) = asked.outcome else {
                continue;
            };
            let kept = asked.channel == channel && Some(place.epoch) == epoch && place.seq >= first;
            if kept && !history.iter().any(|one| one.position == place) {
                broken.push((
                    Promise::Kept,
                    format!("m{number}, acknowledged at {place:?}, is not in the history"),
                ));
            }
            let text = format!("m{number}");
            let other = history.iter().find(|one| one.position == place);
            if kept && other.is_some_and(|one| *one.draft.data != *text.as_bytes()) {
                broken.push((
                    Promise::OneOrderer,
                    format!("m{number} was acknowledged at {place:?}, where another stands"),
                ));
            }
        }
    }

    /// Everybody sees the messages of a stream in the order in which they stand in it.
    fn judge_order(
        &self,
        spans: &[(String, usize, Span)],
        places: &BTreeMap<&str, Place>,
        broken: &mut Vec<Broken>,
    ) {
        for (who, channel, span) in spans {
            let mut last: BTreeMap<u64, (u64, &str)> = BTreeMap::new();
            for (_, text) in &span.got {
                // What stands in two streams may have been got from either.
                let place = places
                    .get(text.as_str())
                    .filter(|_| !self.stands_twice(text));
                let Some((_, epoch, seq)) = place else {
                    continue;
                };
                let before = last.insert(*epoch, (*seq, text));
                if let Some((_, other)) = before.filter(|(before, _)| before > seq) {
                    let what = format!(
                        "{who} got {other} of channel {channel} before {text}, which stands before it"
                    );
                    broken.push((Promise::Order, what));
                }
            }
        }
    }

    fn judge_last_words(&self, broken: &mut Vec<Broken>) {
        let asked = &self.history.asked[self.history.last_words..];
        let from = self.history.last_words;
        for (number, one) in asked.iter().enumerate() {
            if one.answered.is_none() || !one.is_acknowledged() {
                let (text, channel) = (self.history.text((from + number) as u64), one.channel);
                let what = format!(
                    "{text} on {channel} was asked for when all was mended: {:?}",
                    one.outcome
                );
                broken.push((Promise::Answered, what));
            }
        }
    }
}
