//! Who is present on which channel by subscribing or by heartbeat, and until when.
//!
//! **Must never know:** how a presence set is kept; only that it is told to hold and to let go.
//! **Why apart from the polls:** a poll ends with every message, presence does not; it ends by leaving or by silence.

use crate::core::authority::{AppId, NodeId, Pass};
use crate::core::broker::Broker;
use crate::core::connection::NewMember;
use crate::core::ids::{ChannelKey, ConnectionId, Text};
use bytes::Bytes;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often the channel's home is told again, ms.
const AGAIN_MS: u64 = 30_000;
/// Marks entries of this adapter: no other connection's first half is that large.
const OURS: u64 = 1 << 40;

type Seats = HashMap<(Text, Arc<ChannelKey>), Seat>;

#[derive(Clone, Debug)]
struct Seat {
    until_ms: u64,
    held_ms: u64,
    state: Bytes,
}

/// Those whose presence this node keeps.
#[derive(Debug, Default)]
pub(super) struct Attendance(Mutex<Seats>);

/// The name under which this node holds a client's entries.
pub(super) fn connection(node: NodeId, app: AppId, uuid: &str) -> ConnectionId {
    let mut hash = DefaultHasher::new();
    (app, uuid).hash(&mut hash);
    ConnectionId(OURS | node.0, hash.finish())
}

/// Whether an entry was made by this adapter, on whichever node.
pub(super) fn is_ours(connection: ConnectionId) -> bool {
    connection.0 & OURS != 0
}

/// A sign of life.
#[derive(Clone, Debug)]
pub(super) struct Sign {
    /// Whose.
    pub(super) uuid: Text,
    /// Where.
    pub(super) channel: Arc<ChannelKey>,
    /// New state, if any came along.
    pub(super) state: Option<Bytes>,
    /// Until when it counts, monotonic ms.
    pub(super) until_ms: u64,
}

impl Attendance {
    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a sign of life; what the home has to be told, if anything.
    fn note(&self, sign: &Sign, now_ms: u64) -> Option<Bytes> {
        let mut seats = self.lock();
        let place = (sign.uuid.clone(), sign.channel.clone());
        let seat = seats.entry(place).or_insert_with(|| Seat {
            until_ms: 0,
            held_ms: 0,
            state: Bytes::new(),
        });
        seat.until_ms = sign.until_ms;
        let changed = sign
            .state
            .as_ref()
            .is_some_and(|state| *state != seat.state);
        if let Some(state) = &sign.state {
            seat.state = state.clone();
        }
        let due = seat.held_ms == 0 || now_ms >= seat.held_ms + AGAIN_MS;
        if !(changed || due) {
            return None;
        }
        seat.held_ms = now_ms.max(1);
        Some(seat.state.clone())
    }

    /// Whether this node keeps the client there.
    pub(super) fn knows(&self, sign: &Sign) -> bool {
        let place = (sign.uuid.clone(), sign.channel.clone());
        self.lock().contains_key(&place)
    }

    /// Notes a sign of life and tells the channel's home, where it does not know.
    pub(super) async fn touch(&self, broker: &Broker, sign: Sign, pass: Pass) {
        let Some(data) = self.note(&sign, broker.authority.now().mono_ms) else {
            return;
        };
        let key = &sign.channel;
        let by = connection(broker.channels.node(), key.app, &sign.uuid);
        let client = sign.uuid.clone();
        let member = NewMember { client, data };
        if broker.hold(key, by, member, pass).await.is_err() {
            // Not in: the next sign of life asks again.
            self.forget(&sign.uuid, key);
        }
    }

    /// Changes until when signs of life count, where there have been some.
    pub(super) fn extend(&self, uuid: &Text, channels: &[Arc<ChannelKey>], until_ms: u64) {
        let mut seats = self.lock();
        for channel in channels {
            if let Some(seat) = seats.get_mut(&(uuid.clone(), channel.clone())) {
                seat.until_ms = until_ms;
            }
        }
    }

    fn forget(&self, uuid: &Text, channel: &Arc<ChannelKey>) {
        self.lock().remove(&(uuid.clone(), channel.clone()));
    }

    /// The client leaves, wherever it was entered.
    pub(super) async fn leave(&self, broker: &Broker, uuid: &Text, channel: &Arc<ChannelKey>) {
        self.forget(uuid, channel);
        let Ok(members) = broker.members(channel).await else {
            return;
        };
        for member in members.iter() {
            if member.client == *uuid && is_ours(member.connection) {
                // A home that cannot be asked lets it time out.
                let _ = broker
                    .absent(channel, member.connection, uuid.clone())
                    .await;
            }
        }
    }

    /// Lets go of those who have been silent for too long.
    pub(super) fn sweep(&self, broker: &Broker) {
        let now_ms = broker.authority.now().mono_ms;
        let mut silent = Vec::new();
        self.lock().retain(|place, seat| {
            let over = seat.until_ms <= now_ms;
            if over {
                silent.push(place.clone());
            }
            !over
        });
        for (uuid, channel) in silent {
            let by = connection(broker.channels.node(), channel.app, &uuid);
            broker.lapse(&channel, by);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sign(until_ms: u64, state: Option<&'static str>) -> Sign {
        Sign {
            uuid: "alice".into(),
            channel: ChannelKey::channel(AppId(1), "a"),
            state: state.map(|text| Bytes::from_static(text.as_bytes())),
            until_ms,
        }
    }

    #[test]
    fn the_home_hears_of_news_and_now_and_then() {
        let attendance = Attendance::default();
        assert_eq!(attendance.note(&sign(10, None), 1).unwrap(), "");
        assert_eq!(attendance.note(&sign(20, None), 2), None);
        assert_eq!(attendance.note(&sign(20, Some("{}")), 3).unwrap(), "{}");
        assert_eq!(attendance.note(&sign(20, Some("{}")), 4), None);
        assert_eq!(attendance.note(&sign(20, None), 30_003).unwrap(), "{}");
    }

    #[test]
    fn every_node_has_its_own_entry() {
        let on = |node| connection(NodeId(node), AppId(1), "alice");
        assert_ne!(on(1), on(2));
        assert_eq!(on(1), on(1));
        assert!(is_ours(on(1)) && !is_ours(ConnectionId(u64::from(u32::MAX), 1)));
    }
}
