//! Gatecast's access plane.
//!
//! [`access`] is the pure machine; around it this crate replicates it by Raft into an embedded store and
//! offers the broker one handle, [`Cluster`].
//!
//! **Must never know:** actix, HTTP, WebSocket, any vendor's words, or what a connection is. It tells the
//! broker *effects* and the broker tells it that they are *enforced*.

pub mod access;
pub mod codec;
mod contract;
mod handle;
mod net;
mod raft;
mod seldom;
mod store;
mod task;
mod versions;

#[cfg(test)]
#[path = "../tests/sim/mod.rs"]
mod sim;

pub use contract::{
    BarrierMode, BarrierReport, ClusterConfig, ClusterStatus, Committed, EffectBatch, FirstStart,
    Freshness, JoinError, NodeChange, NodeStatus, PeerSecret, ProposeError, ReadError, RequestId,
    StartError, WallClock,
};
pub use handle::Cluster;
pub use net::{LinkReader, LinkWriter, MessageLink};
pub use raft::{
    BackupError, BackupInfo, FolderInfo, RecoverError, RecoverTarget, RestoreTarget,
    examine_folder, recover_folder, restore_backup, verify_backup,
};
pub use store::DiskSpace;
pub use versions::Versions;
