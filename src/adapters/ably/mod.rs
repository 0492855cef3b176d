//! Ably: realtime protocol 2 to 6 over WebSocket at `/`, JSON and MessagePack, and the REST API.
//!
//! **Must never know:** the cluster crate, peers, other dialects, channel internals.

mod auth;
mod capability;
mod codes;
#[cfg(test)]
mod fixture;
mod jwt;
pub mod limits;
mod token;
mod token_request;

/// The dialect's word: in app doors, listings and metrics.
pub const DIALECT: &str = "ably";
