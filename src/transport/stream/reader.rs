//! A response's body: takes lines away until it has brought enough.
//!
//! **Must never know:** whose lines.

use super::Speech;
use super::answer::Asked;
use super::spool::Spool;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Browsers hand a stream on only after so many bytes.
const PREAMBLE: usize = 2_048;
/// After so many bytes a browser gets a new response, and lets go of what it has kept of the old one.
const RESPONSE: usize = 128 << 10;

/// The body.
pub(super) struct Reader {
    spool: Arc<Spool>,
    preamble: Option<Bytes>,
    /// Bytes after which it ends; none when the client sees to that.
    left: Option<usize>,
    breaks_off: bool,
    done: bool,
}

impl Reader {
    /// Reads this spool, whose reader's place it has.
    pub(super) fn new(spool: Arc<Spool>, asked: Asked, speech: &Speech) -> Self {
        let (preamble, left) = match asked {
            Asked::Poll => (None, Some(1)),
            Asked::Stream => {
                let mut preamble = vec![b'h'; PREAMBLE];
                preamble.push(b'\n');
                let left = (!speech.breaks_off).then_some(RESPONSE);
                (Some(preamble.into()), left)
            }
        };
        Self {
            spool,
            preamble,
            left,
            breaks_off: speech.breaks_off,
            done: false,
        }
    }
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
        if let Some(preamble) = this.preamble.take() {
            return Poll::Ready(Some(Ok(preamble)));
        }
        if this.done {
            return Poll::Ready(None);
        }
        let Some(lines) = ready!(this.spool.poll_take(cx)) else {
            this.done = true;
            return Poll::Ready(None);
        };
        if let Some(left) = &mut this.left {
            *left = left.saturating_sub(lines.len());
            if *left == 0 {
                this.done = true;
                this.spool.detach();
            }
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
