//! The outbox: bytes waiting for one socket. It is bounded in bytes; running over ends the connection.
//!
//! **Must never know:** what the bytes mean, what a socket is (it has a [`Sink`] and a waker).
//! **Why not a channel and a task that writes:** a channel costs its slots up front, and a task costs a wake-up per
//! message. Here pushing and sending are apart: a relay pushes a whole burst and then sends it itself, with one
//! write per connection. A task is woken only for a socket without room.

use super::traffic::Tally;
use bytes::{Buf as _, Bytes};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::{Context, Waker};

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
    /// Queued, and nobody has been asked to send it yet: the caller must see to it.
    First,
    /// Queued; whoever sends has been asked already.
    Queued,
    /// The budget is spent: nothing was queued and nothing ever will be. Told once.
    Over,
    /// Closed, or over already: dropped.
    Closed,
}

/// A socket, as far as an outbox needs one.
pub trait Sink {
    /// Takes as much of these bytes, in order, as there is room for; how much. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` without room; anything else says that the socket takes nothing any more.
    fn write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Error>;
    /// Ends the socket in both directions, at once: the last resort against a peer that takes nothing.
    fn abort(&self);
}

/// How far the way out has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Everything that may go out is out.
    All,
    /// The socket has no room for the rest.
    NoRoom,
    /// Closed, and everything is out.
    Ended,
    /// The socket takes nothing any more; what was left is dropped.
    Broken,
}

/// A queue above this many slots is given back when it runs empty.
const MAX_IDLE_SLOTS: usize = 16;
/// Most frames in one write.
const MAX_FRAMES_PER_WRITE: usize = 32;

/// Bytes waiting for one socket. Single-threaded; shared by `Rc`.
pub struct Outbox {
    queue: RefCell<VecDeque<(Source, Bytes)>>,
    /// The rest of a frame whose beginning is out: it has to follow, whatever is taken back.
    begun: RefCell<Bytes>,
    /// `None` once aborted: whatever else holds the outbox, the socket is let go.
    sink: RefCell<Option<Rc<dyn Sink>>>,
    waker: RefCell<Option<Waker>>,
    queued: Cell<usize>,
    budget: usize,
    closed: Cell<bool>,
    dirty: Cell<bool>,
    blocked: Cell<bool>,
    /// While set, only the session's own bytes may go out.
    withheld: Rc<Cell<bool>>,
    /// What its connection has said and was told.
    pub tally: Tally,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outbox({} bytes)", self.queued.get())
    }
}

impl Outbox {
    /// An empty one that holds at most `budget` bytes, and sends no channel's bytes while `withheld` is set.
    /// Allocates nothing.
    #[must_use]
    pub fn new(budget: usize, withheld: Rc<Cell<bool>>, sink: Rc<dyn Sink>) -> Self {
        Self {
            queue: RefCell::default(),
            begun: RefCell::default(),
            sink: RefCell::new(Some(sink)),
            waker: RefCell::default(),
            queued: Cell::new(0),
            budget,
            closed: Cell::new(false),
            dirty: Cell::new(false),
            blocked: Cell::new(false),
            withheld,
            tally: Tally::default(),
        }
    }

    /// Queues whole frames. Sends nothing: see [`Self::send`] and [`Self::wake`].
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

    /// Queues what comes before the session's first word. Nobody has to send it: whoever waits begins by looking.
    pub fn open_with(&self, frame: Bytes) {
        self.push_last(frame);
    }

    /// Sends now what the socket has room for. Whoever waits is woken only for what this cannot do: to wait for
    /// room, or because the way out has ended.
    pub fn send(&self) {
        self.dirty.set(false);
        if self.blocked.get() {
            return;
        }
        match self.flush() {
            Sent::All => {}
            Sent::NoRoom | Sent::Ended | Sent::Broken => self.wake(),
        }
    }

    /// Has whoever waits send, in a turn of its own: what is pushed until then leaves together.
    pub fn wake(&self) {
        self.dirty.set(false);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Who is woken. To be called before each [`Self::flush`] by the one who waits.
    pub fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match waker.as_ref() {
            Some(known) if known.will_wake(cx.waker()) => {}
            Some(_) | None => *waker = Some(cx.waker().clone()),
        }
    }

