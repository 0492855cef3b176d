//! Transports: HTTP requests to frames and back, as actix actors. Bytes in, bytes out.
//!
//! **Must never know:** what the bytes mean.

mod socket;
pub mod stream;
mod worker;
pub mod ws;

pub use socket::on_connect;
pub use worker::Worker;
