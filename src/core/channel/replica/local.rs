//! This node's own side of a channel, whatever its role: who it is, which home it sees, and who on it is interested.
//!
//! **Why a node records before it is answered:** what a home has accepted while the answer was lost must be announced
//! to the next home all the same; what was refused is taken back.

use super::fingerprint;
use super::io::{Effect, Limits, NewReplica};
use super::presence::{Announced, EntryKey};
use super::protocol::{Announcement, PeerMessage, Request};
use super::stream::LogPosition;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, ConnectionId, NodeId, Text};
use crate::core::nodes::{Members, Placement};
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A presence entry of this node.
#[derive(Debug)]
struct OwnEntry {
    data: Bytes,
    /// A home has accepted it.
    confirmed: bool,
    /// The last home that was asked for it and accepted.
    accepted_by: Option<NodeId>,
}

/// What a connection was to the channel before it left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removed {
    /// It counted as a subscriber.
    pub(super) subscribed: bool,
    /// It had presence entries.
    pub(super) had_entries: bool,
}

/// This node and its interest in the channel.
#[derive(Debug)]
pub(super) struct LocalNode {
    pub(super) key: Arc<ChannelKey>,
    pub(super) id: NodeId,
    pub(super) members: Arc<Members>,
    pub(super) place: Option<Placement>,
    pub(super) limits: Limits,
    subscribers: HashSet<ConnectionId>,
    entries: BTreeMap<EntryKey, OwnEntry>,
    /// Those of them that a home has accepted, as one number.
    sum: u64,
    /// Some home may count subscribers or members of this node.
    pub(super) announced: bool,
    /// How long a node that the others do not hear counts as one of them, ms.
    pub(super) lease_ms: u64,
    seed: u64,
    ids_made: u64,
}

impl LocalNode {
    pub(super) fn new(new: NewReplica) -> Self {
        Self {
            place: new.members.place(&new.key),
            key: new.key,
            id: new.node,
            members: new.members,
            limits: new.limits,
            subscribers: HashSet::new(),
            entries: BTreeMap::new(),
            sum: 0,
            announced: false,
            lease_ms: new.lease_ms,
            seed: new.seed,
            ids_made: 0,
        }
    }

    /// The channel's home by the member list that this node has.
    pub(super) fn home(&self) -> Option<NodeId> {
        self.place.map(|place| place.home)
    }

    /// The home, when it is another node.
    pub(super) fn remote_home(&self) -> Option<NodeId> {
        self.home().filter(|home| *home != self.id)
    }

    pub(super) fn is_backup(&self) -> bool {
        self.place.and_then(|place| place.backup) == Some(self.id)
    }

