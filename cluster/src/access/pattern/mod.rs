//! Patterns over names: exact, prefix, `:` segments, `.` levels, regular expressions.
//!
//! **Must never know:** which dialect uses which kind. **Why kinds instead of one glob language:** the four
//! families disagree about what `*` means (`foo*` is a literal in one, a prefix in another); a grant must
//! mean the same whoever reads it, so the kind is stored with the text.

mod covers;
mod expression;
mod segments;
mod text;

pub use expression::PatternText;

use super::Text;
use serde::{Deserialize, Serialize};

/// Which names a right covers. `Exact` sorts first, so that wildcards of a subject are one short range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pattern {
    /// This name and no other.
    Exact(Text),
    /// Every name there is.
    All,
    /// Every name that starts with this text (`public-*` is stored as `public-`).
    Prefix(Text),
    /// `:`-separated segments. `*` as the last segment matches one or more segments, elsewhere exactly
    /// one; `foo*` is literal. (`main:*` covers `main:x` and `main:x:y`, not `main`.)
    Segments(Text),
    /// `a.*` is stored as `a.`: every name below that level, at any depth; not `a.` itself.
    Levels(Text),
    /// A linear-time regular expression, searched for anywhere in the name.
    Regex(PatternText),
    /// Every name that starts with none of these prefixes.
    Except(Vec<Text>),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The expression does not compile, or is too large.
    #[error("not a usable regular expression: {0}")]
    Regex(String),
    /// Empty or over-long.
    #[error("a pattern is 1 to {max} bytes long", max = super::Limits::MAX_TEXT)]
    Length,
    /// More parts than a pattern may have.
    #[error("a pattern has at most {max} segments or prefixes", max = super::Limits::PATTERN_PARTS)]
    Parts,
    /// The text does not have the form that its kind asks for; says what it lacks.
    #[error("{0}")]
    Form(&'static str),
    /// No kind of that name.
    #[error("kind is one of exact, all, prefix, segments, levels, regex, except")]
    Kind,
}

impl Pattern {
    /// Whether the pattern covers `name`. No allocation, linear in the name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => **text == *name,
            Self::All => true,
            Self::Prefix(text) => name.starts_with(&**text),
            Self::Levels(text) => name.len() > text.len() && name.starts_with(&**text),
            Self::Segments(text) => segments::matches(text, name),
            Self::Regex(expression) => expression.is_match(name),
            Self::Except(prefixes) => !prefixes.iter().any(|prefix| name.starts_with(&**prefix)),
        }
    }

    /// Whether this pattern stands for one name only by its kind.
    #[must_use]
    pub const fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }

    /// Whether the pattern may be stored: lengths, parts and form. A pattern that came through
    /// [`Self::parse`] or [`Self::of_kind`] always may; one that was decoded from bytes need not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), PatternError> {
        match self {
            Self::All => Ok(()),
            Self::Exact(text) | Self::Prefix(text) => length(text),
            Self::Segments(text) => {
                length(text)?;
                match text.split(':').count() > super::Limits::PATTERN_PARTS {
                    true => Err(PatternError::Parts),
                    false => Ok(()),
                }
            }
            Self::Levels(text) => {
                length(text)?;
                match text.ends_with('.') {
                    true => Ok(()),
                    false => Err(PatternError::Form("levels end with `.*`")),
                }
            }
            Self::Regex(expression) => {
                length(expression.as_str())?;
                expression.check()
            }
            Self::Except(prefixes) => except(prefixes),
        }
    }
}

fn length(text: &str) -> Result<(), PatternError> {
    match (1..=super::Limits::MAX_TEXT).contains(&text.len()) {
        true => Ok(()),
        false => Err(PatternError::Length),
    }
}

fn except(prefixes: &[Text]) -> Result<(), PatternError> {
    if prefixes.len() > super::Limits::PATTERN_PARTS {
        return Err(PatternError::Parts);
    }
    if prefixes.is_empty() {
        return Err(PatternError::Form("an exception names at least one prefix"));
    }
    for prefix in prefixes {
        length(prefix)?;
        if prefix.contains(',') {
            return Err(PatternError::Form("a prefix cannot hold a comma"));
        }
    }
    if prefixes
        .iter()
        .map(|prefix| prefix.len() + 1)
        .sum::<usize>()
        > super::Limits::MAX_TEXT
    {
        return Err(PatternError::Length);
    }
    match prefixes.is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => Err(PatternError::Form("prefixes are sorted and distinct")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn of(kind: &str, text: &str) -> Pattern {
        Pattern::of_kind(kind, text).unwrap_or_else(|error| panic!("{kind} {text}: {error}"))
    }

    #[test]
    fn segments_follow_the_colon_families() {
        let cases = [
            ("main:*", "main:x", true),
            ("main:*", "main:x:y", true),
            ("main:*", "main", false),
            ("main:*", "mainx:y", false),
            ("a:*:c", "a:b:c", true),
            ("a:*:c", "a:b:b:c", false),
            ("a:*:c", "a:c", false),
            ("*:c", "x:c", true),
            ("*:c", "c", false),
            ("a:*:*", "a:b", false),
            ("a:*:*", "a:b:c:d", true),
            ("*", "any:thing", true),
            ("foo*", "foobar", false),
            ("foo*", "foo*", true),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(
                of("segments", pattern).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn the_other_kinds_match_as_documented() {
        assert!(of("levels", "a.*").matches("a.b.c"));
        assert!(!of("levels", "a.*").matches("a.") && !of("levels", "a.*").matches("a"));
        assert!(of("prefix", "public-*").matches("public-"));
        assert!(of("regex", "room-[0-9]+").matches("my-room-12"));
        assert!(!of("regex", "^room-[0-9]+$").matches("my-room-12"));
        let open = of("except", "!private-,presence-");
        assert!(open.matches("chat") && !open.matches("private-x") && !open.matches("presence-"));
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        assert_eq!(Pattern::parse(""), Err(PatternError::Length));
        assert_eq!(Pattern::parse(&"x".repeat(2000)), Err(PatternError::Length));
        assert!(matches!(Pattern::parse("/(/"), Err(PatternError::Regex(_))));
        assert!(matches!(
            Pattern::of_kind("regex", "((a{1000}){1000}){1000}"),
            Err(PatternError::Regex(_))
        ));
        assert_eq!(Pattern::parse(&":*".repeat(100)), Err(PatternError::Parts));
        assert_eq!(Pattern::of_kind("glob", "x"), Err(PatternError::Kind));
        assert!(Pattern::Levels("a".into()).check().is_err());
        assert!(
            Pattern::Except(vec!["b".into(), "a".into()])
                .check()
                .is_err()
        );
    }
}
