//! `GET /v1/apps/{app}/connections`: who is connected, on every node.

use super::auth::Call;
use super::codes::ApiError;
use super::input::Params;
use super::resource;
use super::text::name;
use super::write::answer;
use crate::core::authority::Operations;
use crate::core::ids::ConnectionId;
use crate::core::listing::{ConnectionFilter, ConnectionInfo};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/apps/{app}/connections").get(list));
}

async fn list(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let user = params
        .text("user")
        .map(|user| name("user", &user))
        .transpose()?;
    let limit = params.limit(100, 10_000)?;
    params.finish()?;
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::INSPECT)?;
    let filter = ConnectionFilter {
        app: Some(app),
        user,
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    };
    let mut found = call.broker.connections(filter).await?;
    // The bound holds per node; the answer's is over all of them.
    let truncated = found.len() >= limit;
    found.truncate(limit);
    let connections: Vec<Value> = found.iter().map(connection_json).collect();
    let body = json!({ "connections": connections, "truncated": truncated });
    Ok(answer(
        StatusCode::OK,
        call.broker.authority.view().revision,
        body,
    ))
}

/// A connection id as it is written everywhere in `/v1`.
#[must_use]
pub fn id_text(id: ConnectionId) -> String {
    format!("{}.{}", id.0, id.1)
}

fn connection_json(info: &ConnectionInfo) -> Value {
    json!({
        "id": id_text(info.id),
        "node": info.node.0,
        "app": info.app.to_string(),
        "user": info.user.as_deref(),
        "key": info.key.as_deref(),
        "dialect": &*info.dialect,
        "remote": &*info.remote,
        "since_ms": info.since_ms,
        "subscriptions": info.subscriptions,
        "queued_bytes": info.queued_bytes,
    })
}
