//! The two directions of a WebSocket as streams: the payload as what the client said, the outbox as a body.
//!
//! **Must never know:** any dialect, the connection's state.

use super::decode::{Decoder, Said};
use super::frame::{close_answer, pong};
use crate::core::connection::mail::WayOut;
use crate::core::connection::outbox::Outbox;
use crate::core::connection::seat::{Gate, Inbound};
use actix::Recipient;
use actix_web::body::{BodySize, MessageBody};
use actix_web::web::{Bytes, Payload};
use futures_util::Stream;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// What the client says, decoded while the gate is open. Ends after its close frame, after abuse, or with the
/// socket.
pub(super) struct Incoming {
    payload: Option<Payload>,
    chunk: Bytes,
    decoder: Decoder,
    gate: Rc<Gate>,
}

impl Incoming {
    pub(super) fn new(payload: Payload, max_frame_bytes: usize, gate: Rc<Gate>) -> Self {
        Self {
            payload: Some(payload),
            chunk: Bytes::new(),
            decoder: Decoder::new(max_frame_bytes),
            gate,
        }
    }
}

impl Stream for Incoming {
    type Item = Inbound;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let this = &mut *self;
        ready!(this.gate.poll(cx));
        loop {
            let Some(payload) = &mut this.payload else {
                return Poll::Ready(None);
            };
            match this.decoder.next(&mut this.chunk) {
                Ok(Some(Said::Message(frame))) => return Poll::Ready(Some(Inbound::Frame(frame))),
                Ok(Some(Said::Ping(data))) => {
                    return Poll::Ready(Some(Inbound::Alive(pong(&data))));
                }
                Ok(Some(Said::Pong)) => return Poll::Ready(Some(Inbound::Alive(Bytes::new()))),
                Ok(Some(Said::Close(code))) => {
                    this.payload = None;
                    return Poll::Ready(Some(Inbound::Close(close_answer(code))));
                }
                Err(abuse) => {
                    this.payload = None;
                    return Poll::Ready(Some(Inbound::Abuse(abuse)));
                }
                Ok(None) => match ready!(Pin::new(payload).poll_next(cx)) {
                    Some(Ok(chunk)) => this.chunk = chunk,
                    Some(Err(_)) | None => this.payload = None,
                },
            }
        }
    }
}

/// The outbox as a response body. Frames are handed on uncopied; the dispatcher gathers them into one write.
pub(in super::super) struct Outgoing {
    outbox: Rc<Outbox>,
    connection: Recipient<WayOut>,
}

impl Outgoing {
    pub(in super::super) fn new(outbox: Rc<Outbox>, connection: Recipient<WayOut>) -> Self {
        Self { outbox, connection }
    }
}

impl MessageBody for Outgoing {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        self.outbox.poll_next(cx).map(|frame| frame.map(Ok))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.connection.do_send(WayOut::Drained);
    }
}
