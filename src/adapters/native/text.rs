//! `/v1`'s spelling of patterns, operations, capabilities, subjects and names, both ways.
//!
//! **Why names are checked here and not only in the machine:** a control character is harmless to the machine and
//! harmful to every log, table and frame that shows the name.

use super::codes::{ApiError, Code};
use crate::core::authority::{
    Capability, GroupMember, Issuer, OpenRule, Operations, Pattern, Resource, Right, Subject,
    Target, Text,
};
use crate::core::suggest::did_you_mean;
use serde::{Deserialize, Serialize};

/// Longest name of anything, bytes.
pub const MAX_NAME: usize = 1024;

/// A name as it was given, if it is usable: not empty, not over-long, nothing that a terminal or log obeys.
///
/// # Errors
/// `bad_name`, saying what is wrong with `what`.
pub fn name(what: &str, text: &str) -> Result<Text, ApiError> {
    let wrong = if text.is_empty() {
        "is empty".to_owned()
    } else if text.len() > MAX_NAME {
        format!("is longer than {MAX_NAME} bytes")
    } else if text.chars().any(unprintable) {
        "contains a control character".to_owned()
    } else {
        return Ok(text.into());
    };
    Err(ApiError::new(Code::BadName, format!("{what} {wrong}")))
}

/// A text for people: as [`name`], but may be empty.
///
/// # Errors
/// `bad_name`.
pub fn label(what: &str, text: &str) -> Result<Text, ApiError> {
    if text.is_empty() {
        return Ok("".into());
    }
    name(what, text)
}

/// Control characters, and the marks that turn the direction of what follows.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Reads a pattern. Its kind is inferred from its form where it is not said: a channel may really be called `*`, and one
/// dialect's `*` is its `:` segments and not every name.
///
/// # Errors
/// `bad_pattern` or `bad_name`.
pub fn pattern(text: &str, kind: Option<&str>) -> Result<Pattern, ApiError> {
    let text = name("pattern", text)?;
    let pattern = match kind {
        None => Pattern::parse(&text),
        Some(kind) => Pattern::of_kind(kind, &text),
    };
    pattern.map_err(|error| ApiError::new(Code::BadPattern, error.to_string()))
}

/// A pattern's text, and its kind where the text alone would be read as another.
#[must_use]
pub fn pattern_text(pattern: &Pattern) -> (String, Option<String>) {
    let text = pattern.to_string();
    let inferred = Pattern::parse(&text).is_ok_and(|read| read == *pattern);
    let kind = (!inferred).then(|| pattern.kind().to_owned());
    (text, kind)
}

/// Reads operations by name. An empty list is no operation.
///
/// # Errors
/// `unknown_operation`, naming the nearest known one and all there are.
pub fn operations(names: &[String]) -> Result<Operations, ApiError> {
    names.iter().try_fold(Operations::NONE, |all, name| {
        let bits = Operations::named(name).ok_or_else(|| {
            let known = Operations::NAMES.map(|(known, _)| known);
            let message = format!(
                "there is no operation `{name}`{}; there are: *, {}",
                did_you_mean(name, known),
                known.join(", ")
            );
            ApiError::new(Code::UnknownOperation, message)
        })?;
        Ok(all | bits)
    })
}

/// What a right is about, as `/v1` spells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResourceText {
    /// A channel, by its name.
    #[default]
    Channel,
    /// A channel group.
    Group,
    /// A user's record.
    User,
}

impl From<ResourceText> for Resource {
    fn from(text: ResourceText) -> Self {
        match text {
            ResourceText::Channel => Self::Channel,
            ResourceText::Group => Self::Group,
            ResourceText::User => Self::User,
        }
    }
}

impl From<Resource> for ResourceText {
    fn from(resource: Resource) -> Self {
        match resource {
            Resource::Channel => Self::Channel,
            Resource::Group => Self::Group,
            Resource::User => Self::User,
        }
    }
}

/// One line of a capability or open rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RightText {
    /// On what kind of thing.
    #[serde(default)]
    pub resource: ResourceText,
    /// Which names the right is for.
    pub pattern: String,
    /// The pattern's kind, where its form does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The operations that are allowed.
    pub operations: Vec<String>,
}

/// Reads a capability.
///
/// # Errors
/// As [`pattern`] and [`operations`].
pub fn capability(lines: &[RightText]) -> Result<Capability, ApiError> {
    let right = |line: &RightText| {
        Ok(Right {
            resource: line.resource.into(),
            pattern: pattern(&line.pattern, line.kind.as_deref())?,
            operations: operations(&line.operations)?,
        })
    };
    let rights = lines.iter().map(right).collect::<Result<_, ApiError>>()?;
    Ok(Capability { rights })
}

