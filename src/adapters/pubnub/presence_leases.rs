//! Who is present on which channel by subscribing or by heartbeat, and until when.
//!
//! **Why apart from the polls:** a poll ends with every message, presence does not; it ends by leaving or by silence.
//! **Why an entry's name tells its credential:** anyone may write any uuid, so a leave by uuid alone would let every
//! stranger remove every member. Each node works the name out from the request, and none has to be asked.

use crate::core::authority::{AppId, NodeId, Pass};
use crate::core::broker::Broker;
use crate::core::ids::{ChannelKey, ConnectionId, Text};
use crate::core::session::NewMember;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often the channel's home is told again, ms.
const REFRESH_INTERVAL_MS: u64 = 30_000;
/// Marks entries of this adapter: no other connection's first half is that large.
const ADAPTER_BIT: u64 = 1 << 40;
/// Marks those of them that were made under a token that names the client.
const PROVEN_BIT: u64 = 1 << 41;

type Leases = HashMap<(Guest, Arc<ChannelKey>), PresenceLease>;

#[derive(Clone, Debug)]
struct PresenceLease {
    until_ms: u64,
    held_ms: u64,
    state: Bytes,
}

/// Those whose presence this node keeps.
#[derive(Debug, Default)]
pub(super) struct PresenceLeases(Mutex<Leases>);

/// What vouches for an entry, and so may take it back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// Nothing was shown: one keyless client is as good as another.
    Nobody,
    /// A token that names its user; every such token of hers.
    User,
    /// An auth key, a token that names nobody, or the key that signed.
    Credential(Text),
}

/// A client as it is entered: its uuid, and what vouched for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Guest {
    /// What it calls itself.
    pub(super) uuid: Text,
    /// What it showed.
    pub(super) owner: Owner,
}

impl Guest {
    /// The name under which a node holds its entries.
    pub(super) fn connection(&self, node: NodeId, app: AppId) -> ConnectionId {
        let (kind, text) = match &self.owner {
            Owner::Nobody => ("nobody", ""),
            Owner::User => ("user", ""),
            Owner::Credential(text) => ("credential", &**text),
        };
        let mut hash = Sha256::new();
        hash.update(app.0.to_be_bytes());
        for part in [&*self.uuid, kind, text] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let head = hash.finalize().into_iter().take(8);
        let number = head.fold(0, |number, byte| number << 8 | u64::from(byte));
        let proven = match self.owner {
            Owner::User => PROVEN_BIT,
            Owner::Nobody | Owner::Credential(_) => 0,
        };
        ConnectionId(ADAPTER_BIT | proven | node.0, number)
    }

    /// Whether it may take this entry out: its own, and a proven user every entry under her name.
    fn may_leave(&self, app: AppId, client: &str, entry: ConnectionId) -> bool {
        let own = || self.connection(NodeId(entry.0 & !(ADAPTER_BIT | PROVEN_BIT)), app) == entry;
        *client == *self.uuid && is_ours(entry) && (self.owner == Owner::User || own())
    }
}

/// Whether an entry was made by this adapter, on whichever node.
pub(super) fn is_ours(connection: ConnectionId) -> bool {
    connection.0 & ADAPTER_BIT != 0
}

/// Whether it was made by this adapter under a token that names its client.
pub(super) fn is_proven(connection: ConnectionId) -> bool {
    is_ours(connection) && connection.0 & PROVEN_BIT != 0
}

/// A sign of life.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat {
    /// The client that is present.
    pub(super) guest: Guest,
    /// The channel on which it is present.
    pub(super) channel: Arc<ChannelKey>,
    /// New state, if any came along.
    pub(super) state: Option<Bytes>,
    /// It says that it is there, and does not merely go on listening: meanwhile it may have left through another node,
    /// which this one does not hear of.
    pub(super) arrives: bool,
    /// Until when it counts, monotonic ms.
    pub(super) until_ms: u64,
}

impl PresenceLeases {
    fn lock(&self) -> MutexGuard<'_, Leases> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a sign of life; what the home has to be told, if anything.
    fn note(&self, heartbeat: &Heartbeat, now_ms: u64) -> Option<Bytes> {
        let mut leases = self.lock();
        let place = (heartbeat.guest.clone(), heartbeat.channel.clone());
        let lease = leases.entry(place).or_insert_with(|| PresenceLease {
            until_ms: 0,
            held_ms: 0,
            state: Bytes::new(),
        });
        lease.until_ms = heartbeat.until_ms;
        let changed = heartbeat
            .state
            .as_ref()
            .is_some_and(|state| *state != lease.state);
        if let Some(state) = &heartbeat.state {
            lease.state = state.clone();
        }
        let again = now_ms >= lease.held_ms.saturating_add(REFRESH_INTERVAL_MS);
        let due = heartbeat.arrives || lease.held_ms == 0 || again;
        if !(changed || due) {
            return None;
        }
        lease.held_ms = now_ms.max(1);
        Some(lease.state.clone())
    }

