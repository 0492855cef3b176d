//! The WebSocket transport and the connection core at a live port, by raw bytes and a small dialect.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub
)]

mod client;
mod delivery;
mod framing;
mod rights;
mod server;
