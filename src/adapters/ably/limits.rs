//! This dialect's limits, as an app can set them.

use crate::core::authority::App;
use crate::core::limits::{HISTORY_BYTES, OUTBOX_BYTES, Setting, outbox_with_history};

/// Largest message (name, client id, data and extras, summed over one publish).
pub const MESSAGE_BYTES: Setting = Setting {
    name: "message_bytes",
    default: 64 << 10,
};
/// Largest WebSocket message, and largest body of a REST request.
pub const MESSAGE_FRAME_BYTES: Setting = Setting {
    name: "message_frame_bytes",
    default: 512 << 10,
};

/// Messages and presence messages that one connection may send per second; 0 = any number. As many may come at once, so
/// that by default any one publish fits. The real service's number is 50.
pub const INBOUND_MESSAGES_PER_SECOND: Setting = Setting {
    name: "inbound_messages_per_second",
    default: 1_000,
};

/// Settings of this dialect that are numbers.
pub const NUMBERS: [Setting; 3] = [
    MESSAGE_BYTES,
    MESSAGE_FRAME_BYTES,
    INBOUND_MESSAGES_PER_SECOND,
];

/// Heartbeats are this far apart, ms.
pub(super) const HEARTBEAT_MS: u64 = 15_000;
/// How long a connection can be resumed after its socket was lost, ms.
pub(super) const STATE_MS: u64 = 120_000;
/// How long its members stay when the client asks for nothing else, ms; asked for is at most [`STATE_MS`].
pub(super) const PRESENT_MS: u64 = 15_000;
/// How long before a token's end the client is asked for another, ms.
pub(super) const RENEW_MS: u64 = 30_000;
/// Most messages of one publish.
pub(super) const MESSAGES: usize = 1_000;
/// Longest channel name and client id, bytes.
pub(super) const NAME_BYTES: usize = 1_000;

/// What may wait for one connection of this app: a client that returns gets what it missed in one piece.
pub(super) fn outbox_bytes(app: Option<&App>) -> usize {
    let (outbox, history) = match app {
        Some(app) => (OUTBOX_BYTES.of(app), HISTORY_BYTES.most(app)),
        None => (OUTBOX_BYTES.default, HISTORY_BYTES.default),
    };
    outbox_with_history(outbox, history)
}
