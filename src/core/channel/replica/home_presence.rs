//! The presence set at a home: who comes and goes, and whose word counts of an entry that two nodes have.
//!
//! A connection may go on through another node, and its entries with it. What its former node says of them then is not
//! lost, it only comes late: an announcement, an end. The home has ordered the moves, so its stream says where an entry is.
//!
//! **Must never know:** how effects are held back or replicated (`home` does), subscribers.
//!
//! **Why the stream is not believed at once against an announcement:** a home that has just begun may lack the last that
//! was decided. An entry is certain once the node that it is on has said so to this home; until then who claims it waits.

use super::home::Home;
use super::io::Effect;
use super::local::LocalNode;
use super::presence::{Announced, EntryKey};
use super::protocol::{Declined, PeerMessage, Response};
use crate::core::clock::Now;
use crate::core::ids::{ConnectionId, NodeId};
use crate::core::message::{Member, PresenceAction};
use bytes::Bytes;

impl Home {
    /// A node says which members it has.
    pub(super) fn hear_members(
        &mut self,
        from: NodeId,
        set: Vec<Announced>,
        local: &mut LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.had_joined(&set, now);
        let (entries, contested) = self.stream.reconcile(from, set, now);
        self.commit_all(entries, now, out);
        self.holders.hear(from);
        for (key, holder) in contested {
            if self.holders.has_heard(holder) {
                self.tell_former_holder(Some(from), holder, key, local, out);
            } else {
                self.holders.contest(holder, from);
                self.send(holder, PeerMessage::AnnounceRequest, out);
            }
        }
        self.ask_contesters(|holder| holder == from, local, now, out);
    }

    /// Removes what the nodes had that are not there any more. Whoever claims the same as one of them says so again.
    pub(super) fn lose_dead_nodes(
        &mut self,
        there: impl Fn(NodeId) -> bool,
        local: &mut LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.remove_dead_nodes(&there, now, out);
        self.ask_contesters(|node| !there(node), local, now, out);
    }

    /// Of these nodes it is known now what they have, or that they are gone: whoever claims the same says so again.
    fn ask_contesters(
        &mut self,
        of: impl Fn(NodeId) -> bool,
        local: &mut LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        for node in self.holders.known(of) {
            if node == local.id {
                self.hear_members(node, local.entries(), local, now, out);
            } else {
                self.send(node, PeerMessage::AnnounceRequest, out);
            }
        }
    }

    /// These members have been let in since before this home, which has no copy to know that from: that they came was told
    /// by the home before.
    fn had_joined(&mut self, set: &[Announced], now: Now) {
        if !self.guesses || !self.clock.unsettled(now.mono_ms) {
            return;
        }
        let presence = &self.stream.presence;
        let new = |one: &&Announced| one.confirmed && !presence.has_client(&one.client);
        let clients = set.iter().filter(new).map(|one| one.client.clone());
        let log = self.stream.lifecycle.as_mut();
        if log.is_some_and(|log| log.assume_joined(clients)) {
            // No entry says so: the next one takes the whole with it.
            self.lose_backup();
        }
    }

    /// Removes an entry of that node, if it is on it still.
    pub(super) fn leave_here(
        &mut self,
        node: NodeId,
        key: &EntryKey,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Response {
        let entry = self.stream.presence.get(key);
        if entry.is_some_and(|entry| entry.node == node) {
            let left = self.stream.leave(key, PresenceAction::Leave, now);
            self.commit_all(left.into_iter().collect(), now, out);
        }
        Response::Done
    }

    /// Removes an entry, whichever node it is on.
    pub(super) fn leave(
        &mut self,
        node: NodeId,
        key: EntryKey,
        local: &mut LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Response {
        let holder = self.stream.presence.get(&key).map(|entry| entry.node);
        let left = self.stream.leave(&key, PresenceAction::Leave, now);
        self.commit_all(left.into_iter().collect(), now, out);
        self.tell_former_holder(holder, node, key, local, out);
        Response::Done
    }

    /// Whoever announces an entry is told that it has gone to another node, or is gone by its word: it would announce it to
    /// the next home, and take it out again with what its connection leaves behind.
    fn tell_former_holder(
        &mut self,
        holder: Option<NodeId>,
        node: NodeId,
        key: EntryKey,
        local: &mut LocalNode,
        out: &mut Vec<Effect>,
    ) {
        match holder.filter(|holder| *holder != node) {
            Some(holder) if holder == local.id => local.forget_entry(&key),
            Some(holder) => {
                let (connection, client) = key;
                self.send(holder, PeerMessage::TakenOut { connection, client }, out);
            }
            None => {}
        }
    }

    /// Enters or updates a member. Saying the same again is no news, but from another node than before it is: the connection
    /// has gone on there.
    pub(super) fn enter(
        &mut self,
        node: NodeId,
        key: EntryKey,
        data: Bytes,
        local: &mut LocalNode,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<Response, Declined> {
        let max = local.limits.presence_clients;
        let presence = &self.stream.presence;
        if !presence.has_client(&key.1) && presence.clients() >= max {
            return Err(Declined::PresenceClients { max });
        }
        let before = presence.get(&key);
        if before.is_some_and(|entry| entry.node == node && entry.data == data) {
            return Ok(Response::Done);
        }
        let holder = before.map(|entry| entry.node);
        let (connection, client) = key.clone();
        let member = Member {
            client,
            connection,
            node,
            data,
            since: 0,
        };
        let entry = self.stream.enter(member, now);
        self.commit(entry, now, out);
        self.tell_former_holder(holder, node, key, local, out);
        Ok(Response::Done)
    }

    /// Removes the presence entries of a node's connection.
    pub(super) fn remove_connection(
        &mut self,
        node: NodeId,
        (connection, gone): (ConnectionId, bool),
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let action = if gone {
            PresenceAction::Timeout
        } else {
            PresenceAction::Leave
        };
        let its = |member: &Member| member.connection == connection && member.node == node;
        let left = self.stream.leave_all(its, action, now);
        self.commit_all(left, now, out);
    }
}
