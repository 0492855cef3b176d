//! Pusher's documented limits as settings, with its defaults.
//!
//! They are data, so that an app can have its own numbers and a refusal can name the one that was reached.

use crate::core::authority::{App, Revision};
use crate::core::limits::Setting;

const fn setting(name: &'static str, default: u64) -> Setting {
    Setting { name, default }
}

/// Whether clients may send `client-…` events.
pub const CLIENT_EVENTS: Setting = setting("client_events", 0);
/// Whether `pusher:signin` is answered.
pub const USER_SIGN_IN: Setting = setting("user_sign_in", 0);
/// Whether signed-in users are told who of their watchlist comes and goes.
pub const WATCHLIST: Setting = setting("watchlist", 0);
/// Whether a connection above the app's quota is told to come back (4100) and not to stay away (4004).
pub const QUOTA_RETRY: Setting = setting("quota_retry", 0);
/// Whether connections without TLS are refused (4000; pusher-js comes back with TLS at once).
pub const TLS_ONLY: Setting = setting("tls_only", 0);
/// Whether webhooks may be posted to addresses that are not public. Operators set it, not the app's own servers.
pub const WEBHOOK_PRIVATE_TARGETS: Setting = setting("webhook_private_targets", 0);
/// Whether a connection must sign in or join a private or presence channel within 30 seconds.
pub const AUTHORIZED_CONNECTIONS: Setting = setting("authorized_connections", 0);
/// Whether a signed-in user's stored grants open private and presence channels without a signature.
pub const GRANTS_OPEN_CHANNELS: Setting = setting("grants_open_channels", 0);

/// Silence after which either side pings. Sent to the client in whole seconds, rounded up, at least 1.
pub const ACTIVITY_TIMEOUT_MS: Setting = setting("activity_timeout_ms", 120_000);
/// Largest WebSocket message from a client, envelope included: room for 10 KB of event data in which
/// every other byte had to be escaped, and for the names around it.
pub const FRAME_BYTES: Setting = setting("frame_bytes", 100 << 10);
/// Largest body of an HTTP request: a batch of ten events of 10 KB, each byte escaped as `\u00xx`, fits.
pub const BODY_BYTES: Setting = setting("http_body_bytes", 1 << 20);
/// Largest `data` of an event, from a client or over HTTP, as the string that subscribers get.
pub const EVENT_BYTES: Setting = setting("event_bytes", 10_240);
/// Longest event name, bytes.
pub const EVENT_NAME_BYTES: Setting = setting("event_name_bytes", 200);
/// Longest channel name, prefix included, bytes (names are ASCII).
pub const CHANNEL_NAME_BYTES: Setting = setting("channel_name_bytes", 200);
/// Longest user id, bytes.
pub const USER_ID_BYTES: Setting = setting("user_id_bytes", 128);
/// Largest `user_info` of a presence member, as JSON text.
pub const MEMBER_BYTES: Setting = setting("presence_member_bytes", 1_024);
/// Client events of one connection; refilled evenly, this many may come at once.
pub const CLIENT_EVENTS_PER_SECOND: Setting = setting("client_events_per_second", 10);
/// Channels one HTTP trigger may name.
pub const CHANNELS_PER_EVENT: Setting = setting("channels_per_event", 100);
/// Events one batch may carry.
pub const EVENTS_PER_BATCH: Setting = setting("events_per_batch", 10);
/// Channels one listing may return; more is refused, never cut silently.
pub const CHANNELS_PER_LISTING: Setting = setting("channels_per_listing", 10_000);
/// Users of one watchlist; the rest is left out, and the client told so.
pub const WATCHED_USERS: Setting = setting("watched_users", 100);
/// How long a cache channel keeps its last event.
pub const CACHE_MS: Setting = setting("cache_ms", 1_800_000);

/// The settings that every client event asks for, read once per revision of the access state and not five times per
/// message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Events {
    as_of: Revision,
    /// As [`CLIENT_EVENTS`] is set.
    pub(super) on: bool,
    /// As [`CLIENT_EVENTS_PER_SECOND`] is set.
    pub(super) per_second: u64,
    /// As [`FRAME_BYTES`] is set.
    pub(super) frame_bytes: u64,
    /// As [`EVENT_NAME_BYTES`] is set.
    pub(super) name_bytes: u64,
    /// As [`EVENT_BYTES`] is set.
    pub(super) data_bytes: u64,
}

impl Events {
    /// What holds now; `known` is what held before.
    pub(super) fn now(known: Option<Self>, app: &App, revision: Revision) -> Self {
        let known = known.filter(|one| one.as_of == revision);
        known.unwrap_or_else(|| Self {
            as_of: revision,
            on: CLIENT_EVENTS.on(app),
            per_second: CLIENT_EVENTS_PER_SECOND.of(app),
            frame_bytes: FRAME_BYTES.of(app),
            name_bytes: EVENT_NAME_BYTES.of(app),
            data_bytes: EVENT_BYTES.of(app),
        })
    }
}

/// Settings of this dialect that are on or off.
pub const SWITCHES: [Setting; 7] = [
    CLIENT_EVENTS,
    USER_SIGN_IN,
    WATCHLIST,
    QUOTA_RETRY,
    TLS_ONLY,
    AUTHORIZED_CONNECTIONS,
    GRANTS_OPEN_CHANNELS,
];
/// Settings of this dialect that are numbers.
pub const NUMBERS: [Setting; 14] = [
    ACTIVITY_TIMEOUT_MS,
    FRAME_BYTES,
    BODY_BYTES,
    EVENT_BYTES,
    EVENT_NAME_BYTES,
    CHANNEL_NAME_BYTES,
    USER_ID_BYTES,
    MEMBER_BYTES,
    CLIENT_EVENTS_PER_SECOND,
    CHANNELS_PER_EVENT,
    EVENTS_PER_BATCH,
    CHANNELS_PER_LISTING,
    WATCHED_USERS,
    CACHE_MS,
];
