//! `GET /v1/apps/{app}/refusals`: who was refused what lately, on every node, and what to do about it. `GET /v1/refusals`
//! has those of all apps and of none, for operators.
//!
//! **Must never know:** a secret or a token; there is none in what it lists.

use super::auth::Call;
use super::codes::ApiError;
use super::input::Params;
use super::resource;
use super::write::answer;
use crate::core::authority::{AppId, Operations};
use crate::core::refusals::record::{RefusalFilter, RefusalRecord, user_shown};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/apps/{app}/refusals").get(of_app))
        .service(resource("/refusals").get(all));
}

async fn of_app(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::INSPECT)?;
    list(&call, Some(app)).await
}

async fn all(call: Call) -> Result<HttpResponse, ApiError> {
    call.caller.operator()?;
    list(&call, None).await
}

async fn list(call: &Call, app: Option<AppId>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let limit = params.limit(100, 1_000)?;
    let user = params.text("user");
    params.finish()?;
    let filter = RefusalFilter {
        app,
        user: user.map(|name| user_shown(&name)),
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    };
    let (found, not_kept) = call.broker.refusals(filter).await?;
    let refusals: Vec<Value> = found.iter().map(refusal_json).collect();
    let revision = call.broker.authority.view().revision;
    let body = json!({ "refusals": refusals, "not_kept": not_kept });
    Ok(answer(StatusCode::OK, revision, body))
}

fn refusal_json(one: &RefusalRecord) -> Value {
    json!({
        "id": format!("{}-{}", one.node.0, one.id),
        "node": one.node.0,
        "at_ms": one.at_ms,
        "dialect": &*one.dialect,
        "app": one.app.map(|app| app.0.to_string()),
        "channel": one.channel.as_deref(),
        "key": one.key.as_deref(),
        "user": one.user.as_deref(),
        "remote": &*one.remote,
        "code": one.code,
        "rule": &*one.rule,
        "detail": &*one.detail,
        "advice": one.advice(),
    })
}
