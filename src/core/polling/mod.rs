//! Sessions that are many short requests: what a long poll waits for, kept between its requests.
//!
//! A [`Poller`] is a connection without a socket: attached to channels like one, judged again like one, listed
//! like one. A request waits on it, takes what has come, and leaves it for the next request. Any worker thread
//! may hold the request; the tables of one worker own the attachment.
//!
//! **Must never know:** HTTP, cursors' wire form, dialects.
//! **Why not a connection actor per request:** a poll ends with every delivery, so an actor per request would
//! join and leave all its channels for each message. Here the relay pushes into the poller's queue and wakes
//! the request: one hop from the channel, and what comes between two requests waits.

mod poll_worker;
mod poller;
pub(crate) mod queue;

pub use poll_worker::{PollWorker, Pollers};
pub use poller::{Poller, Requirement, Subscription};
pub use queue::{Ended, Item, stamp};
