//! What one worker thread knows of its connections: shared by its relay and its connection actors.
//!
//! **Why shared and not asked by message:** a relay that fans out must reach a thousand outboxes without a mailbox hop
//! each, and a connection that loses a right must be out of the list before it answers. Both run on one thread, so a
//! `RefCell` is all it takes; nothing is borrowed while anyone else's code runs.

use super::channels::{Entry, LocalChannels, Membership, MembershipLists, Outcome};
use super::index::Index;
use super::messages::{Attach, Deliver};
use super::outbox::{Outbox, Pushed, Source};
use super::port::{ConnectionPort, HandOver};
use super::speaks_for::SpeaksForChange;
use super::timers::{Deadline, Timers};
use super::traffic::{Lane, Report, Traffic, Whose};
use crate::core::authority::{EffectBatch, Principal};
use crate::core::close::End;
use crate::core::hash::Map;
use crate::core::ids::{AppId, ChannelKey, ConnectionId, NodeId, Text, Timetoken};
use crate::core::listing::{ConnectionFilter, ConnectionInfo};
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use tokio::sync::Notify;

/// A connection's number on its thread. Reused after it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub(super) u32);

/// What listings show of a connection that does not change.
#[derive(Clone, Debug)]
pub struct ConnectionMeta {
    /// The id of the connection.
    pub id: ConnectionId,
    /// The dialect's word.
    pub dialect: &'static str,
    /// The network address of the client.
    pub remote: Text,
    /// Since when, cluster time ms.
    pub since_ms: u64,
}

struct Connection {
    meta: ConnectionMeta,
    outbox: Rc<Outbox>,
    port: Box<dyn ConnectionPort>,
    principal: Option<Box<Principal>>,
    memberships: Vec<Membership>,
    deadline: Deadline,
}

impl Connection {
    fn whose(&self) -> Whose {
        let app = self.principal.as_ref().map(|principal| principal.app);
        (self.meta.dialect, app)
    }
}

#[derive(Default)]
struct Table {
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<u32>,
    by_id: Map<ConnectionId, u32>,
}

impl Table {
    fn get(&self, slot: u32) -> Option<&Connection> {
        self.slots.get(slot as usize)?.as_deref()
    }

    fn get_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        self.slots.get_mut(slot as usize)?.as_deref_mut()
    }
}

impl MembershipLists for Table {
    fn list(&mut self, slot: u32) -> Option<&mut Vec<Membership>> {
        self.get_mut(slot).map(|one| &mut one.memberships)
    }
}

#[derive(Default)]
struct Tables {
    connections: Table,
    channels: LocalChannels,
    index: Index,
    timers: Timers,
}

/// The tables of one worker thread.
#[derive(Default)]
pub struct WorkerState {
    tables: RefCell<Tables>,
    dirty: RefCell<Vec<Rc<Outbox>>>,
    withheld: Rc<Cell<bool>>,
    traffic: Traffic,
    /// When somebody looks at deadlines next, mono ms.
    next_look: Cell<u64>,
    /// Somebody wants it earlier.
    reschedule: Notify,
}

impl std::fmt::Debug for WorkerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkerState(…)")
    }
}

impl WorkerState {
    /// Enters a connection.
    pub fn register(
        &self,
        meta: ConnectionMeta,
        outbox: Rc<Outbox>,
        port: Box<dyn ConnectionPort>,
    ) -> Slot {
        self.traffic.opened(meta.dialect);
        let table = &mut self.tables.borrow_mut().connections;
        let slot = table.free.pop().unwrap_or_else(|| {
            table.slots.push(None);
            u32::try_from(table.slots.len() - 1).unwrap_or(u32::MAX)
        });
        table.by_id.insert(meta.id, slot);
        let connection = Connection {
            meta,
            outbox,
            port,
            principal: None,
            memberships: Vec::new(),
            deadline: Deadline::default(),
        };
        if let Some(place) = table.slots.get_mut(slot as usize) {
            *place = Some(Box::new(connection));
        }
        Slot(slot)
    }

