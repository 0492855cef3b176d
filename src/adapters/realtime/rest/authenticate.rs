//! `POST /authenticate`: an app's server says what a token may do. Each call replaces what was said before.
//!
//! What a connection took when it was made is its own; a token's new rights are for its next connection, at any node.

use super::call::{Call, form};
use super::fault::Fault;
use super::form::Form;
use crate::adapters::realtime::{auth, limits};
use crate::core::authority::{
    BarrierMode, Command, GrantEntry, GrantMode, Operations, Pattern, RequestId, Resource, Subject,
};
use crate::core::broker::Broker;
use crate::core::refusals::Rule;
use actix_web::{HttpResponse, web};
use std::collections::BTreeMap;

/// Fields that are no channels. `PVT`, the private flag, means nothing and is not read: one SDK's own sample puts a
/// time into it.
const FIELDS: [&str; 6] = ["AK", "PK", "AT", "TTL", "TP", "PVT"];

pub(super) async fn post(
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    let form = form(payload).await?;
    let done = authenticated(&form, &broker).await;
    done.map_err(|fault| form.of(fault, &broker.authority.view()))
}

async fn authenticated(form: &Form, broker: &Broker) -> Result<HttpResponse, Fault> {
    let (application, private) = (form.need("AK")?, form.need("PK")?);
    let call = Call::admit(&broker.authority, application, private).await?;
    let command = Command::SetGrants {
        app: call.app.id,
        issuer: call.issuer(),
        subject: Subject::Token(token(form)?.into()),
        // The guide promises a connection what its token could do when it connected.
        mode: GrantMode::Renew,
        entries: entries(form)?,
    };
    let request = RequestId(rand::random());
    let authority = &broker.authority;
    authority.write(request, command, BarrierMode::All).await?;
    Ok(HttpResponse::Created()
        .content_type("text/plain")
        .body("Authenticated"))
}

fn token(form: &Form) -> Result<&str, Fault> {
    let token = form.need("AT")?;
    match auth::is_token(token) {
        true => Ok(token),
        false => Err(Fault::bad(
            "AT is not a token: letters, digits and _-:/. only",
        )),
    }
}

#[allow(clippy::mutable_key_type)] // A pattern is ordered by its text; what is compiled beside it does not count.
fn entries(form: &Form) -> Result<Vec<GrantEntry>, Fault> {
    let ttl_s: u64 = form
        .need("TTL")?
        .parse()
        .map_err(|_| Fault::bad("TTL is not a number of seconds"))?;
    if ttl_s == 0 {
        return Err(Fault::bad("TTL must be at least one second"));
    }
    let mut rights: BTreeMap<Pattern, Operations> = BTreeMap::new();
    for (channel, letters) in &form.0 {
        if FIELDS.contains(&channel.as_str()) {
            continue;
        }
        let pattern = auth::pattern(channel)
            .ok_or_else(|| Fault::bad(format!("Invalid channel name: {channel}")))
            .map_err(|fault| fault.because(Rule::ChannelName))?;
        let operations = auth::operations(letters)
            .ok_or_else(|| Fault::bad(format!("Invalid permission of {channel}: {letters}")))?;
        let entry = rights.entry(pattern).or_default();
        *entry = *entry | operations;
    }
    if rights.len() > limits::ENTRIES_PER_TOKEN {
        return Err(Fault::bad(format!(
            "A token has at most {} channels",
            limits::ENTRIES_PER_TOKEN
        )));
    }
    let entry = |(pattern, operations)| GrantEntry {
        resource: Resource::Channel,
        pattern,
        operations,
        ttl_ms: Some(ttl_s.saturating_mul(1_000)),
    };
    Ok(rights.into_iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(body: &str) -> Result<Vec<GrantEntry>, Fault> {
        entries(&Form::read(body.as_bytes()).unwrap())
    }

    #[test]
    fn every_clients_order_gives_the_same_rights() {
        let npm = "AT=t1&PVT=0&AK=sec&TTL=1400&PK=pksec&TP=6&rd=r&wr=w&main%3A*=w&main%3Ax=r&p=p";
        let java = "AT=t1&AK=sec&PK=pksec&TTL=1400&TP=2&PVT=1&rd=r&wr=w&main:*=w&main:x=r&p=p";
        let found = read(npm).unwrap();
        assert_eq!(found, read(java).unwrap());
        let of = |text: &str| {
            let pattern = auth::pattern(text).unwrap();
            let found = found.iter().find(|entry| entry.pattern == pattern);
            found.map(|entry| entry.operations)
        };
        assert_eq!(of("rd"), Some(Operations::SUBSCRIBE));
        let both = Operations::SUBSCRIBE | Operations::PUBLISH;
        assert_eq!((of("wr"), of("main:*")), (Some(both), Some(both)));
        assert_eq!(of("p"), Some(Operations::PRESENCE_READ));
        assert!(found.iter().all(|entry| entry.ttl_ms == Some(1_400_000)));
    }

    #[test]
    fn the_private_flag_may_be_anything() {
        let plain = read("TTL=1800&c=w").unwrap();
        for flag in ["", "0", "1", "true", "180000", "-1", "x%20y"] {
            assert_eq!(read(&format!("TTL=1800&PVT={flag}&c=w")).unwrap(), plain);
        }
    }

    #[test]
    fn a_hundred_entries_and_no_more() {
        let of = |count: usize| {
            let channels: String = (0..count).map(|n| format!("&c{n}=r")).collect();
            read(&format!("TTL=1{channels}"))
        };
        assert_eq!(of(100).unwrap().len(), 100);
        assert_eq!(
            of(101).unwrap_err().text,
            "A token has at most 100 channels"
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in [
            "",
            "TTL=x",
            "TTL=0",
            "TTL=1&c=x",
            "TTL=1&c=",
            "TTL=1&a b=r",
            "TTL=1&*=r",
            "TTL=1&a*=r",
            "TTL=1&:*=r",
        ] {
            assert_eq!(read(bad).map_err(|fault| fault.status), Err(400), "{bad}");
        }
    }

    #[actix_web::test]
    async fn what_is_replaced_is_fenced_and_pending_is_no_success() {
        use crate::adapters::realtime::fixture::{APPLICATION, PRIVATE, granted};
        use crate::core::authority::Authority;
        use crate::core::channel::registry::Channels;
        use actix_web::test::{TestRequest, call_service, init_service};
        let authenticated = async |rights: &[(&str, Operations)], pending: &[u64]| {
            let authority = Authority::fixed(granted(true, rights), 1_000);
            authority.take_writes(pending);
            let channels = Channels::new(std::sync::Arc::default(), &[]);
            let broker = Broker::new(std::sync::Arc::new(authority), channels);
            let app = actix_web::App::new()
                .app_data(web::Data::new(broker.clone()))
                .route("/authenticate", web::post().to(post));
            let app = init_service(app).await;
            let body = format!("AK={APPLICATION}&PK={PRIVATE}&AT=tok&PVT=0&TTL=60&room=r");
            let request = TestRequest::post().uri("/authenticate").set_payload(body);
            let response = call_service(&app, request.to_request()).await;
            (response.status().as_u16(), broker.authority.fences())
        };
        let held = [("other", Operations::SUBSCRIBE)];
        assert_eq!(authenticated(&[], &[]).await, (201, 0));
        assert_eq!(authenticated(&held, &[]).await, (201, 1));
        assert_eq!(authenticated(&held, &[2]).await, (503, 1));
    }
}
