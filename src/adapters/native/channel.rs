//! `/v1/apps/{app}/channels`: what is occupied, by how many, by whom. Cluster-wide.

use super::auth::Call;
use super::codes::ApiError;
use super::input::Params;
use super::resource;
use super::text::{label, name};
use super::write::answer;
use crate::core::authority::{AppId, Operations};
use crate::core::ids::{ChannelKey, Text};
use crate::core::message::{Member, Occupancy};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/apps/{app}/channels").get(list))
        .service(resource("/apps/{app}/channels/{channel}").get(show))
        .service(resource("/apps/{app}/channels/{channel}/members").get(members));
}

async fn list(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let prefix = params.text("prefix").unwrap_or_default();
    let limit = params.limit(100, 10_000)?;
    params.finish()?;
    let app = call.app(&path).await?.id;
    let prefix = label("prefix", &prefix)?;
    call.caller.prefix(app, &prefix, Operations::METADATA)?;
    let mut found = call.broker.occupied(app, &prefix, limit + 1).await?;
    let truncated = found.len() > limit;
    found.truncate(limit);
    let line = |(name, occupancy): &(Text, Occupancy)| counts(name, *occupancy);
    let channels: Vec<Value> = found.iter().map(line).collect();
    let body = json!({ "channels": channels, "truncated": truncated });
    Ok(answer(
        StatusCode::OK,
        call.broker.authority.view().revision,
        body,
    ))
}

async fn show(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (app, channel) = named(&call, &path).await?;
    call.channel(app, &channel, Operations::METADATA).await?;
    let occupancy = call
        .broker
        .occupancy(&ChannelKey::channel(app, &channel))
        .await?;
    let body = json!({ "channel": counts(&channel, occupancy) });
    Ok(answer(
        StatusCode::OK,
        call.broker.authority.view().revision,
        body,
    ))
}

async fn members(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (app, channel) = named(&call, &path).await?;
    call.channel(app, &channel, Operations::PRESENCE_READ)
        .await?;
    let members = call
        .broker
        .members(&ChannelKey::channel(app, &channel))
        .await?;
    let members: Vec<Value> = members.iter().map(member_json).collect();
    let body = json!({ "members": members });
    Ok(answer(
        StatusCode::OK,
        call.broker.authority.view().revision,
        body,
    ))
}

/// The app and the channel of a path.
async fn named(call: &Call, path: &(String, String)) -> Result<(AppId, Text), ApiError> {
    let channel = Params::only_name(&call.http, &path.1)?;
    let app = call.app(&path.0).await?.id;
    Ok((app, name("channel", &channel)?))
}

fn counts(name: &str, occupancy: Occupancy) -> Value {
    json!({
        "name": name,
        "subscribers": occupancy.subscribers,
        "clients": occupancy.clients,
        "members": occupancy.members,
    })
}

/// Data that is JSON is shown as JSON, other text as text, anything else only by its size.
fn member_json(member: &Member) -> Value {
    let text = std::str::from_utf8(&member.data).ok();
    let data = text.map(|text| match serde_json::from_str::<Box<RawValue>>(text) {
        Ok(_json) => serde_json::from_str(text).unwrap_or(Value::Null),
        Err(_plain) => Value::from(text),
    });
    json!({
        "client": &*member.client,
        "connection": super::connection::id_text(member.connection),
        "node": member.node.0,
        "data": data,
        "data_bytes": member.data.len(),
        "since": member.since.to_string(),
    })
}
