//! The pollers of one worker thread: they are opened and removed here, beside that thread's tables.
//!
//! **Why one actor for all:** a refused join must reach its poller, and a poller that is let go on another thread must
//! leave this one's tables; neither is worth an actor per poller.

use super::poller::{Close, Poller, Port, WorkerAddr};
use crate::core::authority::Principal;
use crate::core::broker::Broker;
use crate::core::channel::messages::Tell;
use crate::core::delivery::outbox::{Outbox, Sink};
use crate::core::delivery::relay::Relay;
use crate::core::delivery::worker_state::{ConnectionMeta, Slot, WorkerState};
use crate::core::ids::Text;
use crate::core::session::Event;
use actix::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a poller waits for its client's next request, ms.
const LINGER_MS: u64 = 20_000;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

type Table = Rc<RefCell<HashMap<u64, (Slot, Arc<Poller>)>>>;

/// The pollers' place on one worker thread.
#[derive(Clone, Debug)]
pub struct Pollers {
    broker: Broker,
    state: Rc<WorkerState>,
    addr: WorkerAddr,
    table: Table,
}

/// The actor behind it.
#[derive(Debug)]
pub struct PollWorker {
    broker: Broker,
    state: Rc<WorkerState>,
    table: Table,
}

/// A poller's answers go out with its requests: nothing is ever written for it here.
#[derive(Debug)]
struct NoSocket;

impl Sink for NoSocket {
    fn write(&self, _slices: &[IoSlice<'_>]) -> Result<usize, Error> {
        Err(ErrorKind::WouldBlock.into())
    }

    fn abort(&self) {}
}

impl Pollers {
    /// Starts the poll worker of this thread.
    #[must_use]
    pub fn start(
        broker: &Broker,
        state: &Rc<WorkerState>,
        relay: &Addr<Relay>,
        worker: u16,
    ) -> Self {
        let table = Table::default();
        let poll_worker = PollWorker {
            broker: broker.clone(),
            state: state.clone(),
            table: table.clone(),
        };
        let poll_worker = poll_worker.start();
        let addr = WorkerAddr {
            relay: relay.clone(),
            worker,
            tell: poll_worker.clone().recipient(),
            poll_worker: poll_worker.recipient(),
        };
        Self {
            broker: broker.clone(),
            state: state.clone(),
            addr,
            table,
        }
    }

    /// A new poller of this thread. `None` when its app has `max` connections on this node already.
    #[must_use]
    pub fn open(
        &self,
        principal: Principal,
        dialect: &'static str,
        remote: Text,
        max: u64,
    ) -> Option<Arc<Poller>> {
        if !self.broker.relays.enter(principal.app, max) {
            return None;
        }
        let tag = rand::random();
        let addr = self.addr.clone();
        let poller = Arc::new(Poller::new(tag, principal, self.broker.clone(), addr));
        let meta = ConnectionMeta {
            id: poller.id(),
            dialect,
            remote,
            since_ms: self.broker.authority.now().cluster_ms,
        };
        let outbox = Rc::new(Outbox::new(0, self.state.withheld(), Rc::new(NoSocket)));
        let port = Box::new(Port(poller.clone()));
        let slot = self.state.register(meta, outbox, port);
        self.state.identify(slot, poller.principal());
        let mut table = self.table.borrow_mut();
        table.insert(tag, (slot, poller.clone()));
        Some(poller)
    }
}

impl PollWorker {
    fn remove(&self, tag: u64) {
        let gone = self.table.borrow_mut().remove(&tag);
        if let Some((slot, poller)) = gone {
            self.state.unregister(slot);
            poller.let_go();
        }
    }

    fn sweep(&self) {
        let now = self.broker.authority.now().mono_ms;
        let before = now.saturating_sub(LINGER_MS);
        let stale: Vec<Arc<Poller>> = self
            .table
            .borrow()
            .values()
            .filter(|(_, poller)| poller.parked_before(before))
            .map(|(_, poller)| poller.clone())
            .collect();
        for poller in stale {
            poller.close();
        }
    }
}

impl Actor for PollWorker {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        cx.run_interval(SWEEP_INTERVAL, |poll_worker, _| poll_worker.sweep());
    }
}

impl Handler<Close> for PollWorker {
    type Result = ();
    fn handle(&mut self, message: Close, _cx: &mut Context<Self>) {
        self.remove(message.0);
    }
}

impl Handler<Tell> for PollWorker {
    type Result = ();
    fn handle(&mut self, message: Tell, _cx: &mut Context<Self>) {
        let Event::SubscribeRefused { refusal, tag, .. } = message.0 else {
            return;
        };
        let poller = self.table.borrow().get(&tag).map(|(_, one)| one.clone());
        if let Some(poller) = poller {
            poller.refused(refusal);
        }
    }
}
