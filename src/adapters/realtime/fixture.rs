//! One app and its key, for the tests of this folder.
#![allow(clippy::unwrap_used)]

use crate::adapters::dialect::Dialect as _;
use crate::core::authority::fixture::state_after;
use crate::core::authority::{
    AppId, AppSpec, Capability, Command, EnabledProtocol, GrantEntry, GrantMode, Issuer, KeySpec,
    Operations, Resource, Secret, SettingValue, State, Subject,
};

pub(super) const APP: AppId = AppId(3);
pub(super) const APPLICATION: &str = "aPpKeY";
pub(super) const PRIVATE: &str = "pRiVaTe";

/// The state, with authentication on or off.
pub(super) fn state(authentication: bool) -> State {
    granted(authentication, &[])
}

/// The state with these rights of the token `tok`, under the app's key.
pub(super) fn granted(authentication: bool, rights: &[(&str, Operations)]) -> State {
    let settings = [(
        "realtime_authentication".into(),
        SettingValue::Bool(authentication),
    )]
    .into();
    let app = AppSpec {
        id: APP,
        name: "demo".into(),
        protocols: vec![EnabledProtocol {
            name: super::DIALECT.into(),
            default_open: super::Protocol.default_open(&settings),
        }],
        open: Vec::new(),
        settings,
        aliases: vec![(super::APPLICATION_KEY.kind.into(), APPLICATION.into())],
        keys: vec![KeySpec {
            id: "k1".into(),
            app: APP,
            name: "server".into(),
            secret: Secret(PRIVATE.into()),
            capability: Capability::full(),
            revocable_tokens: false,
        }],
    };
    let entry = |(channel, operations): &(&str, Operations)| GrantEntry {
        resource: Resource::Channel,
        pattern: super::auth::pattern(channel).unwrap(),
        operations: *operations,
        ttl_ms: Some(10_000),
    };
    let grants = Command::SetGrants {
        app: APP,
        issuer: Issuer::Key("k1".into()),
        subject: Subject::Token("tok".into()),
        mode: GrantMode::Replace,
        entries: rights.iter().map(entry).collect(),
    };
    state_after(&[Command::CreateApp(app), grants], 1_000)
}
