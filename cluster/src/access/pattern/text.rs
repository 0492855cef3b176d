//! Patterns as people and `/v1` write them.
//!
//! | text | kind | meaning |
//! |---|---|---|
//! | `room` | `exact` | this name |
//! | `*` | `all` | every name |
//! | `public-*` | `prefix` | names that start with it |
//! | `main:*`, `a:*:c` | `segments` | some `:` segment is `*` |
//! | `a.*` | `levels` | names below `a.` |
//! | `/^room-\d+$/` | `regex` | searched for anywhere in the name |
//! | `!private-,presence-` | `except` | names that start with none of these |
//!
//! **Must never know:** any dialect's own grammar: adapters build [`Pattern`]s of the kind they mean.
//! **Why a kind can be named beside the text:** a channel may really be called `*` or `/x/`.

use super::super::{Limits, Text};
use super::{Pattern, PatternError, PatternText};
use std::fmt;

impl Pattern {
    /// Reads a pattern, inferring its kind from its form (see the table above).
    ///
    /// # Errors
    /// When the text is empty, over-long, or a regular expression that does not compile.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::of_kind(Self::inferred(text), text)
    }

    fn inferred(text: &str) -> &'static str {
        if text == "*" {
            "all"
        } else if text.len() > 2 && text.starts_with('/') && text.ends_with('/') {
            "regex"
        } else if text.len() > 1 && text.starts_with('!') {
            "except"
        } else if text.split(':').any(|segment| segment == "*") {
            "segments"
        } else if text.ends_with(".*") {
            "levels"
        } else if text.ends_with('*') {
            "prefix"
        } else {
            "exact"
        }
    }

    /// Reads a pattern of a stated kind. Marks of the kind (a final `*`, slashes, `!`) may be left out.
    ///
    /// # Errors
    /// When there is no such kind or the text does not fit it.
    pub fn of_kind(kind: &str, text: &str) -> Result<Self, PatternError> {
        // The marks of a kind come on top of what is stored.
        if text.is_empty() || text.len() > Limits::MAX_TEXT + 2 {
            return Err(PatternError::Length);
        }
        let pattern = match kind {
            "exact" => Self::Exact(text.into()),
            "all" if text == "*" => Self::All,
            "all" => return Err(PatternError::Form("the pattern for all names is `*`")),
            "prefix" => Self::Prefix(text.strip_suffix('*').unwrap_or(text).into()),
            "segments" => Self::Segments(text.into()),
            "levels" => Self::Levels(text.strip_suffix('*').unwrap_or(text).into()),
            "regex" => {
                let bare = text.strip_prefix('/').and_then(|t| t.strip_suffix('/'));
                Self::Regex(PatternText::new(bare.unwrap_or(text))?)
            }
            "except" => {
                let bare = text.strip_prefix('!').unwrap_or(text);
                let mut prefixes: Vec<Text> = bare.split(',').map(Into::into).collect();
                prefixes.sort();
                prefixes.dedup();
                Self::Except(prefixes)
            }
            _unknown => return Err(PatternError::Kind),
        };
        pattern.check()?;
        Ok(pattern)
    }

    /// The name of this pattern's kind, as [`Self::of_kind`] takes it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::All => "all",
            Self::Prefix(_) => "prefix",
            Self::Segments(_) => "segments",
            Self::Levels(_) => "levels",
            Self::Regex(_) => "regex",
            Self::Except(_) => "except",
        }
    }
}

impl fmt::Display for Pattern {
    /// The textual form; together with [`Pattern::kind`] it reads back as the same pattern.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) | Self::Segments(text) => f.write_str(text),
            Self::All => f.write_str("*"),
            Self::Prefix(text) | Self::Levels(text) => write!(f, "{text}*"),
            Self::Regex(expression) => write!(f, "/{}/", expression.as_str()),
            Self::Except(prefixes) => {
                for (at, prefix) in prefixes.iter().enumerate() {
                    f.write_str(if at == 0 { "!" } else { "," })?;
                    f.write_str(prefix)?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_form_is_inferred_and_reads_back() {
        let forms = [
            ("room", "exact"),
            ("a*b", "exact"),
            ("!", "exact"),
            ("//", "exact"),
            ("*", "all"),
            ("public-*", "prefix"),
            ("main:foo*", "prefix"),
            ("main:*", "segments"),
            ("a:*:c", "segments"),
            ("a.*", "levels"),
            ("/^room-[0-9]+$/", "regex"),
            ("!private-,zoo-", "except"),
        ];
        for (text, kind) in forms {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!((pattern.kind(), pattern.to_string()), (kind, text.into()));
        }
    }

    #[test]
    fn a_stated_kind_reads_back_even_where_inference_would_differ() {
        for pattern in [
            Pattern::Exact("*".into()),
            Pattern::Exact("/x/".into()),
            Pattern::Prefix("a*".into()),
            Pattern::Segments("a:b".into()),
            Pattern::Regex(PatternText::new("/a/").unwrap()),
            Pattern::Except(vec!["!a".into(), "b".into()]),
        ] {
            let text = pattern.to_string();
            assert_eq!(Pattern::of_kind(pattern.kind(), &text), Ok(pattern));
        }
        assert_eq!(
            Pattern::of_kind("prefix", "public-"),
            Ok(Pattern::Prefix("public-".into()))
        );
    }
}
