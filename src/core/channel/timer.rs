//! A channel's one timer: a later deadline leaves it as it is, an earlier one replaces it.
//!
//! **Why a task and not the actor's own `run_later`:** an actor asks every future it holds at every turn, so each message
//! would ask the clock whether it is time; nearly all channels wait half a minute.

use crate::core::clock::Now;
use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};
use std::time::Duration;
use tokio::task::JoinHandle;

/// To the actor: its timer has run down.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(super) struct Wake;

/// Runs down once; dropped, not at all.
#[derive(Debug, Default)]
pub(super) struct Timer {
    /// When it runs down, mono ms, and what waits.
    set: Option<(u64, JoinHandle<()>)>,
}

impl Timer {
    /// Wakes the actor at that time, mono ms, or earlier if it was to be woken earlier.
    pub(super) fn set<A>(&mut self, at: u64, now: Now, actor: impl FnOnce() -> Addr<A>)
    where
        A: Actor + Handler<Wake>,
        A::Context: ToEnvelope<A, Wake>,
    {
        if let Some((set, _)) = &self.set
            && *set <= at
            && *set > now.mono_ms
        {
            return;
        }
        self.stop();
        // An actor whose thread ends before its first turn is run once even so, where there are no timers any more.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let wait_ms = at.saturating_sub(now.mono_ms).max(1);
        let actor = actor().downgrade();
        let waiting = actix::spawn(async move {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            if let Some(actor) = actor.upgrade() {
                actor.do_send(Wake);
            }
        });
        self.set = Some((now.mono_ms + wait_ms, waiting));
    }

    /// Nothing is waited for any more.
    pub(super) fn stop(&mut self) {
        if let Some((_, waiting)) = self.set.take() {
            waiting.abort();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.stop();
    }
}
