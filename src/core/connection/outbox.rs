//! The outbox: bytes waiting for one socket. Byte-bounded; running over is a named ending.
//!
//! **Must never know:** what the bytes mean, which task reads it (it keeps a waker).
//! **Why not a channel:** a channel costs its slots up front and a wake-up per message. Here pushing and waking
//! are apart: a relay pushes a whole burst and wakes once, so that the burst leaves in one write.

use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Where queued bytes came from, so that they can be taken back when a right is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(pub u64);

impl Source {
    /// The session itself: answers, greetings, goodbyes.
    pub const SESSION: Self = Self(0);
    const FLOWING: u64 = 1 << 63;

    /// The same source, for bytes that may go out even while channels' bytes are withheld.
    #[must_use]
    pub fn flowing(self) -> Self {
        Self(self.0 | Self::FLOWING)
    }

    fn flows(self) -> bool {
        self.0 & Self::FLOWING != 0
    }

    fn may_be_withheld(self) -> bool {
        self != Self::SESSION && !self.flows()
    }

    /// Whether both are of one channel, whatever may be withheld.
    fn is_of(self, other: Self) -> bool {
        self.0 & !Self::FLOWING == other.0 & !Self::FLOWING
    }
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Queued, and nobody has been asked to wake the reader yet: the caller must see to it.
    First,
    /// Queued; a wake-up is already owed.
    Queued,
    /// The budget is spent: nothing was queued and nothing ever will be. Told once.
    Over,
    /// Closed, or over already: dropped.
    Closed,
}

/// A queue above this many slots is given back when it runs empty.
const KEEP_SLOTS: usize = 16;

/// Bytes waiting for one socket. Single-threaded; shared by `Rc`.
#[derive(Debug)]
pub struct Outbox {
    queue: RefCell<VecDeque<(Source, Bytes)>>,
    waker: RefCell<Option<Waker>>,
    queued: Cell<usize>,
    budget: usize,
    closed: Cell<bool>,
    dirty: Cell<bool>,
    /// While set, only the session's own bytes may go out.
    withheld: Rc<Cell<bool>>,
}

impl Outbox {
    /// An empty one that holds at most `budget` bytes, and hands out no channel's bytes while `withheld` is set.
    /// Allocates nothing.
    #[must_use]
    pub fn new(budget: usize, withheld: Rc<Cell<bool>>) -> Self {
        Self {
            queue: RefCell::new(VecDeque::new()),
            waker: RefCell::new(None),
            queued: Cell::new(0),
            budget,
            closed: Cell::new(false),
            dirty: Cell::new(false),
            withheld,
        }
    }

    /// Queues whole frames. Does not wake the reader: see [`Self::wake`].
    #[must_use]
    pub fn push(&self, source: Source, frame: Bytes) -> Pushed {
        if self.closed.get() {
            return Pushed::Closed;
        }
        let queued = self.queued.get().saturating_add(frame.len());
        if queued > self.budget {
            self.closed.set(true);
            return Pushed::Over;
        }
        self.queued.set(queued);
        self.queue.borrow_mut().push_back((source, frame));
        if self.dirty.replace(true) {
            Pushed::Queued
        } else {
            Pushed::First
        }
    }

    /// Wakes the reader, if it waits.
    pub fn wake(&self) {
        self.dirty.set(false);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Takes back what came from this source and has not been handed to the socket.
    pub fn drop_source(&self, source: Source) {
        let mut queue = self.queue.borrow_mut();
        queue.retain(|(from, _)| !from.is_of(source));
        self.queued
            .set(queue.iter().map(|(_, frame)| frame.len()).sum());
    }

    /// Takes back everything that has not been handed to the socket.
    pub fn drop_queued(&self) {
        *self.queue.borrow_mut() = VecDeque::new();
        self.queued.set(0);
    }

    /// Room for a last word, whatever the budget says: for goodbyes, after [`Self::drop_queued`] or not.
    pub fn push_last(&self, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        self.queued
            .set(self.queued.get().saturating_add(frame.len()));
        self.queue.borrow_mut().push_back((Source::SESSION, frame));
    }

    /// Accepts nothing more; the reader ends once what is queued has been taken. Wakes it.
    pub fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    /// Most bytes it holds.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Bytes that have not been handed to the socket.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued.get()
    }

