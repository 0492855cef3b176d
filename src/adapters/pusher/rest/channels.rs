//! `GET /apps/{app}/channels`: the occupied channels.

use super::admit::Call;
use super::fault::Fault;
use super::info::{Counts, Info};
use super::ok;
use crate::adapters::pusher::channel_name::{self, Class};
use crate::adapters::pusher::limits;
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::error::Refusal;
use crate::core::ids::{ChannelKey, Text};
use crate::core::message::Occupancy;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Listing<'a> {
    channels: BTreeMap<&'a str, Counts>,
}

/// Lists channels with subscribers, as far as the key may see them.
pub(super) async fn get(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let call = Call::admit(&request, payload, &broker).await?;
    call.check_parameters(&["filter_by_prefix", "info"])?;
    let prefix = call.value("filter_by_prefix").unwrap_or_default();
    let info = wanted(call.value("info").unwrap_or_default(), prefix)?;
    if !broker.authority.serving() {
        return Err(Refusal::Unavailable("this node is behind its cluster").into());
    }
    let limit = limits::CHANNELS_PER_LISTING.of(&call.app);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let app = call.app.id;
    let found = broker
        .occupied(app, prefix, limit.saturating_add(1))
        .await?;
    if found.len() > limit {
        let text = format!("More than {limit} channels match: narrow filter_by_prefix");
        return Err(Fault::bad(text));
    }
    let may = |name: &str| {
        let key = ChannelKey::channel(app, name);
        call.may(&broker.authority, &key, Operations::METADATA)
    };
    ok(&listing(&found, info, may))
}

/// What is asked for; users can be counted on presence channels only.
fn wanted(info: &str, prefix: &str) -> Result<Info, Fault> {
    let info = Info::parse(info)?;
    if info.user_count && channel_name::class(prefix) != Class::Presence {
        let text = "user_count may only be requested with a filter_by_prefix of presence-";
        return Err(Fault::bad(text));
    }
    if info.cache {
        return Err(Fault::bad(
            "cache may only be requested of one cache channel",
        ));
    }
    Ok(info)
}

fn listing(found: &[(Text, Occupancy)], info: Info, may: impl Fn(&str) -> bool) -> Listing<'_> {
    let channels = found
        .iter()
        .filter(|(name, occupancy)| occupancy.subscribers > 0 && may(name))
        .map(|(name, occupancy)| (&**name, info.counts(name, *occupancy)))
        .collect();
    Listing { channels }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn listings_show_what_is_occupied_and_allowed() {
        let occupancy = |subscribers| Occupancy {
            subscribers,
            clients: 2,
            members: 2,
        };
        let found = [("presence-a", 2), ("presence-b", 0), ("presence-c", 1)];
        let found = found.map(|(name, count)| (Text::from(name), occupancy(count)));
        let info = wanted("user_count", "presence-").unwrap();
        let listing = listing(&found, info, |name| name != "presence-c");
        let json = serde_json::to_string(&listing).unwrap();
        assert_eq!(json, "{\"channels\":{\"presence-a\":{\"user_count\":2}}}");
    }

    #[test]
    fn users_are_counted_on_presence_channels_only() {
        assert!(wanted("user_count", "presence-x").is_ok());
        assert!(wanted("subscription_count", "").is_ok());
        for (info, prefix) in [
            ("user_count", ""),
            ("user_count", "private-"),
            ("cache", "cache-"),
        ] {
            assert_eq!(
                wanted(info, prefix).unwrap_err().status,
                400,
                "{info} {prefix}"
            );
        }
    }
}
