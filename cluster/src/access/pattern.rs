//! Patterns over names: exact, prefix, `:` segments, `.` levels, regular expressions.
//!
//! **Must never know:** which dialect uses which kind. **Why kinds instead of one glob language:** the four
//! families disagree about what `*` means (`foo*` is a literal in one, a prefix in another); a grant must
//! mean the same whoever reads it, so the kind is stored with the text.

use super::Text;
use serde::{Deserialize, Serialize};

/// Which names a right covers. `Exact` sorts first, so that wildcards of a subject are one short range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pattern {
    /// This name and no other.
    Exact(Text),
    /// Every name.
    All,
    /// Every name that starts with this text (`public-*` is stored as `public-`).
    Prefix(Text),
    /// `:`-separated segments. `*` as the last segment matches one or more segments, elsewhere exactly
    /// one; `foo*` is literal. (`main:*` covers `main:x` and `main:x:y`, not `main`.)
    Segments(Text),
    /// `a.*` is stored as `a.`: every name below that level, at any depth.
    Levels(Text),
    /// A linear-time regular expression, searched for anywhere in the name.
    Regex(PatternText),
    /// Every name that starts with none of these prefixes.
    Except(Vec<Text>),
}

/// A regular expression with its compiled form beside it. Equality, order and storage are those of the
/// text; compiling is bounded in size.
#[derive(Clone)]
pub struct PatternText {
    text: Text,
    compiled: std::sync::Arc<regex::Regex>,
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
}

impl Pattern {
    /// Whether the pattern covers `name`. No allocation, linear in the name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(text) => **text == *name,
            Self::All => true,
            Self::Prefix(text) | Self::Levels(text) => name.starts_with(&**text),
            Self::Segments(text) => **text == *name,
            Self::Regex(regex) => regex.compiled.is_match(name),
            Self::Except(prefixes) => !prefixes.iter().any(|prefix| name.starts_with(&**prefix)),
        }
    }
}

impl PatternText {
    /// Compiles, bounded in size.
    ///
    /// # Errors
    /// When the expression does not compile within the size limit.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let compiled = regex::RegexBuilder::new(text)
            .size_limit(1 << 18)
            .build()
            .map_err(|error| PatternError::Regex(error.to_string()))?;
        Ok(Self {
            text: text.into(),
            compiled: compiled.into(),
        })
    }

    /// The expression as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Debug for PatternText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.text.fmt(f)
    }
}
impl PartialEq for PatternText {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}
impl Eq for PatternText {}
impl PartialOrd for PatternText {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for PatternText {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}
impl std::hash::Hash for PatternText {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}
impl Serialize for PatternText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}
impl<'de> Deserialize<'de> for PatternText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}
