//! `GET /channels/{channel}/presence`: who is on a channel, in pages.

use super::call::{Answer, Call, failed};
use crate::adapters::ably::codes::Fault;
use crate::adapters::ably::format::Format;
use crate::adapters::ably::member::PresenceMessage;
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::ids::ChannelKey;
use actix_web::{HttpRequest, HttpResponse, web};
use std::sync::Arc;

pub(super) async fn get(
    request: HttpRequest,
    name: web::Path<String>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let answer = Answer::of(&request);
    match page(&request, &name, &broker, answer.0).await {
        Err(fault) => failed(&fault, answer.0),
        Ok((members, links)) => answer.linked(200, &members, &links),
    }
}

async fn page(
    request: &HttpRequest,
    name: &str,
    broker: &Broker,
    format: Format,
) -> Result<(Vec<PresenceMessage>, Vec<String>), Fault> {
    let call = Call::admit(request, broker).await?;
    let number = |name: &str, default| match call.value(name) {
        None => Ok(default),
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| Fault::new(40003, 400, format!("{name} is not usable"))),
    };
    let (limit, skip) = (number("limit", 100)?.clamp(1, 1000), number("skip", 0)?);
    let (client, connection) = (call.value("clientId"), call.value("connectionId"));
    let channel = call.channel(name)?;
    call.authorize(&channel, Operations::PRESENCE_READ).await?;
    let members = set(&channel, broker, format).await?;
    let fits = |one: &PresenceMessage| {
        client.is_none_or(|id| one.client_id.as_deref() == Some(id))
            && connection.is_none_or(|id| one.connection_id.as_deref() == Some(id))
    };
    let mut found: Vec<_> = members.into_iter().filter(fits).skip(skip).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let link = |rel: &str, skip| format!("<./presence?limit={limit}&skip={skip}>; rel=\"{rel}\"");
    let mut links = vec![link("first", 0), link("current", skip)];
    if more {
        links.push(link("next", skip + limit));
    }
    Ok((found, links))
}

/// Everyone who is there, for whoever may see it.
///
/// # Errors
/// 50003 when nobody answers for the channel.
pub(super) async fn set(
    channel: &Arc<ChannelKey>,
    broker: &Broker,
    format: Format,
) -> Result<Vec<PresenceMessage>, Fault> {
    let members = broker.members(channel).await?;
    let present = members
        .iter()
        .map(|one| PresenceMessage::present(one, format));
    Ok(present.collect())
}
