//! Transports: HTTP requests to frames and back, as actix actors. Bytes in, bytes out.
//!
//! **Must never know:** what the bytes mean.

mod client_socket;
mod half_close;
mod head;
mod listen;
pub mod longpoll;
pub mod proxies;
mod proxy_header;
mod socket;
pub mod stream;
pub mod tls;
mod worker;
pub mod ws;

pub use listen::{Encrypted, ListenPort, Listening, listen};
pub use proxy_header::remote;
pub use worker::Worker;

#[cfg(test)]
mod tests;
