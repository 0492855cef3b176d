//! PubNub: Access Manager v2 and v3, publish, subscribe, presence, history.
//!
//! In reading order: `rest` (which call it is), `query`, `body`, `signature`, `admit` (who asks), `rights`, `grant`
//! and `pam` (what is granted), `token` on `cbor`, `publish` on `rates`, `subscribe` on `cursor`, `selection`, `wildcard`, `sessions`, `shown`, `digest` and `envelope`, `presence` on
//! `attendance`, `groups`, `history`, `filter`, `codes`.
//!
//! **Must never know:** other dialects, the cluster crate, peers, channel internals.

mod admit;
mod attendance;
mod body;
mod cbor;
mod codes;
mod cursor;
mod digest;
mod envelope;
mod filter;
#[cfg(test)]
mod fixture;
mod grant;
mod groups;
mod history;
pub mod limits;
mod names;
mod pam;
mod presence;
mod publish;
mod query;
mod rates;
mod rest;
#[cfg(test)]
mod right_tests;
mod rights;
mod selection;
mod sessions;
mod shown;
mod signature;
mod subscribe;
mod token;
mod wildcard;
#[cfg(test)]
mod write_tests;

use crate::core::authority::{
    OpenRule, Operations, Pattern, ReadToken, Resource, Right, SettingValue, Text,
};
use crate::core::broker::Broker;
use crate::core::filters::Filters;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use std::collections::BTreeMap;
use std::time::Duration;

/// The adapter's word, for protocols, listings and metrics.
pub const DIALECT: &str = "pubnub";
/// Its paths begin with these: `/x` is that path alone, `/x/` is everything below it. Some are of what is not served here
/// (message actions, files, push, objects): its clients read no other refusal than PubNub's.
pub const BEGINNINGS: &[&str] = &[
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

/// The answer to a path or method that it does not know.
#[must_use]
pub fn unknown(request: &HttpRequest, _status: StatusCode) -> HttpResponse {
    match *request.method() {
        // A browser asks first.
        Method::OPTIONS => codes::answer(200, ""),
        _ => codes::Fault::unknown().error_response(),
    }
}

/// How often silent clients are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// What this adapter keeps on a node, beside the broker. App data of the public port, shared by its threads.
#[derive(Debug, Default)]
pub struct PubNub {
    sessions: sessions::Sessions,
    attendance: attendance::Attendance,
    tokens: token::Known,
    rates: rates::Rates,
    filters: Filters<filter::Filter>,
}

impl PubNub {
    /// Starts it on this node. Runs on the main thread's system.
    #[must_use]
    pub fn start(broker: &Broker) -> web::Data<Self> {
        let node = web::Data::new(Self::default());
        let (sweeping, broker) = (node.clone(), broker.clone());
        actix_web::rt::spawn(async move {
            loop {
                actix_web::rt::time::sleep(SWEEP).await;
                sweeping.attendance.sweep(&broker);
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

/// What is open in an app whose only protocol is PubNub: everything when its access manager is switched off, as with a
/// keyset that never switched it on; nothing otherwise.
#[must_use]
pub fn default_open(settings: &BTreeMap<Text, SettingValue>) -> Vec<OpenRule> {
    match settings.get(limits::ACCESS_MANAGER.name) {
        Some(SettingValue::Bool(false)) => vec![OpenRule {
            pattern: Pattern::All,
            operations: Operations::CLIENT,
        }],
        Some(SettingValue::Bool(true) | SettingValue::Int(_) | SettingValue::Text(_)) | None => {
            Vec::new()
        }
    }
}

/// What is open then beside channels: whoever asks changes groups and users' state.
#[must_use]
pub fn opens_beside(settings: &BTreeMap<Text, SettingValue>) -> Vec<Right> {
    if default_open(settings).is_empty() {
        return Vec::new();
    }
    let right = |resource| Right {
        resource,
        pattern: Pattern::All,
        operations: Operations::CLIENT,
    };
    [Resource::Group, Resource::User].map(right).into()
}

/// What a text given as a token is to this dialect.
pub const READ_TOKEN: ReadToken = token::presented;

/// Adds the paths. Needs `web::Data<Broker>` and [`PubNub`] among the app data.
pub fn routes(config: &mut web::ServiceConfig) {
    rest::routes(config);
}
