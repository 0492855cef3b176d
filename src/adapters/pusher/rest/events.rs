//! `POST /apps/{app}/events`: one event for up to a hundred channels.

use super::admit::Call;
use super::fault::Fault;
use super::info::{Counts, Info};
use super::trigger::{self, Trigger};
use super::{Empty, ok};
use crate::adapters::pusher::channel_name;
use crate::core::authority::{App, Operations, Pass};
use crate::core::broker::Broker;
use crate::core::ids::ChannelKey;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::future;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Serialize)]
struct WithInfo<'a> {
    channels: BTreeMap<&'a str, Counts>,
}

/// One message on its way to one channel, allowed.
#[derive(Debug)]
pub(super) struct Send<'a> {
    trigger: &'a Trigger,
    /// Channel name as it was given.
    pub(super) name: &'a str,
    key: Arc<ChannelKey>,
    pass: Pass,
}

/// Publishes once every channel has been allowed. If a channel's home then fails, others may have got the
/// event already; the status says that it may be tried again.
pub(super) async fn post(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let call = Call::admit(&request, payload, &broker).await?;
    call.check_parameters(&[])?;
    let trigger = trigger::event(&call.body, &call.app)?;
    let sends = allow(&call, &broker, &trigger).await?;
    let published = sends.iter().map(|send| send.publish(&broker, &call.app));
    future::try_join_all(published).await?;
    let Some(info) = trigger.info else {
        return ok(&Empty {});
    };
    let counts = sends.iter().map(|send| send.counts(&broker, info));
    let counts = future::try_join_all(counts).await?;
    let channels = sends.iter().map(|send| send.name).zip(counts).collect();
    ok(&WithInfo { channels })
}

/// Asks for every channel of an event.
pub(super) async fn allow<'a>(
    call: &Call<'_>,
    broker: &Broker,
    trigger: &'a Trigger,
) -> Result<Vec<Send<'a>>, Fault> {
    let mut sends = Vec::with_capacity(trigger.channels.len());
    for name in &trigger.channels {
        let key = channel_name::key(call.app.id, name);
        let pass = call
            .authorize(&broker.authority, &key, Operations::PUBLISH)
            .await?;
        sends.push(Send {
            trigger,
            name,
            key,
            pass,
        });
    }
    Ok(sends)
}

impl Send<'_> {
    /// Hands it to the channel's home.
    pub(super) async fn publish(&self, broker: &Broker, app: &App) -> Result<(), Fault> {
        let draft = self.trigger.draft(self.name, app);
        broker.publish(&self.key, draft, self.pass.clone()).await?;
        Ok(())
    }

    /// What was asked about the channel. Its publisher may know how many it reaches.
    pub(super) async fn counts(&self, broker: &Broker, info: Info) -> Result<Counts, Fault> {
        let occupancy = broker.occupancy(&self.key).await?;
        Ok(info.counts(self.name, occupancy))
    }
}
