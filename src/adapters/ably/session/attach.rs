//! Attaching and detaching: what the client asks.

use super::modes;
use super::{AblySession, Turn};
use crate::adapters::ably::codes::{self, Fault};
use crate::adapters::ably::frame::{ChannelName, ProtocolMessage, action, flag};
use crate::adapters::ably::position;
use crate::core::authority::{AccessQuery, Operations, Resource};
use crate::core::ids::{ChannelKey, Text};
use crate::core::session::{DeliveryMode, Intent, Start, Subscribe};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most messages of a rewind.
const REWIND: u32 = 100;
/// Parameters that an attachment answers with: those that are served. An answer is a promise; not `delta`, since
/// messages come whole, and not `occupancy`, whose events a client would wait for in vain.
const SERVED: [&str; 4] = ["rewind", "rewindLimit", "modes", "echo"];
/// Everything an attachment may come to be good for.
const WANTS: Operations = Operations::SUBSCRIBE
    .or(Operations::PUBLISH)
    .or(Operations::PRESENCE)
    .or(Operations::PRESENCE_READ);

/// How far an attachment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The core was asked.
    Attaching,
    /// The client knows of it.
    Attached,
    /// The core was asked to let go.
    Detaching,
}

/// One channel as the client sees it.
#[derive(Debug)]
pub(super) struct Attachment {
    /// As the client names it.
    pub(super) wire: String,
    pub(super) key: Arc<ChannelKey>,
    pub(super) wanted: AttachParams,
    pub(super) stage: Stage,
    pub(super) delivery: DeliveryMode,
    pub(super) operations: Operations,
    /// Tells the answer to this request from one to an earlier request.
    pub(super) tag: u64,
    /// What the client has asked for meanwhile.
    pub(super) next: Option<Box<ProtocolMessage>>,
}

/// What a client wants of a channel.
#[derive(Clone, Debug)]
pub(super) struct AttachParams {
    pub(super) modes: u64,
    pub(super) params: BTreeMap<String, String>,
    pub(super) echo: bool,
    pub(super) start: Start,
    /// The serial it came with.
    pub(super) serial: Option<String>,
}

fn params(name: &ChannelName, frame: &ProtocolMessage) -> BTreeMap<String, String> {
    let text = |value: &Value| match value.as_str() {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    };
    let mut all = name.params.clone();
    let said = frame.params.iter().flatten();
    all.extend(said.map(|(name, value)| (name.clone(), text(value))));
    all.retain(|name, _| SERVED.contains(&&**name));
    all
}

/// Where a rewind begins.
fn rewind(text: &str, limit: Option<&String>) -> Result<Start, Fault> {
    let bad = || Fault::new(40000, 400, "rewind is not a number of messages or a time");
    let limit: u32 = match limit {
        Some(text) => text.parse().map_err(|_| bad())?,
        None => REWIND,
    };
    if let Ok(count) = text.parse::<u32>() {
        let count = count.min(limit).min(REWIND);
        return Ok(Start::Rewind { count });
    }
    let seconds = |unit: u64, text: &str| text.parse::<u64>().ok().map(|n| n.saturating_mul(unit));
    let ago = text
        .strip_suffix('s')
        .and_then(|n| seconds(1, n))
        .or_else(|| text.strip_suffix('m').and_then(|n| seconds(60, n)));
    let ago_ms = ago.ok_or_else(bad)?.saturating_mul(1000);
    Ok(Start::Since { ago_ms })
}

