//! The benchmark's parts: a load generator that speaks the Pusher protocol and `/v1`, and what it
//! shares with the floor server it is compared with.
//!
//! One thread, non-blocking sockets, loopback only; every loop ends by a count or a time. The floor
//! (`src/bin/floor.rs`) does one write per delivery and nothing else, so that a figure can be given as
//! a ratio to what the kernel alone costs on the same machine in the same minute.
//!
//! **Must never know:** anything of Gatecast's own code. It measures from outside, over sockets and
//! `/proc`, so that other brokers can be measured by the same hand.

pub mod credential;
pub mod frame;
pub mod histogram;
pub mod http;
pub mod io;
pub mod meter;
pub mod options;
pub mod receipts;
pub mod scenario;
pub mod session;
pub mod stamp;
pub mod world;

/// Any failure that ends a run. A benchmark has one reader and one reaction: print it and stop.
pub type Failure = Box<dyn std::error::Error>;
