//! What a worker thread has for its connections: made once per thread, in the server's factory.
//!
//! **Must never know:** any dialect.

use super::ws::Buffer;
use crate::core::broker::Broker;
use crate::core::connection::actor::Desk;
use crate::core::delivery::here;
use crate::core::delivery::local::Local;
use crate::core::delivery::relay::Relay;
use crate::core::ids::NodeId;
use crate::core::polling::Polls;
use std::rc::Rc;
use std::sync::Arc;

/// One worker thread's relay and tables. Bound to its thread: `web::Data<Worker>` in that thread's `App`.
#[derive(Debug)]
pub struct Worker {
    desk: Desk,
    polls: Polls,
    buffer: Buffer,
}

impl Worker {
    /// Starts the relay of this thread and enters it in the broker's list. Call it in the closure given to
    /// `HttpServer::new`: that runs on each worker thread.
    #[must_use]
    pub fn start(broker: &Broker, node: NodeId) -> Self {
        let local = Rc::new(Local::default());
        let authority = Arc::clone(&broker.authority);
        let relay = here::start(Relay::new(local.clone(), authority, node));
        let worker = broker.relays.add(relay.clone());
        let broker = broker.on_this_thread();
        let polls = Polls::start(&broker, &local, &relay, worker);
        let desk = Desk {
            broker,
            local,
            relay,
            worker,
        };
        let buffer = Buffer::default();
        Self {
            desk,
            polls,
            buffer,
        }
    }

    /// Its number among this node's workers.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.desk.worker
    }

    /// Connections and channels with subscribers on this thread.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        self.desk.local.counts()
    }

    pub(super) fn polls(&self) -> &Polls {
        &self.polls
    }

    pub(super) fn buffer(&self) -> Buffer {
        self.buffer.clone()
    }

    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }
}
