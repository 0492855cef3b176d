//! `GET /apps/{app}/channels/{channel}/users`: who is on a presence channel.

use super::admit::Call;
use super::channel;
use super::fault::Fault;
use super::{ok, trigger};
use crate::adapters::pusher::channel_name::{self, Class};
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::message::Member;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use std::collections::BTreeSet;

#[derive(Serialize)]
struct Users<'a> {
    users: Vec<User<'a>>,
}

#[derive(Serialize)]
struct User<'a> {
    id: &'a str,
}

/// Lists the users.
pub(super) async fn get(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let call = Call::admit(&request, payload, &broker).await?;
    call.check_parameters(&[])?;
    let name = channel::name(&request)?;
    trigger::check_channel(&name, &call.app)?;
    if channel_name::class(&name) != Class::Presence {
        return Err(Fault::bad(
            "Users can only be retrieved for presence channels",
        ));
    }
    let key = channel_name::key(call.app.id, &name);
    call.authorize(&broker.authority, &key, Operations::PRESENCE_READ)
        .await?;
    let members = broker.members(&key).await?;
    ok(&users(&members))
}

/// Every user once, in order of entry.
fn users(members: &[Member]) -> Users<'_> {
    let mut seen = BTreeSet::new();
    let users = members
        .iter()
        .map(|member| &*member.client)
        .filter(|id| seen.insert(*id))
        .map(|id| User { id })
        .collect();
    Users { users }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::pusher::frame::server::tests::member;

    #[test]
    fn users_are_listed_once() {
        let members = [member("u1", ""), member("u2", "{}"), member("u1", "")];
        let json = serde_json::to_string(&users(&members)).unwrap();
        assert_eq!(json, "{\"users\":[{\"id\":\"u1\"},{\"id\":\"u2\"}]}");
        assert_eq!(
            serde_json::to_string(&users(&[])).unwrap(),
            "{\"users\":[]}"
        );
    }
}