/// Writes a capability.
#[must_use]
pub fn capability_text(capability: &Capability) -> Vec<RightText> {
    let line = |right: &Right| {
        let (pattern, kind) = pattern_text(&right.pattern);
        RightText {
            resource: right.resource.into(),
            pattern,
            kind,
            operations: operation_names(right.operations),
        }
    };
    capability.rights.iter().map(line).collect()
}

/// Names of operations, as JSON wants them.
#[must_use]
pub fn operation_names(operations: Operations) -> Vec<String> {
    operations.names().into_iter().map(str::to_owned).collect()
}

/// One open rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenText {
    /// Which channels it is for.
    pub pattern: String,
    /// The pattern's kind, where its form does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The operations that are allowed.
    pub operations: Vec<String>,
}

/// Reads open rules.
///
/// # Errors
/// As [`pattern`] and [`operations`].
pub fn open(lines: &[OpenText]) -> Result<Vec<OpenRule>, ApiError> {
    let rule = |line: &OpenText| {
        Ok(OpenRule {
            pattern: pattern(&line.pattern, line.kind.as_deref())?,
            operations: operations(&line.operations)?,
        })
    };
    lines.iter().map(rule).collect()
}

/// Writes open rules.
#[must_use]
pub fn open_text(rules: &[OpenRule]) -> Vec<OpenText> {
    let line = |rule: &OpenRule| {
        let (pattern, kind) = pattern_text(&rule.pattern);
        OpenText {
            pattern,
            kind,
            operations: operation_names(rule.operations),
        }
    };
    rules.iter().map(line).collect()
}

/// `{"user": …}` or `{"group": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberText {
    /// A user, by her id.
    User(String),
    /// A user group inside another.
    Group(String),
}

impl MemberText {
    /// The member, its name checked.
    ///
    /// # Errors
    /// `bad_name`.
    pub fn read(&self) -> Result<GroupMember, ApiError> {
        Ok(match self {
            Self::User(text) => GroupMember::User(name("user", text)?),
            Self::Group(text) => GroupMember::Group(name("group", text)?),
        })
    }
}

impl From<&GroupMember> for MemberText {
    fn from(member: &GroupMember) -> Self {
        match member {
            GroupMember::User(text) => Self::User(text.to_string()),
            GroupMember::Group(text) => Self::Group(text.to_string()),
        }
    }
}

/// `"everyone"`, `{"user": …}`, `{"token": …}`, `{"key": …}` or `{"group": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SubjectText {
    /// Anyone connected to the app.
    Everyone,
    /// A verified user.
    User(String),
    /// A token or auth key.
    Token(String),
    /// Whoever this key vouches for.
    Key(String),
    /// Whoever is in this user group.
    Group(String),
}

impl SubjectText {
    /// The subject, its name checked.
    ///
    /// # Errors
    /// `bad_name`.
    pub fn read(&self) -> Result<Subject, ApiError> {
        Ok(match self {
            Self::Everyone => Subject::Everyone,
            Self::User(text) => Subject::User(name("user", text)?),
            Self::Token(text) => Subject::Token(name("token", text)?),
            Self::Key(text) => Subject::Key(name("key", text)?),
            Self::Group(text) => Subject::Group(name("group", text)?),
        })
    }
}

impl From<&Subject> for SubjectText {
    fn from(subject: &Subject) -> Self {
        match subject {
            Subject::Everyone => Self::Everyone,
            Subject::User(text) => Self::User(text.to_string()),
            Subject::Token(text) => Self::Token(text.to_string()),
            Subject::Key(text) => Self::Key(text.to_string()),
            Subject::Group(text) => Self::Group(text.to_string()),
        }
    }
}

/// `{"user"|"token"|"revocation_key"|"channel"|"key"|"group": …}` or `"app"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetText {
    /// Every credential of a user.
    User(String),
    /// One token or auth key.
    Token(String),
    /// Every credential carrying this revocation key.
    RevocationKey(String),
    /// Every credential naming exactly this channel.
    Channel(String),
    /// Everything issued under this key.
    Key(String),
    /// Everything of the app.
    App,
    /// Every credential of whoever is in this user group.
    Group(String),
}

