//! Dialects: one folder each, with the same five files (`frame`, `session`, `rest`, `auth`, `codes`).
//!
//! **Must never know:** each other, the cluster crate, peers, channel internals.

pub mod ably;
pub mod native;
pub mod pubnub;
pub mod pusher;
pub mod realtime;
