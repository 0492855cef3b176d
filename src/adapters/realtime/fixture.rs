//! One app and its key, for the tests of this folder.

use crate::core::authority::{
    ApiKey, App, AppId, Capability, Door, Grant, GrantKey, Issuer, Operations, Resource, Secret,
    SettingValue, State, Subject,
};

pub(super) const APP: AppId = AppId(3);
pub(super) const APPLICATION: &str = "aPpKeY";
pub(super) const PRIVATE: &str = "pRiVaTe";

/// The state, with authentication on or off.
pub(super) fn state(authentication: bool) -> State {
    let settings = [(
        "realtime_authentication".into(),
        SettingValue::Bool(authentication),
    )];
    let settings = settings.into();
    let app = App {
        id: APP,
        name: "demo".into(),
        enabled: true,
        doors: vec![Door {
            name: super::DIALECT.into(),
            default_open: super::default_open(&settings),
        }],
        open: Vec::new(),
        settings,
        aliases: vec![("realtime-application".into(), APPLICATION.into())],
        revision: 1,
    };
    let key = ApiKey {
        id: "k1".into(),
        app: APP,
        name: "server".into(),
        secret: Secret(PRIVATE.into()),
        capability: Capability::full(),
        enabled: true,
        expires_ms: None,
        revocable_tokens: false,
        created_ms: 0,
        revision: 1,
    };
    let mut state = State::default();
    state
        .aliases
        .insert(("realtime-application".into(), APPLICATION.into()), APP);
    state.apps.insert(APP, app);
    state.keys.insert(key.id.clone(), key);
    state.revision = 7;
    state
}

/// Gives a token a right, under the app's key.
pub(super) fn grant(state: &mut State, token: &str, channel: &str, operations: Operations) {
    let Some(pattern) = super::auth::pattern(channel) else {
        return;
    };
    let key = GrantKey {
        app: APP,
        subject: Subject::Token(token.into()),
        resource: Resource::Channel,
        pattern,
    };
    let grant = Grant {
        operations,
        expires_ms: Some(10_000),
        issuer: Issuer::Key("k1".into()),
        revision: 2,
    };
    state.grants.insert(key, grant);
}
