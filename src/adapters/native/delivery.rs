//! `GET /v1/apps/{app}/webhooks/deliveries`: what became of the last webhooks, on every node.

use super::auth::Call;
use super::codes::ApiError;
use super::input::Params;
use super::resource;
use super::write::answer;
use crate::core::authority::Operations;
use crate::core::lifecycle::{WebhookDelivery, WebhookDeliveryState};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/apps/{app}/webhooks/deliveries").get(list));
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
        },
        "attempts": one.attempts,
        "status": one.status,
        "error": one.error.as_deref(),
        "next_ms": one.next_ms,
    })
}
