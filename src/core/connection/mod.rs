//! Connections: a session on a socket, what the core knows of it, and how it ends.
//!
//! In reading order: [`seat`] (what the transport hands over), `step`, `attendance`, [`state`] and `effects` (the pure state), [`actor`] with
//! `intents`, `batch`, `ending` and `taken`, then `messages` and `port` (what others tell it).
//!
//! **Must never know:** wire formats, sockets, HTTP, the cluster crate.

pub mod actor;
mod attendance;
mod batch;
pub(crate) mod effects;
mod ending;
mod inheritance;
mod intents;
pub mod messages;
mod port;
pub mod seat;
mod speaks;
pub mod state;
mod step;
mod taken;
