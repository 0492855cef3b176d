//! `GET /v1/apps/{app}/webhooks/deliveries`: what became of the last webhooks, on every node.
//! `GET /v1/apps/{app}/webhooks/dead`, `POST /v1/apps/{app}/webhooks/replay`: those that were given up, and having them
//! delivered after all.

use super::auth::Call;
use super::codes::{ApiError, Code};
use super::input::{Body, Params};
use super::resource;
use super::write::answer;
use crate::core::authority::Operations;
use crate::core::lifecycle::{DeadLetter, WebhookDelivery, WebhookDeliveryState};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

/// Dead letters that one call may name.
const MAX_NAMED: usize = 1_000;

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/apps/{app}/webhooks/deliveries").get(list))
        .service(resource("/apps/{app}/webhooks/dead").get(dead))
        .service(resource("/apps/{app}/webhooks/replay").post(replay));
}

async fn list(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let limit = params.limit(100, 1_000)?;
    params.finish()?;
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::INSPECT)?;
    let found = call.broker.deliveries(app, limit).await?;
    let deliveries: Vec<Value> = found.iter().map(delivery_json).collect();
    let revision = call.broker.authority.view().revision;
    let body = json!({ "deliveries": deliveries });
    Ok(answer(StatusCode::OK, revision, body))
}

async fn dead(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let limit = params.limit(100, 1_000)?;
    params.finish()?;
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::INSPECT)?;
    let found = call.broker.dead_letters(app, limit).await?;
    let letters: Vec<Value> = found.iter().map(letter_json).collect();
    let revision = call.broker.authority.view().revision;
    let body = json!({ "dead_letters": letters });
    Ok(answer(StatusCode::OK, revision, body))
}

/// Which; left out, all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    ids: Option<Vec<String>>,
}

async fn replay(
    call: Call,
    path: web::Path<String>,
    body: Body<ReplayBody>,
) -> Result<HttpResponse, ApiError> {
    Params::of(&call.http)?.finish()?;
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::ADMIN)?;
    let named = body.value.ids.as_ref().map_or(0, Vec::len);
    if named > MAX_NAMED {
        let message = format!("at most {MAX_NAMED} ids in one call");
        return Err(ApiError::new(Code::LimitReached, message));
    }
    let number = |id: String| {
        let wrong = |_| ApiError::new(Code::BadValue, format!("`{id}` is no dead letter's id"));
        id.parse().map_err(wrong)
    };
    let ids = body
        .value
        .ids
        .map(|ids| ids.into_iter().map(number).collect());
    let done = call.broker.replay(app, ids.transpose()?).await?;
    let revision = call.broker.authority.view().revision;
    let body = json!({ "replaying": done.replaying, "unwanted": done.unwanted });
    Ok(answer(StatusCode::OK, revision, body))
}

fn letter_json(one: &DeadLetter) -> Value {
    let texts = |all: &[crate::core::ids::Text]| -> Vec<String> {
        all.iter().map(|one| one.to_string()).collect()
    };
    json!({
        "id": one.id.to_string(),
        "target": &*one.target,
        "events": texts(&one.events),
        "event_ids": texts(&one.event_ids),
        "at_ms": one.at_ms,
        "given_up_ms": one.given_up_ms,
        "attempts": one.attempts,
        "status": one.status,
        "error": one.error.as_deref(),
    })
}

fn delivery_json(one: &WebhookDelivery) -> Value {
    let events: Vec<&str> = one.events.iter().map(|name| &**name).collect();
    json!({
        "id": format!("{}-{}", one.node.0, one.id),
        "node": one.node.0,
        "target": &*one.target,
        "events": events,
        "count": one.count,
        "at_ms": one.at_ms,
        "state": match one.state {
            WebhookDeliveryState::Pending => "pending",
            WebhookDeliveryState::Delivered => "delivered",
            WebhookDeliveryState::GivenUp => "given_up",
            WebhookDeliveryState::Dropped => "dropped",
            WebhookDeliveryState::Moved => "moved",
        },
        "attempts": one.attempts,
        "status": one.status,
        "error": one.error.as_deref(),
        "next_ms": one.next_ms,
    })
}
