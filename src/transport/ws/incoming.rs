//! What a client says, as a stream that the connection reads.
//!
//! **Must never know:** any dialect, the connection's state.
//!
//! **Why one buffer per thread:** a buffer of its own would be most of what an idle connection costs. A chunk is a
//! piece of the thread's buffer and is gone through within the turn, unless the connection may not read on.

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
/// With less room than this the thread's buffer is renewed.
const ROOM: usize = 2 << 10;

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
    fn next(&mut self, input: &mut Bytes) -> Result<Option<Said>, Abuse> {
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
    chunk: Bytes,
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
            chunk: first,
            decoder,
            gate,
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

/// The next bytes; none at the end of the socket, in order or not.
fn read(line: &Line, buffer: &Buffer, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
    let buffer = &mut *buffer.0.borrow_mut();
    if buffer.capacity() < ROOM {
        buffer.reserve(READ);
    }
    match ready!(line.poll_read(buffer, cx)) {
        Ok(1..) => Poll::Ready(Some(buffer.split().freeze())),
        Ok(0) | Err(_) => Poll::Ready(None),
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
            match this.decoder.next(&mut this.chunk) {
                Ok(Some(Said::Message(frame))) => return Poll::Ready(Some(Inbound::Frame(frame))),
                Ok(Some(Said::Ping(data))) => {
                    return Poll::Ready(Some(Inbound::Alive(pong(&data))));
                }
                Ok(Some(Said::Pong)) => return Poll::Ready(Some(Inbound::Alive(Bytes::new()))),
                Ok(Some(Said::Close(code))) => {
                    let answer = this.decoder.close_answer(code);
                    this.end();
                    return Poll::Ready(Some(Inbound::Close(answer)));
                }
                Err(abuse) => {
                    this.end();
                    return Poll::Ready(Some(Inbound::Abuse(abuse)));
                }
                Ok(None) => {
                    // What is used up must not keep the thread's buffer alive.
                    this.chunk = Bytes::new();
                    match ready!(read(&this.line, &this.buffer, cx)) {
                        Some(chunk) => this.chunk = chunk,
                        None => this.end(),
                    }
                }
            }
        }
    }
}
