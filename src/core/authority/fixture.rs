//! States for tests of everything above: made by the real machine, so that its indexes are in step.

use super::{
    Command, Decision, Operations, Pattern, Question, Reason, Revision, Rule, State, Subject,
};
use gatecast_cluster::access::{Reply, Stamp, apply};

/// The state after these commands, none of which may be rejected.
pub(crate) fn state_after(commands: &[Command], time_ms: u64) -> State {
    let mut state = State::default();
    for (index, command) in (1..).zip(commands) {
        let outcome = apply(&mut state, command, Stamp { index, time_ms });
        assert!(
            !matches!(outcome.reply, Reply::Rejected(_)),
            "{command:?}: {:?}",
            outcome.reply
        );
    }
    state
}

/// The state after the log entry of that number, by which [`judge`] allows these operations on everything.
// The state has fields of its own that nobody else may name.
#[allow(clippy::field_reassign_with_default)]
pub(crate) fn allowing(operations: Operations, revision: Revision) -> State {
    let mut state = State::default();
    state.time_ms = operations.0;
    state.revision = revision;
    state
}

/// A [`super::Judge`]: what is allowed is written in the state's time, as bits; until when in its version, 0 for
/// ever.
pub(crate) fn judge(state: &State, question: &Question<'_>) -> Decision {
    if !Operations(state.time_ms).contains(question.operations) {
        return Decision::Deny(Reason::NotGranted(question.operations));
    }
    Decision::Allow(Rule::Grant {
        subject: Subject::Everyone,
        pattern: Pattern::All,
        revision: 1,
        expires_ms: (state.version != 0).then_some(u64::from(state.version)),
    })
}
