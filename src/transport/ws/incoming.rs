//! What a client says, as a stream that the connection reads.
//!
//! **Must never know:** any dialect, the connection's state.
//!
//! **Why one buffer per thread:** a buffer of its own would be most of what an idle connection costs. What is read is
//! decoded in it; only what comes behind a message is copied out, until its turn comes.

use super::decode::{self, Said};
use super::frame::pong;
use super::{frame, hixie};
use crate::core::close::Abuse;
use crate::core::connection::seat::{Gate, Inbound};
use crate::transport::line::Line;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Bytes read at once, at most.
const READ: usize = 16 << 10;

/// The read buffer of a thread. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::transport) struct Buffer(Rc<RefCell<BytesMut>>);

/// Which protocol the client's bytes are in.
pub(super) enum Decoder {
    /// RFC 6455.
    Rfc6455(decode::Decoder),
    /// A draft before it.
    Hixie(hixie::Decoder),
}

impl Decoder {
    fn next(&mut self, input: &mut &[u8]) -> Result<Option<Said>, Abuse> {
        match self {
            Self::Rfc6455(decoder) => decoder.next(input),
            Self::Hixie(decoder) => decoder.next(input),
        }
    }

    fn close_answer(&self, code: Option<u16>) -> Bytes {
        match self {
            Self::Rfc6455(_) => frame::close_answer(code),
            Self::Hixie(_) => hixie::close_answer(),
        }
    }
}

/// What the client says, decoded while the gate is open. Ends after its close frame, after abuse, or with the
/// socket.
pub(super) struct Incoming {
    line: Rc<Line>,
    ended: bool,
    buffer: Buffer,
    /// What was read and is not decoded yet.
    rest: Bytes,
    decoder: Decoder,
    gate: Rc<Gate>,
}

impl Incoming {
    /// Reads this socket; `first` came before.
    pub(super) fn new(
        line: Rc<Line>,
        first: Bytes,
        buffer: Buffer,
        decoder: Decoder,
        gate: Rc<Gate>,
    ) -> Self {
        Self {
            line,
            ended: false,
            buffer,
            rest: first,
            decoder,
            gate,
        }
    }

    /// The next thing said, if the bytes at hand hold a whole one; none at the end of the socket, in order or not.
    fn poll_said(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Option<Said>, Abuse>>> {
        if !self.rest.is_empty() {
            let mut rest = &*self.rest;
            let said = self.decoder.next(&mut rest);
            self.rest = self.rest.slice_ref(rest);
            return Poll::Ready(Some(said));
        }
        let buffer = &mut *self.buffer.0.borrow_mut();
        buffer.clear();
        buffer.reserve(READ);
        match ready!(self.line.poll_read(buffer, cx)) {
            Ok(1..) => {
                let mut rest = &**buffer;
                let said = self.decoder.next(&mut rest);
                if !rest.is_empty() {
                    self.rest = Bytes::copy_from_slice(rest);
                }
                Poll::Ready(Some(said))
            }
            Ok(0) | Err(_) => Poll::Ready(None),
        }
    }

    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.line.read_out();
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.end();
    }
}

impl Stream for Incoming {
    type Item = Inbound;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let this = &mut *self;
        ready!(this.gate.poll(cx));
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            match ready!(this.poll_said(cx)) {
                Some(Ok(None)) => {}
                Some(Ok(Some(Said::Message(frame)))) => {
                    return Poll::Ready(Some(Inbound::Frame(frame)));
                }
                Some(Ok(Some(Said::Ping(data)))) => {
                    return Poll::Ready(Some(Inbound::Alive(pong(&data))));
                }
                Some(Ok(Some(Said::Pong))) => {
                    return Poll::Ready(Some(Inbound::Alive(Bytes::new())));
                }
                Some(Ok(Some(Said::Close(code)))) => {
                    let answer = this.decoder.close_answer(code);
                    this.end();
                    return Poll::Ready(Some(Inbound::Close(answer)));
                }
                Some(Err(abuse)) => {
                    this.end();
                    return Poll::Ready(Some(Inbound::Abuse(abuse)));
                }
                None => this.end(),
            }
        }
    }
}
