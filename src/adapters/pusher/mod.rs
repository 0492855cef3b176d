//! Pusher Channels: WebSocket protocol 5 to 7 at `/app/{key}` and the HTTP API under `/apps/{id}`.
//!
//! **Must never know:** the cluster crate, peers, other dialects, channel internals.
//! **Why frames are written by hand:** the double encoding of `data` and its exceptions are the protocol; a
//! derived serializer would hide the one thing that must be seen.

mod auth;
mod channel_name;
mod codes;
mod connect;
mod encoder;
#[cfg(test)]
mod fixture;
mod frame;
pub mod limits;
mod query;
mod rest;
mod session;

use crate::core::authority::{OpenRule, Operations, Pattern};
use crate::core::delivery::encoding::{Encoder, EncodingId};
use actix_web::web;

/// The dialect's word: in app doors, listings and metrics.
pub const DIALECT: &str = "pusher";

/// Under which number this dialect's encoder is registered; app data of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding(pub EncodingId);

/// How this dialect writes broadcasts.
#[must_use]
pub fn encoder() -> Box<dyn Encoder> {
    Box::new(encoder::PusherEncoder)
}

/// What an app that speaks only this dialect leaves open: receiving on every channel without a prefix that
/// asks for a signature.
#[must_use]
pub fn default_open() -> Vec<OpenRule> {
    vec![OpenRule {
        pattern: Pattern::Except(vec!["presence-".into(), "private-".into()]),
        operations: Operations::SUBSCRIBE,
    }]
}

/// Routes of the public port. Needs `web::Data<Broker>` and `web::Data<Encoding>`.
pub fn routes(cfg: &mut web::ServiceConfig) {
    cfg.route("/app", web::get().to(connect::connect));
    cfg.route("/app/{tail:.*}", web::get().to(connect::connect));
    rest::routes(cfg);
}
