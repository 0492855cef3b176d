//! The relay: one per worker thread; owns which local connections receive which channel.
//!
//! What other threads' channels send it, it hands on to `dispatch`; its own thread's do so themselves.

use super::dispatch::Dispatch;
use super::messages::{
    AbortConnection, Attach, Deliver, Detach, EndAll, Enforce, Interrupt, ListConnections, Measure,
    TakeOver,
};
use super::port::HandOver;
use super::ticker::Ticker;
use super::worker_state::WorkerState;
use crate::core::authority::Authority;
use crate::core::ids::NodeId;
use actix::prelude::*;
use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Messages that may wait in the mailbox before senders that respect it are held up.
const MAILBOX_CAPACITY: usize = 4096;

/// The actor. Messages from one channel arrive in the order sent.
#[derive(Debug)]
pub struct Relay {
    state: Rc<WorkerState>,
    authority: Arc<Authority>,
    node: NodeId,
    dispatch: Rc<Dispatch>,
    /// What runs beside it, as long as it does.
    tasks: Vec<JoinHandle<()>>,
    /// What is dropped with it.
    kept: Option<Box<dyn Any>>,
}

#[cfg(test)]
impl Default for Relay {
    /// One without connections, over an empty access state: for tests of what talks to a relay.
    fn default() -> Self {
        let authority = Arc::new(Authority::fixed(
            crate::core::authority::State::default(),
            0,
        ));
        Self::new(Rc::default(), authority, NodeId(0))
    }
}

impl Relay {
    /// The relay of these tables. Starts on the thread they belong to.
    #[must_use]
    pub fn new(state: Rc<WorkerState>, authority: Arc<Authority>, node: NodeId) -> Self {
        let dispatch = Rc::new(Dispatch::new(state.clone(), authority.clone()));
        Self {
            state,
            authority,
            node,
            dispatch,
            tasks: Vec::new(),
            kept: None,
        }
    }

    /// What it hands messages on to.
    pub(super) fn dispatch(&self) -> &Rc<Dispatch> {
        &self.dispatch
    }

    /// Keeps this until it ends.
    pub(super) fn keep(&mut self, until_it_ends: Box<dyn Any>) {
        self.kept = Some(until_it_ends);
    }
}

impl Actor for Relay {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        cx.set_mailbox_capacity(MAILBOX_CAPACITY);
        let (state, authority) = (self.state.clone(), self.authority.clone());
        let ticker = Ticker::new(state, authority, self.dispatch.clone());
        let sending = self.dispatch.clone().send();
        self.tasks = vec![actix::spawn(ticker.run()), actix::spawn(sending)];
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Handler<Attach> for Relay {
    type Result = ();
    fn handle(&mut self, message: Attach, _cx: &mut Context<Self>) {
        self.dispatch.attach(message);
    }
}

impl Handler<Detach> for Relay {
    type Result = ();
    fn handle(&mut self, message: Detach, _cx: &mut Context<Self>) {
        self.dispatch.detach(&message);
    }
}

impl Handler<Interrupt> for Relay {
    type Result = ();
    fn handle(&mut self, message: Interrupt, _cx: &mut Context<Self>) {
        self.dispatch.interrupt(&message);
    }
}

impl Handler<Deliver> for Relay {
    type Result = ();
    fn handle(&mut self, message: Deliver, _cx: &mut Context<Self>) {
        self.dispatch.deliver(message);
    }
}

impl Handler<Enforce> for Relay {
    type Result = ResponseFuture<u64>;
    fn handle(&mut self, message: Enforce, _cx: &mut Context<Self>) -> Self::Result {
        let answers = self.dispatch.enforce(&message.0);
        Box::pin(async move {
            let closed = futures_util::future::join_all(answers).await;
            closed.into_iter().filter(|closed| *closed).count() as u64
        })
    }
}

impl Handler<TakeOver> for Relay {
    type Result = ResponseFuture<Option<HandOver>>;
    fn handle(&mut self, message: TakeOver, _cx: &mut Context<Self>) -> Self::Result {
        let answer = self.state.take_over(message.0);
        Box::pin(async move { answer?.await })
    }
}

impl Handler<AbortConnection> for Relay {
    type Result = bool;
    fn handle(&mut self, message: AbortConnection, _cx: &mut Context<Self>) -> bool {
        self.state.abort(message.0)
    }
}

impl Handler<ListConnections> for Relay {
    type Result = MessageResult<ListConnections>;
    fn handle(&mut self, message: ListConnections, _cx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.state.list(self.node, &message.0))
    }
}

impl Handler<Measure> for Relay {
    type Result = MessageResult<Measure>;
    fn handle(&mut self, _message: Measure, _cx: &mut Context<Self>) -> Self::Result {
        MessageResult(self.state.traffic())
    }
}

impl Handler<EndAll> for Relay {
    type Result = ();
    fn handle(&mut self, message: EndAll, _cx: &mut Context<Self>) {
        self.state.end_all(message.0);
    }
}