impl AttachParams {
    fn read(name: &ChannelName, frame: &ProtocolMessage, echo: bool) -> Result<Self, Fault> {
        let params = params(name, frame);
        let flags = frame.flags.unwrap_or_default();
        let modes = modes::asked(params.get("modes").map(String::as_str), flags);
        let modes = modes.ok_or_else(|| Fault::new(40000, 400, "unknown channel mode"))?;
        let serial = frame.channel_serial.clone().filter(|text| !text.is_empty());
        let held = serial.as_deref().and_then(position::parse_channel_serial);
        let first = flags & flag::ATTACH_RESUME == 0;
        let start = match (held, params.get("rewind")) {
            (Some(position), _) => Start::After(position),
            (None, Some(text)) => match (rewind(text, params.get("rewindLimit"))?, first) {
                (start, true) => start,
                (_, false) => Start::Now,
            },
            (None, None) => Start::Now,
        };
        let echo = echo && params.get("echo").is_none_or(|text| text != "false");
        Ok(Self {
            modes,
            params,
            echo,
            start,
            serial,
        })
    }
}

impl AblySession {
    pub(super) fn attach(&mut self, frame: ProtocolMessage, turn: &mut Turn<'_>) {
        let wire = frame.channel.clone().unwrap_or_default();
        let name = match ChannelName::parse(&wire) {
            Ok(name) => name,
            Err(fault) => return turn.fail(&wire, fault),
        };
        let wanted = match AttachParams::read(&name, &frame, self.hello.echo) {
            Ok(wanted) => wanted,
            Err(fault) => return turn.fail(&wire, fault),
        };
        let Some(app) = self.identity.as_ref().map(|one| one.principal.app) else {
            return;
        };
        let Some(held) = self.channels.get_mut(&*name.name) else {
            let key = ChannelKey::channel(app, &name.name);
            return self.begin(wire, key, wanted, turn);
        };
        if held.wire != wire {
            return turn.fail(&wire, codes::channel_name());
        }
        match held.stage {
            // One at a time: the answer to the first comes first.
            Stage::Attaching | Stage::Detaching => held.next = Some(Box::new(frame)),
            Stage::Attached if held.fits(&wanted) => {
                let start = held.wanted.start;
                held.wanted = AttachParams { start, ..wanted };
                let reply = held.again();
                turn.send(&reply);
            }
            Stage::Attached => {
                held.stage = Stage::Detaching;
                held.next = Some(Box::new(frame));
                let channel = held.key.clone();
                turn.ask(Intent::Unsubscribe { channel });
            }
        }
    }

    /// Asks the core for a channel.
    fn begin(
        &mut self,
        wire: String,
        key: Arc<ChannelKey>,
        wanted: AttachParams,
        turn: &mut Turn<'_>,
    ) {
        let attachment = Attachment {
            wire,
            key: key.clone(),
            wanted,
            stage: Stage::Attaching,
            delivery: DeliveryMode::Session,
            operations: Operations::NONE,
            tag: 0,
            next: None,
        };
        self.channels.insert(key.name.clone(), attachment);
        let name = key.name.clone();
        if !self.ask_for(&name, turn) {
            self.ask_anyway(&name, turn);
        }
    }

    /// Subscribes on the best rights that the rights known now allow. `false` = there is none.
    pub(super) fn ask_for(&mut self, name: &Text, turn: &mut Turn<'_>) -> bool {
        let (Some(identity), Some(held)) = (&self.identity, self.channels.get(name)) else {
            return false;
        };
        let allowed = |needs: &Operations| {
            let ask = AccessQuery {
                resource: Resource::Channel,
                name,
                needs: *needs,
                wants: Operations::NONE,
                speaks_for: None,
            };
            turn.cx
                .authority
                .decide(&identity.principal, None, ask)
                .is_ok()
        };
        let rights = modes::candidate_rights(held.wanted.modes).find(allowed);
        match rights {
            Some(needs) => self.subscribe_on(name, needs, turn),
            None => return false,
        }
        true
    }

    /// Subscribes on the best rights whatever this node's view says: the core refuses on a fresh one.
    fn ask_anyway(&mut self, name: &Text, turn: &mut Turn<'_>) {
        let held = self.channels.get(name);
        let needs = held.and_then(|held| modes::candidate_rights(held.wanted.modes).last());
        match needs {
            Some(needs) => self.subscribe_on(name, needs, turn),
            None => self.drop_channel(name, codes::no_capability(), turn),
        }
    }

