//! Dialects: one folder each, and its place in [`ALL`]. `native` is our own API, by which apps are run and not spoken to.
//!
//! **Must never know:** the cluster crate, peers, channel internals; and no dialect knows another.

pub mod ably;
pub mod dialect;
pub mod native;
pub mod pubnub;
pub mod pusher;
pub mod realtime;

/// Every dialect that this build speaks, in the order in which they are listed. Nothing else names one.
pub const ALL: dialect::Dialects = &[
    &pusher::Protocol,
    &ably::Protocol,
    &pubnub::Protocol,
    &realtime::Protocol,
];
