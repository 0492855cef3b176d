//! One app and its key, for the tests of this folder. The key is the one of the documented vectors.
#![allow(clippy::unwrap_used)]

use crate::adapters::dialect::Dialect as _;
use crate::core::authority::{
    ApiKey, App, AppId, Capability, EnabledProtocol, Secret, SettingValue, State,
};

pub(super) const APP: AppId = AppId(3);
pub(super) const KEY: &str = "278d425bdf160c739803";
pub(super) const SECRET: &str = "7ad3773142a6692b25b8";

pub(super) fn key() -> ApiKey {
    ApiKey {
        id: KEY.into(),
        app: APP,
        name: "default".into(),
        secret: Secret(SECRET.into()),
        capability: Capability::full(),
        enabled: true,
        expires_ms: None,
        revocable_tokens: false,
        created_ms: 0,
        revision: 1,
    }
}

pub(super) fn app() -> App {
    App {
        id: APP,
        name: "demo".into(),
        enabled: true,
        protocols: vec![EnabledProtocol {
            name: super::DIALECT.into(),
            default_open: super::Protocol.default_open(&Default::default()),
        }],
        open: Vec::new(),
        settings: ["client_events", "user_sign_in"]
            .map(|name| (name.into(), SettingValue::Bool(true)))
            .into(),
        aliases: Vec::new(),
        revision: 1,
    }
}

/// The state, after a change to the app.
pub(super) fn state(change: impl FnOnce(&mut App)) -> State {
    let mut app = app();
    change(&mut app);
    let mut state = State::default();
    state.apps.insert(APP, app.into());
    state.revision = 7;
    state.keys.insert(KEY.into(), key().into());
    state
}

/// Switches a setting on.
pub(super) fn on(app: &mut App, name: &str) {
    set(app, name, 1);
}

/// Sets a number.
pub(super) fn set(app: &mut App, name: &str, value: u64) {
    app.settings.insert(name.into(), SettingValue::Int(value));
}

/// Signs with the fixture's secret.
pub(super) fn sign(text: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}
