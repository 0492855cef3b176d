//! The native API `/v1`: apps, keys, grants, revocations, users, publishing, listings, explain, cluster.
//!
//! Served twice: on the public port for app servers (a key acts inside its app, as far as its capability
//! goes) and on the internal port for operators (the admin token may do everything). One file per resource;
//! each translates a request to one [`crate::core::authority::Command`] or one question to the broker.
//!
//! **Must never know:** other dialects, the cluster crate, peers, channel internals.
//! **What it does not do:** read a command's effect back through another path than the view; keep state.

pub mod app;
pub mod audit;
pub mod audit_check;
pub mod audit_line;
pub mod auth;
mod bearer;
mod block;
pub mod catalog;
pub mod channel;
pub mod cluster;
pub mod codes;
pub mod connection;
pub mod decision_point;
pub mod delivery;
pub mod evaluation;
pub mod events;
pub mod explain;
pub mod grant;
pub mod group;
pub mod hint;
pub mod id_source;
pub mod input;
pub mod key;
pub mod logout;
pub mod meter;
pub mod oauth;
pub mod operation;
pub mod provider;
pub mod publish;
pub mod refusal;
pub mod revoke;
mod shown_key;
pub mod signals;
mod stream;
pub mod text;
pub mod token;
pub mod user;
pub mod write;

#[cfg(test)]
mod tests;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use catalog::Catalog;
use codes::{ApiError, Code};
use meter::Meter;
use std::sync::Arc;

/// Whom a port lets in.
#[derive(Clone)]
pub enum AuthMode {
    /// App servers, with a key (public port).
    Keys,
    /// Operators, with the admin token (internal port).
    Operators {
        /// The admin token.
        token: Arc<str>,
    },
}

impl std::fmt::Debug for AuthMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keys => "Keys",
            Self::Operators { .. } => "Operators(…)",
        })
    }
}

/// What this adapter needs beside the broker. App data of the port.
#[derive(Clone, Debug)]
pub struct Native {
    /// Whom this port lets in.
    pub auth_mode: AuthMode,
    /// What apps can be given.
    pub catalog: Arc<Catalog>,
    /// What is counted.
    pub meter: Meter,
    /// The same on every node of the cluster, and known to no client.
    pub cluster_secret: Arc<str>,
}

/// What a request gets from a node that takes no more clients, where its dialect says nothing else.
#[must_use]
pub fn going_down() -> HttpResponse {
    ApiError::new(Code::Stopping, "this node is draining").error_response()
}

/// Adds `/v1`. Needs `web::Data<Broker>` and `web::Data<Native>` among the app data.
pub fn routes(config: &mut web::ServiceConfig) {
    let scope = web::scope("/v1")
        .app_data(web::PayloadConfig::new(input::MAX_BODY))
        // First what is asked most: the router tries one path after the other.
        .configure(publish::routes)
        .configure(app::routes)
        .configure(key::routes)
        .configure(provider::routes)
        .configure(signals::routes)
        .configure(grant::routes)
        .configure(revoke::routes)
        .configure(user::routes)
        .configure(group::routes)
        .configure(channel::routes)
        .configure(connection::routes)
        .configure(delivery::routes)
        .configure(refusal::routes)
        .configure(audit::routes)
        .configure(explain::routes)
        .configure(cluster::routes)
        .configure(operation::routes)
        .default_service(web::to(|request: HttpRequest| async move {
            unknown(&request, StatusCode::NOT_FOUND)
        }))
        .wrap(from_fn(auth::guard));
    config
        .configure(logout::routes)
        .configure(events::routes)
        .configure(evaluation::routes)
        .configure(decision_point::routes)
        .configure(oauth::routes)
        .service(scope);
}

/// Its paths begin with these: `/x` is that path alone, `/x/` is everything below it.
pub const BEGINNINGS: &[&str] = &[
    "/v1",
    "/v1/",
    "/access/v1/",
    "/oauth/",
    decision_point::PATH,
];

/// The answer to a path or method that nobody knows, here or anywhere. Any page may read it: it says nothing.
#[must_use]
pub fn unknown(_request: &HttpRequest, status: StatusCode) -> HttpResponse {
    let error = match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            ApiError::new(Code::WrongMethod, "this path does not know that method")
        }
        _other => ApiError::new(Code::NoSuchPath, "there is no such path"),
    };
    let mut response = error.error_response();
    let anywhere = HeaderValue::from_static("*");
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, anywhere);
    response
}

/// A resource that answers unknown methods in this API's own words.
fn resource(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(|| async {
        let error = ApiError::new(Code::WrongMethod, "this path does not know that method");
        Err::<actix_web::HttpResponse, _>(error)
    }))
}
