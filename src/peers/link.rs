//! One link to one node: a bounded buffer out, frames in.
//!
//! **Why over budget means reset and not drop:** a stream with a hole looks whole to the other side. A broken
//! link is noticed by both, and both tell each other everything again.

use super::frame::{self, Frame, FrameError};
use crate::core::channel::replica::io::LINK_SILENCE_MS;
use crate::core::ids::NodeId;
use bytes::BytesMut;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes that may wait for one peer before the link is reset.
pub const BUDGET_BYTES: usize = 64 << 20;
/// Above this, what may be large and can wait (copies of streams) is refused: its sender tries again.
pub const BULK_BUDGET_BYTES: usize = 24 << 20;
/// A link says something at least this often.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// A link that has said nothing for so long is dead.
const SILENCE_LIMIT: Duration = Duration::from_millis(LINK_SILENCE_MS);
const READ_BUFFER: usize = 64 << 10;

/// The sending side: any thread puts frames in, one task writes all of them at once.
#[derive(Debug)]
pub struct Outbound {
    node: NodeId,
    waiting: Mutex<Waiting>,
    filled: Notify,
    closed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    /// Taken by the writer and not yet written.
    writing: usize,
    closed: bool,
}

impl Outbound {
    /// An empty one.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            waiting: Mutex::default(),
            filled: Notify::new(),
            closed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an encoded frame in; false when it will not be sent. A full buffer ends the link.
    #[must_use]
    pub fn push(&self, frame: &[u8], bulk: bool) -> bool {
        let mut waiting = self.lock();
        let after = waiting.bytes.len() + waiting.writing + frame.len();
        if waiting.closed || (bulk && after > BULK_BUDGET_BYTES) {
            return false;
        }
        if after > BUDGET_BYTES {
            drop(waiting);
            tracing::warn!(node = self.node.0, "a peer does not keep up: link reset");
            self.close();
            return false;
        }
        waiting.bytes.extend_from_slice(frame);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Ends the link.
    pub fn close(&self) {
        self.lock().closed = true;
        self.closed.notify_one();
    }

    /// Whether nothing more is sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn take(&self) -> BytesMut {
        let mut waiting = self.lock();
        waiting.writing = waiting.bytes.len();
        std::mem::take(&mut waiting.bytes)
    }

    async fn write(&self, mut socket: impl AsyncWrite + Unpin) -> io::Result<()> {
        let alive = frame::encode(&Frame::Alive).unwrap_or_default();
        loop {
            if timeout(KEEPALIVE_INTERVAL, self.filled.notified())
                .await
                .is_err()
            {
                let _full = self.push(&alive, false);
            }
            loop {
                let bytes = self.take();
                if bytes.is_empty() {
                    break;
                }
                socket.write_all(&bytes).await?;
            }
        }
    }
}

/// Runs a link until it ends; every frame goes to `taken`, one after the other. None once it is closed: a newer link to
/// the same node may be in use by then, and what was said over this one is older than what is said there.
///
/// # Errors
/// The reason of its end.
pub async fn run<F>(
    outbound: &Outbound,
    (from, to): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    taken: impl FnMut(Frame) -> F,
) -> io::Result<()>
where
    F: Future<Output = ()>,
{
    let ended = tokio::select! {
        ended = outbound.write(to) => ended,
        ended = read(outbound, from, taken) => ended,
        () = outbound.closed.notified() => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    outbound.close();
    ended
}

async fn read<F>(
    outbound: &Outbound,
    mut socket: impl AsyncRead + Unpin,
    mut taken: impl FnMut(Frame) -> F,
) -> io::Result<()>
where
    F: Future<Output = ()>,
{
    let mut buffer = BytesMut::with_capacity(READ_BUFFER);
    loop {
        let broken = |error: FrameError| io::Error::new(io::ErrorKind::InvalidData, error);
        while let Some(frame) = frame::take(&mut buffer).map_err(broken)? {
            if outbound.is_closed() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            taken(frame).await;
        }
        buffer.reserve(READ_BUFFER);
        let read = timeout(SILENCE_LIMIT, socket.read_buf(&mut buffer)).await??;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
