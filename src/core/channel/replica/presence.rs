//! Who is in a channel: one entry per (client, connection), in order of entry.
//!
//! **Must never know:** positions, broadcasts, who may enter; it says what changed, the home gives it a place.
//!
//! **Why entries carry their node:** a node's members are that node's truth. It announces them, and what it
//! does not announce, or all of it when the node is gone, leaves: no ghosts by construction.

use super::fingerprint;
use crate::core::ids::{ConnectionId, NodeId, Text, Timetoken};
use crate::core::message::{Member, PresenceAction};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// Names an entry.
pub type EntryKey = (ConnectionId, Text);

/// One of a node's own members, as it announces them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// On which connection.
    pub connection: ConnectionId,
    /// The client id of the member.
    pub client: Text,
    /// What it says of itself.
    pub data: Bytes,
    /// A home has accepted it before. Otherwise it is being asked for: it stays if it is there, and
    /// enters (or not) by its own request.
    pub confirmed: bool,
}

/// An announced entry that stands in the set as another node's, and that node.
pub type Contested = (EntryKey, NodeId);

/// What became of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether the member entered, changed or left.
    pub action: PresenceAction,
    /// The member that entered, changed or left.
    pub member: Member,
    /// First or last entry of the client.
    pub client_transition: bool,
    /// Distinct clients afterwards.
    pub clients: u64,
}

/// The presence set of one channel.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    entries: BTreeMap<u64, Member>,
    order: HashMap<EntryKey, u64>,
    clients: HashMap<Text, u32>,
    /// What each node has here, as one number.
    sums: HashMap<NodeId, u64>,
    next: u64,
}

impl Presence {
    /// Enters, or updates the data of an entry that is there.
    pub fn enter(&mut self, member: Member) -> Change {
        let key = (member.connection, member.client.clone());
        if let Some(entry) = self.order.get(&key).and_then(|n| self.entries.get_mut(n)) {
            let before = entry.clone();
            entry.data = member.data;
            entry.node = member.node;
            let member = entry.clone();
            self.toggle(&before);
            self.toggle(&member);
            return self.change(PresenceAction::Update, member, false);
        }
        self.toggle(&member);
        let count = self.clients.entry(member.client.clone()).or_insert(0);
        *count += 1;
        let transition = *count == 1;
        self.order.insert(key, self.next);
        self.entries.insert(self.next, member.clone());
        self.next += 1;
        self.change(PresenceAction::Enter, member, transition)
    }

    /// Removes an entry; `None` when there is none.
    pub fn leave(&mut self, key: &EntryKey, action: PresenceAction) -> Option<Change> {
        let member = self.entries.remove(&self.order.remove(key)?)?;
        self.toggle(&member);
        let left = self.clients.get_mut(&member.client).map(|count| {
            *count = count.saturating_sub(1);
            *count
        });
        let transition = left.is_none_or(|count| count == 0);
        if transition {
            self.clients.remove(&member.client);
        }
        Some(self.change(action, member, transition))
    }

    /// An entry comes into its node's number, or goes out of it.
    fn toggle(&mut self, member: &Member) {
        let sum = self.sums.entry(member.node).or_insert(0);
        *sum ^= fingerprint::entry(member.connection, &member.client, &member.data);
        if *sum == 0 {
            self.sums.remove(&member.node);
        }
    }

    /// What each node has here, as one number; in no order.
    pub(super) fn sums(&self) -> &HashMap<NodeId, u64> {
        &self.sums
    }

    fn change(&self, action: PresenceAction, member: Member, transition: bool) -> Change {
        Change {
            action,
            member,
            client_transition: transition,
            clients: self.clients(),
        }
    }

    /// The entries for which `of` holds, in order of entry.
    #[must_use]
    pub fn keys(&self, of: impl Fn(&Member) -> bool) -> Vec<EntryKey> {
        let entries = self.entries.values().filter(|member| of(member));
        entries
            .map(|one| (one.connection, one.client.clone()))
            .collect()
    }

    /// The entry of that key.
    #[must_use]
    pub fn get(&self, key: &EntryKey) -> Option<&Member> {
        self.entries.get(self.order.get(key)?)
    }

    /// Whether the client has an entry.
    #[must_use]
    pub fn has_client(&self, client: &Text) -> bool {
        self.clients.contains_key(client)
    }

    /// Makes the entries of `node` what it announces. What stands here as another node's stays that one's: the word by
    /// which it moved there may be newer than the announcement.
    pub fn reconcile(
        &mut self,
        node: NodeId,
        set: Vec<Announced>,
        at: Timetoken,
    ) -> (Vec<Change>, Vec<Contested>) {
        let mut wanted: HashMap<EntryKey, (Bytes, bool)> = HashMap::new();
        let mut order = Vec::with_capacity(set.len());
        for one in set {
            let key = (one.connection, one.client);
            order.push(key.clone());
            wanted.insert(key, (one.data, one.confirmed));
        }
        let (mut changes, mut contested) = (Vec::new(), Vec::new());
        for key in self.keys(|member| member.node == node) {
            if !wanted.contains_key(&key) {
                changes.extend(self.leave(&key, PresenceAction::Timeout));
            }
        }
        for key in order {
            let Some((data, confirmed)) = wanted.remove(&key) else {
                continue;
            };
            let entry = self.get(&key);
            let other = entry.map(|entry| entry.node).filter(|one| *one != node);
            let same = entry.is_some_and(|entry| entry.data == data);
            if let Some(other) = other.filter(|_| confirmed) {
                contested.push((key, other));
            } else if confirmed && !same {
                let (connection, client) = key;
                changes.push(self.enter(Member {
                    client,
                    connection,
                    node,
                    data,
                    since: at,
                }));
            }
        }
        (changes, contested)
    }

    /// Repeats a change on a copy.
    pub fn replay(&mut self, action: PresenceAction, member: &Member) {
        match action {
            PresenceAction::Enter | PresenceAction::Update => {
                self.enter(member.clone());
            }
            PresenceAction::Leave | PresenceAction::Timeout => {
                self.leave(&(member.connection, member.client.clone()), action);
            }
        }
    }

    /// All entries, in order of entry.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.entries.values()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::try_from(self.entries.len()).unwrap_or(u64::MAX)
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of distinct clients.
    #[must_use]
    pub fn clients(&self) -> u64 {
        u64::try_from(self.clients.len()).unwrap_or(u64::MAX)
    }

    /// From a copy, in order of entry.
    #[must_use]
    pub fn restore(members: Vec<Member>) -> Self {
        let mut presence = Self::default();
        for member in members {
            presence.enter(member);
        }
        presence
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