    /// Number of subscribers of this node.
    pub(super) fn subscribers(&self) -> u64 {
        u64::try_from(self.subscribers.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn has_subscribers(&self) -> bool {
        !self.subscribers.is_empty()
    }

    /// Whether nobody of this node is interested in the channel.
    pub(super) fn is_empty(&self) -> bool {
        self.subscribers.is_empty() && self.entries.is_empty()
    }

    /// A number nobody else makes: the seed is random and every one of a seed differs.
    pub(super) fn next_id(&mut self) -> u64 {
        self.ids_made += 1;
        let number = self.seed.wrapping_add(self.ids_made);
        if number == 0 { 1 } else { number }
    }

    /// Without an id the home could not tell a repetition from a second message.
    pub(super) fn name_drafts(&mut self, request: &mut Request) {
        for draft in request.drafts().iter_mut().filter(|one| one.id.is_none()) {
            draft.id = Some(format!("{:016x}", self.next_id()).into());
        }
    }

    /// Writes down what a request changes on this node, before anybody answers it.
    pub(super) fn record(&mut self, request: &Request) -> Result<(), Refusal> {
        match request {
            Request::Join(join) => {
                if !self.subscribers.insert(join.connection) {
                    return Err(Refusal::AlreadySubscribed);
                }
                if let Some((client, data)) = &join.member {
                    self.record_entry(join.connection, client, data);
                }
            }
            Request::Enter {
                connection,
                client,
                data,
            }
            | Request::EnsurePresent {
                connection,
                client,
                data,
            } => self.record_entry(*connection, client, data),
            Request::Leave { connection, client } | Request::LeaveHere { connection, client } => {
                self.forget_entry(&(*connection, client.clone()));
            }
            Request::Publish(_)
            | Request::PublishBatch(_)
            | Request::Occupancy
            | Request::Members
            | Request::History(_)
            | Request::PresenceLog(_)
            | Request::LastValue
            | Request::Erase { .. } => {}
        }
        Ok(())
    }

    fn record_entry(&mut self, connection: ConnectionId, client: &Text, data: &Bytes) {
        let key = (connection, client.clone());
        self.toggle(&key);
        let entry = self.entries.entry(key.clone());
        let new = || OwnEntry {
            data: data.clone(),
            confirmed: false,
            accepted_by: None,
        };
        entry.or_insert_with(new).data = data.clone();
        self.toggle(&key);
    }

    /// An accepted entry comes into the number, or goes out of it.
    fn toggle(&mut self, key: &EntryKey) {
        if let Some(entry) = self.entries.get(key).filter(|entry| entry.confirmed) {
            self.sum ^= fingerprint::entry(key.0, &key.1, &entry.data);
        }
    }

    /// What this node has in the channel, as one number; 0 for nothing.
    pub(super) fn interest(&self) -> u64 {
        fingerprint::interest(self.subscribers(), self.sum)
    }

    /// The home has accepted it: what [`Self::record`] wrote down holds.
    pub(super) fn accept(&mut self, request: &Request, home: NodeId) {
        if let Some(key) = request.entry() {
            self.toggle(&key);
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.confirmed = true;
                entry.accepted_by = Some(home);
            }
            self.toggle(&key);
        }
    }

    /// Whether that node, as home, was the last to accept this entry when it was asked for.
    pub(super) fn was_accepted_by(&self, key: &EntryKey, home: NodeId) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| entry.accepted_by == Some(home))
    }

    /// Takes back what [`Self::record`] wrote down. An entry that is `asked_again` for stays until that is decided.
    pub(super) fn roll_back(&mut self, request: &Request, asked_again: bool) {
        if let Request::Join(join) = request {
            self.subscribers.remove(&join.connection);
        }
        if let Some(key) = request.entry()
            && !asked_again
            && self.entries.get(&key).is_some_and(|one| !one.confirmed)
        {
            self.entries.remove(&key);
        }
    }

    /// Whether a home has accepted this entry.
    pub(super) fn is_confirmed(&self, key: &EntryKey) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.confirmed)
    }

    /// Another node has taken this entry out: it is not announced any more.
    pub(super) fn forget_entry(&mut self, key: &EntryKey) {
        self.toggle(key);
        self.entries.remove(key);
    }

    /// It is on its way in once more: it stays, if the home agrees.
    pub(super) fn unconfirm_entry(&mut self, key: &EntryKey) {
        self.toggle(key);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.confirmed = false;
        }
    }

    /// The connection receives nothing any more; whether it was a subscriber.
    pub(super) fn unsubscribe(&mut self, connection: ConnectionId) -> bool {
        self.subscribers.remove(&connection)
    }

    /// The connection is no subscriber and has no entries any more.
    pub(super) fn remove(&mut self, connection: ConnectionId) -> Removed {
        let its = |key: &&EntryKey| key.0 == connection;
        let keys: Vec<EntryKey> = self.entries.keys().filter(its).cloned().collect();
        keys.iter().for_each(|key| self.forget_entry(key));
        Removed {
            subscribed: self.unsubscribe(connection),
            had_entries: !keys.is_empty(),
        }
    }

    /// The presence entries of this node, as it announces them.
    pub(super) fn entries(&self) -> Vec<Announced> {
        let entries = self.entries.iter();
        let announced = entries.map(|((connection, client), entry)| Announced {
            connection: *connection,
            client: client.clone(),
            data: entry.data.clone(),
            confirmed: entry.confirmed,
        });
        announced.collect()
    }

    /// Tells another node everything about this one. `position` is the last broadcast its subscribers got.
    pub(super) fn announce(
        &mut self,
        to: NodeId,
        position: Option<LogPosition>,
        out: &mut Vec<Effect>,
    ) {
        self.announced |= !self.is_empty();
        let message = PeerMessage::Announce(Announcement {
            subscribers: self.subscribers(),
            members: self.entries(),
            position,
        });
        out.push(Effect::Send { to, message });
    }
}
