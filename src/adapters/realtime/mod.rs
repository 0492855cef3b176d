//! Realtime.co Cloud Messaging ("ORTC" 2.1): discovery, SockJS-framed WebSocket, token authentication, REST.
//!
//! **Must never know:** other dialects, the cluster crate, peers, channel internals.

mod command;
mod frame;
mod text;
