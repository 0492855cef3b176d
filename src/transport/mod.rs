//! Transports: HTTP requests to frames and back, as actix actors. Bytes in, bytes out.
//!
//! **Must never know:** what the bytes mean.

mod hangup;
mod head;
mod line;
mod listen;
pub mod longpoll;
pub mod stream;
pub mod tls;
mod wire;
mod worker;
pub mod ws;

pub use listen::{Encrypted, ListenPort, Listening, listen};
pub use worker::Worker;
