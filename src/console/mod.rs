//! The internal port's own paths: is the process alive, may it be sent traffic, and its metrics.
//!
//! `/health` says that the process answers. `/ready` says that this node's view is proven fresh, that it is a member
//! that carries channels, and that those are copied; anything else is 503 with the reasons, so that a balancer can act
//! on it and a person can read it. `/up`, on the public port too, is `/ready` without its reasons. The operator's API is
//! `adapters::native`, served beside this.
//!
//! **Must never know:** dialects, connections' contents.
//! **Why not on the public port:** what a node knows about itself is a map for whoever attacks it.

mod format;
pub mod http;
pub mod metrics;
mod page;
mod process;
pub mod readiness;
mod traffic;

use crate::core::broker::Broker;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use metrics::Metrics;
use readiness::Life;
use serde_json::json;

/// Adds the paths. Needs `web::Data` of [`Broker`], [`Life`] and [`Metrics`].
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/health", web::get().to(health))
        .route("/up", web::get().to(up))
        .route("/ready", web::get().to(ready))
        .route("/metrics", web::get().to(show));
}

/// Adds the one path of this room that the public port has as well. Needs `web::Data` of [`Broker`] and [`Life`].
pub fn public_routes(config: &mut web::ServiceConfig) {
    config.route("/up", web::get().to(up));
}

/// Whether a balancer may send clients here; not why.
async fn up(broker: web::Data<Broker>, life: web::Data<Life>) -> HttpResponse {
    match readiness::reasons(&broker.authority, &life, broker.channels.copied()).is_empty() {
        true => HttpResponse::Ok().json(json!({ "status": "up" })),
        false => HttpResponse::ServiceUnavailable()
            .insert_header(("Retry-After", "1"))
            .json(json!({ "status": "unavailable" })),
    }
}

async fn health() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "alive" }))
}

async fn ready(broker: web::Data<Broker>, life: web::Data<Life>) -> HttpResponse {
    let node = broker.authority.node();
    let reasons = readiness::reasons(&broker.authority, &life, broker.channels.copied());
    match reasons.is_empty() {
        true => HttpResponse::Ok().json(json!({ "status": "ready", "node": node.0 })),
        false => HttpResponse::ServiceUnavailable()
            .insert_header(("Retry-After", "1"))
            .json(json!({ "status": "not ready", "node": node.0, "reasons": reasons })),
    }
}

async fn show(
    request: HttpRequest,
    broker: web::Data<Broker>,
    metrics: web::Data<Metrics>,
) -> HttpResponse {
    let Ok(report) = broker.traffic().await else {
        return HttpResponse::ServiceUnavailable().finish();
    };
    let Ok(text) = metrics.text(&broker, &report) else {
        return HttpResponse::InternalServerError().finish();
    };
    let accepted = request.headers().get(header::ACCEPT);
    let accepted = accepted.and_then(|value| value.to_str().ok()).unwrap_or("");
    match accepted.contains("application/openmetrics-text") {
        true => HttpResponse::Ok().content_type(format::OPEN).body(text),
        false => HttpResponse::Ok()
            .content_type(format::CLASSIC)
            .body(format::classic(&text)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::authority::{Authority, State};
    use crate::core::channel::registry::Channels;
    use crate::core::delivery::encoding::Encodings;
    use actix_web::App;
    use actix_web::test::{TestRequest, call_service, init_service, read_body};
    use std::sync::Arc;

    async fn get(path: &str, life: Life) -> (u16, String) {
        get_as(path, "*/*", life).await
    }

    async fn get_as(path: &str, accept: &str, life: Life) -> (u16, String) {
        let broker = Broker::new(
            Arc::new(Authority::fixed(State::default(), 1)),
            Channels::new(Arc::new(Encodings::default()), &[]),
        );
        let app = App::new()
            .app_data(web::Data::new(broker))
            .app_data(web::Data::new(life))
            .app_data(web::Data::new(Metrics::new(
                http::HttpCounts::new(vec!["v1"]),
                |_registry| {},
            )))
            .configure(routes);
        let service = init_service(app).await;
        let request = TestRequest::get()
            .uri(path)
            .insert_header((header::ACCEPT, accept))
            .to_request();
        let response = call_service(&service, request).await;
        let status = response.status().as_u16();
        let body = read_body(response).await;
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[actix_web::test]
    async fn a_node_is_alive_before_it_is_ready_and_says_why_not() {
        let life = Life::default();
        assert_eq!(get("/health", life.clone()).await.0, 200);
        let (status, body) = get("/ready", life.clone()).await;
        assert!(status == 503 && body.contains("starting"), "{body}");
        assert_eq!(get("/up", life.clone()).await.0, 503);
        life.open();
        assert_eq!(get("/ready", life.clone()).await.0, 200);
        assert_eq!(get("/up", life.clone()).await.0, 200);
        life.drain();
        let (status, body) = get("/ready", life.clone()).await;
        assert!(status == 503 && body.contains("draining"), "{body}");
        let (status, body) = get("/up", life).await;
        assert!(status == 503 && !body.contains("draining"), "{body}");
    }

    #[actix_web::test]
    async fn metrics_are_openmetrics_text_for_who_asks_and_the_older_form_for_others() {
        let open = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        let (status, body) = get_as("/metrics", open, Life::default()).await;
        assert_eq!(status, 200);
        assert!(
            body.contains("gatecast_view_fresh 1") && body.ends_with("# EOF\n"),
            "{body}"
        );
        assert!(
            body.contains("# TYPE process_cpu_seconds counter"),
            "{body}"
        );
        let (_, body) = get("/metrics", Life::default()).await;
        assert!(
            body.contains("# TYPE process_cpu_seconds_total counter") && !body.contains("# EOF"),
            "{body}"
        );
    }
}
