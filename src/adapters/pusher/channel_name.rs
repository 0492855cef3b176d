//! Channel names: what their prefixes mean and which are well-formed.
//!
//! **Must never know:** who may use a channel (that is asked of the authority).

use crate::core::ids::{AppId, ChannelKey, Space, Text};
use std::borrow::Cow;
use std::sync::Arc;

/// In front of a user id: the inbox of that user, written as a channel.
pub(super) const USER_PREFIX: &str = "#server-to-user-";

const CACHE_PREFIXES: [&str; 4] = [
    "cache-",
    "private-cache-",
    "private-encrypted-cache-",
    "presence-cache-",
];

/// What a prefix promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// No prefix that matters: no signature.
    Public,
    /// `private-` (encrypted ones included: the server's part is the same).
    Private,
    /// Its name begins with `presence-`.
    Presence,
}

/// The class of a channel name.
pub(super) fn class(name: &str) -> Class {
    if name.starts_with("private-") {
        Class::Private
    } else if name.starts_with("presence-") {
        Class::Presence
    } else {
        Class::Public
    }
}

/// Whether the channel replays its last event. Only a prefix counts: `my-cache-x` is an ordinary channel.
pub(super) fn is_cache(name: &str) -> bool {
    CACHE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the name may be used: 1 to `max` bytes of the documented alphabet.
pub(super) fn is_valid(name: &str, max: u64) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-=@,.;".contains(&byte);
    !name.is_empty() && name.len() as u64 <= max && name.bytes().all(allowed)
}

/// The user whose inbox this names, if it names one.
pub(super) fn inbox_user(name: &str) -> Option<&str> {
    name.strip_prefix(USER_PREFIX)
}

/// What the core calls this channel or inbox.
pub(super) fn key(app: AppId, name: &str) -> Arc<ChannelKey> {
    match inbox_user(name) {
        Some(user) => ChannelKey::user(app, user),
        None => ChannelKey::channel(app, name),
    }
}

/// What Pusher calls it.
pub(super) fn wire_name(key: &ChannelKey) -> Cow<'_, str> {
    match key.space {
        Space::Channel | Space::Wildcard => Cow::Borrowed(&key.name),
        Space::User | Space::Status | Space::DeadLetters => {
            Cow::Owned(format!("{USER_PREFIX}{}", key.name))
        }
    }
}

/// The same, to keep: shares the name where it can.
pub(super) fn wire_text(key: &ChannelKey) -> Text {
    match key.space {
        Space::Channel | Space::Wildcard => key.name.clone(),
        Space::User | Space::Status | Space::DeadLetters => wire_name(key).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_count_only_at_the_start() {
        assert_eq!(class("private-encrypted-x"), Class::Private);
        assert_eq!(class("presence-x"), Class::Presence);
        assert_eq!(class("my-private-x"), Class::Public);
        assert!(is_cache("presence-cache-x") && is_cache("cache-x"));
        assert!(!is_cache("my-cache-x") && !is_cache("private-x-cache-"));
    }

    #[test]
    fn names_are_bounded_and_plain() {
        assert!(is_valid("a_B-1=@,.;", 200));
        for bad in ["", "a b", "a#b", "a\u{0}", "ü", "a/b", "a:b"] {
            assert!(!is_valid(bad, 200), "{bad:?}");
        }
        assert!(is_valid(&"x".repeat(200), 200) && !is_valid(&"x".repeat(201), 200));
    }

    #[test]
    fn inboxes_round_trip() {
        let inbox = key(AppId(1), "#server-to-user-u 1");
        assert_eq!((inbox.space, &*inbox.name), (Space::User, "u 1"));
        assert_eq!(wire_name(&inbox), "#server-to-user-u 1");
        assert_eq!(key(AppId(1), "room").space, Space::Channel);
    }
}
