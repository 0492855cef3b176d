//! What a dialect is to the rest of the broker. Wiring, `/v1`, settings, the command line and the scripts learn of a
//! dialect through this trait and its place in [`super::ALL`]; none of them names one.
//!
//! **Why objects behind a trait and no enum of dialects:** an enum is one more place to enter each of them, and every
//! `match` over it another. Nothing here is called per message, so nothing is lost by asking through a pointer.

use crate::core::authority::{
    App, AppId, KeySpec, Millis, OpenRule, Operations, Presented, Right, SettingValue, State, Text,
};
use crate::core::broker::Broker;
use crate::core::delivery::encoding::Encodings;
use crate::core::lifecycle::Listener;
use crate::core::limits::{BY_NAMESPACE, Setting};
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future::LocalBoxFuture;
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

/// An app's settings, by their names.
pub type Settings = BTreeMap<Text, SettingValue>;

/// The dialects of one process, in the order in which they are listed.
pub type Dialects = &'static [&'static dyn Dialect];

/// Starts a dialect once the broker is there. Runs on the main thread's system, before any client is let in.
pub type Start = Box<dyn FnOnce(&Node<'_>) -> Arc<dyn Running>>;

/// A dialect, before anything has started.
pub trait Dialect: Debug + Send + Sync {
    /// Its name among an app's protocols, in listings and on the command line.
    fn name(&self) -> &'static str;

    /// The settings that it brings for apps. Names are one space: they begin with the dialect's name unless another
    /// dialect could mean the same by them.
    fn settings(&self) -> Vec<SettingSpec> {
        Vec::new()
    }

    /// What it leaves open by its own documentation while it is an app's only protocol, under these settings.
    fn default_open(&self, _settings: &Settings) -> Vec<OpenRule> {
        Vec::new()
    }

    /// What it leaves open then beside channels.
    fn opens_beside(&self, _settings: &Settings) -> Vec<Right> {
        Vec::new()
    }

    /// What its connections keep, by its own documentation and under these settings, of what is taken from them: for
    /// whoever has just been told that nobody has it any more.
    fn keeps(&self, _settings: &Settings) -> Option<&'static str> {
        None
    }

    /// What a text given as a token is to it. Tokens that are stored and not signed are nothing to it.
    fn presented(&self, _state: &State, _app: AppId, _text: &str, _now: Millis) -> Presented {
        Presented::Other
    }

    /// The names of its own under which it knows an app; drawn when the app is made.
    fn aliases(&self) -> &'static [Alias] {
        &[]
    }

    /// An app's credentials in its SDKs' own words: variables for an environment file. May show the secret.
    fn credentials(&self, _app: &App, _key: &KeySpec) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// A few lines of JavaScript that point its SDKs at a node, with comments, for people to paste. `{HOST}`, `{PORT}` and
    /// the names of [its credentials](Self::credentials) in braces are filled in.
    fn quick_start(&self) -> &'static str {
        ""
    }

    /// Its paths begin with these: `/x` is that path alone, `/x/` is everything below it.
    fn beginnings(&self) -> &'static [&'static str];

    /// Whether its paths are served below the configured `path_prefix` as well.
    fn follows_path_prefix(&self) -> bool {
        false
    }

    /// Whether a path that begins like nobody's is its own all the same.
    fn is_anywhere(&self, _path: &str) -> bool {
        false
    }

    /// Its answer to a path (404) or method (405) of its own that it does not know.
    fn unknown(&self, request: &HttpRequest, status: StatusCode) -> HttpResponse;

    /// How a node that takes no more clients refuses a request of its own; `None` = with the 503 of all paths, by which
    /// most clients go elsewhere.
    fn going_down(&self, _request: &HttpRequest) -> Option<LocalBoxFuture<'static, HttpResponse>> {
        None
    }

    /// What a request that was refused names of itself, by its address and headers. Asked about refused requests only, for
    /// operators; nothing of it is believed.
    fn named(&self, _state: &State, _request: &HttpRequest) -> Named {
        Named::default()
    }

    /// Registers how it writes broadcasts, and says how it is started.
    fn prepare(&self, encodings: &mut Encodings) -> Start;
}

/// A dialect that runs on this node.
pub trait Running: Debug + Send + Sync {
    /// Adds its routes, and the app data that they need beside the broker, the worker and the node's streams. Called
    /// once per worker thread, on it. What it adds is seen by its own routes only.
    fn configure(&self, worker: &mut web::ServiceConfig);

    /// Who hears of the lifecycle of channels. One dialect of a process can listen.
    fn listener(&self) -> Option<Arc<dyn Listener>> {
        None
    }

