//! Clients of this dialect, as the world of whole nodes plays them: with and without a place that is kept.
//!
//! **Must never know:** nodes, faults.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::OfNode;
use super::encoder::RealtimeEncoder;
use super::session::RealtimeSession;
use crate::core::delivery::encoding::Encoder;
use crate::world_tests::client::{Act, DialectModel, Model, Opened, Seen, Site};
use crate::world_tests::story::APPLICATION;
use serde_json::Value;
use std::any::Any;

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

    fn client(&self, number: u64, channel: &str, _present: bool) -> Box<dyn Model> {
        Box::new(Client {
            channel: channel.to_owned(),
            subscriber: self.buffered.then(|| format!("s{number}")),
            stood: false,
        })
    }
}

fn command(text: &str) -> Act {
    Act::Say(serde_json::to_string(text).unwrap())
}

impl Client {
    fn message(&self, object: &Value, out: &mut Vec<Act>) {
        let said = object["m"].as_str().unwrap_or_default();
        let mut parts = said.splitn(3, '_');
        let (id, _, body) = (parts.next(), parts.next(), parts.next());
        if let (Some(id), Some(sequence)) = (id, object["s"].as_str()) {
            let channel = &self.channel;
            out.push(command(&format!(
                "ack;{APPLICATION};{channel};{id};{sequence};1"
            )));
        }
        out.push(Act::Saw(Seen::Got(body.unwrap_or(said).to_owned())));
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

    fn closed(&mut self) {}

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
