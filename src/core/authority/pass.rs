//! A [`Pass`]: the proof that something was decided, for those who act on it.
//!
//! **Why channel messages carry one:** "forgot to check" does not compile.

use crate::core::access::{Millis, Operations, Resource, Revision, SpokenFor};
use crate::core::clock::Now;

/// Proof that a decision was made: may do `operations` on the channel it was asked for, until then.
/// Only the authority can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    pub(super) operations: Operations,
    pub(super) until_ms: Option<Millis>,
    pub(super) revision: Revision,
}

impl Pass {
    /// A pass for anything, without a decision: for tests of what takes one.
    #[cfg(test)]
    pub(crate) fn unchecked() -> Self {
        Self {
            operations: Operations::ALL,
            until_ms: None,
            revision: 0,
        }
    }

    /// Whether it allows all of these at this time.
    #[must_use]
    pub fn allows(&self, operations: Operations, now: Now) -> bool {
        self.operations.contains(operations) && self.until_ms.is_none_or(|end| now.cluster_ms < end)
    }

    /// What it allows.
    #[must_use]
    pub fn operations(&self) -> Operations {
        self.operations
    }

    /// When the decision has to be asked again, cluster time.
    #[must_use]
    pub fn until_ms(&self) -> Option<Millis> {
        self.until_ms
    }

    /// Up to where in the log it takes every change into account. A later one has to be judged by itself.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What both allow, as long as both do.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            operations: self.operations.and(other.operations),
            until_ms: earliest(self.until_ms, other.until_ms),
            revision: self.revision.min(other.revision),
        }
    }

    /// The same right, but counted as no newer than `revision`.
    #[must_use]
    pub fn as_of(self, revision: Revision) -> Self {
        let revision = self.revision.min(revision);
        Self { revision, ..self }
    }
}

/// What a decision is asked for, beside the principal.
#[derive(Clone, Copy, Debug)]
pub struct AccessQuery<'a> {
    /// On what kind of thing.
    pub resource: Resource,
    /// The name of the channel, user or group that is asked about.
    pub name: &'a str,
    /// All of these must be allowed.
    pub needs: Operations,
    /// These go into the pass as well, if allowed.
    pub wants: Operations,
    /// For whom else it is asked; looked at where the app takes such names for users.
    pub speaks_for: Option<&'a SpokenFor>,
}

pub(super) fn earliest(one: Option<Millis>, other: Option<Millis>) -> Option<Millis> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (end, None) | (None, end) => end,
    }
}
