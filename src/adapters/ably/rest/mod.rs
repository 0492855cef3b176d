//! The REST API: one file per resource.
//!
//! **Must never know:** sockets, how channels are kept. Handlers read, ask the broker and answer.

mod batch;
mod call;
mod channel;
mod history;
mod keys;
mod messages;
mod presence;
#[cfg(test)]
mod right_tests;

use super::codes::Fault;
use crate::core::authority::Operations;
use crate::core::broker::Broker;
use crate::core::ids::ChannelKey;
use crate::core::refusals::Rule;
use actix_web::http::header::HeaderName;
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use call::{Answer, Call, failed};
use serde_json::json;

const CORS: [(&str, &str); 5] = [
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, POST, OPTIONS"),
    (
        "access-control-allow-headers",
        "Authorization, Content-Type, Accept, X-Ably-Version, X-Ably-ClientId, Ably-Agent, X-Ably-Lib",
    ),
    (
        "access-control-expose-headers",
        "Link, X-Ably-ErrorCode, X-Ably-ErrorMessage",
    ),
    ("access-control-max-age", "600"),
];

/// The routes of the dialect's HTTP paths.
pub(super) fn routes(cfg: &mut web::ServiceConfig) {
    let resource = |path: &str| {
        let preflight = web::method(Method::OPTIONS).to(preflight);
        web::resource(path.to_owned())
            .route(preflight)
            .default_service(web::to(wrong_method))
    };
    // An unknown key is said to be one, whatever the method.
    let of_key = |path: &str| resource(path).default_service(web::to(keys::wrong_method));
    cfg.service(resource("/time").route(web::get().to(time)))
        .service(resource("/stats").route(web::get().to(stats)))
        .service(of_key("/keys/{key}/requestToken").route(web::post().to(keys::request_token)))
        .service(of_key("/keys/{key}/revokeTokens").route(web::post().to(keys::revoke)))
        .service(resource("/messages").route(web::post().to(batch::publish)))
        .service(resource("/presence").route(web::get().to(batch::presence)))
        .service(resource("/channels").route(web::get().to(channel::list)))
        .service(
            resource("/channels/{channel}/messages")
                .route(web::post().to(messages::publish))
                .route(web::get().to(history::messages)),
        )
        .service(resource("/channels/{channel}/history").route(web::get().to(history::messages)))
        .service(resource("/channels/{channel}/presence").route(web::get().to(presence::get)))
        .service(
            resource("/channels/{channel}/presence/history")
                .route(web::get().to(history::presence)),
        )
        .service(resource("/channels/{channel}").route(web::get().to(channel::status)))
        .service(web::resource("/channels/{channel}/messages/{tail:.*}").to(unsupported))
        .service(web::resource("/channels/{channel}/object{tail:.*}").to(unsupported))
        .service(web::resource("/push/{tail:.*}").to(unsupported))
        .service(web::resource("/comet/{tail:.*}").to(comet));
}

fn header(name: &'static str, value: &'static str) -> (HeaderName, &'static str) {
    (HeaderName::from_static(name), value)
}

/// Lets a browser ask; its request still needs a credential.
async fn preflight() -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    for (name, value) in CORS {
        response.insert_header(header(name, value));
    }
    response.finish()
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    unknown(&request, StatusCode::METHOD_NOT_ALLOWED)
}

fn not_allowed() -> Fault {
    Fault::new(40500, 405, "Method not allowed")
}

/// A path or method that is none.
pub(super) fn unknown(request: &HttpRequest, status: StatusCode) -> HttpResponse {
    let fault = match status {
        StatusCode::METHOD_NOT_ALLOWED => not_allowed(),
        _other => Fault::new(40400, 404, "Could not find path").because(Rule::NoSuchPath),
    };
    failed(&fault, Answer::of(request).0)
}

/// Changing messages, annotations, objects, push.
async fn unsupported(request: HttpRequest) -> HttpResponse {
    let answer = Answer::of(&request);
    let fault = Fault::bad("Not supported by this server").because(Rule::Unsupported);
    failed(&fault, answer.0)
}

/// Plain, so that a client that gave up on WebSocket keeps trying.
async fn comet() -> HttpResponse {
    HttpResponse::NotFound()
        .content_type("text/plain")
        .body("Not found\n")
}

async fn time(request: HttpRequest, broker: web::Data<Broker>) -> HttpResponse {
    let now = broker.authority.now().cluster_ms;
    Answer::of(&request).ok(200, &[now])
}

/// Usage is not counted here.
async fn stats(request: HttpRequest, broker: web::Data<Broker>) -> HttpResponse {
    let answer = Answer::of(&request);
    let outcome = async {
        let call = Call::admit(&request, &broker).await?;
        let any = ChannelKey::channel(call.identity.principal.app, "*");
        call.authorize(&any, Operations::STATS).await?;
        Ok(json!([]))
    };
    answer.json(200, outcome.await)
}
