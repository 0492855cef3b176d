//! A client of this dialect, as the world of whole nodes plays it: it carries its connection on where it can, attaches from the
//! last serial it has, and sends again what was not acknowledged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::auth::{self, Credential};
use super::encoder::AblyEncoder;
use super::format::Format;
use super::frame::{action, flag};
use super::resume::{self, ClosedConnections};
use super::session::{AblySession, Hello};
use crate::core::delivery::encoding::Encoder;
use crate::core::ids::ChannelKey;
use crate::world_tests::client::{Act, DialectModel, Model, Opened, Seen, Site};
use crate::world_tests::story::{KEY, SECRET};
use crate::world_tests::world::APP;
use serde_json::{Value, json};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

/// The dialect.
#[derive(Debug)]
pub(crate) struct Ably;

/// One client.
#[derive(Debug, Default)]
struct Client {
    channel: String,
    /// As whom it is present.
    user: Option<String>,
    /// The connection it has or had.
    connection: String,
    connection_key: Option<String>,
    /// The last it has of its channel.
    serial: Option<String>,
    /// It has attached before.
    attached: bool,
    last_serial: u64,
    /// Frames that are not acknowledged, and their texts.
    unacknowledged: BTreeMap<u64, (Value, Vec<String>)>,
    /// Who is there: connection and client.
    members: BTreeSet<(String, String)>,
    syncing: BTreeSet<(String, String)>,
}

