//! Clients of this dialect, as the world of whole nodes plays them: with and without a place that is kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::OfNode;
use super::encoder::RealtimeEncoder;
use super::session::RealtimeSession;
use crate::core::delivery::encoding::Encoder;
use crate::core::ids::ChannelKey;
use crate::world_tests::client::{Act, DialectModel, Model, Opened, Seen, Site};
use crate::world_tests::story::APPLICATION;
use serde_json::Value;
use std::any::Any;
use std::collections::BTreeSet;

/// The dialect.
#[derive(Debug)]
pub(crate) struct Realtime {
    /// Its clients have a place that is kept.
    pub(crate) buffered: bool,
}

/// One client.
#[derive(Debug)]
struct Client {
    channel: String,
    /// Under which its place is kept.
    subscriber: Option<String>,
    /// It has stood before.
    stood: bool,
    /// What has come at least once.
    came: BTreeSet<String>,
    /// What it has let pass: it fails at every seventh message, and acknowledges it when it comes again.
    owed: BTreeSet<String>,
    /// Acknowledgements that it sends with the next one.
    late: Vec<Act>,
}

impl DialectModel for Realtime {
    fn name(&self) -> &'static str {
        super::DIALECT
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(RealtimeEncoder)
    }

    fn node(&self) -> Box<dyn Any> {
        Box::new(OfNode::default())
    }

    fn client(&self, number: u64, channel: &ChannelKey, _present: bool) -> Box<dyn Model> {
        Box::new(Client {
            channel: channel.name.to_string(),
            subscriber: self.buffered.then(|| format!("s{number}")),
            stood: false,
            came: BTreeSet::new(),
            owed: BTreeSet::new(),
            late: Vec::new(),
        })
    }
}

fn command(text: &str) -> Act {
    Act::Say(serde_json::to_string(text).unwrap())
}

impl Client {
    fn message(&mut self, object: &Value, out: &mut Vec<Act>) {
        let said = object["m"].as_str().unwrap_or_default();
        let mut parts = said.splitn(3, '_');
        let (id, _, body) = (parts.next(), parts.next(), parts.next());
        let text = body.unwrap_or(said).to_owned();
        if let (Some(id), Some(sequence)) = (id, object["s"].as_str()) {
            let number: u64 = text.trim_start_matches('m').parse().unwrap_or_default();
            if self.came.insert(text.clone()) && number % 7 == 3 {
                self.owed.insert(text);
                return;
            }
            let channel = &self.channel;
            let ack = command(&format!("ack;{APPLICATION};{channel};{id};{sequence};1"));
            match number % 5 {
                // Late.
                1 => self.late.push(ack),
                // Lost; what it has got comes again.
                2 => {}
                _ => {
                    out.push(ack);
                    out.append(&mut self.late);
                }
            }
        }
        self.owed.remove(&text);
        out.push(Act::Saw(Seen::Got(text)));
    }
}

impl Model for Client {
    fn open(&mut self, site: &Site<'_>) -> Opened {
        let of_node = site.kept.downcast_ref::<OfNode>().unwrap().clone();
        Opened {
            session: Box::new(RealtimeSession::new(of_node)),
            resumes: None,
        }
    }

    fn hear(&mut self, frame: &str, out: &mut Vec<Act>) {
        let channel = &self.channel;
        let Some(inner) = frame.strip_prefix('a') else {
            if frame == "o" {
                out.push(command(&format!("validate;{APPLICATION};tok;;;me;")));
            }
            return;
        };
        let texts: Vec<String> = serde_json::from_str(inner).unwrap();
        let object: Value = serde_json::from_str(&texts[0]).unwrap();
        match object["op"].as_str() {
            Some("ortc-validated") => out.push(match &self.subscriber {
                Some(own) => {
                    let options = format!("{channel};{own};;;;");
                    command(&format!("subscribeoptions;{APPLICATION};tok;{options}"))
                }
                None => command(&format!("subscribe;{APPLICATION};tok;{channel}")),
            }),
            Some("ortc-subscribed") => {
                let continues = self.stood && self.subscriber.is_some();
                self.stood = true;
                out.push(Act::Saw(Seen::Stands(continues)));
            }
            Some("ortc-error") => {
                if self.subscriber.is_none() {
                    out.push(Act::Saw(Seen::Ended));
                }
                out.push(Act::Hangup);
            }
            Some(_) => {}
            None => self.message(&object, out),
        }
    }

    fn closed(&mut self) {
        self.late.clear();
    }

    fn owed(&self) -> BTreeSet<String> {
        self.owed.clone()
    }

    /// It only listens.
    fn publish(&mut self, _text: &str, _out: &mut Vec<Act>) -> bool {
        false
    }

    fn is_silent(&self) -> bool {
        self.subscriber.is_some()
    }

    fn may_repeat(&self) -> bool {
        self.subscriber.is_some()
    }
}
