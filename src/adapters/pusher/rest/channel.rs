//! `GET /apps/{app}/channels/{channel}`: one channel's state.

use super::admit::Call;
use super::fault::Fault;
use super::info::{Counts, Info};
use super::{ok, trigger};
use crate::adapters::pusher::channel_name::{self, Class};
use crate::adapters::pusher::frame::server;
use crate::adapters::pusher::query;
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::message::{Occupancy, Publication};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::borrow::Cow;

#[derive(Serialize)]
struct Shown<'a> {
    occupied: bool,
    #[serde(flatten)]
    counts: Counts,
    /// Outer: whether it was asked for; inner: whether there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Option<Cached<'a>>>,
}

#[derive(Serialize)]
struct Cached<'a> {
    data: Cow<'a, str>,
    /// How long it is kept still, seconds.
    ttl: u64,
}

/// Shows one channel.
pub(super) async fn get(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let call = Call::admit(&request, payload, &broker).await?;
    call.check_parameters(&["info"])?;
    let name = name(&request)?;
    trigger::check_channel(&name, &call.app)?;
    let info = wanted(call.value("info").unwrap_or_default(), &name)?;
    let key = channel_name::key(call.app.id, &name);
    call.authorize(&broker.authority, &key, Operations::METADATA)
        .await?;
    let occupancy = broker.occupancy(&key).await?;
    let last = match info.cache {
        true => Some(broker.last(&key).await?),
        false => None,
    };
    let now_ms = broker.authority.now().cluster_ms;
    let last = last.as_ref().map(|last| last.as_deref());
    ok(&shown(&name, info, occupancy, last, now_ms))
}

/// The channel in the path, decoded as often as it was escaped.
pub(super) fn name(request: &HttpRequest) -> Result<String, Fault> {
    segment(request, "channel")
}

/// A part of the path. The router leaves `%2F`, `%25` and `%2B` to us.
pub(super) fn segment(request: &HttpRequest, name: &str) -> Result<String, Fault> {
    let raw = request.match_info().get(name).unwrap_or_default();
    let decoded = query::decode(raw).map(Cow::into_owned);
    decoded.ok_or_else(|| Fault::bad("The path is not UTF-8"))
}

fn wanted(info: &str, channel: &str) -> Result<Info, Fault> {
    let info = Info::parse(info)?;
    if info.user_count && channel_name::class(channel) != Class::Presence {
        let text = "user_count may only be requested of presence channels";
        return Err(Fault::bad(text));
    }
    if info.cache && !channel_name::is_cache(channel) {
        return Err(Fault::bad("cache may only be requested of cache channels"));
    }
    Ok(info)
}

fn shown<'a>(
    name: &str,
    info: Info,
    occupancy: Occupancy,
    last: Option<Option<&'a Publication>>,
    now_ms: u64,
) -> Shown<'a> {
    Shown {
        occupied: occupancy.subscribers > 0,
        counts: info.counts(name, occupancy),
        cache: last.map(|last| last.and_then(|last| cached(last, now_ms))),
    }
}

fn cached(last: &Publication, now_ms: u64) -> Option<Cached<'_>> {
    // A timetoken counts 100 ns.
    let until_ms = (last.timetoken / 10_000).saturating_add(last.draft.retain_ms?);
    let left_ms = until_ms.checked_sub(now_ms).filter(|left| *left > 0)?;
    Some(Cached {
        data: server::payload(&last.draft.data),
        ttl: left_ms.div_ceil(1_000),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::pusher::fixture;
    use crate::core::ids::Position;

    fn json(name: &str, info: &str, last: Option<Option<&Publication>>, now_ms: u64) -> String {
        let occupancy = Occupancy {
            subscribers: 3,
            clients: 2,
            members: 3,
        };
        let info = wanted(info, name).unwrap();
        serde_json::to_string(&shown(name, info, occupancy, last, now_ms)).unwrap()
    }

    #[test]
    fn counts_are_shown_when_asked_for() {
        assert_eq!(json("news", "", None, 0), "{\"occupied\":true}");
        let wanted = "{\"occupied\":true,\"user_count\":2,\"subscription_count\":3}";
        assert_eq!(
            json("presence-a", "user_count,subscription_count", None, 0),
            wanted
        );
    }

    #[test]
    fn the_last_event_is_shown_with_the_time_it_has_left() {
        let body = br#"{"name":"e","data":"{\"t\":1}","channel":"cache-w"}"#;
        let trigger = trigger::event(body, &fixture::app()).unwrap();
        let last = Publication {
            draft: Box::new(trigger.draft("cache-w", &fixture::app())),
            position: Position::default(),
            timetoken: 10_000_000,
        };
        let shown = |now_ms| json("cache-w", "cache", Some(Some(&last)), now_ms);
        assert_eq!(
            shown(1_000),
            "{\"occupied\":true,\"cache\":{\"data\":\"{\\\"t\\\":1}\",\"ttl\":1800}}"
        );
        let none = "{\"occupied\":true,\"cache\":null}";
        assert_eq!(shown(1_801_000), none);
        assert_eq!(json("cache-w", "cache", Some(None), 0), none);
    }

    #[test]
    fn attributes_that_do_not_apply_are_refused() {
        assert_eq!(wanted("user_count", "private-a").unwrap_err().status, 400);
        assert_eq!(wanted("cache", "my-cache-a").unwrap_err().status, 400);
    }
}
