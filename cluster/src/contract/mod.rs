//! What this crate is asked and what it answers, as types without behaviour of their own.
//!
//! **Must never know:** the handle, Raft, the network: all of them speak in these types, and so they lie below.

mod answers;
mod config;
mod nodes;

pub use answers::{
    BarrierMode, BarrierReport, ClusterStatus, Committed, EffectBatch, Freshness, JoinError,
    NodeStatus, ProposeError, ReadError, RequestId,
};
pub use config::{ClusterConfig, FirstStart, PeerSecret, StartError, WallClock};
pub use nodes::NodeChange;
