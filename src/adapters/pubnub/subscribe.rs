//! Subscribing: a long poll with a cursor.
//!
//! **Must never know:** how broadcasts reach a poller.
//! **Why the first answer is empty and early:** it carries the cursor, and the client's own join must come after it.

use super::admit::{self, Caller, Ctx, is_open};
use super::attendance::Sign;
use super::codes::{Fault, answer};
use super::envelope::{self, Place};
use super::filter::Filter;
use super::names::{self, distinct, split};
use super::selection::{Selection, of_channel};
use super::{DIALECT, PubNub, limits, query, sessions};
use crate::core::authority::{AppId, Millis, Operations, Pass, Resource};
use crate::core::broker::Broker;
use crate::core::connection::Start;
use crate::core::ids::{ChannelKey, Text, Timetoken};
use crate::core::message::Broadcast;
use crate::core::polling::{Ended, Item, stamp};
use crate::transport::longpoll::{self, Hold};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for channels to answer a join.
const JOIN_WITHIN: Duration = Duration::from_secs(10);
/// How far the first cursor lies back: homes' clocks may be behind this node's, ticks.
const FIRST_BACK: Timetoken = 50 * 10_000;
/// How far a client that comes from another node is taken back, where its one cursor spans several channels: what
/// another channel stamped earlier may have reached the old node later. Ticks.
const MOVED_BACK: Timetoken = 200 * 10_000;
/// Seconds of silence after which a client counts as gone.
const HEARTBEAT_S: u64 = 300;

/// Where a client's stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    timetoken: Timetoken,
    region: Option<u64>,
}

impl Cursor {
    /// `tt` and `tr`, or both in one as old Ruby clients send them.
    fn of(ctx: &Ctx<'_>) -> Result<Self, Fault> {
        if let Some(packed) = ctx.query.given("t") {
            let packed: Value = serde_json::from_str(packed).map_err(|_| bad_cursor())?;
            let number = |key: &str| match packed.get(key) {
                Some(Value::String(text)) => text.parse().ok(),
                Some(value) => value.as_u64(),
                None => None,
            };
            return Ok(Self {
                timetoken: number("t").unwrap_or(0),
                region: number("r"),
            });
        }
        let timetoken = ctx.query.given("tt").map_or(Ok(0), str::parse);
        Ok(Self {
            timetoken: timetoken.map_err(|_| bad_cursor())?,
            region: ctx.query.number("tr"),
        })
    }
}

fn bad_cursor() -> Fault {
    Fault::bad("Invalid timetoken")
}

/// Which generation of the call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Envelopes.
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
    filter: Option<Filter>,
    version: Version,
    cursor: Timetoken,
    uuid: Text,
    key: String,
    hold_ms: Millis,
    heartbeat_s: u64,
}

/// Carries it out.
pub(super) async fn subscribe(
    http: &HttpRequest,
    node: web::Data<PubNub>,
    broker: web::Data<Broker>,
    caller: Caller,
    ctx: &Ctx<'_>,
    (channels, version): (&str, Version),
) -> Result<HttpResponse, Fault> {
    let channels = query::path_list(channels).ok_or_else(|| Fault::bad("Invalid channel"))?;
    let channels = distinct(channels.iter().map(String::as_str));
    let groups = distinct(ctx.query.list("channel-group").into_iter());
    check(&caller, &channels, &groups)?;
    let cursor = match version {
        Version::Two => Cursor::of(ctx)?,
        Version::One(timetoken) => Cursor {
            timetoken,
            region: None,
        },
    };
    let filter = match ctx.query.given("filter-expr") {
        Some(text) => {
            let filter = Filter::parse(text);
            Some(filter.ok_or_else(|| Fault::bad("Invalid filter expression"))?)
        }
        None => None,
    };
    let selection = Selection::of(&broker, &caller, &channels, &groups);
    let passes = passes(&broker, &caller, &selection).await?;
    let states = states(ctx.query.get("state"));
    let key = admit::alias(&caller.app, admit::SUBSCRIBE_KEY).to_owned();
    let wait = Wait {
        app: caller.app.id,
        hold_ms: caller.limit(limits::HOLD_MS),
        heartbeat_s: heartbeat(ctx),
        uuid: caller.uuid.clone(),
        cursor: cursor.timetoken,
        node,
        broker,
        selection,
        filter,
        version,
        key,
    };
    let hold = wait.open(http, caller, cursor, &passes)?;
    let signs = wait.signs(&states, &passes);
    Box::pin(wait.run(hold, signs)).await
}

