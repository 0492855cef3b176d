//! `POST /channels/{channel}/messages`: publishes what the body holds, one message or several.

use super::call::{Allowed, Answer, Call, body, max_body};
use crate::adapters::ably::codes::Fault;
use crate::adapters::ably::message::{Message, check_ids};
use crate::adapters::ably::session::check_size;
use crate::adapters::ably::{limits, position, resume};
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::ids::ConnectionId;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

/// One message or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany<T> {
    /// Several of them in an array.
    Many(Vec<T>),
    /// A single one without an array.
    One(T),
}

impl<T> OneOrMany<T> {
    pub(super) fn all(self) -> Vec<T> {
        match self {
            Self::Many(all) => all,
            Self::One(one) => vec![one],
        }
    }
}

pub(super) async fn publish(
    request: HttpRequest,
    payload: web::Payload,
    name: web::Path<String>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let answer = Answer::of(&request);
    let outcome = published(&request, payload, &name, &broker).await;
    answer.json(201, outcome)
}

async fn published(
    request: &HttpRequest,
    payload: web::Payload,
    name: &str,
    broker: &Broker,
) -> Result<Value, Fault> {
    let call = Call::admit(request, broker).await?;
    if call.value("_forceNack") == Some("true") {
        return Err(Fault::new(40099, 400, "Refused as asked"));
    }
    let messages: OneOrMany<Message> = body(request, payload, max_body(&call)).await?;
    let channel = call.channel(name)?;
    let pass = call.authorize(&channel, Operations::PUBLISH).await?;
    let allowed = Allowed { channel, pass };
    send(&call, (name, allowed), &messages.all(), broker).await
}

/// Publishes and waits until the channel's home has it all.
///
/// # Errors
/// The first refusal.
pub(super) async fn send(
    call: &Call,
    (name, allowed): (&str, Allowed),
    messages: &[Message],
    broker: &Broker,
) -> Result<Value, Fault> {
    let Allowed { channel, pass } = allowed;
    let app = channel.app;
    let max = broker.authority.limit(app, &limits::MESSAGE_BYTES);
    check_size(messages, max)?;
    check_ids(messages)?;
    let base = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>());
    let mut drafts = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        let client = call.identity.stamp(message.client_id.as_deref())?;
        let mut draft = message.draft(client, format!("{base}:{at}"))?;
        draft.connection = match &message.connection_key {
            Some(key) => Some(in_name_of(key, call, broker)?),
            None => None,
        };
        drafts.push(draft);
    }
    // In one step: all or none, and nothing of others in between.
    let receipts = broker.publish_batch(&channel, drafts, pass).await?;
    let serials: Vec<String> = receipts.iter().map(position::of_receipt).collect();
    let id = messages.first().and_then(|first| first.id.clone());
    Ok(json!({
        "channel": name,
        "messageId": id.unwrap_or_else(|| format!("{base}:0")),
        "serials": serials,
    }))
}

/// The connection that a message is published as.
fn in_name_of(key: &str, call: &Call, broker: &Broker) -> Result<ConnectionId, Fault> {
    let view = broker.authority.view();
    let own = call.identity.principal.held();
    let own = own.and_then(|own| view.keys.get(own));
    let client = call.identity.client.as_deref();
    let id = own.and_then(|own| {
        let named = resume::verify(key, own, client);
        named.or_else(|| resume::verify(key, own, None))
    });
    id.ok_or_else(|| Fault::new(40006, 400, "Invalid connection key"))
}