    fn subscribe_on(&mut self, name: &Text, needs: Operations, turn: &mut Turn<'_>) {
        let tag = self.tag();
        let Some(held) = self.channels.get_mut(name) else {
            return;
        };
        let everything = modes::SUBSCRIBE | modes::PRESENCE_SUBSCRIBE;
        let plain = *held.wire == **name && held.wanted.modes & everything == everything;
        let shared = plain && needs.contains(Operations::SUBSCRIBE | Operations::PRESENCE_READ);
        held.delivery = match shared {
            true => DeliveryMode::Shared,
            false => DeliveryMode::Session,
        };
        held.stage = Stage::Attaching;
        held.tag = tag;
        turn.ask(Intent::Subscribe(Box::new(Subscribe {
            channel: held.key.clone(),
            needs,
            wants: WANTS,
            proof: None,
            start: held.wanted.start,
            member: None,
            speaks_for: None,
            with_members: held.wanted.modes & modes::PRESENCE_SUBSCRIBE != 0,
            delivery: held.delivery,
            echo: held.wanted.echo,
            tag,
        })));
    }

    pub(super) fn drop_channel(&mut self, name: &str, fault: Fault, turn: &mut Turn<'_>) {
        if let Some(held) = self.channels.remove(name) {
            turn.fail(&held.wire, fault);
            if let Some(next) = held.next {
                self.attach(*next, turn);
            }
        }
    }

    pub(super) fn detach(&mut self, frame: &ProtocolMessage, turn: &mut Turn<'_>) {
        let wire = frame.channel.clone().unwrap_or_default();
        let name = ChannelName::parse(&wire).map(|name| name.name);
        let held = name.ok().and_then(|name| self.channels.get_mut(&*name));
        let Some(held) = held.filter(|held| held.wire == wire) else {
            return turn.send(&ProtocolMessage::about(action::DETACHED, &wire));
        };
        held.next = None;
        if held.stage != Stage::Detaching {
            held.stage = Stage::Detaching;
            let channel = held.key.clone();
            turn.ask(Intent::Unsubscribe { channel });
        }
    }

    pub(super) fn unsubscribed(&mut self, key: &ChannelKey, turn: &mut Turn<'_>) {
        let leaves = |held: &Attachment| held.stage == Stage::Detaching;
        if !self.channels.get(&*key.name).is_some_and(leaves) {
            return;
        }
        if let Some(held) = self.channels.remove(&*key.name) {
            match held.next {
                Some(next) => self.attach(*next, turn),
                None => turn.send(&ProtocolMessage::about(action::DETACHED, &held.wire)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_parameters_that_are_served_are_echoed() {
        let said =
            r#"{"action":10,"params":{"delta":"vcdiff","occupancy":"metrics","x":1,"rewind":"1"}}"#;
        let frame: ProtocolMessage = serde_json::from_str(said).unwrap();
        let name = ChannelName::parse("[?delta=vcdiff&echo=false]c").unwrap();
        let echoed = params(&name, &frame);
        let names: Vec<_> = echoed.keys().map(String::as_str).collect();
        assert_eq!(names, ["echo", "rewind"]);
    }

    #[test]
    fn rewinds_are_counts_or_times() {
        let limit = "7".to_owned();
        assert_eq!(rewind("5", None).unwrap(), Start::Rewind { count: 5 });
        assert_eq!(rewind("500", None).unwrap(), Start::Rewind { count: 100 });
        assert_eq!(
            rewind("50", Some(&limit)).unwrap(),
            Start::Rewind { count: 7 }
        );
        assert_eq!(
            rewind("15s", None).unwrap(),
            Start::Since { ago_ms: 15_000 }
        );
        assert_eq!(
            rewind("2m", None).unwrap(),
            Start::Since { ago_ms: 120_000 }
        );
        for bad in ["", "x", "1h", "-1", "1.5s"] {
            assert!(rewind(bad, None).is_err(), "{bad}");
        }
    }
}
