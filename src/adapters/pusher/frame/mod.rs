//! Frames: JSON texts to commands, and facts to JSON texts.
//!
//! **Must never know:** sessions, rights, limits.
//! **Why no JSON tree:** a client's frame is read once, its payload is passed on as it came; building a tree
//! would let a small frame cost much memory.

pub(super) mod client;
mod envelope;
pub(super) mod json;
pub(super) mod server;
