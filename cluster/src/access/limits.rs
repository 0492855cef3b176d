//! Bounds of what one record, command or table may hold, and the checks that hold them.
//!
//! **Must never know:** how large a message or a connection may be: those are the broker's limits. **Why
//! in the machine and not only at the edge:** every node must refuse the same command for the same reason,
//! and a command may come from an edge of another version.

use super::records::{EnabledProtocol, OpenRule, SettingValue, Subject, Target};
use super::{Capability, Millis, Pattern, PatternError, Rejection, Text};

/// Bounds of what one record or command may hold; exceeding one is a rejection.
#[derive(Clone, Copy, Debug)]
pub struct Limits;

impl Limits {
    /// Longest text of any kind, in bytes.
    pub const MAX_TEXT: usize = 1024;
    /// Longest value of a setting, in bytes: some are documents.
    pub const SETTING_TEXT: usize = 16 * 1024;
    /// Longest id of a key, in bytes.
    pub const ID_TEXT: usize = 256;
    /// Most segments or excluded prefixes of one pattern.
    pub const PATTERN_PARTS: usize = 64;
    /// Longest reason for a change, in bytes.
    pub const REASON_TEXT: usize = 256;
    /// Apps in the cluster.
    pub const APPS: usize = 100_000;
    /// Protocols of one app.
    pub const PROTOCOLS: usize = 16;
    /// Open rules of one app, and of one protocol.
    pub const OPEN_RULES: usize = 100;
    /// Settings of one app.
    pub const SETTINGS: usize = 256;
    /// Aliases of one app.
    pub const ALIASES: usize = 64;
    /// Keys of one app, rotated and disabled ones included.
    pub const KEYS_PER_APP: usize = 1000;
    /// Rights of one capability.
    pub const RIGHTS: usize = 1000;
    /// Entries of one grant command.
    pub const GRANT_ENTRIES: usize = 5000;
    /// Wildcard grants of one subject on one kind of resource: a check walks them.
    pub const PATTERNS_PER_SUBJECT: usize = 1000;
    /// Grants in the cluster.
    pub const GRANTS: usize = 50_000_000;
    /// Issued tokens in the cluster.
    pub const TOKENS: usize = 20_000_000;
    /// Blocks in the cluster.
    pub const BLOCKS: usize = 10_000_000;
    /// Identity providers of one app.
    pub const PROVIDERS_PER_APP: usize = 32;
    /// Keys of one provider.
    pub const PROVIDER_KEYS: usize = 32;
    /// Audiences of one provider.
    pub const PROVIDER_AUDIENCES: usize = 32;
    /// Bytes of an RSA key: from 2048 bits to 8192.
    pub const RSA_BYTES: (usize, usize) = (264, 1_100);
    /// Targets of one sign-out.
    pub const SIGNED_OUT: usize = 16;
    /// Furthest that a provider's clock may be off. Five minutes.
    pub const LEEWAY_MS: Millis = 5 * 60 * 1000;
    /// Channels of one group.
    pub const GROUP_CHANNELS: usize = 2_000;
    /// Channel groups in the cluster.
    pub const GROUPS: usize = 1_000_000;
    /// Members that one command puts into a user group or takes out.
    pub const GROUP_CHANGES: usize = 1_000;
    /// User groups of one app that have members or are one.
    pub const USER_GROUPS_PER_APP: usize = 100_000;
    /// Memberships of user groups in the cluster.
    pub const MEMBERSHIPS: usize = 20_000_000;
    /// User groups that one user or group is a member of itself.
    pub const GROUPS_PER_MEMBER: usize = 64;
    /// User groups above one: those that it is in, and those that they are in. A check asks for all of them.
    pub const GROUPS_ABOVE: usize = 32;
    /// User groups in a row, each in the next.
    pub const GROUP_DEPTH: usize = 4;
    /// Members below one user group, its groups' members included: whoever takes a group out waits until all of them
    /// are looked at, and the log does as well.
    pub const BELOW_GROUP: u64 = 100_000;
    /// User groups that one token may claim.
    pub const CLAIMED_GROUPS: usize = 200;
    /// Remembered nonces in the cluster.
    pub const NONCES: usize = 10_000_000;
    /// Channel flags that are on, in the cluster.
    pub const FLAGS: usize = 10_000_000;
    /// Members of the cluster.
    pub const MEMBERS: usize = 64;
    /// Longest time a credential that states its own time of issue is honoured: what makes it safe to
    /// forget a revocation one day. 400 days.
    pub const CREDENTIAL_MS: Millis = 400 * 24 * 3600 * 1000;
    /// Longest time a nonce is kept. One day.
    pub const NONCE_MS: Millis = 24 * 3600 * 1000;
    /// Longest renewal margin of a revocation. One day.
    pub const MARGIN_MS: Millis = 24 * 3600 * 1000;
    /// Longest overlap of a key rotation. 400 days.
    pub const OVERLAP_MS: Millis = Self::CREDENTIAL_MS;
    /// Remembered requests; the oldest is forgotten first.
    pub const REQUESTS: usize = 131_072;
    /// Age after which a request is forgotten. Ten minutes.
    pub const REQUEST_MS: Millis = 10 * 60 * 1000;
    /// Expired records removed by one command.
    pub const SWEEP: usize = 32;
    /// Expired records removed by one tick.
    pub const SWEEP_TICK: usize = 1024;
}

