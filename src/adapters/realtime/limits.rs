//! This dialect's limits and switches as settings, with its defaults.
//!
//! Where the old cloud's number is unknown, ours is what its clients can send (`docs/realtime.md`).

use crate::core::limits::Setting;

const fn setting(name: &'static str, default: u64) -> Setting {
    Setting { name, default }
}

/// Whether a token must have been registered through `/authenticate`. Off, as documented.
pub const AUTHENTICATION: Setting = setting("realtime_authentication", 0);
/// Whether connections and subscriptions are announced on the `ortcClient…` channels.
pub const ANNOUNCEMENTS: Setting = setting("realtime_announcements", 1);

/// Largest part of a message, head included: clients cut at 800 characters.
pub const MESSAGE_BYTES: Setting = setting("realtime_message_bytes", 4 << 10);
/// Messages (parts) that one connection may send per second, one of a batch for each channel; 0 = any number. The old
/// cloud's number is not known.
pub const MESSAGES_PER_SECOND: Setting = setting("realtime_messages_per_second", 0);
/// How long a subscriber's place in a channel is remembered while it is away.
pub const BUFFER_MS: Setting = setting("realtime_buffer_ms", 24 * 3_600_000);
/// Most places that the clients of one node may have kept at a time. Each weighs some 3.5 kB, on two nodes.
pub const PLACES: Setting = setting("realtime_places_per_node", 20_000);

/// Settings of this dialect that are on or off.
pub const SWITCHES: [Setting; 2] = [AUTHENTICATION, ANNOUNCEMENTS];
/// Settings of this dialect that are numbers.
pub const NUMBERS: [Setting; 4] = [MESSAGE_BYTES, MESSAGES_PER_SECOND, BUFFER_MS, PLACES];

/// Largest frame from a client. No setting: it holds before the app is known.
pub(super) const FRAME_BYTES: usize = 16 << 10;
/// Longest channel name, characters (names are ASCII).
pub(super) const CHANNEL_CHARS: usize = 100;
/// Longest token or application key.
pub(super) const TOKEN_CHARS: usize = 256;
/// Most entries of one token.
pub(super) const ENTRIES_PER_TOKEN: usize = 100;
/// Longest connection metadata.
pub(super) const METADATA_CHARS: usize = 256;
/// Largest body of an HTTP request: a hundred entries of the longest names, each byte escaped, fit.
pub(super) const BODY_BYTES: usize = 64 << 10;
/// How long a session of the client's may last, minutes; the clients' default.
pub(super) const SESSION_MINUTES: u64 = 30;
/// How often a heartbeat is sent, ms. Clients give up after 30 s of silence.
pub(super) const HEARTBEAT_MS: u64 = 25_000;
/// How long a connection may take to validate, ms.
pub(super) const VALIDATE_MS: u64 = 10_000;
/// How long finding out whether it may connect may take, ms: after 5 s without a word the browser's SDK goes elsewhere.
pub(super) const ASKING_MS: u64 = 4_000;
/// How long a refused connection stays open, so that its client reads why, ms.
pub(super) const REFUSED_MS: u64 = 1_000;
/// Published parts of one connection that may wait for their acknowledgement.
pub(super) const UNACKNOWLEDGED: usize = 1_000;