impl DialectModel for Ably {
    fn name(&self) -> &'static str {
        super::DIALECT
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(AblyEncoder(Format::Json))
    }

    fn node(&self) -> Box<dyn Any> {
        Box::new(ClosedConnections::default())
    }

    fn client(&self, number: u64, channel: &ChannelKey, present: bool) -> Box<dyn Model> {
        Box::new(Client {
            channel: channel.name.to_string(),
            user: present.then(|| format!("u{number}")),
            ..Client::default()
        })
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn member(value: &Value, of: &Value) -> (String, String) {
    let connection = value.get("connectionId").unwrap_or(&of["connectionId"]);
    (text(connection), text(&value["clientId"]))
}

impl Client {
    fn connected(&mut self, frame: &Value, out: &mut Vec<Act>) {
        let id = text(&frame["connectionId"]);
        self.connection_key = Some(text(&frame["connectionDetails"]["connectionKey"]));
        let carried_on = std::mem::replace(&mut self.connection, id.clone()) == id;
        if !carried_on {
            // What was not acknowledged may have been published or not: it is given up here.
            self.last_serial = 0;
            for (_, texts) in std::mem::take(&mut self.unacknowledged).into_values() {
                out.extend(texts.into_iter().map(|text| Act::Saw(Seen::Refused(text))));
            }
        }
        self.attach(out);
        for (frame, _) in self.unacknowledged.values() {
            out.push(Act::Say(frame.to_string()));
        }
    }

    fn attach(&self, out: &mut Vec<Act>) {
        let mut frame = json!({"action": action::ATTACH, "channel": self.channel});
        if let Some(serial) = &self.serial {
            frame["channelSerial"] = json!(serial);
        }
        if self.attached {
            frame["flags"] = json!(flag::ATTACH_RESUME);
        }
        out.push(Act::Say(frame.to_string()));
    }

    fn attached(&mut self, frame: &Value, out: &mut Vec<Act>) {
        let flags = frame["flags"].as_u64().unwrap_or_default();
        let resumed = flags & flag::RESUMED != 0;
        out.push(Act::Saw(Seen::Stands(resumed)));
        self.attached = true;
        self.note_serial(frame);
        if flags & flag::HAS_PRESENCE == 0 {
            self.members.clear();
        }
        // As SDKs do whenever they have attached: the node that had let it in may be gone.
        if self.user.is_some() {
            let entry = json!([{"action": 2, "clientId": self.user}]);
            let frame =
                json!({"action": action::PRESENCE, "channel": self.channel, "presence": entry});
            self.owe(frame, Vec::new(), out);
        }
    }

    fn owe(&mut self, mut frame: Value, texts: Vec<String>, out: &mut Vec<Act>) {
        frame["msgSerial"] = json!(self.last_serial);
        out.push(Act::Say(frame.to_string()));
        self.unacknowledged.insert(self.last_serial, (frame, texts));
        self.last_serial += 1;
    }

    fn note_serial(&mut self, frame: &Value) {
        if let Some(serial) = frame["channelSerial"].as_str() {
            self.serial = Some(serial.to_owned());
        }
    }

    fn acknowledged(&mut self, frame: &Value, accepted: bool, out: &mut Vec<Act>) {
        let serial = frame["msgSerial"].as_u64().unwrap();
        let Some((sent, texts)) = self.unacknowledged.remove(&serial) else {
            return;
        };
        if !accepted && sent["action"] == action::PRESENCE {
            // Nobody could let it in: it comes back.
            return out.push(Act::Hangup);
        }
        let seen = if accepted {
            Seen::Accepted
        } else {
            Seen::Refused
        };
        out.extend(texts.into_iter().map(|text| Act::Saw(seen(text))));
    }
}

impl Model for Client {
    fn open(&mut self, site: &Site<'_>) -> Opened {
        let credential = Credential::Key(format!("{}.{KEY}:{SECRET}", APP.0));
        let (view, now_ms) = (site.authority.view(), site.now.cluster_ms);
        let identity = auth::check(&credential, self.user.as_deref(), &view, now_ms);
        let closed = site
            .kept
            .downcast_ref::<ClosedConnections>()
            .unwrap()
            .clone();
        let key = view.keys.get(KEY);
        let resumes = match (&self.connection_key, &identity, key) {
            (Some(text), Ok(identity), Some(key)) => {
                resume::resumable(text, identity, key, (&closed, now_ms)).ok()
            }
            _ => None,
        };
        let hello = Hello {
            format: Format::Json,
            identity,
            not_resumed: None,
            echo: true,
            heartbeat_ms: 15_000,
            present_ms: super::limits::PRESENT_MS,
        };
        Opened {
            session: Box::new(AblySession::new(hello, closed)),
            resumes,
        }
    }

    fn hear(&mut self, frame: &str, out: &mut Vec<Act>) {
        let frame: Value = serde_json::from_str(frame).unwrap();
        let number = u8::try_from(frame["action"].as_u64().unwrap()).unwrap();
        match number {
            action::CONNECTED => self.connected(&frame, out),
            action::ATTACHED => self.attached(&frame, out),
            action::MESSAGE => {
                self.note_serial(&frame);
                for one in frame["messages"].as_array().into_iter().flatten() {
                    out.push(Act::Saw(Seen::Got(text(&one["data"]))));
                }
            }
            action::PRESENCE => {
                self.note_serial(&frame);
                for one in frame["presence"].as_array().into_iter().flatten() {
                    let member = member(one, &frame);
                    match one["action"].as_u64() {
                        Some(3) => self.members.remove(&member),
                        _ => self.members.insert(member),
                    };
                }
            }
            action::SYNC => {
                let all = frame["presence"].as_array().into_iter().flatten();
                self.syncing.extend(all.map(|one| member(one, &frame)));
                if text(&frame["channelSerial"]).ends_with(':') {
                    self.members = std::mem::take(&mut self.syncing);
                }
            }
            action::ACK => self.acknowledged(&frame, true, out),
            action::NACK => self.acknowledged(&frame, false, out),
            action::DETACHED => {
                out.push(Act::Saw(Seen::Ended));
                self.attach(out);
            }
            action::ERROR if frame["channel"].is_string() => {
                out.push(Act::Saw(Seen::Ended));
                out.push(Act::Hangup);
            }
            action::ERROR | action::DISCONNECTED => out.push(Act::Hangup),
            _ => {}
        }
    }

    fn closed(&mut self) {}

    fn publish(&mut self, text: &str, out: &mut Vec<Act>) -> bool {
        self.publish_batch(&[text.to_owned()], out)
    }

    fn publish_batch(&mut self, texts: &[String], out: &mut Vec<Act>) -> bool {
        let messages = texts.iter().map(|text| json!({"name": "n", "data": text}));
        let messages: Vec<Value> = messages.collect();
        let frame =
            json!({"action": action::MESSAGE, "channel": self.channel, "messages": messages});
        if self.attached {
            self.owe(frame, texts.to_vec(), out);
        }
        self.attached
    }

    fn present(&self) -> Option<BTreeSet<String>> {
        let members = self.members.iter().map(|(_, client)| client.clone());
        self.user.as_ref().map(|_| members.collect())
    }

    /// It has a key.
    fn needs_open(&self) -> bool {
        false
    }

    fn is(&self) -> Option<String> {
        self.user.clone()
    }
}