    /// Whether it accepts nothing more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The next frame; `None` after the last of a closed outbox.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut queue = self.queue.borrow_mut();
        let withheld = |(source, _): &(Source, Bytes)| source.may_be_withheld();
        let waits = self.withheld.get() && queue.front().is_some_and(withheld);
        // A channel that flows must not stand behind one that does not; the session's own words keep their place.
        let next = match waits {
            true => queue.iter().position(|(source, _)| source.flows()),
            false => (!queue.is_empty()).then_some(0),
        };
        if let Some((_, frame)) = next.and_then(|at| queue.remove(at)) {
            self.queued
                .set(self.queued.get().saturating_sub(frame.len()));
            if queue.is_empty() && queue.capacity() > KEEP_SLOTS {
                *queue = VecDeque::new();
            }
            return Poll::Ready(Some(frame));
        }
        if self.closed.get() && !waits {
            return Poll::Ready(None);
        }
        let mut waker = self.waker.borrow_mut();
        match waker.as_ref() {
            Some(known) if known.will_wake(cx.waker()) => {}
            Some(_) | None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Count(AtomicU32);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn next(outbox: &Outbox, count: &Arc<Count>) -> Poll<Option<Bytes>> {
        let waker = Waker::from(count.clone());
        outbox.poll_next(&mut Context::from_waker(&waker))
    }

    fn outbox_of(budget: usize) -> Outbox {
        Outbox::new(budget, Rc::default())
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_burst_wakes_once_and_keeps_its_order() {
        let (outbox, count) = (outbox_of(100), Arc::new(Count::default()));
        assert_eq!(next(&outbox, &count), Poll::Pending);
        assert_eq!(outbox.push(Source(1), bytes("a")), Pushed::First);
        assert_eq!(outbox.push(Source(2), bytes("b")), Pushed::Queued);
        assert_eq!(outbox.push(Source(1), bytes("c")), Pushed::Queued);
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        outbox.wake();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        for frame in ["a", "b", "c"] {
            assert_eq!(next(&outbox, &count), Poll::Ready(Some(bytes(frame))));
        }
        assert_eq!(outbox.queued(), 0);
        assert_eq!(outbox.push(Source(1), bytes("d")), Pushed::First);
    }

    #[test]
    fn running_over_is_told_once_and_final() {
        let outbox = outbox_of(4);
        assert_eq!(outbox.push(Source(1), bytes("abcd")), Pushed::First);
        assert_eq!(outbox.push(Source(1), bytes("e")), Pushed::Over);
        assert_eq!(outbox.push(Source(1), bytes("f")), Pushed::Closed);
        assert_eq!(outbox.queued(), 4);
    }

    #[test]
    fn what_was_read_is_given_back_to_the_budget() {
        let (outbox, count) = (outbox_of(4), Arc::new(Count::default()));
        for _ in 0..10 {
            assert_ne!(outbox.push(Source(1), bytes("abcd")), Pushed::Over);
            assert_eq!(next(&outbox, &count), Poll::Ready(Some(bytes("abcd"))));
        }
    }

    #[test]
    fn one_source_can_be_taken_back() {
        let (outbox, count) = (outbox_of(100), Arc::new(Count::default()));
        let _ = outbox.push(Source(1), bytes("secret"));
        let _ = outbox.push(Source(2), bytes("open"));
        let _ = outbox.push(Source(1), bytes("secret"));
        outbox.drop_source(Source(1));
        assert_eq!(outbox.queued(), 4);
        assert_eq!(next(&outbox, &count), Poll::Ready(Some(bytes("open"))));
        assert_eq!(next(&outbox, &count), Poll::Pending);
    }

    #[test]
    fn close_lets_what_is_queued_go_and_then_ends() {
        let (outbox, count) = (outbox_of(4), Arc::new(Count::default()));
        let _ = outbox.push(Source(1), bytes("abcd"));
        outbox.push_last(bytes("bye"));
        outbox.close();
        assert_eq!(outbox.push(Source(1), bytes("x")), Pushed::Closed);
        assert_eq!(next(&outbox, &count), Poll::Ready(Some(bytes("abcd"))));
        assert_eq!(next(&outbox, &count), Poll::Ready(Some(bytes("bye"))));
        assert_eq!(next(&outbox, &count), Poll::Ready(None));
    }

    #[test]
    fn closing_wakes_a_waiting_reader() {
        let (outbox, count) = (outbox_of(4), Arc::new(Count::default()));
        assert_eq!(next(&outbox, &count), Poll::Pending);
        outbox.close();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(next(&outbox, &count), Poll::Ready(None));
    }

    #[test]
    fn withheld_bytes_wait_in_order_and_the_sessions_own_go() {
        let withheld = Rc::new(Cell::new(true));
        let outbox = Outbox::new(100, withheld.clone());
        let count = Arc::new(Count::default());
        let _ = outbox.push(Source::SESSION, bytes("answer"));
        let _ = outbox.push(Source(1), bytes("secret"));
        let _ = outbox.push(Source::SESSION, bytes("later"));
        assert_eq!(next(&outbox, &count), Poll::Ready(Some(bytes("answer"))));
        assert_eq!(next(&outbox, &count), Poll::Pending);
        withheld.set(false);
        outbox.wake();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(next(&outbox, &count), Poll::Ready(Some(bytes("secret"))));
        assert_eq!(next(&outbox, &count), Poll::Ready(Some(bytes("later"))));
    }

    #[test]
    fn an_emptied_burst_gives_its_slots_back() {
        let (outbox, count) = (outbox_of(10_000), Arc::new(Count::default()));
        for _ in 0..1_000 {
            let _ = outbox.push(Source(1), bytes("x"));
        }
        for _ in 0..1_000 {
            let _ = next(&outbox, &count);
        }
        assert_eq!(outbox.queue.borrow().capacity(), 0);
    }
}