    /// Forgets a connection.
    pub fn unregister(&self, slot: Slot) {
        self.detach_all(slot);
        let tables = &mut *self.tables.borrow_mut();
        let place = tables.connections.slots.get_mut(slot.0 as usize);
        let Some(gone) = place.and_then(Option::take) else {
            return;
        };
        self.traffic.keep(gone.whose(), &gone.outbox.tally);
        if let Some(principal) = &gone.principal {
            tables.index.leave(slot.0, principal);
        }
        if tables.connections.by_id.get(&gone.meta.id) == Some(&slot.0) {
            tables.connections.by_id.remove(&gone.meta.id);
        }
        tables.connections.free.push(slot.0);
    }

    /// The connection speaks for somebody else from now on.
    pub fn identify(&self, slot: Slot, principal: &Principal) {
        let tables = &mut *self.tables.borrow_mut();
        let Some(connection) = tables.connections.get_mut(slot.0) else {
            return;
        };
        self.traffic.let_in(connection.meta.dialect);
        self.traffic
            .keep(connection.whose(), &connection.outbox.tally);
        if let Some(old) = connection.principal.replace(Box::new(principal.clone())) {
            tables.index.leave(slot.0, &old);
        }
        tables.index.enter(slot.0, principal);
    }

    /// The connection begins or ceases to speak for somebody beside its principal.
    pub fn speaks_for_changed(&self, slot: Slot, one: SpeaksForChange) {
        self.tables
            .borrow_mut()
            .index
            .speaks_for_changed(slot.0, one);
    }

    /// Number of connections of an app on this thread.
    pub fn of_app(&self, app: AppId) -> usize {
        self.tables.borrow().index.of_app(app)
    }

    /// From a channel: see [`Attach`].
    pub fn attach(&self, message: Attach) {
        let tables = &mut *self.tables.borrow_mut();
        let Some(slot) = tables.connections.by_id.get(&message.connection).copied() else {
            // It ended on the way, and its leaving is on its way to the channel.
            return;
        };
        let Some(connection) = tables.connections.get(slot) else {
            return;
        };
        let entry = Entry::attaching(
            connection.outbox.clone(),
            message.connection,
            slot,
            message.encoding,
            message.mode,
            message.echo,
        );
        let new = tables
            .channels
            .attach(&message.channel, entry, &mut tables.connections);
        if new && let Some(connection) = tables.connections.get(slot) {
            connection.port.attached(message.subscribed);
        }
    }

    /// The session has been told that the subscription stands: what was held goes out, then the rest.
    pub fn release(&self, slot: Slot, key: &ChannelKey) {
        let tables = &mut *self.tables.borrow_mut();
        let pushed = tables
            .channels
            .release(key, slot.0, &mut tables.connections);
        let Some(connection) = tables.connections.get(slot.0) else {
            return;
        };
        match pushed {
            Some(Pushed::Over) => connection.port.end(End::Slow),
            Some(Pushed::First) => connection.outbox.wake(),
            Some(Pushed::Queued | Pushed::Closed) | None => {}
        }
    }

    /// Ends deliveries of a channel; with how its bytes are marked.
    pub fn detach(&self, slot: Slot, key: &ChannelKey) -> Option<Source> {
        let tables = &mut *self.tables.borrow_mut();
        tables.channels.detach(key, slot.0, &mut tables.connections)
    }

    /// As [`Self::detach`], by the connection's name.
    pub fn detach_id(&self, id: ConnectionId, key: &ChannelKey) {
        let slot = self.tables.borrow().connections.by_id.get(&id).copied();
        if let Some(slot) = slot {
            self.detach(Slot(slot), key);
        }
    }

    /// From a channel: what follows for its subscribers leaves a gap. They get none of it, and are to come back.
    pub fn interrupt(&self, key: &ChannelKey) {
        let tables = &mut *self.tables.borrow_mut();
        for slot in tables.channels.receivers(key) {
            tables.channels.detach(key, slot, &mut tables.connections);
            if let Some(connection) = tables.connections.get(slot) {
                connection.port.end(End::Missed);
            }
        }
    }

    /// Ends all deliveries to a connection.
    pub fn detach_all(&self, slot: Slot) {
        let tables = &mut *self.tables.borrow_mut();
        tables.channels.detach_all(slot.0, &mut tables.connections);
    }

