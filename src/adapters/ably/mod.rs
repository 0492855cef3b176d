//! Ably: realtime protocol 2 to 6 over WebSocket at `/`, JSON and MessagePack, and the REST API.
//!
//! **Must never know:** the cluster crate, peers, other dialects, channel internals.

mod auth;
mod capability;
mod codes;
mod connect;
mod encoder;
#[cfg(test)]
mod fixture;
mod format;
mod frame;
mod jwt;
mod key_name;
pub mod limits;
mod member;
mod message;
#[cfg(test)]
pub(crate) mod model;
mod named;
mod position;
mod query;
mod rest;
mod resume;
mod session;
mod token;
mod token_request;

use crate::adapters::dialect::{Dialect, Named, Running, SettingSpec, Start};
use crate::core::authority::{App, AppId, KeySpec, Millis, Presented, State};
use crate::core::delivery::encoding::{Encoding, EncodingId, Encodings as Registered};
use crate::transport::ws;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use format::Format;
use resume::ClosedConnections;
use std::sync::Arc;

/// The dialect's name: among an app's protocols, in listings and metrics.
const DIALECT: &str = "ably";
/// Its paths begin with these.
const BEGINNINGS: &[&str] = &[
    "/",
    "/time",
    "/stats",
    "/keys",
    "/keys/",
    "/messages",
    "/messages/",
    "/presence",
    "/channels",
    "/channels/",
    "/push",
    "/push/",
    "/comet",
    "/comet/",
];

/// Ably, as the rest of the broker knows it.
#[derive(Clone, Copy, Debug)]
pub struct Protocol;

impl Dialect for Protocol {
    fn name(&self) -> &'static str {
        DIALECT
    }

    fn settings(&self) -> Vec<SettingSpec> {
        SettingSpec::plain(&limits::NUMBERS, &[])
    }

    fn presented(&self, state: &State, app: AppId, text: &str, now: Millis) -> Presented {
        auth::presented(state, app, text, now)
    }

    fn credentials(&self, app: &App, key: &KeySpec) -> Vec<(&'static str, String)> {
        let key = format!("{}.{}:{}", app.id, key.id, key.secret.0);
        vec![("ABLY_KEY", key)]
    }

    fn quick_start(&self) -> &'static str {
        include_str!("quick_start.js")
    }

    fn beginnings(&self) -> &'static [&'static str] {
        BEGINNINGS
    }

    fn unknown(&self, request: &HttpRequest, status: StatusCode) -> HttpResponse {
        rest::unknown(request, status)
    }

    fn named(&self, _state: &State, request: &HttpRequest) -> Named {
        named::of(request)
    }

    fn prepare(&self, encodings: &mut Registered) -> Start {
        let encodings = Encodings::register(encodings);
        Box::new(move |_node| {
            Arc::new(Service {
                encodings,
                closed_connections: ClosedConnections::default(),
            })
        })
    }
}

/// Ably on this node.
#[derive(Debug)]
struct Service {
    encodings: Encodings,
    /// Of all threads: a connection may come back to another.
    closed_connections: ClosedConnections,
}

impl Running for Service {
    fn configure(&self, worker: &mut web::ServiceConfig) {
        worker
            .app_data(web::Data::new(self.encodings))
            .app_data(web::Data::new(self.closed_connections.clone()));
        routes(worker);
    }
}

/// Under which numbers this dialect's encoders are registered; app data of its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Encodings {
    json: EncodingId,
    msgpack: EncodingId,
}

impl Encodings {
    /// Registers how this dialect writes broadcasts, as text and as MessagePack.
    fn register(encodings: &mut Registered) -> Self {
        let mut add = |format| {
            let encoder = Box::new(encoder::AblyEncoder(format));
            encodings.add(Encoding {
                encoder,
                framing: ws::framing,
            })
        };
        Self {
            json: add(Format::Json),
            msgpack: add(Format::MsgPack),
        }
    }
}

/// Routes of the public port. Needs `web::Data` of the broker, [`Encodings`] and [`ClosedConnections`].
fn routes(cfg: &mut web::ServiceConfig) {
    cfg.route("/", web::get().to(connect::connect));
    rest::routes(cfg);
}
