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
mod fallback;
#[cfg(test)]
mod fixture;
mod frame;
pub mod limits;
#[cfg(test)]
pub(crate) mod model;
mod named;
mod query;
mod rest;
mod session;
pub mod webhooks;

use crate::adapters::dialect::{
    Dialect, HandsOn, Named, Running, SettingKind, SettingSpec, Settings, Start,
};
use crate::core::authority::{App, KeySpec, OpenRule, Operations, Pattern, State};
use crate::core::delivery::encoding::{self as delivery, EncodingId, Encodings};
use crate::core::lifecycle::Listener;
use crate::core::limits::Setting;
use crate::transport::ws;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use webhooks::Webhooks;

/// The dialect's name: among an app's protocols, in listings and metrics.
const DIALECT: &str = "pusher";
/// Its paths begin with these.
const BEGINNINGS: &[&str] = &["/app", "/app/", "/apps", "/apps/", "/users/", "/pusher/"];

/// Pusher, as the rest of the broker knows it.
#[derive(Clone, Copy, Debug)]
pub struct Protocol;

impl Dialect for Protocol {
    fn name(&self) -> &'static str {
        DIALECT
    }

    fn settings(&self) -> Vec<SettingSpec> {
        let webhooks = Setting {
            name: webhooks::SETTING,
            default: 0,
        };
        let special = [
            SettingSpec {
                // Of every channel they tell what is said by clients, and who is there.
                hands_on: HandsOn::Given(
                    Operations::SUBSCRIBE | Operations::PRESENCE_READ | Operations::METADATA,
                ),
                ..SettingSpec::new(webhooks, SettingKind::Document(webhooks::hook::check))
            },
            SettingSpec {
                operators_only: true,
                ..SettingSpec::switch(limits::WEBHOOK_PRIVATE_TARGETS)
            },
        ];
        let mut all = SettingSpec::plain(&limits::NUMBERS, &limits::SWITCHES);
        all.extend(special);
        all
    }

    /// Receiving on every channel without a prefix that asks for a signature.
    fn default_open(&self, _settings: &Settings) -> Vec<OpenRule> {
        vec![OpenRule {
            pattern: Pattern::Except(vec!["presence-".into(), "private-".into()]),
            operations: Operations::SUBSCRIBE,
        }]
    }

    fn credentials(&self, app: &App, key: &KeySpec) -> Vec<(&'static str, String)> {
        vec![
            ("PUSHER_APP_ID", app.id.to_string()),
            ("PUSHER_APP_KEY", key.id.to_string()),
            ("PUSHER_APP_SECRET", key.secret.0.to_string()),
        ]
    }

    fn quick_start(&self) -> &'static str {
        include_str!("quick_start.js")
    }

    fn beginnings(&self) -> &'static [&'static str] {
        BEGINNINGS
    }

    fn follows_path_prefix(&self) -> bool {
        true
    }

    fn unknown(&self, _request: &HttpRequest, status: StatusCode) -> HttpResponse {
        rest::unknown(status)
    }

    fn named(&self, state: &State, request: &HttpRequest) -> Named {
        named::of(state, request)
    }

    fn prepare(&self, encodings: &mut Encodings) -> Start {
        let encoding = Encoding::register(encodings);
        Box::new(move |node| {
            Arc::new(Service {
                encoding,
                prefix: Prefix(node.path_prefix.clone()),
                webhooks: Webhooks::start(node.broker.clone()),
            })
        })
    }
}

/// Pusher on this node.
#[derive(Debug)]
struct Service {
    encoding: Encoding,
    prefix: Prefix,
    webhooks: Webhooks,
}

impl Running for Service {
    fn configure(&self, worker: &mut web::ServiceConfig) {
        worker
            .app_data(web::Data::new(self.encoding))
            .app_data(web::Data::new(self.prefix.clone()));
        routes(worker, &self.prefix);
    }

    fn listener(&self) -> Option<Arc<dyn Listener>> {
        Some(Arc::new(self.webhooks.clone()))
    }

    fn register(&self, registry: &mut Registry) {
        self.webhooks.register(registry);
    }

    fn finish(&self, within: Duration) -> LocalBoxFuture<'_, ()> {
        Box::pin(async move {
            let lost = self.webhooks.finish(within).await;
            if lost > 0 {
                tracing::warn!(lost, "webhooks were not taken in time and are lost");
            }
        })
    }
}

/// Under which numbers this dialect's encoder is registered; app data of its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Encoding {
    socket: EncodingId,
    /// For the fallback over plain HTTP.
    stream: EncodingId,
}

impl Encoding {
    /// Registers how this dialect writes broadcasts, for each of its framings.
    #[must_use]
    fn register(encodings: &mut Encodings) -> Self {
        let mut add = |framing| {
            let encoder = Box::new(encoder::PusherEncoder);
            encodings.add(delivery::Encoding { encoder, framing })
        };
        Self {
            socket: add(ws::framing),
            stream: add(fallback::line),
        }
    }
}

/// A path under which the dialect's paths are served as well; empty = none. App data of its routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Prefix(Arc<str>);

/// Routes of the public port. Needs `web::Data` of the broker, [`Encoding`], [`Prefix`] and the node's streams.
fn routes(cfg: &mut web::ServiceConfig, prefix: &Prefix) {
    let mut places = vec!["", &*prefix.0];
    places.dedup();
    for place in places {
        cfg.route(&format!("{place}/app"), web::get().to(connect::connect));
        let tail = format!("{place}/app/{{tail:.*}}");
        cfg.route(&tail, web::get().to(connect::connect));
        rest::routes(cfg, place);
    }
    fallback::routes(cfg, prefix);
}
