//! Applying commands. One exhaustive match; a rejection changes nothing and is a reply.

use super::{Command, Effect, Reply, Stamp, State};

/// What applying one command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For the caller.
    pub reply: Reply,
    /// For the connection shards of every node.
    pub effects: Vec<Effect>,
}

/// Shorthand: the revision and outcome of one applied command, as the caller of a proposal sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Log index at which it became true.
    pub revision: super::Revision,
    /// What it came to.
    pub reply: Reply,
}

/// Applies one command. Deterministic; never panics, whatever the command.
pub fn apply(_state: &mut State, _command: &Command, _stamp: Stamp) -> Outcome {
    Outcome {
        reply: Reply::Done,
        effects: Vec::new(),
    }
}
