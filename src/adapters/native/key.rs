//! `/v1/apps/{app}/keys`: make, list, change, rotate, delete.

use super::auth::Call;
use super::codes::{ApiError, Code};
use super::id_source::IdSource;
use super::input::{Body, Params, Wait};
use super::resource;
use super::text::{RightText, capability, capability_text, label};
use super::write::{APPLY_TIMEOUT, Write, answer};
use crate::core::authority::{
    Administered, ApiKey, AppId, Capability, KeyChange, KeySpec, Operations, Secret, State, Text,
};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/apps/{app}/keys").get(list).post(create))
        .service(
            resource("/apps/{app}/keys/{key}")
                .patch(update)
                .delete(delete),
        )
        .service(resource("/apps/{app}/keys/{key}/rotate").post(rotate));
}

/// A new key as asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyIn {
    /// A name for people; nothing is looked up by it.
    pub name: Option<String>,
    /// Its id, if it must be a certain one.
    pub id: Option<String>,
    /// Its secret, if it must be a certain one.
    pub secret: Option<String>,
    /// What it may do; none = everything.
    pub capability: Option<Vec<RightText>>,
    /// Whether its tokens may be revoked one by one; none = yes.
    pub revocable_tokens: Option<bool>,
}

impl KeyIn {
    /// The command's content, with a fresh id and secret where none was given.
    ///
    /// # Errors
    /// When a name, id, secret or pattern is unusable.
    pub fn spec(&self, app: AppId, ids: &mut IdSource) -> Result<KeySpec, ApiError> {
        let id = self.id.as_ref().map(|id| word("id", id, 1, b"-_"));
        let secret = self
            .secret
            .as_ref()
            // Shorter and wider than ours, so that credentials of other brokers can be kept.
            .map(|text| word("secret", text, 8, b"-_"));
        Ok(KeySpec {
            id: id.transpose()?.unwrap_or_else(|| ids.key_id()),
            app,
            name: label("name", self.name.as_deref().unwrap_or("default"))?,
            secret: secret.transpose()?.map_or_else(|| ids.secret(), Secret),
            capability: match &self.capability {
                None => Capability::full(),
                Some(lines) => capability(lines)?,
            },
            revocable_tokens: self.revocable_tokens.unwrap_or(true),
        })
    }
}

/// Letters and digits only, since ids and secrets stand between `.`, `:` and `/` in the dialects' credentials.
fn word(what: &str, text: &str, least: usize, also: &[u8]) -> Result<Text, ApiError> {
    let fits = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || also.contains(&b));
    match fits && (least..=128).contains(&text.len()) {
        true => Ok(text.into()),
        false => {
            let message = format!("a key's {what} is {least} to 128 letters and digits");
            Err(ApiError::new(Code::BadName, message))
        }
    }
}

/// The keys of an app, oldest first: the first active one signs what the broker sends.
#[must_use]
pub fn keys_of(view: &State, app: AppId) -> Vec<ApiKey> {
    let mut keys: Vec<ApiKey> = view.keys_of(app).cloned().collect();
    keys.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
    keys
}

async fn create(
    call: Call,
    path: web::Path<String>,
    body: Body<KeyIn>,
) -> Result<HttpResponse, ApiError> {
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::ADMIN)?;
    let write = Write::of(&call, &body.raw)?;
    let spec = body.value.spec(app, &mut write.id_source())?;
    let change = Administered::NewKey(spec.clone());
    let command = call.administer(app, Capability::default(), change)?;
    let made = write.make(command, Wait::All).await?;
    let body = json!({ "key": spec_json(&spec) });
    Ok(made.answer_as(StatusCode::CREATED, body))
}

async fn list(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let secrets = params.flag("secrets")?;
    params.finish()?;
    if secrets {
        call.caller.operator()?;
    }
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::ADMIN)?;
    let view = call.broker.authority.view();
    let keys = keys_of(&view, app);
    let keys: Vec<Value> = keys.iter().map(|key| key_json(key, secrets)).collect();
    Ok(answer(
        StatusCode::OK,
        view.revision,
        json!({ "keys": keys }),
    ))
}

/// A change of a key as asked for; what is left out stays.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyPatch {
    /// A name for people; nothing is looked up by it.
    pub name: Option<String>,
    /// On or off.
    pub enabled: Option<bool>,
    /// The whole capability.
    pub capability: Option<Vec<RightText>>,
    /// Whether its tokens may be revoked one by one.
    pub revocable_tokens: Option<bool>,
    /// How far to wait.
    pub wait: Wait,
}

impl KeyPatch {
    /// The command's content.
    ///
    /// # Errors
    /// When the name or a pattern is unusable.
    pub fn change(&self) -> Result<KeyChange, ApiError> {
        Ok(KeyChange {
            name: self
                .name
                .as_ref()
                .map(|text| label("name", text))
                .transpose()?,
            enabled: self.enabled,
            capability: self
                .capability
                .as_ref()
                .map(|lines| capability(lines))
                .transpose()?,
            revocable_tokens: self.revocable_tokens,
        })
    }
}

