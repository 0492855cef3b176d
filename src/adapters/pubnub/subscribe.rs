//! Subscribing: a long poll with a cursor.
//!
//! **Why the first answer is empty and early:** it carries the cursor, and the client's own join must come after it.

use super::admit::{self, Caller, Ctx, is_open, requirement};
use super::codes::{Fault, answer};
use super::cursor::Cursor;
use super::envelope::Place;
use super::filter::Filter;
use super::names::{self, distinct, split};
use super::outgoing::{self, Outgoing, What};
use super::presence_leases::{Guest, Heartbeat};
use super::selection::Selection;
use super::{DIALECT, PubNub, limits, presence_interval, query, sessions, wildcard};
use crate::core::authority::{AppId, Millis, Operations, Pass, Principal, Resource};
use crate::core::broker::Broker;
use crate::core::filters::Shared;
use crate::core::ids::{ChannelKey, Text, Timetoken};
use crate::core::message::Broadcast;
use crate::core::polling::{Ended, Item, stamp};
use crate::core::refusals::Rule;
use crate::core::session::Start;
use crate::transport::longpoll::{self, PollGuard};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for channels to answer a join.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How far the first cursor lies back: homes' clocks may be behind this node's, ticks.
const FIRST_OVERLAP_TICKS: Timetoken = 50 * 10_000;
/// Seconds of silence after which a client counts as gone.
const HEARTBEAT_S: u64 = 300;

/// Which generation of the call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Version 2, with envelopes.
    Two,
    /// Bare payloads and a list of channels; the cursor is in the path.
    One(Timetoken),
}

/// Everything a request carries along while it waits.
struct Wait {
    app: AppId,
    node: web::Data<PubNub>,
    broker: web::Data<Broker>,
    selection: Selection,
    filter: Option<Arc<Shared<Filter>>>,
    version: Version,
    cursor: Timetoken,
    guest: Guest,
    key: String,
    hold_ms: Millis,
    heartbeat_s: u64,
    announce_max: u64,
    interval_ms: Millis,
}

/// A subscribe that only has to be waited for.
pub(super) struct Begun {
    wait: Wait,
    guard: PollGuard,
    heartbeats: Vec<(Heartbeat, Pass)>,
}

impl Begun {
    /// Waits, and answers.
    pub(super) async fn answer(self) -> Result<HttpResponse, Fault> {
        self.wait.run(self.guard, self.heartbeats).await
    }
}

/// Judges it, and attaches it to its channels.
pub(super) async fn begin(
    http: &HttpRequest,
    node: web::Data<PubNub>,
    broker: web::Data<Broker>,
    caller: Caller,
    ctx: &Ctx<'_>,
    (channels, version): (&str, Version),
) -> Result<Begun, Fault> {
    let channels = query::path_list(channels).ok_or_else(|| Fault::bad("Invalid channel"))?;
    let channels = distinct(channels.iter().map(String::as_str));
    let groups = distinct(ctx.query.list("channel-group").into_iter());
    check(&caller, &channels, &groups)?;
    let cursor = match version {
        Version::Two => Cursor::of(ctx)?,
        Version::One(timetoken) => Cursor { timetoken },
    };
    let filter = match ctx.query.given("filter-expr") {
        Some(text) => {
            let none = || Fault::bad("Invalid filter expression");
            let read = |text: &str| Filter::parse(text).ok_or_else(none);
            Some(node.filters.of(text, read)?)
        }
        None => None,
    };
    let selection = Selection::of(&broker, &caller, &channels, &groups);
    let passes = passes(&broker, &caller, &selection).await?;
    if selection.has_wildcard() {
        wildcard::switch_on(&broker.authority, &caller.app).await?;
    }
    let states = states(ctx.query.get("state"));
    let key = super::SUBSCRIBE_KEY.of(&caller.app).to_owned();
    let wait = Wait {
        app: caller.app.id,
        hold_ms: caller.limit(limits::HOLD_MS),
        heartbeat_s: heartbeat(ctx),
        announce_max: caller.limit(limits::ANNOUNCE_MAX),
        interval_ms: caller.limit(limits::INTERVAL_MS),
        guest: caller.guest(),
        cursor: cursor.timetoken,
        node,
        broker,
        selection,
        filter,
        version,
        key,
    };
    let guard = wait.open(http, caller, cursor, &passes)?;
    let heartbeats = wait.heartbeats(&states, &passes);
    Ok(Begun {
        wait,
        guard,
        heartbeats,
    })
}