    /// Shows its counters in this registry.
    fn register(&self, _registry: &mut Registry) {}

    /// Brings away what still waits to leave this node, for at most this long.
    fn finish(&self, _within: Duration) -> LocalBoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

/// What a request names, whether or not it is there. Never a secret or a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The app by its id.
    pub app: Option<AppId>,
    /// The key by its id.
    pub key: Option<String>,
    /// The channel, or several as they stand in the address.
    pub channel: Option<String>,
    /// The user that it says it is.
    pub user: Option<String>,
}

/// Where a dialect is started.
#[derive(Debug)]
pub struct Node<'a> {
    /// What it asks.
    pub broker: &'a Broker,
    /// A path below which paths are served as well, for who [follows it](Dialect::follows_path_prefix); empty = none.
    pub path_prefix: &'a Arc<str>,
    /// Base URL at which clients reach this node, if the operator has said so.
    pub public_url: Option<&'a Arc<str>>,
}

/// A name of an app that is drawn when it is made, and unique in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Under which kind the app has it. Stored, so it never changes.
    pub kind: &'static str,
    /// What it begins with.
    pub prefix: &'static str,
    /// What the alias looks like.
    pub shape: Shape,
}

impl Alias {
    /// The app's name of this kind; empty when it has none.
    #[must_use]
    pub fn of<'a>(&self, app: &'a App) -> &'a str {
        let found = app.aliases.iter().find(|(kind, _)| **kind == *self.kind);
        found.map_or("", |(_, name)| &**name)
    }
}

/// How a drawn name looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As a UUID.
    Uuid,
    /// So many letters and digits.
    Alphanumeric(usize),
}

/// What a setting's value is.
#[derive(Clone, Copy, Debug)]
pub enum SettingKind {
    /// `true` or `false`.
    Switch,
    /// A whole number; the name says the unit.
    Number,
    /// A text value.
    Text,
    /// Some JSON of its owner's shape. The owner checks it and gives the text to keep, or says what is wrong.
    Document(fn(&Value) -> Result<String, String>),
}

/// What a setting hands on to others, of every channel: whoever sets it must have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandsOn {
    /// Nothing: a limit, or a switch that gives nobody a right.
    Nothing,
    /// This, by whatever it is set to anew.
    Given(Operations),
    /// This, by being switched on.
    On(Operations),
    /// This, by being switched off.
    Off(Operations),
}

/// A setting an app can have.
#[derive(Clone, Copy, Debug)]
pub struct SettingSpec {
    /// Its name in `/v1`.
    pub name: &'static str,
    /// What its value is.
    pub kind: SettingKind,
    /// Only operators may set it: it takes away a protection of the installation.
    pub operators_only: bool,
    /// What it gives to others.
    pub hands_on: HandsOn,
    /// It may be set for one namespace of channels alone, as `name@namespace`.
    pub by_namespace: bool,
    /// What holds when the app says nothing.
    pub default: u64,
}

impl SettingSpec {
    /// A setting that keys may set for their app, and that hands nothing on.
    #[must_use]
    pub fn new(setting: Setting, kind: SettingKind) -> Self {
        Self {
            name: setting.name,
            kind,
            operators_only: false,
            hands_on: HandsOn::Nothing,
            by_namespace: BY_NAMESPACE.iter().any(|one| one.name == setting.name),
            default: setting.default,
        }
    }

    /// A setting that is a number.
    #[must_use]
    pub fn number(setting: Setting) -> Self {
        Self::new(setting, SettingKind::Number)
    }

    /// A switch that is on or off.
    #[must_use]
    pub fn switch(setting: Setting) -> Self {
        Self::new(setting, SettingKind::Switch)
    }

    /// Numbers and switches that nothing else is to be said of.
    #[must_use]
    pub fn plain(numbers: &[Setting], switches: &[Setting]) -> Vec<Self> {
        let numbers = numbers.iter().copied().map(Self::number);
        let switches = switches.iter().copied().map(Self::switch);
        numbers.chain(switches).collect()
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! A dialect that has nothing but a name.
    use super::{Dialect, Encodings, Start};
    use actix_web::http::StatusCode;
    use actix_web::{HttpRequest, HttpResponse};

    #[derive(Debug)]
    pub(crate) struct Named(pub(crate) &'static str);

    impl Dialect for Named {
        fn name(&self) -> &'static str {
            self.0
        }

        fn beginnings(&self) -> &'static [&'static str] {
            &[]
        }

        fn unknown(&self, _request: &HttpRequest, status: StatusCode) -> HttpResponse {
            HttpResponse::new(status)
        }

        fn prepare(&self, _encodings: &mut Encodings) -> Start {
            unreachable!("it is not started")
        }
    }
}
