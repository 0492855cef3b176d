//! Presence: while a channel's switch is on, its subscribers are counted by what they say of themselves.
//!
//! **Why the entry is named by the metadata:** the documented answer counts distinct metadata, at most a hundred; an
//! entry per metadata makes the set's own bound that hundred.

use super::announce::OWN;
use super::{RealtimeSession, Turn};
use crate::adapters::realtime::auth;
use crate::adapters::realtime::rest::METADATA_FLAG;
use crate::core::authority::{Operations, Resource};
use crate::core::session::{Intent, NewMember, PresenceRequest};
use bytes::Bytes;

impl RealtimeSession {
    /// Enters or leaves wherever a switch has changed since it was last looked at.
    pub(super) fn update_presence(&mut self, turn: &mut Turn<'_>) {
        let client = self.who.metadata.clone();
        for (name, subscription) in &mut self.subscriptions {
            if !subscription.live || auth::is_announcement(name) {
                continue;
            }
            let wanted = turn.state.flag(self.app, name, METADATA_FLAG);
            if wanted == subscription.present {
                continue;
            }
            subscription.present = wanted;
            let target = (Resource::Channel, &**name);
            let now_ms = turn.cx.now.cluster_ms;
            let operations = Operations::PRESENCE;
            let member = wanted.then(|| NewMember {
                client: client.clone(),
                data: Bytes::new(),
            });
            let request = PresenceRequest {
                channel: subscription.key.clone(),
                member,
                client: client.clone(),
                speaks_for: None,
                proof: auth::server_proof(turn.state, self.app, target, operations, now_ms),
                tag: OWN - 1,
            };
            turn.ask(Intent::Presence(Box::new(request)));
        }
    }
}
