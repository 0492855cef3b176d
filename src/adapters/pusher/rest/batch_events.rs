//! `POST /apps/{app}/batch_events`: up to ten events, one channel each.

use super::admit::Call;
use super::events::{self, Send};
use super::fault::Fault;
use super::info::Counts;
use super::trigger;
use super::{Empty, ok};
use crate::core::authority::App;
use crate::core::broker::Broker;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct WithInfo {
    batch: Vec<Counts>,
}

/// Publishes nothing unless every event is good and allowed. Events for the same channel keep their order.
pub(super) async fn post(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let call = Call::admit(&request, payload, &broker).await?;
    call.check_parameters(&[])?;
    let triggers = trigger::batch(&call.body, &call.app)?;
    let mut sends = Vec::with_capacity(triggers.len());
    for trigger in &triggers {
        sends.extend(events::allow(&call, &broker, trigger).await?);
    }
    let mut by_channel: BTreeMap<&str, Vec<&Send<'_>>> = BTreeMap::new();
    for send in &sends {
        by_channel.entry(send.name).or_default().push(send);
    }
    let in_order = by_channel
        .values()
        .map(|sends| in_order(sends, &broker, &call.app));
    future::try_join_all(in_order).await?;
    if triggers.iter().all(|trigger| trigger.info.is_none()) {
        return ok(&Empty {});
    }
    let counts = triggers.iter().zip(&sends).map(|(trigger, send)| async {
        match trigger.info {
            Some(info) => send.counts(&broker, info).await,
            None => Ok(Counts::default()),
        }
    });
    let batch = future::try_join_all(counts).await?;
    ok(&WithInfo { batch })
}

/// Publishes one channel's events, each after the one before it was accepted.
async fn in_order(sends: &[&Send<'_>], broker: &Broker, app: &App) -> Result<(), Fault> {
    for send in sends {
        send.publish(broker, app).await?;
    }
    Ok(())
}
