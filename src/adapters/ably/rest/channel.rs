//! `GET /channels/{channel}` and `GET /channels`: whether it is active, and how many there are.

use super::call::{Answer, Call};
use crate::adapters::ably::codes::Fault;
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::ids::ChannelKey;
use crate::core::message::Occupancy;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

/// Most channels of one listing.
const CHANNELS: usize = 1_000;

pub(super) async fn status(
    request: HttpRequest,
    name: web::Path<String>,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let answer = Answer::of(&request);
    let outcome = async {
        let call = Call::admit(&request, &broker).await?;
        let channel = call.channel(&name)?;
        call.authorize(&channel, Operations::METADATA).await?;
        let counts = broker.occupancy(&channel).await?;
        Ok(details(&name, &counts, Activity::Asked))
    };
    answer.json(200, outcome.await)
}

/// Why a channel counts as active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    /// It was asked about by name, which activates it as publishing does: so the protocol documents.
    Asked,
    /// Somebody is there.
    Occupied,
}

fn details(name: &str, counts: &Occupancy, activity: Activity) -> Value {
    let active = activity == Activity::Asked || counts.subscribers > 0 || counts.members > 0;
    // What each subscriber may and wants is known to its own connection only; all count for all.
    let metrics = json!({
        "connections": counts.subscribers,
        "presenceConnections": counts.members,
        "presenceMembers": counts.members,
        "presenceSubscribers": counts.subscribers,
        "publishers": counts.subscribers,
        "subscribers": counts.subscribers,
    });
    json!({
        "channelId": name,
        "status": { "isActive": active, "occupancy": { "metrics": metrics } },
    })
}

pub(super) async fn list(request: HttpRequest, broker: web::Data<Broker>) -> HttpResponse {
    let answer = Answer::of(&request);
    let outcome = async {
        let call = Call::admit(&request, &broker).await?;
        let app = call.identity.principal.app;
        // A right on a name that only a wildcard can match.
        let any = ChannelKey::channel(app, "*");
        call.authorize(&any, Operations::METADATA).await?;
        let limit = call.value("limit").map_or(Ok(100), str::parse);
        let limit = limit.map_err(|_| Fault::new(40003, 400, "limit is not usable"))?;
        let prefix = call.value("prefix").unwrap_or_default();
        let mut found = broker.occupied(app, prefix, limit.min(CHANNELS)).await?;
        // A pattern may match that one name and still not every other.
        let names = found.iter().map(|(name, _)| name.clone()).collect();
        let seen = call.visible(names, Operations::METADATA).await?;
        found.retain(|(name, _)| seen.contains(name));
        let ids = call.value("by") == Some("id");
        let items = found.iter().map(|(name, counts)| match ids {
            true => json!(&**name),
            false => details(name, counts, Activity::Occupied),
        });
        Ok(Value::Array(items.collect()))
    };
    answer.json(200, outcome.await)
}
