//! What a client says, as a stream that the connection reads.
//!
//! **Why one buffer per thread:** a buffer of its own would be most of what an idle connection costs. What is read is
//! decoded in it; only what comes behind a message is copied out, until its turn comes.

use super::decode::{self, Said};
use super::frame::pong;
use super::{frame, hixie};
use crate::core::close::Abuse;
use crate::core::connection::accepted::{Inbound, ReadGate};
use crate::transport::client_socket::ClientSocket;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Bytes read at once, at most.
const READ_BYTES: usize = 16 << 10;

/// The read buffer of a thread. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::transport) struct Buffer(Rc<RefCell<BytesMut>>);

/// Which protocol the client's bytes are in.
pub(super) enum Decoder {
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
    client: Rc<ClientSocket>,
    ended: bool,
    buffer: Buffer,
    /// What was read and is not decoded yet.
    rest: Bytes,
    decoder: Decoder,
    gate: Rc<ReadGate>,
}

impl Incoming {
    /// Reads this socket; `first` came before.
    pub(super) fn new(
        client: Rc<ClientSocket>,
        first: &[u8],
        buffer: Buffer,
        decoder: Decoder,
        gate: Rc<ReadGate>,
    ) -> Self {
        Self {
            client,
            ended: false,
            buffer,
            // A copy: it stands in the buffer of the handshake, which is many times as large and would be kept with it.
            rest: Bytes::copy_from_slice(first),
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
        buffer.reserve(READ_BYTES);
        match ready!(self.client.poll_read(buffer, cx)) {
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
            self.client.read_out();
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use actix_web::rt::net::TcpStream;
    use futures_util::StreamExt as _;

    /// Over a real socket; what came with its handshake stands in a buffer of 8 KiB.
    async fn begun(first: &[u8]) -> (Incoming, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let client = TcpStream::connect(addr).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let mut handshake = BytesMut::with_capacity(8 << 10);
        handshake.extend_from_slice(first);
        let decoder = Decoder::Rfc6455(decode::Decoder::new(1_024));
        let incoming = Incoming::new(
            ClientSocket::new(accepted.into()),
            &handshake.freeze(),
            Buffer::default(),
            decoder,
            Rc::default(),
        );
        (incoming, client)
    }

    /// What it keeps until the client says more.
    fn held(incoming: &mut Incoming) -> usize {
        // Memory shows its capacity; what is static, as nothing at all is, cannot and holds none.
        match std::mem::take(&mut incoming.rest).try_into_mut() {
            Ok(rest) => {
                let held = rest.capacity();
                incoming.rest = rest.freeze();
                held
            }
            Err(rest) => {
                let held = rest.len();
                incoming.rest = rest;
                held
            }
        }
    }

    #[actix_web::test]
    async fn an_idle_connection_keeps_nothing_of_its_handshake() {
        let ping = [0x89, 0x80, 0, 0, 0, 0];
        let (mut incoming, _client) = begun(&ping).await;
        assert!(held(&mut incoming) <= ping.len());
        assert!(matches!(incoming.next().await, Some(Inbound::Alive(_))));
        assert_eq!(held(&mut incoming), 0);
        let (mut idle, _client) = begun(&[]).await;
        assert_eq!(held(&mut idle), 0);
    }
}