    /// How a channel's bytes are marked in outboxes.
    pub fn source(&self, key: &ChannelKey) -> Source {
        let tables = self.tables.borrow();
        tables.channels.source(key).unwrap_or(Source::SESSION)
    }

    /// Hands a broadcast to this thread's subscribers. Sends nothing: see [`Self::send_dirty`]. Returns whether
    /// anything is to be sent. `flowing` bytes go out even while the lease is over.
    pub fn deliver(&self, message: &Deliver, flowing: bool) -> bool {
        let mut outcome = Outcome {
            dirty: std::mem::take(&mut *self.dirty.borrow_mut()),
            ..Outcome::default()
        };
        let tables = &mut *self.tables.borrow_mut();
        tables.channels.deliver(message, flowing, &mut outcome);
        if !outcome.sessions.is_empty() {
            let source = tables.channels.source(&message.channel);
            let source = source.unwrap_or(Source::SESSION);
            let source = if flowing { source.flowing() } else { source };
            for slot in outcome.sessions {
                if let Some(one) = tables.connections.get(slot) {
                    let broadcast = message.broadcast.clone();
                    one.port
                        .broadcast(message.channel.clone(), broadcast, source);
                }
            }
        }
        for slot in outcome.over {
            if let Some(one) = tables.connections.get(slot) {
                one.port.end(End::Slow);
            }
        }
        let to_send = !outcome.dirty.is_empty();
        *self.dirty.borrow_mut() = outcome.dirty;
        to_send
    }

    /// Sends every outbox that was pushed into since the last time.
    pub fn send_dirty(&self) {
        // A waker may run code that delivers, so nothing is borrowed meanwhile.
        let mut dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        for outbox in dirty.drain(..) {
            outbox.send();
        }
        let mut place = self.dirty.borrow_mut();
        if place.capacity() < dirty.capacity() && place.is_empty() {
            *place = dirty;
        }
    }

    /// The flag that its outboxes look at: see [`Self::withhold`].
    #[must_use]
    pub fn withheld(&self) -> Rc<Cell<bool>> {
        self.withheld.clone()
    }

    /// Holds back what channels have queued in outboxes while the lease is over, and lets it go afterwards.
    pub fn withhold(&self, lease_over: bool) {
        if self.withheld.replace(lease_over) && !lease_over {
            for connection in self.tables.borrow().connections.slots.iter().flatten() {
                connection.outbox.wake();
            }
        }
    }

    /// Sets or drops a connection's deadline, monotonic ms.
    pub fn schedule(&self, slot: Slot, at: Option<u64>) {
        let tables = &mut *self.tables.borrow_mut();
        if let Some(connection) = tables.connections.get_mut(slot.0) {
            tables.timers.set(slot.0, &mut connection.deadline, at);
            if at.is_some_and(|at| at < self.next_look.get()) {
                self.reschedule.notify_one();
            }
        }
    }

