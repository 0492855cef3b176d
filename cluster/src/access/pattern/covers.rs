//! Which pattern lies wholly inside which: the ceiling that an issuing key sets.
//!
//! **Why sound but not complete:** a yes lets a right be granted, so it must never be wrong; a wrong no costs a clearer
//! grant. Two expressions are therefore compared by text only.

use super::{Pattern, segments};

impl Pattern {
    /// Whether every name that `other` matches is also matched by this pattern. Never says yes wrongly;
    /// may say no where a yes would need reasoning about regular expressions.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        match other {
            Self::Exact(name) => self.matches(name),
            Self::Segments(text) if segments::is_literal(text) => self.matches(text),
            Self::All => self.covers_all(),
            Self::Prefix(prefix) => self.covers_prefix(prefix, false),
            Self::Levels(prefix) => self.covers_prefix(prefix, true),
            Self::Segments(text) => self.covers_segments(text),
            Self::Regex(_) => self.covers_all(),
            Self::Except(excluded) => match self {
                // What may not start with `o` cannot start with anything longer either.
                Self::Except(mine) => mine
                    .iter()
                    .all(|e| excluded.iter().any(|o| e.starts_with(&**o))),
                Self::Exact(_)
                | Self::All
                | Self::Prefix(_)
                | Self::Segments(_)
                | Self::Levels(_)
                | Self::Regex(_) => self.covers_all(),
            },
        }
    }

    fn covers_all(&self) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => prefix.is_empty(),
            Self::Segments(text) => &**text == "*",
            Self::Except(prefixes) => prefixes.is_empty(),
            Self::Exact(_) | Self::Levels(_) | Self::Regex(_) => false,
        }
    }

    /// Names starting with `prefix`; `longer` = and going on after it.
    fn covers_prefix(&self, prefix: &str, longer: bool) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(mine) => prefix.starts_with(&**mine),
            Self::Levels(mine) => {
                prefix.starts_with(&**mine) && (longer || prefix.len() > mine.len())
            }
            Self::Segments(mine) => segments::covers_prefix(mine, prefix),
            Self::Except(excluded) => excluded
                .iter()
                .all(|e| !prefix.starts_with(&**e) && !e.starts_with(prefix)),
            Self::Exact(_) | Self::Regex(_) => false,
        }
    }

    fn covers_segments(&self, text: &str) -> bool {
        match self {
            Self::Segments(mine) => segments::covers(mine, text),
            Self::All | Self::Prefix(_) | Self::Levels(_) | Self::Except(_) => {
                self.covers_prefix(segments::head(text), false)
            }
            Self::Exact(_) | Self::Regex(_) => false,
        }
    }
}
