//! What a worker thread has for its connections: made once per thread, in the server's factory.

use super::ws::Buffer;
use crate::core::broker::Broker;
use crate::core::connection::actor::WorkerContext;
use crate::core::delivery::relay::Relay;
use crate::core::delivery::thread_relay;
use crate::core::delivery::worker_state::WorkerState;
use crate::core::ids::NodeId;
use crate::core::polling::Pollers;
use std::rc::Rc;
use std::sync::Arc;

/// One worker thread's relay and tables. Bound to its thread: `web::Data<Worker>` in that thread's `App`.
#[derive(Debug)]
pub struct Worker {
    context: WorkerContext,
    pollers: Pollers,
    buffer: Buffer,
}

impl Worker {
    /// Starts the relay of this thread and enters it in the broker's list. Call it in the closure given to
    /// `HttpServer::new`: that runs on each worker thread.
    #[must_use]
    pub fn start(broker: &Broker, node: NodeId) -> Self {
        let state = Rc::new(WorkerState::default());
        let authority = Arc::clone(&broker.authority);
        let relay = thread_relay::start(Relay::new(state.clone(), authority, node));
        let worker = broker.relays.add(relay.clone());
        let broker = broker.on_this_thread();
        let pollers = Pollers::start(&broker, &state, &relay, worker);
        let context = WorkerContext {
            broker,
            state,
            relay,
            number: worker,
        };
        let buffer = Buffer::default();
        Self {
            context,
            pollers,
            buffer,
        }
    }

    /// Its number among this node's workers.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.context.number
    }

    /// Connections and channels with subscribers on this thread.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        self.context.state.counts()
    }

    pub(super) fn pollers(&self) -> &Pollers {
        &self.pollers
    }

    pub(super) fn buffer(&self) -> Buffer {
        self.buffer.clone()
    }

    pub(super) fn context(&self) -> &WorkerContext {
        &self.context
    }
}
