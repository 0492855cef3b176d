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
#[cfg(test)]
pub(crate) mod model;
mod places;
mod rest;
mod session;
mod text;

use crate::adapters::dialect::{
    Alias, Dialect, Named, Running, SettingSpec, Settings, Shape, Start,
};
use crate::core::authority::{App, KeySpec, OpenRule, Operations, Pattern, State};
use crate::core::delivery::encoding::{self as delivery, EncodingId, Encodings};
use crate::core::filters;
use crate::transport::ws::{self, hixie};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use std::sync::Arc;

/// The dialect's name: among an app's protocols, in listings and metrics.
const DIALECT: &str = "realtime";
/// An app's application key, which its clients call it by.
const APPLICATION_KEY: Alias = Alias {
    kind: "realtime-application",
    prefix: "",
    shape: Shape::Alphanumeric(16),
};
/// Its paths begin with these.
const BEGINNINGS: &[&str] = &[
    "/authenticate",
    "/authenticate/",
    "/broadcast/",
    "/presence/",
    "/send",
    "/send/",
    "/server",
    "/server/",
];

/// Realtime.co, as the rest of the broker knows it.
#[derive(Clone, Copy, Debug)]
pub struct Protocol;

impl Dialect for Protocol {
    fn name(&self) -> &'static str {
        DIALECT
    }

    fn settings(&self) -> Vec<SettingSpec> {
        SettingSpec::plain(&limits::NUMBERS, &limits::SWITCHES)
    }

    /// Everything while authentication is off, nothing once it is on.
    fn default_open(&self, settings: &Settings) -> Vec<OpenRule> {
        match limits::AUTHENTICATION.among(settings) {
            0 => vec![OpenRule {
                pattern: Pattern::All,
                operations: Operations::SUBSCRIBE | Operations::PUBLISH | Operations::PRESENCE_READ,
            }],
            _ => Vec::new(),
        }
    }

    fn keeps(&self, settings: &Settings) -> Option<&'static str> {
        let copies = limits::AUTHENTICATION.among(settings) != 0;
        copies.then_some(
            "open Realtime.co connections keep what a later call of /authenticate takes from their token; what is taken \
             here has closed them",
        )
    }

    fn aliases(&self) -> &'static [Alias] {
        &[APPLICATION_KEY]
    }

    fn credentials(&self, app: &App, key: &KeySpec) -> Vec<(&'static str, String)> {
        vec![
            (
                "REALTIME_APPLICATION_KEY",
                APPLICATION_KEY.of(app).to_owned(),
            ),
            ("REALTIME_PRIVATE_KEY", key.secret.0.to_string()),
        ]
    }

    fn quick_start(&self) -> &'static str {
        include_str!("quick_start.js")
    }

    fn beginnings(&self) -> &'static [&'static str] {
        BEGINNINGS
    }

    /// A connection stands below the path of whatever URL its client was given.
    fn is_anywhere(&self, path: &str) -> bool {
        path.contains("broadcast/")
    }

    fn unknown(&self, _request: &HttpRequest, status: StatusCode) -> HttpResponse {
        rest::unknown(status)
    }

    /// Of its calls only presence names anything in its address; the others say it in their body, and with their refusal.
    fn named(&self, state: &State, request: &HttpRequest) -> Named {
        let segments: Vec<&str> = request.path().splitn(5, '/').collect();
        let (key, channel) = match segments[..] {
            ["", "presence", "enable" | "disable", _private, channel] => (None, Some(channel)),
            ["", "presence", key, _token, channel] => (Some(key), Some(channel)),
            _ => (None, None),
        };
        let app = key.and_then(|key| auth::named(state, key));
        Named {
            app: app.map(|app| app.id),
            channel: channel.map(str::to_owned),
            ..Named::default()
        }
    }

    fn prepare(&self, encodings: &mut Encodings) -> Start {
        let encoding = Encoding::register(encodings);
        Box::new(move |node| {
            Arc::new(Service {
                encoding,
                of_node: OfNode::default(),
                site: Site(node.public_url.cloned()),
            })
        })
    }
}

/// Realtime.co on this node.
#[derive(Debug)]
struct Service {
    encoding: Encoding,
    of_node: OfNode,
    site: Site,
}

impl Running for Service {
    fn configure(&self, worker: &mut web::ServiceConfig) {
        worker
            .app_data(web::Data::new(self.encoding))
            .app_data(web::Data::new(self.of_node.clone()))
            .app_data(web::Data::new(self.site.clone()));
        routes(worker);
    }
}

/// Under which numbers this dialect's encoder is registered; app data of its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Encoding {
    socket: EncodingId,
    /// For WebSockets of the drafts.
    hixie: EncodingId,
    /// For the fallback over plain HTTP.
    stream: EncodingId,
}

impl Encoding {
    /// Registers how this dialect writes broadcasts, for each of its framings.
    #[must_use]
    fn register(encodings: &mut Encodings) -> Self {
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

/// What the sessions of this node share. App data of its routes, one for all threads.
#[derive(Clone, Debug, Default)]
struct OfNode {
    /// The subscription filters in use.
    filters: filters::Filters<filter::Filter>,
    places: places::Places,
}

/// Base URL at which clients reach this node, if the operator has said so; else each request's own host is
/// answered. App data of its routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Site(Option<Arc<str>>);

/// Routes of the public port. Needs `web::Data` of [`Encoding`], [`OfNode`], [`Site`], the node's streams and the broker.
fn routes(cfg: &mut web::ServiceConfig) {
    rest::routes(cfg);
    fallback::routes(cfg);
    cfg.route(connect::PATH, web::get().to(connect::connect));
}