fn check(caller: &Caller, channels: &[Text], groups: &[Text]) -> Result<(), Fault> {
    let all = channels.len() + groups.len();
    if all == 0 || all as u64 > caller.limit(limits::NAMES_PER_REQUEST) {
        return Err(Fault::bad("Invalid number of channels"));
    }
    let max = caller.limit(limits::NAME_CHARACTERS);
    for name in channels.iter().chain(groups) {
        let wild = names::is_valid_wildcard(split(name).0, max) && channels.contains(name);
        if !wild && !names::is_valid(name, max) {
            return Err(Fault::bad("Invalid channel name").because(Rule::ChannelName));
        }
    }
    Ok(())
}

/// The rights to all names. Where an app asks for no grants, a group opens what its channels open.
async fn passes(
    broker: &Broker,
    caller: &Caller,
    selection: &Selection,
) -> Result<Vec<Pass>, Fault> {
    let mut requirements = selection.requirements.clone();
    if is_open(&caller.app) {
        for requirement in &mut requirements {
            requirement.resource = Resource::Channel;
        }
    }
    let wants = Operations::PRESENCE;
    caller.allow(&broker.authority, &requirements, wants).await
}

pub(super) fn heartbeat(ctx: &Ctx<'_>) -> u64 {
    let given = ctx.query.number("heartbeat");
    given.unwrap_or(HEARTBEAT_S).clamp(5, 3_600)
}

/// State by channel, as `state` carries it.
pub(super) fn states(text: Option<&str>) -> HashMap<String, Bytes> {
    let states: Option<serde_json::Map<String, Value>> =
        text.and_then(|text| serde_json::from_str(text).ok());
    let states = states.unwrap_or_default().into_iter();
    let objects = states.filter(|(_, state)| state.is_object());
    objects
        .map(|(channel, state)| (channel, Bytes::from(state.to_string())))
        .collect()
}

impl Wait {
    fn place(&self, cursor: Timetoken) -> sessions::Place {
        (self.app, self.guest.uuid.clone(), cursor)
    }

    /// The client's poller of its last request, or a new one that begins at its cursor.
    fn open(
        &self,
        http: &HttpRequest,
        caller: Caller,
        cursor: Cursor,
        passes: &[Pass],
    ) -> Result<PollGuard, Fault> {
        let mut start = match cursor.timetoken {
            0 => Start::Now,
            _ => Start::AfterTime(cursor.begin(self.selection.is_several())),
        };
        let parked = (cursor.timetoken != 0)
            .then(|| {
                self.node
                    .sessions
                    .take(&self.place(self.cursor), &caller.principal)
            })
            .flatten();
        let poller = match parked {
            Some(poller) => {
                // What is new in its subscriptions begins where the client stands.
                start = Start::AfterTime(cursor.timetoken);
                poller
            }
            None => {
                let max = caller.limit(crate::core::limits::CONNECTIONS_PER_NODE);
                let poller = longpoll::open(http, caller.principal, DIALECT, max);
                poller.map_err(Fault::crowded)?
            }
        };
        let mut wants = self.selection.subscriptions(passes, start);
        if is_open(&caller.app) {
            for requirement in wants.iter_mut().flat_map(|want| &mut want.requirements) {
                requirement.resource = Resource::Channel;
            }
        }
        poller.attach(wants, self.selection.grouped);
        let (node, place) = (self.node.clone(), self.place(self.cursor));
        let (attended, guest) = (self.selection.attended(), self.guest.clone());
        let (broker, heartbeat_s) = (self.broker.clone(), self.heartbeat_s);
        Ok(PollGuard::new(http, poller, move |poller| {
            let until = broker.authority.now().mono_ms + heartbeat_s * 1_000;
            node.leases.extend(&guest, &attended, until);
            node.sessions.park(place, poller);
        }))
    }