    /// When [`Self::fire`] may have something to do, monotonic ms.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.tables.borrow().timers.next()
    }

    /// To be awaited by whoever looks at that time, monotonic ms: ends when somebody wants it earlier.
    pub(super) fn rescheduled(&self, next_look_mono_ms: u64) -> impl Future<Output = ()> + '_ {
        self.next_look.set(next_look_mono_ms);
        self.reschedule.notified()
    }

    /// Has whoever looks at deadlines look soon.
    pub(super) fn reschedule(&self) {
        self.reschedule.notify_one();
    }

    /// Tells every connection whose deadline has come.
    pub fn fire(&self, now_mono_ms: u64) {
        let tables = &mut *self.tables.borrow_mut();
        while let Some(entry) = tables.timers.pop(now_mono_ms) {
            let Some(connection) = tables.connections.get_mut(entry.1) else {
                continue;
            };
            let deadline = &mut connection.deadline;
            if tables.timers.fires(entry, deadline, now_mono_ms) {
                connection.port.due();
            }
        }
    }

    /// Ends every connection of this thread.
    pub fn end_all(&self, end: End) {
        for connection in self.tables.borrow().connections.slots.iter().flatten() {
            connection.port.end(end);
        }
    }

    /// Ends the connection of that name, if it is here, for its next socket.
    pub fn take_over(&self, id: ConnectionId) -> Option<LocalBoxFuture<'static, Option<HandOver>>> {
        let tables = self.tables.borrow();
        let slot = *tables.connections.by_id.get(&id)?;
        Some(tables.connections.get(slot)?.port.take_over())
    }

    /// Ends the socket of that connection, if it is here, as if it had broken; whether it was.
    pub fn abort(&self, id: ConnectionId) -> bool {
        let tables = self.tables.borrow();
        let slot = tables.connections.by_id.get(&id).copied();
        let found = slot.and_then(|slot| tables.connections.get(slot));
        found.inspect(|one| one.port.end(End::Gone)).is_some()
    }

    /// The lease has been over for too long: ends every connection but those of apps that `stay` whose channels
    /// all `flow`.
    pub fn end_stale(&self, stays: impl Fn(AppId) -> bool, flows: impl Fn(&ChannelKey) -> bool) {
        let tables = &*self.tables.borrow();
        for connection in tables.connections.slots.iter().flatten() {
            let app = connection.principal.as_ref().map(|principal| principal.app);
            let kept = app.is_some_and(&stays)
                && connection.memberships.iter().all(|one| {
                    let key = tables.channels.key_of(*one);
                    key.is_some_and(&flows)
                });
            if !kept {
                connection.port.end(End::Stale);
            }
        }
    }

    /// Has every connection look at its deadlines again: the cluster's time has moved otherwise than this
    /// machine's.
    pub fn recheck_deadlines(&self) {
        for connection in self.tables.borrow().connections.slots.iter().flatten() {
            connection.port.due();
        }
    }

    /// Asks every connection that a batch may concern to carry it out.
    pub fn enforce(&self, batch: &EffectBatch) -> Vec<LocalBoxFuture<'static, bool>> {
        let tables = self.tables.borrow();
        let mut slots = BTreeSet::new();
        for effect in batch.effects.iter() {
            tables.index.concerned(effect, &mut slots);
        }
        slots
            .into_iter()
            .filter_map(|slot| tables.connections.get(slot))
            .map(|connection| connection.port.enforce(batch.clone()))
            .collect()
    }

    /// The connections of this thread, as listings show them.
    pub fn list(&self, node: NodeId, filter: &ConnectionFilter) -> Vec<ConnectionInfo> {
        let tables = self.tables.borrow();
        let all = tables.connections.slots.iter().flatten();
        all.filter_map(|one| {
            let principal = one.principal.as_deref()?;
            let wanted = filter.app.is_none_or(|app| app == principal.app)
                && (filter.user.is_none() || filter.user == principal.user);
            wanted.then(|| ConnectionInfo {
                id: one.meta.id,
                node,
                app: principal.app,
                user: principal.user.clone(),
                key: principal.key().cloned(),
                dialect: one.meta.dialect.into(),
                remote: one.meta.remote.clone(),
                since_ms: one.meta.since_ms,
                subscriptions: u32::try_from(one.memberships.len()).unwrap_or(u32::MAX),
                queued_bytes: one.outbox.queued() as u64,
            })
        })
        .take(filter.limit as usize)
        .collect()
    }

    /// A connection of that dialect has ended with this close code; 0 = without one.
    pub fn closed(&self, dialect: &'static str, code: u16) {
        self.traffic.closed(dialect, code);
    }

    /// A message that the home stamped then is handed to this thread's subscribers now.
    pub(super) fn delivered(&self, stamped: Timetoken, now_ms: u64) {
        self.traffic.delivered(stamped, now_ms);
    }

    /// What has gone through this thread, and what it holds now.
    pub fn traffic(&self) -> Report {
        let tables = self.tables.borrow();
        let all = tables.connections.slots.iter().flatten();
        self.traffic.report(all.map(|one| {
            let lane = Lane {
                connections: 1,
                subscriptions: one.memberships.len() as u64,
                queued_bytes: one.outbox.queued() as u64,
                ..Lane::default()
            };
            (one.whose(), &one.outbox.tally, lane)
        }))
    }

    /// Connections and channels on this thread, for metrics and tests.
    pub fn counts(&self) -> (usize, usize) {
        let tables = self.tables.borrow();
        (tables.connections.by_id.len(), tables.channels.len())
    }
}

#[cfg(test)]
#[path = "worker_state_tests.rs"]
mod tests;
