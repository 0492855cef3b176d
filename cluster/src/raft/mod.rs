//! The replication engine: openraft over the store and the links, and what it takes to trust it.
//!
//! | file | what |
//! |---|---|
//! | `engine` | openraft's types for us: payload, peer, time-outs |
//! | `machine` | the access machine as the engine drives it |
//! | `log`, `applier` | openraft's storage traits over the store and the machine |
//! | `view` | what this node shows: state, revisions, time, effects |
//! | `rpc`, `network`, `service` | requests between nodes, asked and answered |
//! | `core` | one node's parts together, its leader's whereabouts |
//! | `propose`, `read` | group commit; coalesced read index |
//! | `lease`, `liveness`, `pre_vote` | freshness; Up and Down; who may start an election |
//! | `reach` | what an operator is told of peers that are away |
//! | `node_health`, `clock`, `tick_aligner` | what members tell each other; which time it is; who could lead; when the loops look |
//! | `barrier` | waiting for everyone |
//! | `membership`, `changes`, `folder` | forming and joining; who follows and who votes; whose data it is |
//! | `backup`, `restore`, `recover` | a state in one file; a new cluster that begins with it, or with a data folder |
//! | `start`, `status` | putting it together; what an operator sees |
//!
//! **Must never know:** sled, bincode, sockets; what a connection is; any vendor's words.

// openraft's error types are large, and its traits return them by value.
#![allow(clippy::result_large_err)]

mod applier;
mod backup;
mod barrier;
mod changes;
mod clock;
mod core;
mod engine;
mod fence;
mod folder;
mod lease;
mod liveness;
mod log;
mod machine;
mod membership;
mod network;
mod node_health;
mod pre_vote;
mod proofs;
mod propose;
mod reach;
mod read;
mod recover;
mod restore;
mod rpc;
mod service;
mod start;
mod status;
mod tick_aligner;
mod view;

pub(crate) use self::core::Core;
pub(crate) use backup::write as write_backup;
pub use backup::{BackupError, BackupInfo, verify_backup};
pub(crate) use barrier::barrier;
pub(crate) use changes::{change_nodes, drain};
pub(crate) use node_health::prepare_shutdown;
pub(crate) use read::catch_up;
pub use recover::{FolderInfo, RecoverError, RecoverTarget, examine_folder, recover_folder};
pub use restore::{RestoreTarget, restore_backup};
#[cfg(test)]
pub(crate) use start::start_over;
pub(crate) use start::{Started, start};
pub(crate) use status::{status, survey};

#[cfg(test)]
mod tests;

/// A poisoned lock guards plain data here; whoever panicked left it whole.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
