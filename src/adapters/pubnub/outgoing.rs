//! What a subscriber is shown, and the answers that show it.

use super::envelope::{self, Place, TICKS_PER_SECOND};
use super::names;
use crate::core::ids::{Text, Timetoken};
use crate::core::message::{Broadcast, PresenceAction, PresenceChange};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Above so many bytes of names the reader is told to ask who is there, instead of being told.
const LISTED_BYTES: usize = 24 << 10;

/// One thing shown.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    /// The channel it was published to, or whose presence it is about.
    pub(super) channel: Text,
    /// The subscription it came through, as the client spelt it.
    pub(super) matched: Text,
    /// It came through a wildcard: its channel is still to be judged.
    pub(super) below: bool,
    /// The broadcast itself, as a subscriber is shown it.
    pub(super) what: What,
}

/// A broadcast, or several told together.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// As it was broadcast.
    Broadcast(Broadcast),
    /// An interval event.
    Interval(PresenceInterval),
}

/// What became of a presence set in a while, told as one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PresenceInterval {
    /// Of the last change.
    pub(super) timetoken: Timetoken,
    occupancy: u64,
    last: BTreeMap<Text, PresenceAction>,
}

impl PresenceInterval {
    pub(super) fn add(&mut self, change: &PresenceChange) {
        self.timetoken = change.timetoken;
        self.occupancy = change.clients;
        self.last
            .insert(change.member.client.clone(), change.action);
    }

    /// In PubNub's words.
    pub(super) fn data(&self) -> Value {
        let mut shown = json!({
            "action": "interval",
            "timestamp": self.timetoken / TICKS_PER_SECOND,
            "occupancy": self.occupancy,
        });
        let Some(map) = shown.as_object_mut() else {
            return shown;
        };
        if self.last.keys().map(|uuid| uuid.len() + 3).sum::<usize>() > LISTED_BYTES {
            map.insert("here_now_refresh".into(), true.into());
            return shown;
        }
        for (name, action) in [
            ("join", PresenceAction::Enter),
            ("leave", PresenceAction::Leave),
            ("timeout", PresenceAction::Timeout),
        ] {
            let of = self.last.iter().filter(|(_, last)| **last == action);
            let uuids: Vec<Value> = of.map(|(uuid, _)| Value::from(&**uuid)).collect();
            if !uuids.is_empty() {
                map.insert(name.into(), uuids.into());
            }
        }
        shown
    }
}

impl Outgoing {
    /// Whether it is about presence.
    pub(super) fn is_presence(&self) -> bool {
        match &self.what {
            What::Broadcast(Broadcast::Presence(_)) | What::Interval(_) => true,
            What::Broadcast(Broadcast::Message(_) | Broadcast::Count(_)) => false,
        }
    }

    /// What a subscription to just that would be called.
    pub(super) fn name(&self) -> Text {
        match self.is_presence() {
            true => format!("{}{}", self.channel, names::PRESENCE).into(),
            false => self.channel.clone(),
        }
    }

    /// Appends it as an envelope, or nothing.
    fn write(&self, single: bool, place: Place<'_>, out: &mut String) -> bool {
        let named = (!single || self.matched != self.name()).then_some(&*self.matched);
        match &self.what {
            What::Broadcast(broadcast) => {
                envelope::write(broadcast, &self.channel, named, place, out)
            }
            What::Interval(interval) => {
                let (at, data) = (interval.timetoken, interval.data());
                envelope::presence_event((at, &data), &self.channel, named, place, out);
                true
            }
        }
    }
}

/// An answer of v2. `single` = just one thing is subscribed to: where it is the channel itself, it need not be named.
pub(super) fn envelopes(
    shown: &[Outgoing],
    cursor: Timetoken,
    single: bool,
    place: Place<'_>,
) -> String {
    let region = place.region;
    let mut out = format!("{{\"t\":{{\"t\":\"{cursor}\",\"r\":{region}}},\"m\":[");
    let mut first = true;
    for one in shown {
        let before = out.len();
        if !first {
            out.push(',');
        }
        if one.write(single, place, &mut out) {
            first = false;
        } else {
            out.truncate(before);
        }
    }
    out.push_str("]}");
    out
}

/// An answer of v1: messages only; where several things are subscribed to, which of them and which channel.
pub(super) fn bare(shown: &[Outgoing], cursor: Timetoken, single: bool) -> String {
    let (mut payloads, mut matched, mut real) = (Vec::new(), Vec::new(), Vec::new());
    for one in shown {
        let What::Broadcast(Broadcast::Message(message)) = &one.what else {
            continue;
        };
        payloads.push(envelope::payload(&message.draft).into_owned());
        matched.push(one.matched.to_string());
        real.push(one.channel.to_string());
    }
    let mut out = format!("[[{}],\"{cursor}\"", payloads.join(","));
    if !single && !payloads.is_empty() {
        for list in [&matched, &real] {
            out.push(',');
            out.push_str(&json!(list.join(",")).to_string());
        }
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::envelope::tests::{draft, publication};
    use super::*;
    use crate::core::message::ContentKind;

    const PLACE: Place<'_> = Place {
        region: 3,
        subscribe_key: "sub",
    };

    fn message(channel: &str, matched: &str) -> Outgoing {
        Outgoing {
            channel: channel.into(),
            matched: matched.into(),
            below: false,
            what: What::Broadcast(publication(draft("1", ContentKind::Json), 17)),
        }
    }

    fn matches(shown: &[Outgoing], single: bool) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&envelopes(shown, 18, single, PLACE)).unwrap();
        assert_eq!(answer.get("t"), Some(&json!({"t": "18", "r": 3})));
        let all = answer.get("m").and_then(Value::as_array).unwrap().iter();
        all.map(|one| one.get("b").cloned().unwrap_or_default())
            .collect()
    }

    #[test]
    fn the_subscription_is_named_unless_it_is_the_only_one_and_the_channel_itself() {
        let (plain, wild) = (message("a.b", "a.b"), message("a.b", "a.*"));
        let both = [plain.clone(), wild.clone()];
        assert_eq!(matches(&both, false), [json!("a.b"), json!("a.*")]);
        assert_eq!(matches(&[plain], true), [Value::Null]);
        assert_eq!(matches(&[wild], true), [json!("a.*")]);
        let count = Outgoing {
            what: What::Broadcast(Broadcast::Count(1)),
            ..message("a", "a")
        };
        assert!(matches(&[count], false).is_empty());
    }

    #[test]
    fn the_old_answer_lists_channels_where_there_are_several() {
        let both = [message("a", "g"), message("b", "b")];
        assert_eq!(bare(&both, 18, false), r#"[[1,1],"18","g,b","a,b"]"#);
        assert_eq!(bare(&both, 18, true), r#"[[1,1],"18"]"#);
        assert_eq!(bare(&[], 18, false), r#"[[],"18"]"#);
    }
}
