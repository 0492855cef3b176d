//! Presence: the switch of a channel, and who is there.
//!
//! The counts are the whole cluster's, whichever node is asked.

use super::call::{Call, form, fresh};
use super::fault::Fault;
use super::form::decode;
use super::{METADATA_FLAG, PRESENCE_FLAG};
use crate::adapters::realtime::auth;
use crate::core::authority::{
    AccessQuery, BarrierMode, ChannelFlag, Command, Operations, Principal, RequestId, Resource,
    State, Text,
};
use crate::core::broker::Broker;
use crate::core::ids::ChannelKey;
use crate::core::message::Member;
use crate::core::refusals::Rule;
use actix_web::{HttpRequest, HttpResponse, web};
use std::fmt::Write as _;

/// Most distinct metadata of an answer.
const METADATA: usize = 100;

/// Answers `POST /presence/enable|disable/{key}/{channel}`.
pub(super) async fn switch(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let form = form(payload).await?;
    let (application, channel) = (part(&request, "key")?, part(&request, "channel")?);
    if !auth::is_channel(&channel) {
        return Err(Fault::bad("Invalid channel name").because(Rule::ChannelName));
    }
    let call = Call::admit(&broker.authority, &application, form.need("privatekey")?).await?;
    let on = request.match_info().get("switch") == Some("enable");
    let metadata = on && !matches!(form.get("metadata"), None | Some("" | "0" | "false"));
    for (flag, on) in [(PRESENCE_FLAG, on), (METADATA_FLAG, metadata)] {
        let command = Command::SetChannelFlag(ChannelFlag {
            app: call.app.id,
            issuer: call.issuer(),
            channel: Text::from(&*channel),
            flag: flag.into(),
            on,
        });
        let request = RequestId(rand::random());
        let authority = &broker.authority;
        authority.write(request, command, BarrierMode::All).await?;
    }
    let text = match on {
        true => format!("Presence enabled for channel {channel}"),
        false => format!("Presence disabled for channel {channel}"),
    };
    Ok(HttpResponse::Ok().content_type("text/plain").body(text))
}

/// `GET /presence/{key}/{token}/{channel}`, with `?callback=` as a script.
pub(super) async fn get(
    request: HttpRequest,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let answer = read(&request, &broker).await;
    let Some(callback) = callback(request.query_string())? else {
        let body = answer?;
        return Ok(HttpResponse::Ok()
            .content_type("application/json")
            .insert_header(("Access-Control-Allow-Origin", "*"))
            .body(body));
    };
    let (body, fault) = match answer {
        Ok(content) => (format!("{callback}({{\"content\":{content}}});"), None),
        Err(fault) => {
            let text = serde_json::to_string(&*fault.text).unwrap_or_default();
            (format!("{callback}({{\"error\":{text}}});"), Some(fault))
        }
    };
    let mut response = HttpResponse::Ok()
        .content_type("application/javascript")
        .body(body);
    if let Some(fault) = fault {
        fault.tell(&mut response);
    }
    Ok(response)
}

async fn read(request: &HttpRequest, broker: &Broker) -> Result<String, Fault> {
    let (application, token) = (part(request, "key")?, part(request, "token")?);
    let channel = part(request, "channel")?;
    if !auth::is_channel(&channel) {
        return Err(Fault::bad("Invalid channel name").because(Rule::ChannelName));
    }
    let authority = &broker.authority;
    let find = |state: &State| auth::app(state, &application).map(|app| app.id);
    let app = match find(&authority.view()) {
        Some(app) => app,
        None => find(&*fresh(authority).await?)
            .ok_or_else(|| Fault::unauthorized("Invalid application key"))
            .map_err(|fault| fault.because(Rule::UnknownKey))?,
    };
    let state = authority.view();
    let principal = Principal {
        token: Some(Text::from(&*token)),
        ..Principal::anonymous(app, None, state.revision)
    };
    let ask = AccessQuery {
        resource: Resource::Channel,
        name: &channel,
        needs: Operations::PRESENCE_READ,
        wants: Operations::NONE,
        speaks_for: None,
    };
    authority.authorize(&principal, None, ask).await?;
    let mut state = authority.view();
    if !state.flag(app, &channel, PRESENCE_FLAG) {
        // It may have been switched on a moment ago, at another node.
        state = fresh(authority).await?;
    }
    if !state.flag(app, &channel, PRESENCE_FLAG) {
        return Ok("null".into());
    }
    let key = ChannelKey::channel(app, &channel);
    let subscribers = broker.occupancy(&key).await?.subscribers;
    let members = match state.flag(app, &channel, METADATA_FLAG) {
        true => broker.members(&key).await?,
        false => [].into(),
    };
    Ok(match subscribers {
        0 => "null".into(),
        _ => json(subscribers, &members),
    })
}

/// Compact, in this order: one client reads it by byte offsets.
fn json(subscribers: u64, members: &[Member]) -> String {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for member in members {
        let room = counts.len() < METADATA;
        let known = counts
            .iter()
            .position(|(known, _)| **known == *member.client);
        match known.and_then(|at| counts.get_mut(at)) {
            Some((_, count)) => *count += 1,
            None if room => counts.push((&member.client, 1)),
            None => {}
        }
    }
    let mut out = format!("{{\"subscriptions\":{subscribers},\"metadata\":{{");
    for (at, (metadata, count)) in counts.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let metadata = serde_json::to_string(metadata).unwrap_or_default();
        // Writing to a text cannot fail.
        let _ = write!(out, "{comma}{metadata}:{count}");
    }
    out.push_str("}}");
    out
}

/// A part of the path; channels come as they are, with `:` and `/`.
fn part(request: &HttpRequest, name: &str) -> Result<String, Fault> {
    let raw = request.match_info().get(name).unwrap_or_default();
    decode(raw).ok_or_else(|| Fault::bad("The path is not UTF-8"))
}

/// The function a script is to call. It is written into the script, so only a plain name will do.
fn callback(query: &str) -> Result<Option<&str>, Fault> {
    let mut values = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("callback="));
    let Some(name) = values.next() else {
        return Ok(None);
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        true => Ok(Some(name)),
        false => Err(Fault::bad("Invalid callback")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::authority::NodeId;
    use crate::core::ids::ConnectionId;

    #[test]
    fn counts_are_compact_and_in_order_of_entry() {
        let member = |client: &str, n| Member {
            client: client.into(),
            connection: ConnectionId(n, n),
            node: NodeId(1),
            data: Default::default(),
            since: n,
        };
        let some = [member("b\"c", 1), member("a", 2), member("b\"c", 3)];
        let wanted = r#"{"subscriptions":4,"metadata":{"b\"c":2,"a":1}}"#;
        assert_eq!(json(4, &some), wanted);
        assert_eq!(json(1, &[]), r#"{"subscriptions":1,"metadata":{}}"#);
        let many: Vec<Member> = (0..150).map(|n| member(&format!("m{n}"), n)).collect();
        assert_eq!(json(150, &many).matches("\"m").count(), 100 + 1);
    }

    #[test]
    fn only_plain_names_are_called_back() {
        assert_eq!(
            callback("a=b&callback=ortcJsonp123"),
            Ok(Some("ortcJsonp123"))
        );
        assert_eq!(callback("a=b"), Ok(None));
        assert!(callback("callback=alert(1)//").is_err());
        assert!(callback("callback=").is_err());
    }
}
