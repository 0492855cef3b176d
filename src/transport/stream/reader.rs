//! A response's body: takes lines away until it has brought enough.

use super::spool::Spool;
use super::{ABSENCE_TIMEOUT, LineProtocol};
use crate::transport::half_close::HangUp;
use actix_web::HttpRequest;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Sleep, sleep};

/// Browsers hand a stream on only after so many bytes.
const PREAMBLE: usize = 2_048;
/// After so much a browser gets a new response, and lets go of what it has kept of the old one.
const RESPONSE: usize = 128 << 10;
/// After so much a client that breaks off does so, as soon as it has read it all.
const BROKEN_OFF: usize = (256 << 10) + 1;

/// Which kind of response was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Many lines, as they come.
    Stream,
    /// What there is, or the first that comes.
    Poll,
}

/// The body of one response: the lines of a spool, until it is full or over.
pub(super) struct Reader {
    spool: Arc<Spool>,
    preamble: Option<Bytes>,
    /// What it may still bring, in UTF-16 units as browsers count.
    left: usize,
    breaks_off: bool,
    done: bool,
    /// HTTP polls it once more when the client stops sending, and would wait for it for ever.
    half_closed: HangUp,
    /// Since it has brought enough: how long the client may take to break off.
    leaving: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    /// Reads this spool, whose reader's place it has.
    pub(super) fn new(
        spool: Arc<Spool>,
        asked: Asked,
        protocol: &LineProtocol,
        request: &HttpRequest,
    ) -> Self {
        let (preamble, left) = match (asked, protocol.breaks_off) {
            (Asked::Poll, _) => (0, 1),
            (Asked::Stream, false) => (PREAMBLE, RESPONSE),
            (Asked::Stream, true) => (PREAMBLE, BROKEN_OFF),
        };
        let preamble = (preamble > 0).then(|| {
            let mut line = vec![b'h'; preamble];
            line.push(b'\n');
            line.into()
        });
        Self {
            spool,
            preamble,
            left,
            breaks_off: protocol.breaks_off && asked == Asked::Stream,
            done: false,
            half_closed: request.conn_data().cloned().unwrap_or_default(),
            leaving: None,
        }
    }

    /// So much goes out; whether that is enough.
    fn bring(&mut self, lines: &Bytes) -> bool {
        self.left = self.left.saturating_sub(units(lines));
        self.left == 0
    }
}

/// How long a text is to a browser.
fn units(text: &[u8]) -> usize {
    let unit = |byte: &u8| match byte {
        0x80..=0xbf => 0,
        0xf0.. => 2,
        _ => 1,
    };
    text.iter().map(unit).sum()
}

impl MessageBody for Reader {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = &mut *self;
        if this.half_closed.by_client() {
            return Poll::Ready(None);
        }
        if let Some(preamble) = this.preamble.take() {
            this.bring(&preamble);
            return Poll::Ready(Some(Ok(preamble)));
        }
        if let Some(leaving) = &mut this.leaving {
            // What is sent now would be lost when it breaks off.
            ready!(leaving.as_mut().poll(cx));
        }
        if this.done {
            return Poll::Ready(None);
        }
        let Some(lines) = ready!(this.spool.poll_take(cx)) else {
            this.done = true;
            return Poll::Ready(None);
        };
        if this.bring(&lines) {
            this.done = true;
            this.spool.detach();
            this.leaving = this
                .breaks_off
                .then(|| Box::pin(sleep(2 * ABSENCE_TIMEOUT)));
        }
        Poll::Ready(Some(Ok(lines)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        match (self.done, self.breaks_off) {
            (true, _) => {}
            (false, true) => self.spool.detach(),
            (false, false) => self.spool.break_off(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_as_browsers_count() {
        for text in ["", "abc\n", "é€", "😀x"] {
            assert_eq!(
                units(text.as_bytes()),
                text.encode_utf16().count(),
                "{text}"
            );
        }
    }
}
