//! `POST /v1/apps/{app}/publish`.
//!
//! A JSON string travels as text (its content), anything else as the JSON that was sent, byte for byte.

use super::auth::{Call, Caller};
use super::codes::{ApiError, Code};
use super::input::{Body, Params};
use super::resource;
use super::text::name;
use super::write::{answer, idempotency_key};
use crate::core::authority::{AccessQuery, AppId, Operations, Pass, Principal, Resource};
use crate::core::ids::{ChannelKey, ConnectionId, Text};
use crate::core::message::{ContentKind, Draft};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/apps/{app}/publish").post(publish));
}

/// A message as handed in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishIn {
    /// To which channel.
    pub channel: String,
    /// The name of the event.
    pub name: String,
    /// Any JSON value.
    pub data: Box<RawValue>,
    /// In whose name.
    #[serde(default)]
    pub user: Option<String>,
    /// A connection that must not get it (`123.456`).
    #[serde(default)]
    pub except: Option<String>,
}

impl PublishIn {
    /// The message.
    ///
    /// # Errors
    /// When a name or the connection id is unusable.
    pub fn draft(&self, id: Option<Text>) -> Result<Draft, ApiError> {
        let raw = self.data.get();
        let (data, kind) = match serde_json::from_str::<String>(raw) {
            Ok(text) => (Bytes::from(text), ContentKind::Text),
            Err(_no_string) => (Bytes::copy_from_slice(raw.as_bytes()), ContentKind::Json),
        };
        let user = self.user.as_ref().map(|user| name("user", user));
        let except = self.except.as_ref().map(|text| connection(text));
        Ok(Draft {
            id,
            name: name("name", &self.name)?,
            data,
            kind,
            meta: None,
            client: user.transpose()?,
            connection: None,
            except: except.transpose()?,
            store: true,
            retain_ms: None,
            tag: None,
        })
    }
}

fn connection(text: &str) -> Result<ConnectionId, ApiError> {
    let parsed = text
        .split_once('.')
        .and_then(|(a, b)| Some(ConnectionId(a.parse().ok()?, b.parse().ok()?)));
    parsed.ok_or_else(|| ApiError::new(Code::BadValue, "`except` is a connection id like 123.456"))
}

async fn publish(
    call: Call,
    path: web::Path<String>,
    body: Body<PublishIn>,
) -> Result<HttpResponse, ApiError> {
    Params::none(&call)?;
    let app = call.app(&path).await?.id;
    let channel = name("channel", &body.value.channel)?;
    let caller = call.caller.label();
    let id = idempotency_key(&call.http)?.map(|key| format!("{caller}/{key}").into());
    let mut draft = body.value.draft(id)?;
    if let Caller::Bearer(principal) = &call.caller {
        speaks_for_herself(&mut draft, principal)?;
    }
    let pass = pass(&call, app, &channel).await?;
    let key = ChannelKey::channel(app, &channel);
    let receipt = call.broker.publish(&key, draft, pass).await?;
    // Texts where a number would not survive every JSON reader.
    let body = json!({
        "position": { "epoch": receipt.position.epoch.to_string(), "seq": receipt.position.seq },
        "timetoken": receipt.timetoken.to_string(),
        "duplicate": receipt.duplicate,
    });
    let revision = call.broker.authority.view().revision;
    Ok(answer(StatusCode::OK, revision, body))
}

/// The bearer of a token publishes in her own name.
fn speaks_for_herself(draft: &mut Draft, principal: &Principal) -> Result<(), ApiError> {
    if draft.client.is_some() && draft.client != principal.user {
        let message = "`user` is not the user of the token";
        return Err(ApiError::new(Code::NotAllowed, message));
    }
    draft.client.clone_from(&principal.user);
    Ok(())
}

async fn pass(call: &Call, app: AppId, channel: &str) -> Result<Pass, ApiError> {
    let authority = &call.broker.authority;
    let principal = match &call.caller {
        Caller::Operator => return Ok(authority.operator_pass(Operations::PUBLISH)),
        Caller::Key(key) => key.principal(authority.view().revision),
        Caller::Bearer(principal) => Principal::clone(principal),
    };
    debug_assert_eq!(principal.app, app, "`Call::app` lets nobody out of its app");
    let ask = AccessQuery {
        resource: Resource::Channel,
        name: channel,
        needs: Operations::PUBLISH,
        wants: Operations::NONE,
        speaks_for: None,
    };
    Ok(authority.authorize(&principal, None, ask).await?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::native::input::json as read;

    #[test]
    fn data_keeps_its_bytes_and_a_string_becomes_text() {
        let draft = |data: &str, rest: &str| {
            let body = format!(r#"{{"channel":"c","name":"n","data":{data}{rest}}}"#);
            read::<PublishIn>(body.as_bytes()).unwrap().draft(None)
        };
        let json = draft(r#"{"b": 1.0, "a":[]}"#, "").unwrap();
        assert_eq!(
            (&json.data[..], json.kind),
            (&br#"{"b": 1.0, "a":[]}"#[..], ContentKind::Json)
        );
        let text = draft(r#""h\u00e9\"llo""#, r#","user":"ana","except":"12.34""#).unwrap();
        assert_eq!(
            (&text.data[..], text.kind),
            ("hé\"llo".as_bytes(), ContentKind::Text)
        );
        assert_eq!(text.except, Some(ConnectionId(12, 34)));
        assert_eq!(text.client.as_deref(), Some("ana"));
        assert!(draft("1", r#","except":"12""#).is_err());
        assert!(read::<PublishIn>(br#"{"channel":"c","name":"n"}"#).is_err());
    }
}