    /// Sends until nothing is left or there is no room.
    pub fn flush(&self) -> Sent {
        let sent = self.flushed();
        self.blocked.set(sent == Sent::NoRoom);
        sent
    }

    fn flushed(&self) -> Sent {
        loop {
            match self.write_some() {
                Ok(None) if self.closed.get() && self.queue.borrow().is_empty() => {
                    return Sent::Ended;
                }
                Ok(None) => return Sent::All,
                Ok(Some(written)) => self.written(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Sent::NoRoom,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closed.set(true);
                    self.drop_queued();
                    *self.begun.borrow_mut() = Bytes::new();
                    return Sent::Broken;
                }
            }
        }
    }

    /// One write of what may go out; `None` when there is nothing.
    fn write_some(&self) -> Result<Option<usize>, Error> {
        let withheld = self.withheld.get();
        if withheld {
            self.let_flow();
        }
        let (begun, queue) = (self.begun.borrow(), self.queue.borrow());
        // Mostly there is one frame, and nothing to gather.
        if let (true, false, 1, Some((_, frame))) =
            (begun.is_empty(), withheld, queue.len(), queue.front())
        {
            return self.write(&[IoSlice::new(frame)]);
        }
        let goes = |(source, _): &&(Source, Bytes)| !withheld || !source.may_be_withheld();
        let rest = Some(&*begun).filter(|rest| !rest.is_empty());
        let frames = queue.iter().take_while(goes).map(|(_, frame)| frame);
        let mut slices = [IoSlice::new(&[]); MAX_FRAMES_PER_WRITE];
        let mut count = 0;
        for (slice, frame) in slices.iter_mut().zip(rest.into_iter().chain(frames)) {
            *slice = IoSlice::new(frame);
            count += 1;
        }
        match slices.get(..count) {
            None | Some([]) => Ok(None),
            Some(slices) => self.write(slices),
        }
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> Result<Option<usize>, Error> {
        match &*self.sink.borrow() {
            Some(sink) => sink.write(slices).map(Some),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// A channel that flows must not stand behind one that does not; the session's own words keep their place.
    fn let_flow(&self) {
        let mut queue = self.queue.borrow_mut();
        if queue
            .front()
            .is_some_and(|(source, _)| source.may_be_withheld())
            && let Some(at) = queue.iter().position(|(source, _)| source.flows())
            && let Some(frame) = queue.remove(at)
        {
            queue.push_front(frame);
        }
    }

    /// So many bytes are out.
    fn written(&self, mut written: usize) {
        let (mut begun, mut queue) = (self.begun.borrow_mut(), self.queue.borrow_mut());
        let (bytes, mut frames) = (written, 0);
        let rest = written.min(begun.len());
        begun.advance(rest);
        written -= rest;
        while written > 0
            && let Some((_, mut frame)) = queue.pop_front()
        {
            self.queued
                .set(self.queued.get().saturating_sub(frame.len()));
            let taken = written.min(frame.len());
            frame.advance(taken);
            written -= taken;
            *begun = frame;
            frames += 1;
        }
        self.tally.sent(frames, bytes);
        if begun.is_empty() {
            // A shared frame must not be kept alive by its last subscriber.
            *begun = Bytes::new();
        }
        if queue.is_empty() && queue.capacity() > MAX_IDLE_SLOTS {
            *queue = VecDeque::new();
        }
    }

    /// Takes back what came from this source, except the rest of a frame that is half out.
    pub fn drop_source(&self, source: Source) {
        let mut queue = self.queue.borrow_mut();
        queue.retain(|(from, _)| !from.is_of(source));
        self.queued
            .set(queue.iter().map(|(_, frame)| frame.len()).sum());
    }

    /// Takes back everything, except the rest of a frame that is half out.
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

    /// Accepts nothing more; the way out ends once what is queued is out. Wakes whoever waits.
    pub fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    /// Ends the socket at once, whatever is queued.
    pub fn abort(&self) {
        self.drop_queued();
        let sink = self.sink.take();
        if let Some(sink) = sink {
            sink.abort();
        }
        self.close();
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
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
