//! Collects for whom a connection begins or ceases to speak beside its principal, until its thread's index is told.
//!
//! **Why it is collected and not told at once:** subscriptions and entries end in many places of the pure state, none
//! of which can reach the index. The actor hands it on within the turn, so that no effect comes in between.

use crate::core::authority::SpokenFor;
use crate::core::delivery::speaks_for::SpeaksForChange;
use crate::core::ids::ChannelKey;

/// Notes it, if it is for anybody.
pub(super) fn record(
    spoken: &mut Vec<SpeaksForChange>,
    key: &ChannelKey,
    other: &Option<Box<SpokenFor>>,
    begins: bool,
) {
    if let Some(other) = other {
        spoken.push(SpeaksForChange {
            app: key.app,
            user: other.user.clone(),
            begins,
        });
    }
}

#[cfg(test)]
#[path = "speaks_for_tests.rs"]
mod tests;
