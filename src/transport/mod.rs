//! Transports: HTTP requests to frames and back, as actix actors. Bytes in, bytes out.
//!
//! **Must never know:** what the bytes mean.

pub mod ws;
