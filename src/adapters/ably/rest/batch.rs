//! `POST /messages` and `GET /presence`: several channels in one request, each with its own outcome.

use super::call::{Answer, Call, body, failed, told};
use super::messages::{self, OneOrMany};
use super::presence::set;
use crate::adapters::ably::codes::Fault;
use crate::adapters::ably::message::Message;
use crate::adapters::ably::query;
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

const MAX_BODY: u64 = 2 << 20;
const CHANNELS: usize = 100;

#[derive(Deserialize)]
struct Spec {
    channels: OneOrMany<String>,
    messages: OneOrMany<Message>,
}

pub(super) async fn publish(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
) -> HttpResponse {
    let answer = Answer::of(&request);
    match published(&request, payload, &broker).await {
        Ok(body) => answer.ok(201, &body),
        Err(fault) => failed(&fault, answer.0),
    }
}

async fn published(
    request: &HttpRequest,
    payload: web::Payload,
    broker: &Broker,
) -> Result<Value, Fault> {
    let call = Call::admit(request, broker).await?;
    let specs: OneOrMany<Spec> = body(request, payload, MAX_BODY).await?;
    let several = matches!(specs, OneOrMany::Many(_));
    let old = query::version(request, &call.query).is_some_and(|version| version < 3);
    let mut answers = Vec::new();
    let all = specs.all().into_iter();
    let specs: Vec<_> = all
        .map(|spec| (spec.channels.all(), spec.messages.all()))
        .collect();
    for (channels, _) in &specs {
        check(channels.len())?;
    }
    let names = specs.iter().flat_map(|(channels, _)| channels);
    let names: Vec<&str> = names.map(String::as_str).collect();
    // All names of all parts at once: a node that may be behind catches up once for them.
    let mut allowed = (call.authorize_all(&names, Operations::PUBLISH).await?).into_iter();
    for (channels, messages) in &specs {
        let mut results = Vec::with_capacity(channels.len());
        for (channel, allowed) in channels.iter().zip(allowed.by_ref()) {
            let outcome = match allowed {
                Ok(allowed) => messages::send(&call, (channel, allowed), messages, broker).await,
                Err(fault) => Err(fault),
            };
            results.push(result((&call, request), channel, outcome));
        }
        answers.push(results);
    }
    if old {
        return Ok(Value::Array(answers.into_iter().flatten().collect()));
    }
    let mut counted: Vec<Value> = answers.into_iter().map(counted).collect();
    match (several, counted.len()) {
        (false, 1) => Ok(counted.remove(0)),
        (true | false, _) => Ok(Value::Array(counted)),
    }
}

fn check(channels: usize) -> Result<(), Fault> {
    match (1..=CHANNELS).contains(&channels) {
        true => Ok(()),
        false => Err(Fault::bad("1 to 100 channels")),
    }
}

fn result(
    (call, request): (&Call, &HttpRequest),
    channel: &str,
    outcome: Result<Value, Fault>,
) -> Value {
    match outcome {
        Ok(body) => body,
        Err(fault) => {
            call.refused(request, channel, &fault);
            json!({ "channel": channel, "error": told(&fault) })
        }
    }
}

fn counted(results: Vec<Value>) -> Value {
    let bad = results
        .iter()
        .filter(|one| one.get("error").is_some())
        .count();
    json!({
        "successCount": results.len() - bad,
        "failureCount": bad,
        "results": results,
    })
}

pub(super) async fn presence(request: HttpRequest, broker: web::Data<Broker>) -> HttpResponse {
    let answer = Answer::of(&request);
    let outcome = async {
        let call = Call::admit(&request, &broker).await?;
        let names = call.value("channels").unwrap_or_default().to_owned();
        let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
        check(names.len())?;
        let allowed = call.authorize_all(&names, Operations::PRESENCE_READ);
        let mut results = Vec::with_capacity(names.len());
        for (name, allowed) in names.iter().zip(allowed.await?) {
            let members = match allowed {
                Ok(allowed) => set(&allowed.channel, &broker, answer.0).await,
                Err(fault) => Err(fault),
            };
            let body = members.map(|members| json!({ "channel": name, "presence": members }));
            results.push(result((&call, &request), name, body));
        }
        Ok(counted(results))
    };
    answer.json(200, outcome.await)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::ably::fixture::{self, KEY, NAME, SECRET};
    use crate::core::authority::{Authority, Capability};
    use crate::core::channel::registry::Channels;
    use actix_web::App;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use std::sync::Arc;

    #[actix_web::test]
    async fn a_batch_of_refused_channels_costs_one_round() {
        let mut state = fixture::state();
        let key = Arc::make_mut(state.keys.get_mut(KEY).unwrap());
        key.capability = Capability::channel("own", Operations::PUBLISH);
        let authority = Authority::fixed(state, 1_700_000_000_000);
        let broker = Broker::new(Arc::new(authority), Channels::new(Arc::default(), &[]));
        let app = App::new()
            .app_data(web::Data::new(broker.clone()))
            .route("/messages", web::post().to(publish))
            .route("/presence", web::get().to(presence));
        let app = init_service(app).await;
        let names: Vec<_> = (0..20).map(|n| format!("room-{n}")).collect();
        let body = json!([
            {"channels": names, "messages": {"data": "x"}},
            {"channels": names, "messages": {"data": "y"}},
        ]);
        let key = format!("Basic {}", STANDARD.encode(format!("{NAME}:{SECRET}")));
        let publish = TestRequest::post().uri("/messages").set_json(body);
        let look = TestRequest::get().uri(&format!("/presence?channels={}", names.join(",")));
        for (rounds, request) in [(1, publish), (2, look)] {
            let request = request.insert_header(("authorization", key.as_str()));
            let response = call_service(&app, request.to_request()).await;
            let body: Value = read_body_json(response).await;
            let first = body.get(0).unwrap_or(&body);
            assert_eq!(first.get("failureCount"), Some(&json!(20)), "{body}");
            assert_eq!(broker.authority.rounds(), rounds);
        }
        let told = broker.refusals.counted();
        let told: u64 = told.iter().map(|(_, count)| count).sum();
        assert_eq!(told, 60, "operators are told of each");
    }
}
