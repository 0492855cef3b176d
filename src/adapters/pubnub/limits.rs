//! What an app can set for PubNub clients, with PubNub's own limits as defaults.

use crate::core::limits::Setting;

const fn setting(name: &'static str, default: u64) -> Setting {
    Setting { name, default }
}

/// Whether grants are asked for at all. Off counts only in an app whose only protocol is PubNub; elsewhere nothing is
/// open but what the app says.
pub const ACCESS_MANAGER: Setting = setting("pubnub_access_manager", 1);
/// Whether v3 tokens may be revoked.
pub const TOKEN_REVOCATION: Setting = setting("pubnub_token_revocation", 1);

/// Largest message, bytes.
pub const MESSAGE_BYTES: Setting = setting("pubnub_message_bytes", 32_768);
/// Largest signal, bytes.
pub const SIGNAL_BYTES: Setting = setting("pubnub_signal_bytes", 64);
/// Longest name of a channel, group or client, characters.
pub const NAME_CHARACTERS: Setting = setting("pubnub_name_characters", 92);
/// Most channels and groups of one request.
pub const NAMES_PER_REQUEST: Setting = setting("pubnub_names_per_request", 500);
/// Messages and signals of all clients of the app that one node takes per second; 0 = any number, which is PubNub's own
/// default.
pub const PUBLISHES_PER_SECOND: Setting = setting("pubnub_publishes_per_second", 0);
/// How long a subscribe request waits, ms.
pub const HOLD_MS: Setting = setting("pubnub_hold_ms", 280_000);

/// In channels with more occupants than so many, joins and leaves are told together.
pub const ANNOUNCE_MAX: Setting = setting("pubnub_announce_max", 20);
/// How often, ms.
pub const INTERVAL_MS: Setting = setting("pubnub_presence_interval_ms", 10_000);

/// Switches, for the catalogue.
pub const SWITCHES: [Setting; 2] = [ACCESS_MANAGER, TOKEN_REVOCATION];
/// Numbers, for the catalogue.
pub const NUMBERS: [Setting; 8] = [
    MESSAGE_BYTES,
    SIGNAL_BYTES,
    NAME_CHARACTERS,
    NAMES_PER_REQUEST,
    PUBLISHES_PER_SECOND,
    HOLD_MS,
    ANNOUNCE_MAX,
    INTERVAL_MS,
];
/// Most messages of one subscribe answer.
pub const MESSAGES_PER_POLL: usize = 100;
/// Largest request body, bytes, as sent and as unpacked.
pub const BODY_BYTES: usize = 256 << 10;