type Checked = Result<(), Rejection>;

/// Refuses when `count` is above `limit`.
pub(super) fn at_most(what: &str, count: usize, limit: usize) -> Checked {
    match count > limit {
        true => Err(Rejection::LimitReached(what.into())),
        false => Ok(()),
    }
}

/// A text that names something: not empty, not over-long.
pub(super) fn name(what: &str, text: &str, limit: usize) -> Checked {
    if text.is_empty() {
        return Err(Rejection::Invalid(format!("{what} is empty").into()));
    }
    at_most(what, text.len(), limit)
}

/// An id that stands in names made of several parts: letters, digits, `-` and `_`.
pub(super) fn word(what: &str, text: &str) -> Checked {
    name(what, text, Limits::ID_TEXT)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    match text.bytes().all(plain) {
        true => Ok(()),
        false => Err(Rejection::Invalid(
            format!("{what}: an id is letters, digits, - and _").into(),
        )),
    }
}

/// A text for people: may be empty.
pub(super) fn label(what: &str, text: &str) -> Checked {
    at_most(what, text.len(), Limits::MAX_TEXT)
}

/// A pattern that may be stored.
pub(super) fn pattern(pattern: &Pattern) -> Checked {
    pattern.check().map_err(|error| match error {
        // The compiler's own words may differ between versions of it; a reply may not.
        PatternError::Regex(_) => Rejection::Invalid("pattern: not a usable expression".into()),
        other @ (PatternError::Length
        | PatternError::Parts
        | PatternError::Form(_)
        | PatternError::Kind) => Rejection::Invalid(format!("pattern: {other}").into()),
    })
}

/// A subject whose name is usable.
pub(super) fn subject(subject: &Subject) -> Checked {
    match subject {
        Subject::Everyone => Ok(()),
        Subject::User(text) | Subject::Token(text) => name("subject", text, Limits::MAX_TEXT),
        Subject::Key(text) | Subject::Group(text) => name("subject", text, Limits::ID_TEXT),
    }
}

/// A target whose name is usable.
pub(super) fn target(target: &Target) -> Checked {
    match target {
        Target::App => Ok(()),
        Target::Key(text) | Target::Group(text) => name("target", text, Limits::ID_TEXT),
        Target::Token(text)
        | Target::User(text)
        | Target::RevocationKey(text)
        | Target::Channel(text) => name("target", text, Limits::MAX_TEXT),
    }
}

/// A capability of bounded size whose patterns may be stored.
pub(super) fn capability(capability: &Capability) -> Checked {
    at_most("rights", capability.rights.len(), Limits::RIGHTS)?;
    capability
        .rights
        .iter()
        .try_for_each(|right| pattern(&right.pattern))
}

/// A list of protocols without repetition.
pub(super) fn protocols(protocols: &[EnabledProtocol]) -> Checked {
    at_most("protocols", protocols.len(), Limits::PROTOCOLS)?;
    for (at, protocol) in protocols.iter().enumerate() {
        name("protocol", &protocol.name, Limits::ID_TEXT)?;
        open(&protocol.default_open)?;
        if protocols
            .iter()
            .skip(at + 1)
            .any(|other| other.name == protocol.name)
        {
            return Err(Rejection::Invalid("a protocol is named twice".into()));
        }
    }
    Ok(())
}

/// A list of open rules.
pub(super) fn open(rules: &[OpenRule]) -> Checked {
    at_most("open rules", rules.len(), Limits::OPEN_RULES)?;
    rules.iter().try_for_each(|rule| pattern(&rule.pattern))
}

/// Checks one setting of an app.
pub(super) fn setting(key: &Text, value: Option<&SettingValue>) -> Checked {
    name("setting", key, Limits::ID_TEXT)?;
    match value {
        Some(SettingValue::Text(text)) => {
            at_most("setting value", text.len(), Limits::SETTING_TEXT)
        }
        Some(SettingValue::Bool(_) | SettingValue::Int(_)) | None => Ok(()),
    }
}
