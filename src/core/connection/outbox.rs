//! The outbox: bytes waiting for one socket. Byte-bounded; running over is a named ending.
//!
//! **Must never know:** what the bytes mean.
