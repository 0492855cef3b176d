//! One app and its key, for the tests of this folder. The secret is the one of the documented vectors.
#![allow(clippy::unwrap_used)]

use super::token::{self, Claims};
use crate::core::authority::{
    ApiKey, App, AppId, Capability, EnabledProtocol, Holder, Millis, Secret, State,
};
use base64::Engine as _;
use hmac::{KeyInit as _, Mac as _};
use serde_json::{Value, json};

pub(super) const APP: AppId = AppId(3);
pub(super) const KEY: &str = "keyId";
pub(super) const NAME: &str = "3.keyId";
pub(super) const SECRET: &str = "topsecret";

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

/// Who has it.
pub(super) fn holder() -> Holder {
    Holder::by_secret(&key(), SECRET.as_bytes()).unwrap()
}

pub(super) fn state() -> State {
    let mut state = State::default();
    let protocol = EnabledProtocol {
        name: super::DIALECT.into(),
        default_open: Vec::new(),
    };
    let app = App {
        id: APP,
        name: "demo".into(),
        enabled: true,
        protocols: vec![protocol],
        open: Vec::new(),
        settings: [].into(),
        aliases: Vec::new(),
        revision: 1,
    };
    state.apps.insert(APP, app.into());
    state.revision = 7;
    state.keys.insert(KEY.into(), key().into());
    state
}

/// A token of ours with everything allowed.
pub(super) fn ours(issued: Millis, ttl: Millis, client: Option<&str>) -> String {
    limited(issued, ttl, client, r#"{"[*]*":["*"]}"#)
}

/// A token of ours.
pub(super) fn limited(
    issued: Millis,
    ttl: Millis,
    client: Option<&str>,
    capability: &str,
) -> String {
    let claims = Claims {
        id: format!("t{issued}"),
        key: KEY.into(),
        issued,
        expires: issued + ttl,
        capability: capability.into(),
        client: client.map(str::to_owned),
    };
    token::mint(&holder(), &claims).unwrap()
}

/// A text's MAC, as TokenRequests carry it.
pub(super) fn mac(secret: &str, text: &str) -> String {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes())
}

/// JSON as a JWT's part.
pub(super) fn b64(value: &Value) -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A JWT with these claims.
pub(super) fn jwt(name: &str, secret: &str, claims: &Value) -> String {
    let header = json!({"typ": "JWT", "alg": "HS256", "kid": name});
    signed(&b64(&header), claims, secret)
}

/// A JWT under that header, with an HS256 signature whatever the header says. Written by hand, because no library
/// makes the bad ones.
pub(super) fn signed(header: &str, claims: &Value, secret: &str) -> String {
    let signed = format!("{header}.{}", b64(claims));
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    let tag = mac.finalize().into_bytes();
    let tag = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag);
    format!("{signed}.{tag}")
}
