//! The WebSocket transport and the connection core at a live port, by raw bytes and a small dialect.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    // The state has fields of its own that nobody else may name.
    clippy::field_reassign_with_default,
    unreachable_pub
)]

mod client;
mod delivery;
mod framing;
mod half_close;
mod heads;
mod rights;
mod server;
