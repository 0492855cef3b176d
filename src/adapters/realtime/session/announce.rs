//! Announcements: who came, went, subscribed and unsubscribed, on channels only the server publishes to.
//!
//! A node that dies announces nothing for its connections.

use super::{RealtimeSession, Turn};
use crate::adapters::realtime::{auth, encoder, limits};
use crate::core::authority::{Operations, Resource};
use crate::core::ids::ChannelKey;
use crate::core::session::{Intent, Publish};
use serde::Serialize;

/// The tag of what the server says by itself.
pub(super) const OWN: u64 = u64::MAX;

#[derive(Serialize)]
struct Announcement<'a> {
    cm: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ch: Option<&'a str>,
}

impl RealtimeSession {
    pub(super) fn announce(&self, head: &str, channel: Option<&str>, turn: &mut Turn<'_>) {
        if !limits::ANNOUNCEMENTS.on(turn.app) {
            return;
        }
        let name = match &*self.who.announcements {
            "" => head.to_owned(),
            sub => format!("{head}:{sub}"),
        };
        let says = Announcement {
            cm: &self.who.metadata,
            ch: channel,
        };
        let target = (Resource::Channel, &*name);
        let now_ms = turn.cx.now.cluster_ms;
        let operations = Operations::PUBLISH;
        let proof = auth::server_proof(turn.state, self.app, target, operations, now_ms);
        let (Some(proof), Ok(text)) = (proof, serde_json::to_vec(&says)) else {
            return;
        };
        let mut draft = encoder::draft(&text, None);
        draft.store = false;
        let publish = Publish {
            channel: ChannelKey::channel(self.app, &name),
            draft: Box::new(draft),
            subscribed_only: false,
            proof: Some(proof),
            ack: None,
            tag: OWN,
        };
        turn.ask(Intent::Publish(publish));
    }

    pub(super) fn announce_gone(&mut self, turn: &mut Turn<'_>) {
        self.announce("ortcClientDisconnected", None, turn);
    }
}
