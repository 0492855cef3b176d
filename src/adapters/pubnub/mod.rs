//! PubNub: Access Manager v2 and v3, publish, subscribe, presence, history.
//!
//! In reading order: `rest` (which call it is), `query`, `body`, `signature`, `admit` (who asks), `rights`, `grant`
//! and `pam` (what is granted), `token` on `cbor`, `publish` on `rates`, `subscribe` on `cursor`, `selection`,
//! `wildcard`, `sessions`, `outgoing`, `presence_interval` and `envelope`, `presence` on `presence_leases`, `groups`,
//! `history`, `filter`, `codes`.
//!
//! **Must never know:** other dialects, the cluster crate, peers, channel internals.

mod admit;
mod body;
mod cbor;
mod codes;
mod cursor;
mod envelope;
mod filter;
#[cfg(test)]
mod fixture;
mod grant;
mod groups;
mod history;
pub mod limits;
#[cfg(test)]
pub(crate) mod model;
mod names;
mod outgoing;
mod pam;
mod presence;
mod presence_interval;
mod presence_leases;
mod publish;
mod query;
mod rates;
mod rest;
#[cfg(test)]
mod right_tests;
mod rights;
mod selection;
mod sessions;
mod signature;
mod subscribe;
mod token;
mod wildcard;
#[cfg(test)]
mod write_tests;

use crate::adapters::dialect::{
    Alias, Dialect, Named, Running, SettingSpec, Settings, Shape, Start,
};
use crate::core::authority::{
    App, AppId, KeySpec, Millis, OpenRule, Operations, Pattern, Presented, Resource, Right,
    SettingValue, State,
};
use crate::core::broker::Broker;
use crate::core::delivery::encoding::Encodings;
use crate::core::filters::Filters;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// The dialect's name: among an app's protocols, in listings and metrics.
const DIALECT: &str = "pubnub";
/// An app's publish key.
const PUBLISH_KEY: Alias = Alias {
    kind: "pubnub-publish",
    prefix: "pub-c-",
    shape: Shape::Uuid,
};
/// An app's subscribe key, which its clients call it by.
const SUBSCRIBE_KEY: Alias = Alias {
    kind: "pubnub-subscribe",
    prefix: "sub-c-",
    shape: Shape::Uuid,
};
/// Its paths begin with these. Some are of what is not served here (message actions, files, push, objects): its clients
/// read no other refusal than PubNub's.
const BEGINNINGS: &[&str] = &[
    "/publish/",
    "/signal/",
    "/subscribe/",
    "/time/",
    "/v1/auth/",
    "/v1/blocks/",
    "/v1/channel-registration/",
    "/v1/files/",
    "/v1/message-actions/",
    "/v1/objects/",
    "/v1/push/",
    "/v2/",
    "/v3/",
];

/// PubNub, as the rest of the broker knows it.
#[derive(Clone, Copy, Debug)]
pub struct Protocol;

impl Dialect for Protocol {
    fn name(&self) -> &'static str {
        DIALECT
    }

    fn settings(&self) -> Vec<SettingSpec> {
        SettingSpec::plain(&limits::NUMBERS, &limits::SWITCHES)
    }

    /// Everything when its access manager is switched off, as with a keyset that never switched it on; nothing otherwise.
    fn default_open(&self, settings: &Settings) -> Vec<OpenRule> {
        match settings.get(limits::ACCESS_MANAGER.name) {
            Some(SettingValue::Bool(false)) => vec![OpenRule {
                pattern: Pattern::All,
                operations: Operations::CLIENT,
            }],
            Some(SettingValue::Bool(true) | SettingValue::Int(_) | SettingValue::Text(_))
            | None => Vec::new(),
        }
    }

    /// Whoever asks changes groups and users' state then.
    fn opens_beside(&self, settings: &Settings) -> Vec<Right> {
        if self.default_open(settings).is_empty() {
            return Vec::new();
        }
        let right = |resource| Right {
            resource,
            pattern: Pattern::All,
            operations: Operations::CLIENT,
        };
        [Resource::Group, Resource::User].map(right).into()
    }

    fn presented(&self, state: &State, app: AppId, text: &str, _now: Millis) -> Presented {
        token::presented(state, app, text)
    }

    fn aliases(&self) -> &'static [Alias] {
        &[PUBLISH_KEY, SUBSCRIBE_KEY]
    }

    fn credentials(&self, app: &App, key: &KeySpec) -> Vec<(&'static str, String)> {
        vec![
            ("PUBNUB_PUBLISH_KEY", PUBLISH_KEY.of(app).to_owned()),
            ("PUBNUB_SUBSCRIBE_KEY", SUBSCRIBE_KEY.of(app).to_owned()),
            ("PUBNUB_SECRET_KEY", key.secret.0.to_string()),
        ]
    }

    fn quick_start(&self) -> &'static str {
        include_str!("quick_start.js")
    }

    fn beginnings(&self) -> &'static [&'static str] {
        BEGINNINGS
    }

    fn unknown(&self, request: &HttpRequest, _status: StatusCode) -> HttpResponse {
        match *request.method() {
            // A browser asks first.
            Method::OPTIONS => codes::answer(200, ""),
            _ => codes::Fault::unknown().error_response(),
        }
    }

    fn going_down(&self, request: &HttpRequest) -> Option<LocalBoxFuture<'static, HttpResponse>> {
        Some(rest::unserved(request.clone()).boxed_local())
    }

    fn named(&self, state: &State, request: &HttpRequest) -> Named {
        rest::named(state, request)
    }

    /// Registers nothing: its subscribers are answered by polls, each in its own words.
    fn prepare(&self, _encodings: &mut Encodings) -> Start {
        Box::new(|node| Arc::new(Service(PubNub::start(node.broker))))
    }
}

/// PubNub on this node.
#[derive(Debug)]
struct Service(web::Data<PubNub>);

impl Running for Service {
    fn configure(&self, worker: &mut web::ServiceConfig) {
        worker.app_data(self.0.clone());
        rest::routes(worker);
    }
}

/// How often silent clients are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What this adapter keeps on a node, beside the broker. App data of its routes, shared by all threads.
#[derive(Debug, Default)]
struct PubNub {
    sessions: sessions::Sessions,
    leases: presence_leases::PresenceLeases,
    tokens: token::Known,
    rates: rates::Rates,
    filters: Filters<filter::Filter>,
}

impl PubNub {
    /// Starts it on this node. Runs on the main thread's system.
    #[must_use]
    fn start(broker: &Broker) -> web::Data<Self> {
        let node = web::Data::new(Self::default());
        let (sweeping, broker) = (node.clone(), broker.clone());
        actix_web::rt::spawn(async move {
            loop {
                actix_web::rt::time::sleep(SWEEP_INTERVAL).await;
                sweeping.leases.sweep(&broker);
                sweeping.rates.sweep(broker.authority.now().mono_ms);
            }
        });
        node
    }

    /// This node's region: never 0, which clients take for an error.
    fn region(&self, broker: &Broker) -> u64 {
        broker.channels.node().0.max(1)
    }
}
