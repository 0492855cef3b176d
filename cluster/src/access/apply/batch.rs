//! One log entry: several commands under one index and time, each applied once per request id.
//!
//! **Why the dedupe table is part of the state:** a retry may reach another leader, after a restart, from another node;
//! only the log knows what was applied.

use super::super::requests::Answered;
use super::super::{Command, Millis, Revision, Stamp, State};
use super::{Outcome, apply};
use serde::{Deserialize, Serialize};

/// One proposed command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Names the request: a second op with the same id is answered, not applied.
    pub request: u128,
    /// What to do.
    pub command: Command,
}

/// What one log entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Leader's time when it was proposed.
    pub time_ms: Millis,
    /// The operations, in the order in which they are applied.
    pub ops: Vec<Op>,
}

/// Applies a log entry; one outcome per op, in order. A retried op gets its first reply and revision and
/// has no effects.
pub fn apply_batch(state: &mut State, batch: &Batch, index: Revision) -> Vec<Outcome> {
    let stamp = Stamp {
        index,
        time_ms: batch.time_ms,
    };
    state.revision = state.revision.max(index);
    state.time_ms = state.time_ms.max(batch.time_ms);
    batch
        .ops
        .iter()
        .map(|op| {
            if let Some(answered) = state.requests.get(op.request) {
                return Outcome {
                    revision: answered.revision,
                    reply: answered.reply.clone(),
                    effects: Vec::new(),
                };
            }
            let outcome = apply(state, &op.command, stamp);
            let answer = Answered {
                revision: index,
                time_ms: state.time_ms,
                reply: outcome.reply.clone(),
            };
            state.requests.remember(op.request, answer);
            outcome
        })
        .collect()
}
