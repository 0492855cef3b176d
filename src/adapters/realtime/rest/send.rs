//! `POST /send`: an app's server sends a message. Checked is the private key; a token beside it says nothing more.

use super::call::{Call, form};
use super::fault::Fault;
use super::form::Form;
use crate::adapters::realtime::{auth, command, encoder, limits};
use crate::core::authority::{AccessQuery, Operations, Resource};
use crate::core::broker::Broker;
use crate::core::ids::ChannelKey;
use crate::core::refusals::Rule;
use actix_web::{HttpResponse, web};

pub(super) async fn post(
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let form = form(payload).await?;
    let sent = sent(&form, &broker).await;
    sent.map_err(|fault| form.of(fault, &broker.authority.view()))
}

async fn sent(form: &Form, broker: &Broker) -> Result<HttpResponse, Fault> {
    let (application, private) = (form.need("AK")?, form.need("PK")?);
    let call = Call::admit(&broker.authority, application, private).await?;
    let (channel, message) = (form.need("C")?, form.need("M")?.as_bytes());
    if !auth::is_channel(channel) || auth::is_announcement(channel) {
        return Err(Fault::bad("Invalid channel name").because(Rule::ChannelName));
    }
    if message.len() as u64 > limits::MESSAGE_BYTES.of(&call.app) {
        let fault = Fault::new(413, "The message is too large");
        return Err(fault.because(Rule::MessageTooLarge));
    }
    // A bare text becomes one whole part at each client.
    let draft = match command::part(message) {
        Some(_) => encoder::draft(message, None),
        None => encoder::whole(message),
    };
    let authority = &broker.authority;
    let state = authority.view();
    let ask = AccessQuery {
        resource: Resource::Channel,
        name: channel,
        needs: Operations::PUBLISH,
        wants: Operations::NONE,
        speaks_for: None,
    };
    let principal = call.principal(&state);
    let pass = authority.authorize(&principal, None, ask).await?;
    let key = ChannelKey::channel(call.app.id, channel);
    broker.publish(&key, draft, pass).await?;
    Ok(HttpResponse::Created()
        .content_type("text/plain")
        .body("Sent"))
}
