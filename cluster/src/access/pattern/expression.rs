//! Regular expressions as patterns: the text is what is stored and compared; the program is made from it.
//!
//! **Why compiled on first use:** a node that restores a million stored tokens must not compile a million expressions
//! before it can serve; and what has been stored was compiled once by [`PatternText::check`] when it was accepted.

use super::super::Text;
use super::PatternError;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// Bound on the compiled size of one stored expression, in bytes, and on the cache that one search may build. Keeps compile time in the milliseconds.
const PROGRAM_BYTES: usize = 1 << 18;
/// Deepest nesting of groups.
const NESTING: u32 = 64;

/// A regular expression. Equality, order and storage are those of its text; compiling is bounded in size
/// and matching is linear in the name.
#[derive(Clone)]
pub struct PatternText {
    text: Text,
    /// Bound on the program, and on the cache that one search may build, in bytes.
    bytes: usize,
    compiled: Arc<OnceLock<Result<regex::Regex, String>>>,
}

impl PatternText {
    /// The bound of a small one: see [`Self::small`].
    pub const SMALL_BYTES: usize = 1 << 16;

    /// An expression that a credential carries and no state holds: whoever presents it pays nothing, so its bound
    /// is closer, and it is compiled only when a name is asked about. None when it is too long to be ever used.
    #[must_use]
    pub fn small(text: &str) -> Option<Self> {
        (text.len() <= super::super::Limits::MAX_TEXT).then(|| Self {
            bytes: Self::SMALL_BYTES,
            ..Self::unchecked(text.into())
        })
    }

    /// Whether a name has been asked about.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.compiled.get().is_some()
    }

    /// Compiles, bounded in size.
    ///
    /// # Errors
    /// When the expression does not compile within the size limit.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let made = Self::unchecked(text.into());
        made.check()?;
        Ok(made)
    }

    /// Whether the expression compiles within the bounds.
    ///
    /// # Errors
    /// Why it does not.
    pub fn check(&self) -> Result<(), PatternError> {
        match self.program() {
            Ok(_) => Ok(()),
            Err(error) => Err(PatternError::Regex(error.clone())),
        }
    }

    /// The expression as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is found anywhere in `name`. An expression that does not compile is found nowhere.
    #[must_use]
    pub fn is_match(&self, name: &str) -> bool {
        self.program()
            .as_ref()
            .is_ok_and(|program| program.is_match(name))
    }

    fn unchecked(text: Text) -> Self {
        Self {
            text,
            bytes: PROGRAM_BYTES,
            compiled: Arc::default(),
        }
    }

    fn program(&self) -> &Result<regex::Regex, String> {
        self.compiled.get_or_init(|| {
            if self.text.len() > super::super::Limits::MAX_TEXT {
                return Err("too long".into());
            }
            regex::RegexBuilder::new(&self.text)
                .size_limit(self.bytes)
                .dfa_size_limit(self.bytes)
                .nest_limit(NESTING)
                .build()
                .map_err(|error| error.to_string())
        })
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
        Text::deserialize(deserializer).map(Self::unchecked)
    }
}