impl TargetText {
    /// The target, its name checked.
    ///
    /// # Errors
    /// `bad_name`.
    pub fn read(&self) -> Result<Target, ApiError> {
        Ok(match self {
            Self::User(text) => Target::User(name("user", text)?),
            Self::Token(text) => Target::Token(name("token", text)?),
            Self::RevocationKey(text) => Target::RevocationKey(name("revocation_key", text)?),
            Self::Channel(text) => Target::Channel(name("channel", text)?),
            Self::Key(text) => Target::Key(name("key", text)?),
            Self::App => Target::App,
            Self::Group(text) => Target::Group(name("group", text)?),
        })
    }
}

impl From<&Target> for TargetText {
    fn from(target: &Target) -> Self {
        match target {
            Target::User(text) => Self::User(text.to_string()),
            Target::Token(text) => Self::Token(text.to_string()),
            Target::RevocationKey(text) => Self::RevocationKey(text.to_string()),
            Target::Channel(text) => Self::Channel(text.to_string()),
            Target::Key(text) => Self::Key(text.to_string()),
            Target::App => Self::App,
            Target::Group(text) => Self::Group(text.to_string()),
        }
    }
}

/// `"operator"` or the key's id.
#[must_use]
pub fn issuer_text(issuer: &Issuer) -> String {
    match issuer {
        Issuer::Operator => "operator".to_owned(),
        Issuer::Key(key) => key.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn unusable_names_patterns_and_operations_are_refused() {
        let long = "x".repeat(MAX_NAME + 1);
        for bad in ["", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "\u{0}", &long] {
            assert_eq!(
                name("user", bad).unwrap_err().code,
                Code::BadName,
                "{bad:?}"
            );
        }
        for (text, kind) in [("/(/", None), ("!a,,b", None), ("x", Some("glob"))] {
            assert_eq!(pattern(text, kind).unwrap_err().code, Code::BadPattern);
        }
        let slip = operations(&["subscribe".into(), "publsh".into()]).unwrap_err();
        assert!(slip.message.contains("`publish`"), "{}", slip.message);
        for (known, _) in Operations::NAMES {
            assert!(slip.message.contains(known), "{}", slip.message);
        }
    }

    #[test]
    fn every_pattern_and_every_word_is_said_back_as_it_was_given() {
        for line in [
            r#"{"resource":"channel","pattern":"*","operations":["subscribe"]}"#,
            r#"{"resource":"channel","pattern":"*","kind":"segments","operations":["*"]}"#,
            r#"{"resource":"channel","pattern":"*","kind":"exact","operations":["publish"]}"#,
            r#"{"resource":"channel","pattern":"a:*","operations":["push-admin","push-subscribe"]}"#,
            r#"{"resource":"channel","pattern":"/x/","kind":"exact","operations":["object-publish"]}"#,
            r#"{"resource":"user","pattern":"u-*","operations":["annotation-publish","message-update-own"]}"#,
        ] {
            let read: RightText = serde_json::from_str(line).unwrap();
            let kept = capability(&[read]).unwrap();
            let said = serde_json::to_value(capability_text(&kept)).unwrap();
            let given: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(said, serde_json::json!([sorted(given)]), "{line}");
        }
        let segments = pattern("*", Some("segments")).unwrap();
        assert_eq!(segments, Pattern::Segments("*".into()));
        let rule = OpenRule {
            pattern: segments,
            operations: Operations::SUBSCRIBE,
        };
        assert_eq!(
            open(&open_text(std::slice::from_ref(&rule))).unwrap(),
            [rule]
        );
    }

    /// Operations in the order of their bits.
    fn sorted(mut line: serde_json::Value) -> serde_json::Value {
        let names: Vec<String> = serde_json::from_value(line["operations"].take()).unwrap();
        line["operations"] = operation_names(operations(&names).unwrap()).into();
        line
    }

    #[test]
    fn subjects_and_targets_are_spelled_as_documented() {
        let subject = |text: &str| serde_json::from_str::<SubjectText>(text);
        assert_eq!(subject(r#""everyone""#).unwrap(), SubjectText::Everyone);
        assert_eq!(
            subject(r#"{"user":"ana"}"#).unwrap(),
            SubjectText::User("ana".into())
        );
        assert!(subject(r#"{"user":"ana","token":"t"}"#).is_err());
        let target: TargetText = serde_json::from_str(r#"{"revocation_key":"k"}"#).unwrap();
        assert_eq!(target.read().unwrap(), Target::RevocationKey("k".into()));
    }
}
