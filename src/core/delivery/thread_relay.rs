//! The relay of this thread: whoever is on it reaches its outboxes without a mailbox.
//!
//! **Why beside the relay and not in it:** a channel asks here first and falls back on the relay's mailbox; the relay
//! itself need not know that it can be gone around.

use super::dispatch::Dispatch;
use super::relay::Relay;
use actix::{Actor as _, Addr};
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    /// The relay of this thread and what it stands for.
    static THREAD_RELAY: RefCell<Option<(Addr<Relay>, Rc<Dispatch>)>> = const { RefCell::new(None) };
}

/// What that relay stands for, if it is this thread's.
pub(in crate::core) fn find(relay: &Addr<Relay>) -> Option<Rc<Dispatch>> {
    let found = |here: &RefCell<Option<(Addr<Relay>, Rc<Dispatch>)>>| {
        let here = here.try_borrow().ok()?;
        let (_, dispatch) = here.as_ref().filter(|(its, _)| its == relay)?;
        Some(dispatch.clone())
    };
    // A thread that ends has none: the mailbox of one that is gone takes the message.
    THREAD_RELAY.try_with(found).ok().flatten()
}

/// Starts a relay on this thread, whose channels need no mailbox to reach it.
#[must_use]
pub fn start(mut relay: Relay) -> Addr<Relay> {
    let dispatch = relay.dispatch().clone();
    relay.keep(Box::new(Registration(dispatch.clone())));
    let relay = relay.start();
    THREAD_RELAY.set(Some((relay.clone(), dispatch)));
    relay
}

/// The relay's place on this thread, until it ends: then nobody finds it here any more.
#[derive(Debug)]
struct Registration(Rc<Dispatch>);

impl Drop for Registration {
    fn drop(&mut self) {
        let its = |here: &mut (Addr<Relay>, Rc<Dispatch>)| Rc::ptr_eq(&here.1, &self.0);
        // Dropped outside: what hangs on an address may look here again.
        let left = THREAD_RELAY.try_with(|here| here.try_borrow_mut().ok()?.take_if(its));
        drop(left);
    }
}
