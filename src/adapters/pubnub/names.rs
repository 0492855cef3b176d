//! Names: what a channel may be called, and what a subscription's name stands for.

use crate::core::ids::{AppId, ChannelKey, Text};
use std::sync::Arc;

/// What follows a channel's name to name its presence events.
pub(super) const PRESENCE: &str = "-pnpres";

/// Whether a channel or group can be called this: PubNub's own rule.
pub(super) fn is_valid(name: &str, max_characters: u64) -> bool {
    let bad =
        |letter: char| matches!(letter, ',' | ':' | '*' | '/' | '\\' | ' ') || letter.is_control();
    let base = name.strip_suffix(PRESENCE).unwrap_or(name);
    !base.is_empty() && base.chars().count() as u64 <= max_characters && !name.contains(bad)
}

/// The prefix of a wildcard name (`a.b.*` is `a.b.`).
pub(super) fn wildcard(name: &str) -> Option<&str> {
    let prefix = name.strip_suffix('*')?;
    let dots = prefix.matches('.').count();
    (prefix.len() > 1 && prefix.ends_with('.') && dots <= 2 && !prefix.contains('*'))
        .then_some(prefix)
}

/// Whether a name can be subscribed to as a wildcard.
pub(super) fn is_valid_wildcard(name: &str, max_characters: u64) -> bool {
    wildcard(name).is_some_and(|prefix| is_valid(prefix, max_characters))
}

/// What a name stands for: a channel, or what is repeated of those below a level.
pub(super) fn key(app: AppId, name: &str) -> Arc<ChannelKey> {
    match wildcard(name) {
        Some(_) => ChannelKey::wildcard(app, name),
        None => ChannelKey::channel(app, name),
    }
}

/// A name as subscribed to: the channel or group, and whether its presence is meant.
pub(super) fn split(name: &str) -> (&str, bool) {
    match name.strip_suffix(PRESENCE) {
        Some(base) if !base.is_empty() => (base, true),
        Some(_) | None => (name, false),
    }
}

/// Without doubles, in order.
pub(super) fn distinct<'n>(names: impl Iterator<Item = &'n str>) -> Vec<Text> {
    let mut distinct: Vec<Text> = Vec::new();
    for name in names {
        if !distinct.iter().any(|known| **known == *name) {
            distinct.push(name.into());
        }
    }
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_documented_rule() {
        for good in ["a", "room.1", "ü", "a-pnpres", "x@y_z!"] {
            assert!(is_valid(good, 92), "{good}");
        }
        for bad in [
            "", "a b", "a:b", "a/b", "a\\b", "a.*", "a,b", "a\u{0}", "-pnpres",
        ] {
            assert!(!is_valid(bad, 92), "{bad}");
        }
        assert!(is_valid(&"x".repeat(92), 92) && !is_valid(&"x".repeat(93), 92));
    }

    #[test]
    fn presence_and_wildcards_are_told_apart() {
        assert_eq!(split("a-pnpres"), ("a", true));
        assert_eq!(split("-pnpres"), ("-pnpres", false));
        assert_eq!(wildcard("a.*"), Some("a."));
        assert_eq!(wildcard("a.b.*"), Some("a.b."));
        for none in ["*", ".*", "a*", "a.b.c.*", "a.*.b"] {
            assert_eq!(wildcard(none), None, "{none}");
        }
    }
}
