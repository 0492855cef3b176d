//! What a channel tells the relays of its subscribers.
//!
//! **Why in one queue:** `Attach` and `Deliver` must reach a relay in the order they were decided. Once one had to wait
//! for room in a mailbox, all of them wait.

use crate::core::delivery::dispatch::Dispatch;
use crate::core::delivery::messages::{Attach, Deliver, Detach, Interrupt};
use crate::core::delivery::relay::Relay;
use crate::core::delivery::thread_relay;
use actix::Addr;
use actix::prelude::SendError;
use std::collections::VecDeque;

/// A message for a relay.
#[derive(Debug)]
pub(super) enum ToRelay {
    Attach(Attach),
    Detach(Detach),
    Deliver(Deliver),
    Interrupt(Interrupt),
}

impl ToRelay {
    /// Gives it back when the mailbox is full; a relay that is gone needs nothing.
    fn offer(self, relay: &Addr<Relay>) -> Result<(), Self> {
        fn full<M>(sent: Result<(), SendError<M>>, back: fn(M) -> ToRelay) -> Result<(), ToRelay> {
            match sent {
                Ok(()) | Err(SendError::Closed(_)) => Ok(()),
                Err(SendError::Full(message)) => Err(back(message)),
            }
        }
        #[cfg(test)]
        let Some(this) = tap::tapped(relay, self) else {
            return Ok(());
        };
        #[cfg(not(test))]
        let this = self;
        if let Some(dispatch) = thread_relay::find(relay) {
            this.take(&dispatch);
            return Ok(());
        }
        match this {
            Self::Attach(message) => full(relay.try_send(message), Self::Attach),
            Self::Detach(message) => full(relay.try_send(message), Self::Detach),
            Self::Deliver(message) => full(relay.try_send(message), Self::Deliver),
            Self::Interrupt(message) => full(relay.try_send(message), Self::Interrupt),
        }
    }

    /// On the relay's own thread.
    fn take(self, dispatch: &Dispatch) {
        match self {
            Self::Attach(message) => dispatch.attach(message),
            Self::Detach(message) => dispatch.detach(&message),
            Self::Deliver(message) => dispatch.deliver(message),
            Self::Interrupt(message) => dispatch.interrupt(&message),
        }
    }

    /// Waits for room, and until it is done: what is decided later may go right to the thread's tables.
    pub(super) async fn push(self, relay: &Addr<Relay>) {
        let _closed = match self {
            Self::Attach(message) => relay.send(message).await,
            Self::Detach(message) => relay.send(message).await,
            Self::Deliver(message) => relay.send(message).await,
            Self::Interrupt(message) => relay.send(message).await,
        };
    }
}

/// Tells it now, or leaves it to the end of the queue.
pub(super) fn offer(
    queue: &mut VecDeque<(Addr<Relay>, ToRelay)>,
    relay: &Addr<Relay>,
    message: ToRelay,
) {
    let waiting = if queue.is_empty() {
        message.offer(relay).err()
    } else {
        Some(message)
    };
    queue.extend(waiting.map(|message| (relay.clone(), message)));
}

/// What channels on a test's thread say to relays goes to the test, if it listens.
#[cfg(test)]
pub(super) mod tap {
    #![allow(clippy::unwrap_used)]
    use super::ToRelay;
    use crate::core::delivery::relay::Relay;
    use actix::Addr;
    use std::cell::RefCell;
    use tokio::sync::mpsc;

    pub(in crate::core::channel) type Tapped = (Addr<Relay>, ToRelay);

    thread_local! {
        pub(in crate::core::channel) static TAP: RefCell<Option<mpsc::UnboundedSender<Tapped>>> = const { RefCell::new(None) };
    }

    pub(super) fn tapped(relay: &Addr<Relay>, message: ToRelay) -> Option<ToRelay> {
        TAP.with_borrow(|tap| match tap {
            Some(tap) => {
                tap.send((relay.clone(), message)).unwrap();
                None
            }
            None => Some(message),
        })
    }
}
