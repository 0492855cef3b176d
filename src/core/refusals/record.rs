//! What is told of one refusal: by whoever refuses, and as operators are shown it.
//!
//! **Must never know:** a secret, a token, a signature, nor a user by her name: who was refused is found by the
//! fingerprint of her name, and nobody learns names from this list.

use super::rule::{Rule, Why};
use crate::core::ids::{AppId, ChannelKey, NodeId, Text};
use crate::core::redact::fingerprint;

/// The longest name that is kept, bytes.
const NAME_BYTES: usize = 200;

/// What is told by whoever refuses, as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What was broken.
    pub why: Why,
    /// What the client was told: the dialect's number.
    pub code: u32,
    /// The app that the client named; checked before it is believed.
    pub app: Option<AppId>,
    /// The channel it is about.
    pub channel: Option<Text>,
    /// The key that the client named, or whatever stood in its place.
    pub key: Option<Text>,
    /// The user that the client is, or says that it is.
    pub user: Option<Text>,
}

impl Told {
    /// Of this rule, answered with this number.
    #[must_use]
    pub fn new(why: impl Into<Why>, code: impl Into<u32>) -> Self {
        Self {
            why: why.into(),
            code: code.into(),
            app: None,
            channel: None,
            key: None,
            user: None,
        }
    }

    /// With the app, if nobody has named one.
    #[must_use]
    pub fn app(mut self, app: Option<AppId>) -> Self {
        self.app = self.app.or(app);
        self
    }

    /// With the channel, if nobody has named one.
    #[must_use]
    pub fn channel(mut self, name: Option<&str>) -> Self {
        let name = name.filter(|name| !name.is_empty());
        self.channel = self.channel.or_else(|| name.map(kept));
        self
    }

    /// With a channel's own name.
    #[must_use]
    pub fn about(self, channel: &ChannelKey) -> Self {
        self.channel(Some(&channel.name))
    }

    /// With the key, if nobody has named one.
    #[must_use]
    pub fn key(mut self, key: Option<&str>) -> Self {
        let key = key.filter(|key| !key.is_empty());
        self.key = self.key.or_else(|| key.map(Text::from));
        self
    }

    /// With the user, if nobody has named one.
    #[must_use]
    pub fn user(mut self, user: Option<&str>) -> Self {
        let user = user.filter(|user| !user.is_empty());
        self.user = self.user.or_else(|| user.map(Text::from));
        self
    }
}

/// A name, cut to what is kept of it, without what a terminal would obey.
fn kept(name: &str) -> Text {
    let cut = name
        .get(..name.floor_char_boundary(NAME_BYTES))
        .unwrap_or(name);
    let plain = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    cut.chars().map(plain).collect::<String>().into()
}

/// A refusal as listings show it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RefusalRecord {
    /// Counts up on its node while that runs.
    pub id: u64,
    /// Which node refused.
    pub node: NodeId,
    /// When, cluster time ms.
    pub at_ms: u64,
    /// The dialect's word; `v1` for our own API.
    pub dialect: Text,
    /// The app, if there is one by what the client named.
    pub app: Option<AppId>,
    /// The channel it is about, if it is about one.
    pub channel: Option<Text>,
    /// The key's id; of what is no key of ours, its fingerprint.
    pub key: Option<Text>,
    /// The fingerprint of the user's name.
    pub user: Option<Text>,
    /// The network address of the client.
    pub remote: Text,
    /// What the client was told: the dialect's number.
    pub code: u32,
    /// The name of the rule.
    pub rule: Text,
    /// The limit's name, the operations that are missing.
    pub detail: Text,
}

impl RefusalRecord {
    /// What to do, as a sentence; empty for a rule that only a newer node knows.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        Rule::by_name(&self.rule).map_or("", |rule| rule.row().1)
    }
}

/// Which refusals a listing is about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RefusalFilter {
    /// Only of this app; none = all, those of no app among them (operators).
    pub app: Option<AppId>,
    /// Only of the user with this fingerprint.
    pub user: Option<Text>,
    /// At most so many.
    pub limit: u32,
}

impl RefusalFilter {
    /// Whether it is about this one.
    #[must_use]
    pub fn fits(&self, record: &RefusalRecord) -> bool {
        self.user
            .as_ref()
            .is_none_or(|user| record.user.as_ref() == Some(user))
    }
}

/// A user as records name her.
#[must_use]
pub fn user_shown(name: &str) -> Text {
    fingerprint(name).into()
}

/// A key as records name it: only one that is known by its id, since people put secrets in its place.
#[must_use]
pub fn key_shown(id: &str, is_known: bool) -> Text {
    match is_known {
        true => id.into(),
        false => format!("sha256:{}", fingerprint(id)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_keys_place_is_not_kept() {
        assert_eq!(&*key_shown("k1", true), "k1");
        let shown = key_shown("their-secret", false);
        assert!(shown.starts_with("sha256:") && !shown.contains("secret"));
        assert!(!user_shown("ana").contains("ana"));
    }

    #[test]
    fn names_are_cut_and_cannot_drive_a_terminal() {
        let told = Told::new(Rule::ChannelName, 400_u16).channel(Some(&"ü\u{1b}".repeat(300)));
        let name = told.channel.unwrap_or_default();
        assert!(name.len() <= 2 * NAME_BYTES && !name.contains('\u{1b}'));
        let told = Told::new(Rule::ChannelName, 400_u16)
            .channel(Some(""))
            .channel(Some("a"))
            .channel(Some("b"));
        assert_eq!(
            told.channel.as_deref(),
            Some("a"),
            "who knows first, knows best"
        );
    }
}
