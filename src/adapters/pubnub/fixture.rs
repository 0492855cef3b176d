//! A keyset for this adapter's tests.
#![allow(clippy::unwrap_used)]
//! **Must never know:** any rule.

use super::admit::{self, Caller, Ctx};
use super::cbor;
use super::query::Query;
use super::token::{Claims, Known};
use crate::adapters::dialect::Dialect as _;
use crate::core::authority::{
    ApiKey, AppId, AppSpec, Authority, Capability, Command, EnabledProtocol, GrantEntry, GrantMode,
    Holder, Issuer, KeySpec, Operations, Pattern, Resource, Secret, SettingValue, State, Subject,
};
use base64::Engine as _;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};

pub(super) const APP: AppId = AppId(7);
pub(super) const SUB: &str = "sub-c-1";
pub(super) const PUB: &str = "pub-c-1";
pub(super) const SECRET: &str = "sec-1";
/// The secret of [`narrow`].
pub(super) const NARROW: &str = "another secret";

pub(super) fn key(id: &str, secret: &str) -> ApiKey {
    ApiKey {
        id: id.into(),
        app: APP,
        name: "".into(),
        secret: Secret(secret.into()),
        capability: Capability::full(),
        enabled: true,
        expires_ms: None,
        revocable_tokens: true,
        created_ms: 0,
        revision: 1,
    }
}

/// Who has it.
pub(super) fn holder(key: &ApiKey) -> Holder {
    Holder::by_secret(key, key.secret.0.as_bytes()).unwrap()
}

/// URL-safe, without padding.
pub(super) fn mac(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// An app of one protocol and one key.
pub(super) fn commands(settings: &[(&str, bool)]) -> Vec<Command> {
    let settings = settings
        .iter()
        .map(|(name, on)| ((*name).into(), SettingValue::Bool(*on)))
        .collect();
    let key = KeySpec {
        id: "k1".into(),
        app: APP,
        name: "".into(),
        secret: Secret(SECRET.into()),
        capability: Capability::full(),
        revocable_tokens: true,
    };
    let protocol = EnabledProtocol {
        name: super::DIALECT.into(),
        default_open: super::Protocol.default_open(&settings),
    };
    vec![Command::CreateApp(AppSpec {
        id: APP,
        name: "".into(),
        protocols: vec![protocol],
        open: Vec::new(),
        settings,
        aliases: vec![
            (super::SUBSCRIBE_KEY.kind.into(), SUB.into()),
            (super::PUBLISH_KEY.kind.into(), PUB.into()),
        ],
        keys: vec![key],
    })]
}

/// The state after these.
pub(super) fn state(commands: &[Command]) -> State {
    crate::core::authority::fixture::state_after(commands, 1_000)
}

/// Beside it the key `narrow`, which may do only that.
pub(super) fn narrow(capability: Capability) -> Command {
    Command::CreateKey(KeySpec {
        id: "narrow".into(),
        app: APP,
        name: "narrow".into(),
        secret: Secret(NARROW.into()),
        capability,
        revocable_tokens: true,
    })
}

/// A grant of one name, without an end.
pub(super) fn granted(
    issuer: Issuer,
    subject: Subject,
    (resource, name, operations): (Resource, &str, Operations),
) -> Command {
    Command::SetGrants {
        app: APP,
        issuer,
        subject,
        mode: GrantMode::Merge,
        entries: vec![GrantEntry {
            resource,
            pattern: Pattern::Exact(name.into()),
            operations,
            ttl_ms: None,
        }],
    }
}

/// A token of this key for `ana`, who alone may use it, and for these groups.
pub(super) fn token(key: &ApiKey, groups: &[(&str, u64)]) -> String {
    let groups = groups.iter().map(|(name, mask)| ((*name).into(), *mask));
    let claims = Claims {
        issued_ms: 1_000,
        ttl: 15,
        resources: [
            Vec::new(),
            groups.collect(),
            Vec::new(),
            Vec::new(),
            Vec::new(),
        ],
        patterns: Default::default(),
        meta: cbor::Value::Null,
        user: Some("ana".into()),
    };
    claims.sign(APP, &holder(key))
}

/// Who says that she is `ana`, and shows this.
pub(super) fn caller(authority: &Authority, auth: &str) -> Caller {
    let query = format!("uuid=ana&auth={auth}");
    let query = Query::parse(&query).unwrap();
    let ctx = Ctx {
        method: "GET",
        path: "/",
        query: &query,
        body: Bytes::new(),
    };
    admit::on_view(authority, &Known::default(), SUB, &ctx).unwrap()
}
