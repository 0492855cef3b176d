//! Lines between a connection and whichever response carries them away: the connection's socket, as it sees it.
//!
//! **Why it takes nothing while nobody reads:** what lies here cannot be taken back any more when a right is lost; in
//! the outbox it can.

use crate::core::delivery::outbox::{Outbox, Sent, Sink};
use bytes::{Bytes, BytesMut};
use std::io::{Error, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// With so many bytes waiting for their reader no more lines are taken.
const MAX_SPOOLED_BYTES: usize = 16 << 10;

/// The lines. Only ever whole ones: a response may end after any of them.
pub(super) struct Spool(Mutex<Lines>);

struct Lines {
    bytes: BytesMut,
    /// Nobody reads, since then.
    absent: Option<Instant>,
    /// Nothing comes any more.
    ended: bool,
    /// The client broke off for good, or was cut.
    broken: bool,
    taken: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Default for Spool {
    /// With a reader.
    fn default() -> Self {
        Self(Mutex::new(Lines {
            bytes: BytesMut::new(),
            absent: None,
            ended: false,
            broken: false,
            taken: 0,
            reader: None,
            writer: None,
        }))
    }
}

impl Lines {
    fn wake_reader(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }
}

impl Spool {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place of its reader, if it is free.
    pub(super) fn attach(&self) -> bool {
        let mut lines = self.lines();
        let free = lines.absent.take().is_some();
        if free {
            lines.wake_writer();
        }
        free
    }

    /// The reader goes; another may come.
    pub(super) fn detach(&self) {
        let mut lines = self.lines();
        lines.absent = Some(Instant::now());
        lines.reader = None;
        if lines.ended {
            lines.wake_writer();
        }
    }

    /// The reader goes, and nobody will come.
    pub(super) fn break_off(&self) {
        let mut lines = self.lines();
        lines.broken = true;
        lines.wake_writer();
    }

    /// Nothing comes any more, and what is here may be taken once.
    pub(super) fn abandon(&self) {
        let mut lines = self.lines();
        lines.ended = true;
        lines.wake_reader();
    }

    /// Whether nobody has read for so long.
    pub(super) fn is_absent(&self, long: Duration) -> bool {
        let absent = self.lines().absent;
        absent.is_some_and(|since| since.elapsed() >= long)
    }

    /// Bytes handed to readers.
    pub(super) fn taken(&self) -> u64 {
        self.lines().taken
    }

    /// All lines that are here; none at the end.
    pub(super) fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut lines = self.lines();
        if !lines.bytes.is_empty() {
            lines.taken += lines.bytes.len() as u64;
            lines.wake_writer();
            return Poll::Ready(Some(lines.bytes.split().freeze()));
        }
        if lines.ended || lines.broken {
            return Poll::Ready(None);
        }
        lines.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Moves lines from the outbox; ready when the last one has been taken, or nobody will take it.
    pub(super) fn poll_over(self: &Arc<Self>, outbox: &Outbox, cx: &Context<'_>) -> Poll<()> {
        outbox.wait(cx);
        self.lines().writer = Some(cx.waker().clone());
        let sent = outbox.flush();
        let mut lines = self.lines();
        match sent {
            Sent::Ended => lines.ended = true,
            Sent::Broken => lines.broken = true,
            Sent::All | Sent::NoRoom => {}
        }
        if lines.ended || lines.broken {
            lines.wake_reader();
        }
        match lines.broken || (lines.ended && lines.bytes.is_empty()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Sink for Arc<Spool> {
    fn write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Error> {
        let mut lines = self.lines();
        if lines.broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if lines.absent.is_some() || lines.bytes.len() >= MAX_SPOOLED_BYTES {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut taken = 0;
        for slice in slices {
            if lines.bytes.len() >= MAX_SPOOLED_BYTES {
                break;
            }
            lines.bytes.extend_from_slice(slice);
            taken += slice.len();
        }
        lines.wake_reader();
        Ok(taken)
    }

    fn abort(&self) {
        let mut lines = self.lines();
        lines.bytes.clear();
        lines.broken = true;
        lines.wake_reader();
        lines.wake_writer();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::delivery::outbox::Source;
    use std::cell::Cell;
    use std::rc::Rc;
    use std::task::Context;

    fn outbox(spool: &Arc<Spool>) -> Outbox {
        let withheld = Rc::new(Cell::new(false));
        Outbox::new(64 << 10, withheld, Rc::new(spool.clone()))
    }

    fn say(outbox: &Outbox, line: &[u8]) {
        let _ = outbox.push(Source(1), Bytes::copy_from_slice(line));
        outbox.send();
    }

    fn taken(spool: &Spool) -> Poll<Option<Bytes>> {
        spool.poll_take(&Context::from_waker(Waker::noop()))
    }

    fn over(spool: &Arc<Spool>, outbox: &Outbox) -> Poll<()> {
        spool.poll_over(outbox, &Context::from_waker(Waker::noop()))
    }

    #[test]
    fn lines_wait_in_the_outbox_while_nobody_reads() {
        let spool = Arc::new(Spool::default());
        let outbox = outbox(&spool);
        say(&outbox, b"one\n");
        assert_eq!(taken(&spool), Poll::Ready(Some("one\n".into())));
        spool.detach();
        say(&outbox, b"two\n");
        assert_eq!((outbox.queued(), over(&spool, &outbox)), (4, Poll::Pending));
        // Still the outbox's: it can be taken back.
        outbox.drop_source(Source(1));
        say(&outbox, b"three\n");
        assert!(spool.attach() && !spool.attach());
        assert_eq!(over(&spool, &outbox), Poll::Pending);
        assert_eq!(taken(&spool), Poll::Ready(Some("three\n".into())));
        assert_eq!(taken(&spool), Poll::Pending);
    }

    #[test]
    fn only_whole_lines_are_taken_and_not_more_than_there_is_room_for() {
        let spool = Arc::new(Spool::default());
        let outbox = outbox(&spool);
        for _ in 0..5 {
            say(&outbox, &[b'x'; 5 << 10]);
        }
        assert_eq!(outbox.queued(), 5 << 10);
        let Poll::Ready(Some(first)) = taken(&spool) else {
            unreachable!("lines wait")
        };
        assert_eq!(first.len(), 20 << 10);
        assert_eq!(over(&spool, &outbox), Poll::Pending);
        assert_eq!(outbox.queued(), 0);
    }

    #[test]
    fn it_is_over_when_the_last_line_is_taken_or_nobody_will() {
        let spool = Arc::new(Spool::default());
        let outbox = outbox(&spool);
        say(&outbox, b"bye\n");
        outbox.close();
        assert_eq!(over(&spool, &outbox), Poll::Pending);
        assert_eq!(taken(&spool), Poll::Ready(Some("bye\n".into())));
        assert_eq!(taken(&spool), Poll::Ready(None));
        assert_eq!(over(&spool, &outbox), Poll::Ready(()));
        let cut = Arc::new(Spool::default());
        let outbox = self::outbox(&cut);
        say(&outbox, b"lost\n");
        outbox.abort();
        assert_eq!(taken(&cut), Poll::Ready(None));
        assert_eq!(over(&cut, &outbox), Poll::Ready(()));
    }
}