async fn update(
    call: Call,
    path: web::Path<(String, String)>,
    body: Body<KeyPatch>,
) -> Result<HttpResponse, ApiError> {
    let name = Params::only_name(&call.http, &path.1)?;
    let key = own_key(&call, &path.0, &name).await?;
    let changed = Administered::Key {
        key: key.id.clone(),
        change: body.value.change()?,
    };
    let command = call.administer(key.app, Capability::default(), changed)?;
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(command, body.value.wait).await?;
    let key = applied(&call, &key.id, made.revision()).await;
    Ok(made.answer(json!({ "key": key })))
}

async fn applied(call: &Call, key: &str, revision: u64) -> Option<Value> {
    let authority = &call.broker.authority;
    authority.at_least(revision, APPLY_TIMEOUT).await.ok()?;
    authority.key(key).as_ref().map(|key| key_json(key, false))
}

/// A rotation as asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// How long both keys work, milliseconds. 0 = the old one ends at once.
    pub overlap_ms: u64,
    /// How far to wait.
    pub wait: Wait,
}

async fn rotate(
    call: Call,
    path: web::Path<(String, String)>,
    body: Body<Rotation>,
) -> Result<HttpResponse, ApiError> {
    let name = Params::only_name(&call.http, &path.1)?;
    let old = own_key(&call, &path.0, &name).await?;
    let write = Write::of(&call, &body.raw)?;
    let mut ids = write.id_source();
    let new = KeySpec {
        id: ids.key_id(),
        app: old.app,
        name: old.name.clone(),
        secret: ids.secret(),
        capability: old.capability.clone(),
        revocable_tokens: old.revocable_tokens,
    };
    let change = Administered::Rotated {
        key: old.id.clone(),
        new: new.clone(),
        overlap_ms: body.value.overlap_ms,
    };
    let command = call.administer(old.app, Capability::default(), change)?;
    let made = write.make(command, body.value.wait).await?;
    let beside = json!({ "key": spec_json(&new), "replaces": &*old.id, "overlap_ms": body.value.overlap_ms });
    Ok(made.answer(beside))
}

async fn delete(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let (wait, name) = (params.wait()?, params.name_in(&path.1)?);
    params.finish()?;
    let key = own_key(&call, &path.0, &name).await?;
    let change = Administered::NoKey {
        key: key.id.clone(),
    };
    let command = call.administer(key.app, Capability::default(), change)?;
    let write = Write::of(&call, b"")?;
    let made = write.make(command, wait).await?;
    Ok(made.answer(json!({})))
}

/// The key of the path, if the caller may change keys there. It may have been made a moment ago through another node.
async fn own_key(call: &Call, app: &str, key: &str) -> Result<Arc<ApiKey>, ApiError> {
    let app = call.app(app).await?.id;
    call.caller.require_app_wide(app, Operations::ADMIN)?;
    let authority = &call.broker.authority;
    let find = || authority.key(key).filter(|key| key.app == app);
    if let Some(key) = find() {
        return Ok(key);
    }
    authority.catch_up().await?;
    find().ok_or_else(|| ApiError::new(Code::NoSuchKey, "there is no such key in this app"))
}

/// A key as `/v1` shows it; the secret only when asked for.
#[must_use]
pub fn key_json(key: &ApiKey, secret: bool) -> Value {
    json!({
        "id": &*key.id,
        "name": &*key.name,
        "secret": secret.then(|| &*key.secret.0),
        "capability": capability_text(&key.capability),
        "enabled": key.enabled,
        "expires_ms": key.expires_ms,
        "revocable_tokens": key.revocable_tokens,
        "created_ms": key.created_ms,
        "revision": key.revision,
    })
}

/// A key just made, with its secret.
#[must_use]
pub fn spec_json(key: &KeySpec) -> Value {
    json!({
        "id": &*key.id,
        "name": &*key.name,
        "secret": &*key.secret.0,
        "ably_key": format!("{}.{}:{}", key.app, key.id, key.secret.0),
        "capability": capability_text(&key.capability),
        "enabled": true,
        "expires_ms": null,
        "revocable_tokens": key.revocable_tokens,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_has_an_id_and_secret_that_fit_every_dialect() {
        let spec = |key: KeyIn| key.spec(AppId(7), &mut IdSource::random());
        let fresh = spec(KeyIn::default()).unwrap();
        assert_eq!((fresh.app, &*fresh.name), (AppId(7), "default"));
        assert_eq!(fresh.capability, Capability::full());
        let given = |id: &str, secret: &str| KeyIn {
            id: Some(id.into()),
            secret: Some(secret.into()),
            ..KeyIn::default()
        };
        let own = spec(given("demo-key_1", "0123456789abcdef")).unwrap();
        assert_eq!(
            (&*own.id, &*own.secret.0),
            ("demo-key_1", "0123456789abcdef")
        );
        for (id, secret) in [
            ("a.b", "0123456789abcdef"),
            ("a:b", "0123456789abcdef"),
            ("a", "short"),
            ("a", "0123456789abcd:f"),
        ] {
            assert_eq!(spec(given(id, secret)).unwrap_err().code, Code::BadName);
        }
    }
}
