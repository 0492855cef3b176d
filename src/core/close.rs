//! How connections end: the core's reasons, and the frame an adapter chooses for them.

use super::access::Cut;
use super::ids::Text;

/// Why the core ends a connection. The session is told, may say goodbye, and the connection ends either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An access change asked for it.
    Cut(Cut),
    /// It does not read: its outbox ran over. No goodbye can reach it.
    Slow,
    /// It sent more, or larger, than it may at the transport level (frame size, broken frame, bad UTF-8).
    Abuse(Abuse),
    /// The node is going down in order; come back to another.
    Draining,
    /// This node's access view is too old to serve anything protected; come back to another.
    Stale,
    /// Messages of one of its channels could not be brought here any more. It is to come back, and goes on from the last
    /// it got, or is told by its dialect that it cannot.
    Missed,
    /// The client closed, or the socket broke.
    Gone,
    /// The transport's own handshake deadline passed without a usable frame.
    Silent,
}

/// What a client did wrong below its dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abuse {
    /// A frame or message above the limit.
    TooLarge,
    /// Not a WebSocket frame that may be sent.
    Protocol,
    /// Text that is not UTF-8.
    NotUtf8,
}

/// A close frame, in the dialect's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// WebSocket close code.
    pub code: u16,
    /// Its reason text, at most 123 bytes.
    pub reason: Text,
}
