//! The HTTP API: one file per resource.
//!
//! **Must never know:** sockets, how channels are kept. Checks are pure functions over the request's parts; the
//! handlers only read the body, ask the broker and answer.

mod admit;
mod batch_events;
mod channel;
mod channels;
mod events;
mod fault;
mod info;
mod signature;
mod terminate;
#[cfg(test)]
mod tests;
mod trigger;
mod users;

use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, HeaderName};
use actix_web::{HttpResponse, ResponseError as _, web};
use serde::Serialize;

/// Every answer may be read by a page of any origin: what protects it is the signature, not the page.
const ANYWHERE: (HeaderName, &str) = (actix_web::http::header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
const ALLOWED: [(HeaderName, &str); 4] = [
    ANYWHERE,
    (
        actix_web::http::header::ACCESS_CONTROL_ALLOW_METHODS,
        "GET, POST, OPTIONS",
    ),
    (
        actix_web::http::header::ACCESS_CONTROL_ALLOW_HEADERS,
        "Content-Type, X-Requested-With, X-Pusher-Library",
    ),
    (actix_web::http::header::ACCESS_CONTROL_MAX_AGE, "600"),
];

/// Routes below `/apps/{app}`, and the one that the Python library asks for without that prefix. `place` stands
/// in front of all of them.
pub(super) fn routes(cfg: &mut web::ServiceConfig, place: &str) {
    let preflight = || web::method(actix_web::http::Method::OPTIONS).to(preflight);
    let resource = |path: &str| web::resource(format!("{place}{path}")).route(preflight());
    cfg.service(resource("/apps/{app}/events").route(web::post().to(events::post)))
        .service(resource("/apps/{app}/batch_events").route(web::post().to(batch_events::post)))
        .service(resource("/apps/{app}/channels").route(web::get().to(channels::get)))
        .service(resource("/apps/{app}/channels/{channel}").route(web::get().to(channel::get)))
        .service(resource("/apps/{app}/channels/{channel}/users").route(web::get().to(users::get)))
        .service(
            resource("/apps/{app}/users/{user}/terminate_connections")
                .route(web::post().to(terminate::post)),
        )
        .service(
            resource("/users/{user}/terminate_connections").route(web::post().to(terminate::post)),
        );
}

/// A path or method that is none.
pub(super) fn unknown(status: StatusCode) -> HttpResponse {
    let text = match status {
        StatusCode::METHOD_NOT_ALLOWED => "This path does not know that method",
        _other => "There is no such path",
    };
    fault::Fault::new(status.as_u16(), text).error_response()
}

/// Lets a browser ask; its request still needs a signature.
async fn preflight() -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    for header in ALLOWED {
        response.insert_header(header);
    }
    response.finish()
}

/// 200 with a JSON body.
fn ok(body: &impl Serialize) -> Result<HttpResponse, fault::Fault> {
    let body =
        serde_json::to_vec(body).map_err(|error| fault::Fault::new(500, error.to_string()))?;
    Ok(HttpResponse::Ok()
        .content_type(ContentType::json())
        .insert_header(ANYWHERE)
        .body(body))
}

/// The empty object, `{}`.
#[derive(Serialize)]
struct Empty {}
