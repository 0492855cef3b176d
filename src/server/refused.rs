//! Every answer of HTTP that refuses something, on its way out: told to operators, whoever refused it.
//!
//! **Must never know:** any dialect by name. What was broken comes with the answer, where its dialect makes answers of
//! errors; what the request names is read by its dialect, of refused ones only.

use super::paths::Owner;
use crate::adapters::dialect::Named;
use crate::adapters::native;
use crate::console::http::ThreadCounts;
use crate::core::broker::Broker;
use crate::core::refusals::{Rule, Told};
use crate::transport::remote;
use actix_web::dev::ServiceResponse;
use actix_web::{HttpMessage as _, web};

/// What our own API is called beside the dialects.
pub(super) const OWN: &str = "v1";

/// To be done with every answer: it is counted, and told of if it refuses something. Nothing more is looked at of one that
/// does not.
pub(super) fn told<B>(response: ServiceResponse<B>, counts: &ThreadCounts) -> ServiceResponse<B> {
    let owner = response.request().extensions().get::<Owner>().copied();
    let name = match owner {
        Some(Owner::Dialect(dialect)) => dialect.name(),
        Some(Owner::Native | Owner::Nobody) | None => OWN,
    };
    let method = response.request().method().as_str();
    counts.answered(name, method, response.status().as_u16());
    let told = response.response().extensions().get::<Told>().cloned();
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    if told.is_none() && !refused {
        return response;
    }
    let request = response.request();
    let Some(broker) = request.app_data::<web::Data<Broker>>() else {
        return response;
    };
    let code = status.as_u16();
    let told = told.unwrap_or_else(|| Told::new(Rule::of_status(code), code));
    let named = match owner {
        Some(Owner::Dialect(dialect)) => dialect.named(&broker.authority.view(), request),
        Some(Owner::Native | Owner::Nobody) | None => native::auth::named(request),
    };
    broker.refused(name, &remote(request), with(told, &named));
    response
}

fn with(told: Told, named: &Named) -> Told {
    told.app(named.app)
        .key(named.key.as_deref())
        .channel(named.channel.as_deref())
        .user(named.user.as_deref())
}
