//! Delivery: from a channel's broadcast to the outboxes of this node's connections.
//!
//! A channel sends **one** message per worker thread that has subscribers; that worker's [`relay`] pushes the
//! same bytes into its local outboxes and then wakes them, so that a burst becomes one write per connection.
//!
//! **Must never know:** what the bytes mean, channels' order or history.
//! **Why not a mailbox message per subscriber:** measured: it costs more than the write itself.

mod channels;
pub mod encoding;
pub mod enforcer;
mod index;
pub mod local;
mod parking;
pub mod port;
pub mod relay;
pub mod relays;
mod timers;