    fn heartbeats(
        &self,
        states: &HashMap<String, Bytes>,
        passes: &[Pass],
    ) -> Vec<(Heartbeat, Pass)> {
        if self.guest.uuid.is_empty() {
            return Vec::new();
        }
        let now_ms = self.broker.authority.now().mono_ms;
        let until_ms = now_ms + self.hold_ms + self.heartbeat_s * 1_000;
        let heartbeat = |channel: Arc<ChannelKey>| {
            let at = self.selection.of.get(&channel)?.first()?;
            let pass = passes.get(*at)?.clone();
            let heartbeat = Heartbeat {
                guest: self.guest.clone(),
                state: states.get(&*channel.name).cloned(),
                arrives: self.cursor == 0,
                channel,
                until_ms,
            };
            Some((heartbeat, pass))
        };
        self.selection
            .attended()
            .into_iter()
            .filter_map(heartbeat)
            .collect()
    }

    /// Tells the homes that the client is there, without making it wait.
    fn attend(&self, heartbeats: Vec<(Heartbeat, Pass)>) {
        let (node, broker) = (self.node.clone(), self.broker.clone());
        let mut heartbeats = heartbeats;
        heartbeats.retain(|(_, pass)| pass.operations().contains(Operations::PRESENCE));
        if heartbeats.is_empty() {
            return;
        }
        actix_web::rt::spawn(async move {
            for (heartbeat, pass) in heartbeats {
                node.leases.touch(&broker, heartbeat, pass).await;
            }
        });
    }

    async fn run(
        mut self,
        mut guard: PollGuard,
        heartbeats: Vec<(Heartbeat, Pass)>,
    ) -> Result<HttpResponse, Fault> {
        if self.cursor == 0 {
            let now_ms = self.broker.authority.now().cluster_ms;
            guard.wait(JOIN_TIMEOUT, now_ms, true).await;
            if let Err(ended) = guard.poller().take(0) {
                return self.over(guard, ended).await;
            }
            let now_ms = self.broker.authority.now().cluster_ms;
            self.cursor = now_ms
                .saturating_mul(10_000)
                .saturating_sub(FIRST_OVERLAP_TICKS);
            self.attend(heartbeats);
            return Ok(self.reply(guard, &[]));
        }
        self.attend(heartbeats);
        let until = Instant::now() + Duration::from_millis(self.hold_ms);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let longest = self.held_left(&guard).map_or(left, |held| held.min(left));
            let now_ms = self.broker.authority.now().cluster_ms;
            guard.wait(longest, now_ms, false).await;
            if guard.half_closed() {
                return Ok(self.reply(guard, &[]));
            }
            if !self.broker.authority.serving() {
                return Err(Fault::unavailable());
            }
            let items = match guard.poller().take(limits::MESSAGES_PER_POLL) {
                Ok(items) => items,
                Err(ended) => return self.over(guard, ended).await,
            };
            if let Some(last) = items.iter().map(|item| stamp(&item.broadcast)).max() {
                let timetoken = self.cursor;
                self.cursor = Cursor { timetoken }.after(last, self.selection.is_several());
                self.repark(&mut guard);
            }
            let shown = self.sort_out(&guard, items);
            if !shown.is_empty() || left.is_zero() || Instant::now() >= until {
                return Ok(self.reply(guard, &shown));
            }
        }
    }

    /// What is shown now. Comings and goings in crowded channels are laid aside until it is time to tell them.
    fn sort_out(&self, guard: &PollGuard, items: Vec<Item>) -> Vec<Outgoing> {
        let principal = guard.poller().principal();
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for item in items {
            match self.show(principal, &item) {
                Some(shown) if presence_interval::is_crowded(&shown, self.announce_max) => {
                    later.push(item)
                }
                Some(shown) => now.push(shown),
                None => {}
            }
        }
        let room = guard.poller().set_aside(later);
        if !room || self.held_left(guard).is_some_and(|left| left.is_zero()) {
            let held = guard.poller().take_set_aside();
            let held = held.iter().filter_map(|item| self.show(principal, item));
            now.extend(presence_interval::together(held));
        }
        now
    }

    /// How long what is laid aside still waits.
    fn held_left(&self, guard: &PollGuard) -> Option<Duration> {
        let due = guard.poller().set_aside_since_ms()? + self.interval_ms;
        let now_ms = self.broker.authority.now().mono_ms;
        Some(Duration::from_millis(due.saturating_sub(now_ms)))
    }

    fn show(&self, principal: &Principal, item: &Item) -> Option<Outgoing> {
        let shown = self.selection.shown(item)?;
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !wanted(filter, item, &shown))
        {
            return None;
        }
        // The right to a wildcard's name says nothing of any one channel below it.
        let readable = |name: &str| {
            let requirement = requirement(Resource::Channel, name, Operations::SUBSCRIBE);
            let authority = &self.broker.authority;
            authority.decide(principal, None, requirement.ask()).is_ok()
        };
        (!shown.below || readable(&shown.name())).then_some(shown)
    }

    /// The next request of this client will name another cursor.
    fn repark(&self, guard: &mut PollGuard) {
        let (node, place) = (self.node.clone(), self.place(self.cursor));
        let (attended, guest) = (self.selection.attended(), self.guest.clone());
        let (broker, heartbeat_s) = (self.broker.clone(), self.heartbeat_s);
        guard.park_with(move |poller| {
            let until = broker.authority.now().mono_ms + heartbeat_s * 1_000;
            node.leases.extend(&guest, &attended, until);
            node.sessions.park(place, poller);
        });
    }

    fn reply(&self, mut guard: PollGuard, shown: &[Outgoing]) -> HttpResponse {
        self.repark(&mut guard);
        drop(guard);
        answer(200, self.body(shown))
    }

    fn body(&self, shown: &[Outgoing]) -> String {
        let single = self.selection.single.is_some();
        let place = Place {
            region: self.node.region(&self.broker),
            subscribe_key: &self.key,
        };
        match self.version {
            Version::Two => outgoing::envelopes(shown, self.cursor, single, place),
            Version::One(_) => outgoing::bare(shown, self.cursor, single),
        }
    }

    /// The poller has ended: what the client is told, so that it does the right thing next.
    async fn over(&self, guard: PollGuard, ended: Ended) -> Result<HttpResponse, Fault> {
        let principal = guard.poller().principal().clone();
        guard.close();
        match ended {
            Ended::Denied => {
                let authority = &self.broker.authority;
                let requirements = &self.selection.requirements;
                admit::allow(authority, &principal, requirements, Operations::NONE).await?;
                // Granted again meanwhile: go on from the cursor.
            }
            Ended::Sent | Ended::Over | Ended::Closed => {}
            Ended::Away => return Err(Fault::unavailable()),
            Ended::Refused(refusal) => return Err(refusal.into()),
        }
        Ok(answer(200, self.body(&[])))
    }
}

