//! Looking up a grant by borrowed parts, so that a check does not build a key (and allocate) first.
//!
//! **Why a trait object:** ordered maps look up by a borrowed form of their key; a key of several fields has none but
//! this.

use super::records::{GrantKey, Subject};
use super::{AppId, Pattern, Resource};
use std::borrow::Borrow;
use std::cmp::Ordering;

/// A grant's place by reference; ordered exactly as [`GrantKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    pub(super) app: AppId,
    pub(super) subject: &'a Subject,
    pub(super) resource: Resource,
    pub(super) pattern: PatternRef<'a>,
}

/// A pattern by reference: an exact name need not be a shared text yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PatternRef<'a> {
    /// As [`Pattern::Exact`], without owning the name.
    Exact(&'a str),
    /// Any other kind.
    Wild(&'a Pattern),
}

/// What can stand for a [`GrantKey`] in a look-up.
pub(super) trait GrantLookup {
    /// The parts of the key, borrowed.
    fn place(&self) -> Place<'_>;
}

impl GrantLookup for Place<'_> {
    fn place(&self) -> Place<'_> {
        *self
    }
}

impl GrantLookup for GrantKey {
    fn place(&self) -> Place<'_> {
        let pattern = match &self.pattern {
            Pattern::Exact(name) => PatternRef::Exact(name),
            wild @ (Pattern::All
            | Pattern::Prefix(_)
            | Pattern::Segments(_)
            | Pattern::Levels(_)
            | Pattern::Regex(_)
            | Pattern::Except(_)) => PatternRef::Wild(wild),
        };
        Place {
            app: self.app,
            subject: &self.subject,
            resource: self.resource,
            pattern,
        }
    }
}

impl<'a> Borrow<dyn GrantLookup + 'a> for GrantKey {
    fn borrow(&self) -> &(dyn GrantLookup + 'a) {
        self
    }
}

impl PartialEq for dyn GrantLookup + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}
impl Eq for dyn GrantLookup + '_ {}
impl PartialOrd for dyn GrantLookup + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for dyn GrantLookup + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place().cmp(&other.place())
    }
}
