//! Where a channel's messages enter one worker thread's outboxes, and when those are sent.
//!
//! Channels of the same thread call it; those of other threads write to the thread's relay, which calls it.
//!
//! **Why a channel does not always write to the relay:** on one thread a mailbox between the two is a task's turn for
//! every message, an eighth of all that a message costs. **Why a channel does not send:** outboxes are sent by a task
//! of their own, behind whatever is ready now, so that a burst becomes one write per connection.

use super::messages::{Attach, Deliver, Detach, Interrupt};
use super::stale_buffer::{Buffered, StaleBuffer, Verdict};
use super::worker_state::WorkerState;
use crate::core::authority::{Authority, EffectBatch};
use crate::core::message::Broadcast;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// One thread's way into its outboxes.
#[derive(Debug)]
pub(crate) struct Dispatch {
    state: Rc<WorkerState>,
    authority: Arc<Authority>,
    stale_buffer: RefCell<StaleBuffer>,
    sending: Sending,
}

/// Whether outboxes wait to be sent, and the task that does it.
#[derive(Debug, Default)]
struct Sending {
    pending: Cell<bool>,
    task: RefCell<Option<Waker>>,
}

impl Dispatch {
    /// Of these tables. [`Self::send`] has to run on the same thread.
    pub(crate) fn new(state: Rc<WorkerState>, authority: Arc<Authority>) -> Self {
        let grace_ms = u64::try_from(authority.lease().as_millis()).unwrap_or(u64::MAX);
        Self {
            state,
            authority,
            stale_buffer: RefCell::new(StaleBuffer::new(grace_ms)),
            sending: Sending::default(),
        }
    }

    /// Carries out an [`Attach`], behind what waits for the lease: its subscriber has got that already.
    pub(crate) fn attach(&self, message: Attach) {
        if self.authority.flows_while_stale(&message.channel) {
            return self.state.attach(message);
        }
        let admitted = self.stale_buffer.borrow_mut().admit_subscriber(message);
        if let Some(message) = admitted {
            self.state.attach(message);
        }
    }

    /// Carries out a [`Detach`].
    pub(crate) fn detach(&self, message: &Detach) {
        let mut stale_buffer = self.stale_buffer.borrow_mut();
        stale_buffer.take_subscribers(&message.channel, Some(message.connection));
        self.state.detach_id(message.connection, &message.channel);
    }

    /// See [`Interrupt`]. What waits in the stale buffer was in order before the gap, and is
    /// judged anew when they come back.
    pub(crate) fn interrupt(&self, message: &Interrupt) {
        let mut stale_buffer = self.stale_buffer.borrow_mut();
        let joining = stale_buffer.take_subscribers(&message.channel, None);
        drop(stale_buffer);
        joining.into_iter().for_each(|one| self.state.attach(one));
        self.state.interrupt(&message.channel);
    }

    /// Into the outboxes, or into the stale buffer while the lease is over.
    pub(crate) fn deliver(&self, message: Deliver) {
        let serving = self.authority.serving();
        if !serving && self.authority.flows_while_stale(&message.channel) {
            return self.push(&message, true);
        }
        let now = || self.authority.now().mono_ms;
        let admitted = self.stale_buffer.borrow_mut().admit(message, serving, now);
        match admitted {
            Some(message) => self.push(&message, false),
            None => self.state.reschedule(),
        }
    }

    /// Looks at the lease again.
    pub(crate) fn tick(&self, now_mono_ms: u64) {
        let serving = self.authority.serving();
        self.state.withhold(!serving);
        let verdict = self.stale_buffer.borrow_mut().tick(serving, now_mono_ms);
        match verdict {
            Verdict::Wait => {}
            Verdict::Release(buffered) => {
                for one in buffered {
                    match one {
                        Buffered::Deliver(message) => self.push(&message, false),
                        Buffered::Attach(message) => self.state.attach(message),
                    }
                }
            }
            Verdict::GiveUp(joining) => self.send_away(joining),
        }
    }

    /// Ends the connections that may not be served by a view like this one; they are to come back. Who waits to be
    /// attached is first, and goes with the rest.
    fn send_away(&self, joining: Vec<Attach>) {
        joining.into_iter().for_each(|one| self.state.attach(one));
        self.state.end_stale(
            |app| self.authority.stays_while_stale(app),
            |key| self.authority.flows_while_stale(key),
        );
    }

    /// Has every connection that a batch may concern carry it out.
    pub(crate) fn enforce(&self, batch: &EffectBatch) -> Vec<LocalBoxFuture<'static, bool>> {
        // Somebody may have lost a right and got it back while this node was away, and what was published in
        // between waits here. A node that serves has not been away.
        if batch.skipped && !self.authority.serving() {
            let joining = self.stale_buffer.borrow_mut().take_joining();
            self.send_away(joining);
        }
        self.state.enforce(batch)
    }

    fn push(&self, message: &Deliver, flowing: bool) {
        if let Broadcast::Message(publication) = &message.broadcast {
            let now_ms = self.authority.now().cluster_ms;
            self.state.delivered(publication.timetoken, now_ms);
        }
        if self.state.deliver(message, flowing)
            && !self.sending.pending.replace(true)
            && let Some(task) = &*self.sending.task.borrow()
        {
            task.wake_by_ref();
        }
    }

    /// Sends what was pushed, for ever.
    pub(super) async fn send(self: Rc<Self>) {
        std::future::poll_fn(|cx| {
            let mut task = self.sending.task.borrow_mut();
            if !task.as_ref().is_some_and(|one| one.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
            drop(task);
            if self.sending.pending.take() {
                self.state.send_dirty();
            }
            Poll::<()>::Pending
        })
        .await;
    }
}
