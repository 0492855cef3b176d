//! States for tests of everything above: made by the real machine, so that its indexes are in step.

use super::{Command, State};
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
