//! The broker core: connections, channels, presence, history, delivery, and what it sees of the cluster.
//!
//! **Must never know:** wire formats, HTTP, JSON, any vendor's words; `config` or the file system. Only
//! [`access`], [`authority`] and [`nodes`] name the cluster crate; `channel` and `connection` never do.
//!
//! **Why one vocabulary for four dialects:** a connection contract shaped after one vendor forces the next
//! one to rebuild channels, presence and tokens beside it. Here an adapter translates frames to
//! [`session::Intent`]s and [`session::Event`]s to frames, and owns nothing else.

pub mod access;
pub mod authority;
pub mod broker;
pub mod channel;
pub mod clock;
pub mod close;
pub mod connection;
pub mod delivery;
pub mod durations;
pub mod error;
pub mod filters;
pub mod hash;
pub mod ids;
pub mod lifecycle;
pub mod limits;
pub mod listing;
pub mod message;
pub mod nodes;
pub mod polling;
pub mod query;
pub mod redact;
pub mod refusals;
pub mod session;
pub mod suggest;
pub mod token_bucket;
