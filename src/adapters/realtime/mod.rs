//! Realtime.co Cloud Messaging ("ORTC" 2.1): discovery, SockJS-framed WebSocket, token authentication, REST.
//!
//! **Must never know:** other dialects, the cluster crate, peers, channel internals.
//! **Why tokens are looked up and not verified:** here a token is a bare string that the app server has registered;
//! what it may do stands in the replicated grants, and a connection takes a copy of them when it is made.

mod auth;
mod codes;
mod command;
mod connect;
mod encoder;
mod fallback;
mod filter;
#[cfg(test)]
mod fixture;
mod frame;
pub mod limits;
mod rest;
mod session;
mod text;

use crate::core::authority::{OpenRule, Operations, Pattern, SettingValue, Text};
use crate::core::delivery::encoding::{self as delivery, EncodingId, Encodings};
use crate::core::filters;
use crate::transport::ws::{self, hixie};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The dialect's word: in app protocols, listings and metrics.
pub const DIALECT: &str = "realtime";

/// Under which numbers this dialect's encoder is registered; app data of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// For WebSockets.
    socket: EncodingId,
    /// For WebSockets of the drafts.
    hixie: EncodingId,
    /// For the fallback over plain HTTP.
    stream: EncodingId,
}

impl Encoding {
    /// Registers how this dialect writes broadcasts, for each of its framings.
    #[must_use]
    pub fn register(encodings: &mut Encodings) -> Self {
        let mut add = |framing| {
            let encoder = Box::new(encoder::RealtimeEncoder);
            encodings.add(delivery::Encoding { encoder, framing })
        };
        Self {
            socket: add(ws::framing),
            hixie: add(hixie::framing),
            stream: add(fallback::line),
        }
    }
}

/// The subscription filters in use on this node. App data of the server, shared by its threads.
#[derive(Clone, Debug, Default)]
pub struct Filters(filters::Filters<filter::Filter>);

/// Base URL at which clients reach this node, if the operator has said so; else each request's own host is
/// answered. App data of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site(pub Option<Arc<str>>);

/// Its paths begin with these: `/x` is that path alone, `/x/` is everything below it.
pub const BEGINNINGS: &[&str] = &[
    "/authenticate",
    "/authenticate/",
    "/broadcast/",
    "/presence/",
    "/send",
    "/send/",
    "/server",
    "/server/",
];

/// Whether a path is of a connection below the path of somebody's URL.
#[must_use]
pub fn is_anywhere(path: &str) -> bool {
    path.contains("broadcast/")
}

/// The answer to a path or method that it does not know.
#[must_use]
pub fn unknown(_request: &HttpRequest, status: StatusCode) -> HttpResponse {
    rest::unknown(status)
}

/// What an app that speaks only this dialect leaves open: everything while authentication is off, nothing
/// once it is on.
#[must_use]
pub fn default_open(settings: &BTreeMap<Text, SettingValue>) -> Vec<OpenRule> {
    match limits::AUTHENTICATION.among(settings) {
        0 => vec![OpenRule {
            pattern: Pattern::All,
            operations: Operations::SUBSCRIBE | Operations::PUBLISH | Operations::PRESENCE_READ,
        }],
        _ => Vec::new(),
    }
}

/// What its open connections keep of what is taken from a token.
#[must_use]
pub fn keeps(settings: &BTreeMap<Text, SettingValue>) -> Option<&'static str> {
    let copies = limits::AUTHENTICATION.among(settings) != 0;
    copies.then_some(
        "open Realtime.co connections keep what a later call of /authenticate takes from their token; what is taken \
         here has closed them",
    )
}

/// Routes of the public port. Needs `web::Data` of [`Encoding`], [`Filters`], [`Site`], the node's streams and the broker.
pub fn routes(cfg: &mut web::ServiceConfig) {
    rest::routes(cfg);
    fallback::routes(cfg);
    cfg.route(connect::PATH, web::get().to(connect::connect));
}
