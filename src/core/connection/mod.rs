//! Connections: a session on a socket, what the core knows of it, and how it ends.
//!
//! In reading order: [`accepted`] (what the transport hands over); `io`, `presence_entry`, [`state`] and `effects` (the
//! pure state); [`actor`] with `intents`, `batch`, `ending`, `refused`, `enforce` and `takeover`; `messages` and `port` (what others
//! tell it).
//!
//! **Must never know:** wire formats, sockets, HTTP, the cluster crate.

pub mod accepted;
pub mod actor;
mod batch;
mod effects;
mod ending;
mod enforce;
mod hand_over;
mod intents;
pub(crate) mod io;
pub mod messages;
mod port;
pub(crate) mod presence_entry;
pub(crate) mod reached;
mod refused;
mod speaks_for;
pub mod state;
mod takeover;
