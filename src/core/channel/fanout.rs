//! Which local connections are attached, by worker thread and encoding.
//!
//! **Must never know:** what a relay is (it is a type parameter), what is delivered.
//!
//! **Why counts and not lists per worker:** a broadcast needs to know *which* workers and encodings are in use,
//! never who; each worker's relay knows its own connections.

use crate::core::delivery::encoding::EncodingId;
use crate::core::hash::Map;
use crate::core::ids::ConnectionId;
use crate::core::session::DeliveryMode;

#[derive(Debug)]
struct Attachment {
    worker: u16,
    encoding: EncodingId,
    mode: DeliveryMode,
    echo: bool,
}

/// One worker thread with subscribers.
#[derive(Debug)]
struct Worker<R> {
    index: u16,
    relay: R,
    attachments: usize,
}

/// The attached connections.
#[derive(Debug)]
pub(super) struct Fanout<R> {
    attachments: Map<ConnectionId, Attachment>,
    workers: Vec<Worker<R>>,
    encodings: Vec<(EncodingId, usize)>,
    sessions: usize,
}

impl<R: Clone> Fanout<R> {
    pub(super) fn new() -> Self {
        Self {
            attachments: Map::default(),
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
        (encoding, mode, echo): (EncodingId, DeliveryMode, bool),
    ) {
        self.detach(connection);
        let attachment = Attachment {
            worker: index,
            encoding,
            mode,
            echo,
        };
        self.attachments.insert(connection, attachment);
        match self.workers.iter_mut().find(|one| one.index == index) {
            Some(worker) => worker.attachments += 1,
            None => self.workers.push(Worker {
                index,
                relay,
                attachments: 1,
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
        let attachment = self.attachments.remove(&connection)?;
        match attachment.mode {
            DeliveryMode::Session => self.sessions -= 1,
            DeliveryMode::Shared => {
                for (id, count) in &mut self.encodings {
                    if *id == attachment.encoding {
                        *count -= 1;
                    }
                }
                self.encodings.retain(|(_, count)| *count > 0);
            }
        }
        let worker = self
            .workers
            .iter_mut()
            .find(|one| one.index == attachment.worker)?;
        worker.attachments -= 1;
        let relay = worker.relay.clone();
        self.workers.retain(|one| one.attachments > 0);
        Some(relay)
    }

    /// One relay per worker with connections that get a broadcast. A worker whose only connection is the one
    /// left out, or the publisher that wants no echo, is not woken for nothing.
    pub(super) fn relays(
        &self,
        except: Option<ConnectionId>,
        publisher: Option<ConnectionId>,
    ) -> impl Iterator<Item = &R> {
        let attachment = |id: Option<ConnectionId>| self.attachments.get(&id?);
        let skipped = move |worker: u16| {
            let of = |attachment: Option<&Attachment>| {
                attachment.is_some_and(|attachment| attachment.worker == worker)
            };
            of(attachment(except))
                || of(attachment(publisher).filter(|attachment| !attachment.echo))
        };
        self.workers
            .iter()
            .filter(move |one| one.attachments > 1 || !skipped(one.index))
            .map(|worker| &worker.relay)
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
        self.attachments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_relay_per_worker_and_only_encodings_in_use() {
        let mut fan = Fanout::new();
        let (a, b, c) = (ConnectionId(1, 1), ConnectionId(1, 2), ConnectionId(1, 3));
        let shared = |id| (EncodingId(id), DeliveryMode::Shared, true);
        fan.attach(a, (0, "w0"), shared(0));
        fan.attach(b, (0, "w0"), (EncodingId(1), DeliveryMode::Session, true));
        fan.attach(c, (1, "w1"), shared(1));
        fan.attach(c, (1, "w1"), shared(1));
        assert_eq!(fan.relays(None, None).collect::<Vec<_>>(), [&"w0", &"w1"]);
        assert_eq!(
            fan.encodings().collect::<Vec<_>>(),
            [EncodingId(0), EncodingId(1)]
        );
        assert!(fan.has_sessions());
        assert_eq!(fan.detach(c), Some("w1"));
        assert_eq!(fan.detach(c), None);
        assert_eq!(fan.detach(a), Some("w0"));
        assert_eq!(fan.encodings().count(), 0);
        assert_eq!(fan.relays(None, None).count(), 1);
        assert_eq!(fan.detach(b), Some("w0"));
        assert!(fan.is_empty() && !fan.has_sessions());
    }

    #[test]
    fn a_worker_with_nobody_to_tell_is_left_alone() {
        let mut fan = Fanout::new();
        let (a, b, c) = (ConnectionId(1, 1), ConnectionId(1, 2), ConnectionId(1, 3));
        let attachment = |echo| (EncodingId(0), DeliveryMode::Shared, echo);
        fan.attach(a, (0, "w0"), attachment(false));
        fan.attach(b, (1, "w1"), attachment(true));
        let told = |fan: &Fanout<_>, except, publisher| -> Vec<&'static str> {
            fan.relays(except, publisher).copied().collect()
        };
        assert_eq!(told(&fan, None, Some(a)), ["w1"]);
        assert_eq!(told(&fan, None, Some(b)), ["w0", "w1"], "it wants its echo");
        assert_eq!(told(&fan, Some(b), None), ["w0"]);
        assert_eq!(told(&fan, Some(c), Some(c)), ["w0", "w1"]);
        fan.attach(c, (0, "w0"), attachment(true));
        assert_eq!(told(&fan, Some(a), Some(a)), ["w0", "w1"]);
    }
}
