//! Effects: what connection shards have to do because of a command.
//!
//! **Why a change of a user group names users and not the group:** whoever was taken out is found in no later state, so
//! that the machine says at apply whom it was.

use super::records::{Subject, Target};
use super::{Affected, AppId, Millis, Revision, Text};
use serde::{Deserialize, Serialize};

/// What connection shards have to do because of a command. Produced by every node alike; each acts on
/// the connections it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The app's record or settings changed: cached copies are stale.
    AppChanged(AppId),
    /// Rights in this scope may have changed: ask again for every subscription in it.
    Recheck {
        /// The app it is about.
        app: AppId,
        /// Whom it may concern.
        scope: Scope,
    },
    /// End these connections.
    Cut {
        /// The app it is about.
        app: AppId,
        /// Whose connections are cut.
        target: Target,
        /// Why; decides what the client is told and whether it may return.
        cut: Cut,
    },
    /// The member list changed: channels may have a new home.
    MembersChanged,
    /// End the connections of all of these.
    CutAll {
        /// The app it is about.
        app: AppId,
        /// Whose connections are cut.
        whom: Affected,
        /// Why; decides what the client is told and whether it may return.
        cut: Cut,
    },
}

/// Whose rights may have changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Everyone in the app (open rules, settings, grants to everyone).
    App,
    /// One subject and nobody else.
    Subject(Subject),
    /// Whoever has taken a copy of what is stored for this token: more than what is left may be in it.
    Copies(Text),
    /// Whoever this provider vouches for: it may not any more.
    Provider(Text),
    /// All of these.
    Affected(Affected),
}

/// Why connections are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cut {
    /// Their credential was revoked at `revision`; those that hold a newer one stay.
    Revoked {
        /// Credentials stating a time of issue are reached when it is before this.
        issued_before_ms: Millis,
        /// Credentials seen live before this revision are reached.
        revision: Revision,
        /// When to act; later than the stamp if a renewal margin was asked for.
        applies_ms: Millis,
    },
    /// Asked to go; may come back.
    Disconnected,
    /// Blocked: may not come back until the block ends.
    Blocked,
    /// The app or key was disabled or deleted.
    Disabled,
}
