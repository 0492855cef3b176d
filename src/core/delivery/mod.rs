//! Delivery: from a channel's broadcast to the outboxes of this node's connections.
//!
//! A channel sends **one** message per worker thread that has subscribers, to that worker's [`relay`] or, on its own
//! thread, right to its `dispatch`; the same bytes are pushed into all local outboxes, which are then
//! sent, so that a burst becomes one write per connection.
//!
//! **Must never know:** what the bytes mean, channels' order or history.
//! **Why not a mailbox message per subscriber:** measured: it costs more than the write itself.

mod channels;
pub(crate) mod dispatch;
pub mod encoding;
pub mod enforcer;
mod index;
pub mod messages;
pub mod outbox;
pub mod port;
pub mod relay;
pub mod relays;
pub mod speaks_for;
mod stale_buffer;
pub mod thread_relay;
mod ticker;
mod timers;
pub mod traffic;
pub mod worker_state;