    /// Whether this node keeps the client there, as entered by the same credential.
    pub(super) fn knows(&self, guest: &Guest, channel: &Arc<ChannelKey>) -> bool {
        let place = (guest.clone(), channel.clone());
        self.lock().contains_key(&place)
    }

    /// Notes a sign of life and tells the channel's home, where it does not know.
    pub(super) async fn touch(&self, broker: &Broker, heartbeat: Heartbeat, pass: Pass) {
        let Some(data) = self.note(&heartbeat, broker.authority.now().mono_ms) else {
            return;
        };
        let key = &heartbeat.channel;
        let by = heartbeat.guest.connection(broker.channels.node(), key.app);
        let client = heartbeat.guest.uuid.clone();
        let member = NewMember { client, data };
        if broker.ensure_present(key, by, member, pass).await.is_err() {
            // Not in: the next sign of life asks again.
            self.forget(&heartbeat.guest, key);
        }
    }

    /// Changes until when signs of life count, where there have been some.
    pub(super) fn extend(&self, guest: &Guest, channels: &[Arc<ChannelKey>], until_ms: u64) {
        let mut leases = self.lock();
        for channel in channels {
            if let Some(lease) = leases.get_mut(&(guest.clone(), channel.clone())) {
                lease.until_ms = until_ms;
            }
        }
    }

    fn forget(&self, guest: &Guest, channel: &Arc<ChannelKey>) {
        self.lock().remove(&(guest.clone(), channel.clone()));
    }

    /// The client leaves, wherever its credential entered it.
    pub(super) async fn leave(&self, broker: &Broker, guest: &Guest, channel: &Arc<ChannelKey>) {
        self.forget(guest, channel);
        let Ok(members) = broker.members(channel).await else {
            return;
        };
        for member in members.iter() {
            if guest.may_leave(channel.app, &member.client, member.connection) {
                // A home that cannot be asked lets it time out.
                let _ = broker
                    .leave_presence(channel, member.connection, guest.uuid.clone())
                    .await;
            }
        }
    }

    /// Lets go of those who have been silent for too long.
    pub(super) fn sweep(&self, broker: &Broker) {
        let now_ms = broker.authority.now().mono_ms;
        let mut silent = Vec::new();
        self.lock().retain(|place, lease| {
            let over = lease.until_ms <= now_ms;
            if over {
                silent.push(place.clone());
            }
            !over
        });
        for (guest, channel) in silent {
            let by = guest.connection(broker.channels.node(), channel.app);
            broker.time_out_presence(&channel, by);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn guest(owner: Owner) -> Guest {
        Guest {
            uuid: "alice".into(),
            owner,
        }
    }

    fn heartbeat(until_ms: u64, state: Option<&'static str>) -> Heartbeat {
        Heartbeat {
            guest: guest(Owner::Nobody),
            channel: ChannelKey::channel(AppId(1), "a"),
            state: state.map(|text| Bytes::from_static(text.as_bytes())),
            arrives: false,
            until_ms,
        }
    }

    #[test]
    fn the_home_hears_of_news_and_now_and_then() {
        let leases = PresenceLeases::default();
        assert_eq!(leases.note(&heartbeat(10, None), 1).unwrap(), "");
        assert_eq!(leases.note(&heartbeat(20, None), 2), None);
        assert_eq!(leases.note(&heartbeat(20, Some("{}")), 3).unwrap(), "{}");
        assert_eq!(leases.note(&heartbeat(20, Some("{}")), 4), None);
        assert_eq!(leases.note(&heartbeat(20, None), 30_003).unwrap(), "{}");
        // It may have left through another node since.
        let back = Heartbeat {
            arrives: true,
            ..heartbeat(20, None)
        };
        assert_eq!(leases.note(&back, 30_004).unwrap(), "{}");
    }

    #[test]
    fn every_node_has_its_own_entry() {
        let on = |node| guest(Owner::Nobody).connection(NodeId(node), AppId(1));
        assert_ne!(on(1), on(2));
        assert_eq!(on(1), on(1));
        assert!(is_ours(on(1)) && !is_ours(ConnectionId(u64::from(u32::MAX), 1)));
    }

    #[test]
    fn an_entry_goes_by_the_credential_it_came_with() {
        let owners = [
            Owner::Nobody,
            Owner::User,
            Owner::Credential("a".into()),
            Owner::Credential("b".into()),
        ];
        for one in &owners {
            for other in &owners {
                let entry = guest(other.clone()).connection(NodeId(3), AppId(1));
                let may = guest(one.clone()).may_leave(AppId(1), "alice", entry);
                // A proven user answers for whatever goes by her name.
                assert_eq!(
                    may,
                    one == other || *one == Owner::User,
                    "{one:?} {other:?}"
                );
            }
        }
        let proven = guest(Owner::User);
        let entry = proven.connection(NodeId(3), AppId(1));
        assert!(!proven.may_leave(AppId(1), "bob", entry));
        // A member of another dialect is none of ours.
        assert!(!proven.may_leave(AppId(1), "alice", ConnectionId(3, 9)));
    }
}
