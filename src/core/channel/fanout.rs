//! Which local connections are attached, by worker thread and encoding.
//!
//! **Must never know:** what a relay is (it is a type parameter), what is delivered.
//!
//! **Why counts and not lists per worker:** a broadcast needs to know *which* workers and encodings are in use,
//! never who; each worker's relay knows its own connections.

use crate::core::connection::DeliveryMode;
use crate::core::delivery::encoding::EncodingId;
use crate::core::ids::ConnectionId;
use std::collections::HashMap;

#[derive(Debug)]
struct Seat {
    worker: u16,
    encoding: EncodingId,
    mode: DeliveryMode,
}

/// One worker thread with subscribers.
#[derive(Debug)]
struct Worker<R> {
    index: u16,
    relay: R,
    seats: usize,
}

/// The attached connections.
#[derive(Debug)]
pub(super) struct Fanout<R> {
    seats: HashMap<ConnectionId, Seat>,
    workers: Vec<Worker<R>>,
    encodings: Vec<(EncodingId, usize)>,
    sessions: usize,
}

impl<R: Clone> Fanout<R> {
    pub(super) fn new() -> Self {
        Self {
            seats: HashMap::new(),
            workers: Vec::new(),
            encodings: Vec::new(),
            sessions: 0,
        }
    }

    /// Attaches a connection; an earlier attachment of it is replaced.
    pub(super) fn attach(
        &mut self,
        connection: ConnectionId,
        (index, relay): (u16, R),
        encoding: EncodingId,
        mode: DeliveryMode,
    ) {
        self.detach(connection);
        let seat = Seat {
            worker: index,
            encoding,
            mode,
        };
        self.seats.insert(connection, seat);
        match self.workers.iter_mut().find(|one| one.index == index) {
            Some(worker) => worker.seats += 1,
            None => self.workers.push(Worker {
                index,
                relay,
                seats: 1,
            }),
        }
        match mode {
            DeliveryMode::Session => self.sessions += 1,
            DeliveryMode::Shared => {
                match self.encodings.iter_mut().find(|(id, _)| *id == encoding) {
                    Some((_, count)) => *count += 1,
                    None => self.encodings.push((encoding, 1)),
                }
            }
        }
    }

    /// Detaches a connection; the relay to tell, if it was attached.
    pub(super) fn detach(&mut self, connection: ConnectionId) -> Option<R> {
        let seat = self.seats.remove(&connection)?;
        match seat.mode {
            DeliveryMode::Session => self.sessions -= 1,
            DeliveryMode::Shared => {
                for (id, count) in &mut self.encodings {
                    if *id == seat.encoding {
                        *count -= 1;
                    }
                }
                self.encodings.retain(|(_, count)| *count > 0);
            }
        }
        let worker = self
            .workers
            .iter_mut()
            .find(|one| one.index == seat.worker)?;
        worker.seats -= 1;
        let relay = worker.relay.clone();
        self.workers.retain(|one| one.seats > 0);
        Some(relay)
    }

    /// One relay per worker with attached connections.
    pub(super) fn relays(&self) -> impl Iterator<Item = &R> {
        self.workers.iter().map(|worker| &worker.relay)
    }

    /// The encodings in use.
    pub(super) fn encodings(&self) -> impl Iterator<Item = EncodingId> + '_ {
        self.encodings.iter().map(|(id, _)| *id)
    }

    /// Whether some attached connections frame broadcasts themselves.
    pub(super) fn has_sessions(&self) -> bool {
        self.sessions > 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_relay_per_worker_and_only_encodings_in_use() {
        let mut fan = Fanout::new();
        let (a, b, c) = (ConnectionId(1, 1), ConnectionId(1, 2), ConnectionId(1, 3));
        fan.attach(a, (0, "w0"), EncodingId(0), DeliveryMode::Shared);
        fan.attach(b, (0, "w0"), EncodingId(1), DeliveryMode::Session);
        fan.attach(c, (1, "w1"), EncodingId(1), DeliveryMode::Shared);
        fan.attach(c, (1, "w1"), EncodingId(1), DeliveryMode::Shared);
        assert_eq!(fan.relays().collect::<Vec<_>>(), [&"w0", &"w1"]);
        assert_eq!(
            fan.encodings().collect::<Vec<_>>(),
            [EncodingId(0), EncodingId(1)]
        );
        assert!(fan.has_sessions());
        assert_eq!(fan.detach(c), Some("w1"));
        assert_eq!(fan.detach(c), None);
        assert_eq!(fan.detach(a), Some("w0"));
        assert_eq!(fan.encodings().count(), 0);
        assert_eq!(fan.relays().count(), 1);
        assert_eq!(fan.detach(b), Some("w0"));
        assert!(fan.is_empty() && !fan.has_sessions());
    }
}