/// Whether a filter lets this through. What came says what is shown: through a wildcard it carries message and channel.
fn wanted(filter: &Arc<Shared<Filter>>, item: &Item, shown: &Outgoing) -> bool {
    let (What::Broadcast(Broadcast::Message(one)), Broadcast::Message(came)) =
        (&shown.what, &item.broadcast)
    else {
        return true;
    };
    let ask = |filter: &Filter| Some(filter.passes(&shown.channel, &one.draft));
    filter.about(came, ask) == Some(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::envelope::tests::{draft, publication};
    use super::super::filter::tests::ASKED;
    use super::*;
    use crate::core::channel::wildcard::repeated;
    use crate::core::filters::Filters;
    use crate::core::message::ContentKind;

    #[test]
    fn ten_polls_with_one_filter_cost_it_once() {
        let message = |json| publication(draft(json, ContentKind::Json), 17);
        let plain = Item {
            channel: ChannelKey::channel(AppId(1), "room"),
            broadcast: message(r#"{"n":3}"#),
        };
        // Every poll reads anew what comes through a wildcard.
        let repeated = repeated("a.b", &message(r#"{"n":3}"#)).unwrap();
        let through = Item {
            channel: ChannelKey::wildcard(AppId(1), "a.*"),
            broadcast: publication(repeated, 99),
        };
        let mut selection = Selection::default();
        selection.add(names::key(AppId(1), "room"), &"room".into(), false, 0);
        selection.add(names::key(AppId(1), "a.*"), &"a.*".into(), false, 1);
        let filters = Filters::default();
        let read = |text: &str| Filter::parse(text).ok_or(());
        let polls: Vec<_> = (0..10)
            .map(|_| filters.of("data.n == 3", read).unwrap())
            .collect();
        for item in [plain, through] {
            let before = ASKED.get();
            for filter in &polls {
                let shown = selection.shown(&item).unwrap();
                assert!(wanted(filter, &item, &shown));
            }
            assert_eq!(ASKED.get() - before, 1);
        }
    }
}
