//! Presence: entering, changing and leaving, one frame, one acknowledgement.

use super::attach::Stage;
use super::modes;
use super::{AblySession, Turn};
use crate::adapters::ably::codes::Fault;
use crate::adapters::ably::frame::{ChannelName, ProtocolMessage};
use crate::adapters::ably::member::Asked;
use crate::adapters::ably::{limits, position};
use crate::core::authority::{Issued, SpokenFor};
use crate::core::error::Refusal;
use crate::core::session::{Intent, NewMember, PresenceRequest};

impl AblySession {
    pub(super) fn present(&mut self, frame: ProtocolMessage, turn: &mut Turn<'_>) {
        let count = frame.presence.as_ref().map_or(0, Vec::len);
        let requests = self.inbound(count, turn);
        match requests.and_then(|()| self.requests(&frame, turn)) {
            Ok(requests) => {
                let parts = requests.len() as u64;
                let first = self.track_ack((frame.msg_serial, frame.channel), parts);
                for (mut request, tag) in requests.into_iter().zip(first..) {
                    request.tag = tag;
                    turn.ask(Intent::Presence(Box::new(request)));
                }
            }
            Err(fault) => self.refuse((frame.msg_serial, frame.channel), fault, turn),
        }
    }

    fn requests(
        &self,
        frame: &ProtocolMessage,
        turn: &Turn<'_>,
    ) -> Result<Vec<PresenceRequest>, Fault> {
        let wire = frame.channel.as_deref().unwrap_or_default();
        let name = ChannelName::parse(wire)?.name;
        let held = self.channels.get(&*name);
        let held = held.filter(|held| held.wire == wire && held.stage == Stage::Attached);
        let (Some(held), Some(identity)) = (held, &self.identity) else {
            return Err(Fault::new(90001, 404, "The channel is not attached"));
        };
        if held.wanted.modes & modes::PRESENCE == 0 {
            return Err(Fault::new(40165, 401, "Attached without the PRESENCE mode"));
        }
        let items = frame.presence.as_deref().unwrap_or_default();
        if items.is_empty() || items.len() > limits::MESSAGES {
            return Err(Fault::bad("No or too many presence messages"));
        }
        let max = self.limit(limits::MESSAGE_BYTES, turn);
        let base = position::connection(turn.cx.id);
        let serial = frame.msg_serial.unwrap_or_default();
        let mut requests = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let client = identity.stamp(item.client_id.as_deref())?;
            let client = client.ok_or_else(|| Fault::new(91000, 400, "Nobody to be present"))?;
            let asked = item.asks()?;
            // A client that may name any acts for many: each of them can be taken out by herself.
            let other = identity.principal.user.as_ref() != Some(&client);
            let speaks_for = other.then(|| SpokenFor {
                user: client.clone(),
                issued: Issued::Seen(turn.cx.authority.view().revision),
            });
            let request = |member| PresenceRequest {
                channel: held.key.clone(),
                member,
                client: client.clone(),
                speaks_for: speaks_for.clone().map(Box::new),
                proof: None,
                tag: 0,
            };
            if asked == Asked::Present || item.carries() {
                let data = item.envelope(format!("{base}:{serial}:{at}"))?;
                if data.len() as u64 > max {
                    return Err(Fault::new(40009, 413, "Maximum message length exceeded"));
                }
                let client = client.clone();
                requests.push(request(Some(NewMember { client, data })));
            }
            if asked == Asked::Leave {
                requests.push(request(None));
            }
        }
        Ok(requests)
    }

    pub(super) fn presence_done(
        &mut self,
        tag: u64,
        refusal: Option<Refusal>,
        turn: &mut Turn<'_>,
    ) {
        let answer = refusal.map_or(Ok(None), |refusal| Err(Fault::from(refusal)));
        self.part_done(tag, answer, turn);
    }
}