fn check(caller: &Caller, channels: &[Text], groups: &[Text]) -> Result<(), Fault> {
    let all = channels.len() + groups.len();
    if all == 0 || all as u64 > caller.limit(limits::NAMES_PER_REQUEST) {
        return Err(Fault::bad("Invalid number of channels"));
    }
    let max = caller.limit(limits::NAME_CHARACTERS);
    for name in channels.iter().chain(groups) {
        if names::wildcard(split(name).0).is_some() {
            return Err(Fault::bad("Wildcard subscribe is not supported"));
        }
        if !names::is_valid(name, max) {
            return Err(Fault::bad("Invalid channel name"));
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
    let mut claims = selection.claims.clone();
    if is_open(&caller.app) {
        for claim in &mut claims {
            claim.resource = Resource::Channel;
        }
    }
    let wants = Operations::PRESENCE;
    caller.allow(&broker.authority, &claims, wants).await
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
        (self.app, self.uuid.clone(), cursor)
    }

    /// The client's poller of its last request, or a new one that begins at its cursor.
    fn open(
        &self,
        http: &HttpRequest,
        caller: Caller,
        cursor: Cursor,
        passes: &[Pass],
    ) -> Result<Hold, Fault> {
        let mut start = match cursor.timetoken {
            0 => Start::Now,
            at => Start::AfterTime(self.back(at, cursor.region)),
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
                poller.ok_or_else(Fault::unavailable)?
            }
        };
        let mut wants = self.selection.wants(passes, start);
        if is_open(&caller.app) {
            for claim in wants.iter_mut().flat_map(|want| &mut want.claims) {
                claim.resource = Resource::Channel;
            }
        }
        poller.attach(wants, self.selection.grouped);
        let (node, place) = (self.node.clone(), self.place(self.cursor));
        let (attended, uuid) = (self.selection.attended(), self.uuid.clone());
        let (broker, heartbeat_s) = (self.broker.clone(), self.heartbeat_s);
        Ok(Hold::new(http, poller, move |poller| {
            let until = broker.authority.now().mono_ms + heartbeat_s * 1_000;
            node.attendance.extend(&uuid, &attended, until);
            node.sessions.park(place, poller);
        }))
    }

    fn back(&self, at: Timetoken, region: Option<u64>) -> Timetoken {
        let here = self.node.region(&self.broker);
        let moved = region.is_some_and(|region| region != 0 && region != here);
        match moved && self.selection.ways.len() > 1 {
            true => at.saturating_sub(MOVED_BACK),
            false => at,
        }
    }

    fn signs(&self, states: &HashMap<String, Bytes>, passes: &[Pass]) -> Vec<(Sign, Pass)> {
        if self.uuid.is_empty() {
            return Vec::new();
        }
        let now_ms = self.broker.authority.now().mono_ms;
        let until_ms = now_ms + self.hold_ms + self.heartbeat_s * 1_000;
        let sign = |channel: Arc<ChannelKey>| {
            let at = self.selection.of.get(&channel)?.first()?;
            let pass = passes.get(*at)?.clone();
            let sign = Sign {
                uuid: self.uuid.clone(),
                state: states.get(&*channel.name).cloned(),
                channel,
                until_ms,
            };
            Some((sign, pass))
        };
        self.selection
            .attended()
            .into_iter()
            .filter_map(sign)
            .collect()
    }

    /// Tells the homes that the client is there, without making it wait.
    fn attend(&self, signs: Vec<(Sign, Pass)>) {
        let (node, broker) = (self.node.clone(), self.broker.clone());
        let mut signs = signs;
        signs.retain(|(_, pass)| pass.operations().contains(Operations::PRESENCE));
        if signs.is_empty() {
            return;
        }
        actix_web::rt::spawn(async move {
            for (sign, pass) in signs {
                node.attendance.touch(&broker, sign, pass).await;
            }
        });
    }

    async fn run(
        mut self,
        mut hold: Hold,
        signs: Vec<(Sign, Pass)>,
    ) -> Result<HttpResponse, Fault> {
        if self.cursor == 0 {
            let now_ms = self.broker.authority.now().cluster_ms;
            hold.wait(JOIN_WITHIN, now_ms, true).await;
            if let Err(ended) = hold.poller().take(0) {
                return self.over(hold, ended).await;
            }
            let now_ms = self.broker.authority.now().cluster_ms;
            self.cursor = now_ms.saturating_mul(10_000).saturating_sub(FIRST_BACK);
            self.attend(signs);
            return Ok(self.reply(hold, &[]));
        }
        self.attend(signs);
        let until = Instant::now() + Duration::from_millis(self.hold_ms);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let now_ms = self.broker.authority.now().cluster_ms;
            hold.wait(left, now_ms, false).await;
            if hold.hung_up() {
                return Ok(self.reply(hold, &[]));
            }
            if !self.broker.authority.serving() {
                return Err(Fault::unavailable());
            }
            let items = match hold.poller().take(limits::MESSAGES_PER_POLL) {
                Ok(items) => items,
                Err(ended) => return self.over(hold, ended).await,
            };
            if let Some(last) = items.iter().map(|item| stamp(&item.broadcast)).max() {
                self.cursor = self.cursor.max(last);
                self.repark(&mut hold);
            }
            let shown: Vec<Item> = items.into_iter().filter(|item| self.shows(item)).collect();
            if !shown.is_empty() || left.is_zero() || Instant::now() >= until {
                return Ok(self.reply(hold, &shown));
            }
        }
    }

    fn shows(&self, item: &Item) -> bool {
        let Some(_way) = self.selection.way(item) else {
            return false;
        };
        match (&self.filter, &item.broadcast) {
            (Some(filter), Broadcast::Message(one)) => {
                filter.passes(&item.channel.name, &one.draft)
            }
            (None, Broadcast::Message(_)) | (_, Broadcast::Presence(_)) => true,
            (_, Broadcast::Count(_)) => false,
        }
    }

    /// The next request of this client will name another cursor.
    fn repark(&self, hold: &mut Hold) {
        let (node, place) = (self.node.clone(), self.place(self.cursor));
        let (attended, uuid) = (self.selection.attended(), self.uuid.clone());
        let (broker, heartbeat_s) = (self.broker.clone(), self.heartbeat_s);
        hold.park_with(move |poller| {
            let until = broker.authority.now().mono_ms + heartbeat_s * 1_000;
            node.attendance.extend(&uuid, &attended, until);
            node.sessions.park(place, poller);
        });
    }

    fn reply(&self, mut hold: Hold, items: &[Item]) -> HttpResponse {
        self.repark(&mut hold);
        drop(hold);
        let body = match self.version {
            Version::Two => self.envelopes(items),
            Version::One(_) => self.bare(items),
        };
        answer(200, body)
    }

    fn envelopes(&self, items: &[Item]) -> String {
        let region = self.node.region(&self.broker);
        let place = Place {
            region,
            subscribe_key: &self.key,
        };
        let mut out = format!(
            "{{\"t\":{{\"t\":\"{}\",\"r\":{region}}},\"m\":[",
            self.cursor
        );
        let mut first = true;
        for item in items {
            let Some(way) = self.selection.way(item) else {
                continue;
            };
            let before = out.len();
            if !first {
                out.push(',');
            }
            let matched = self.selection.single.is_none() || way.matched != of_channel(item, way);
            let matched = matched.then_some(&*way.matched);
            if envelope::write(
                &item.broadcast,
                &item.channel.name,
                matched,
                place,
                &mut out,
            ) {
                first = false;
            } else {
                out.truncate(before);
            }
        }
        out.push_str("]}");
        out
    }

    fn bare(&self, items: &[Item]) -> String {
        let (mut payloads, mut channels, mut real) = (Vec::new(), Vec::new(), Vec::new());
        for item in items {
            let (Broadcast::Message(one), Some(way)) = (&item.broadcast, self.selection.way(item))
            else {
                continue;
            };
            payloads.push(envelope::payload(&one.draft).into_owned());
            channels.push(way.matched.to_string());
            real.push(item.channel.name.to_string());
        }
        let mut out = format!("[[{}],\"{}\"", payloads.join(","), self.cursor);
        if self.selection.single.is_none() && !items.is_empty() {
            for list in [&channels, &real] {
                out.push(',');
                out.push_str(&json!(list.join(",")).to_string());
            }
        }
        out.push(']');
        out
    }

    /// The poller has ended: what the client is told, so that it does the right thing next.
    async fn over(&self, hold: Hold, ended: Ended) -> Result<HttpResponse, Fault> {
        let principal = hold.poller().principal().clone();
        hold.close();
        match ended {
            Ended::Denied => {
                let authority = &self.broker.authority;
                let claims = &self.selection.claims;
                admit::allow(authority, &principal, claims, Operations::NONE).await?;
                // Granted again meanwhile: go on from the cursor.
            }
            Ended::Sent | Ended::Over | Ended::Closed => {}
            Ended::Away => return Err(Fault::unavailable()),
            Ended::Refused(refusal) => return Err(refusal.into()),
        }
        let body = match self.version {
            Version::Two => self.envelopes(&[]),
            Version::One(_) => self.bare(&[]),
        };
        Ok(answer(200, body))
    }
}
