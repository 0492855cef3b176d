//! From a request to a caller that is known, and from an outcome to an answer.

use crate::adapters::ably::auth::{self, Credential, Identity};
use crate::adapters::ably::codes::{self, Fault};
use crate::adapters::ably::format::Format;
use crate::adapters::ably::frame::ChannelName;
use crate::adapters::ably::query::{self, Query};
use crate::adapters::ably::{DIALECT, connect, limits};
use crate::core::authority::{AccessQuery, Operations, Pass, Resource, State};
use crate::core::broker::Broker;
use crate::core::ids::{ChannelKey, Text};
use crate::core::refusals::Rule;
use crate::transport::remote;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a body.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// A verified request.
pub(super) struct Call {
    /// Who asks, by the credential that was shown.
    pub(super) identity: Identity,
    pub(super) query: Query,
    broker: Broker,
}

impl Call {
    /// Verifies a request.
    ///
    /// # Errors
    /// As its credential deserves.
    pub(super) async fn admit(request: &HttpRequest, broker: &Broker) -> Result<Self, Fault> {
        let query = query::parse(request.query_string());
        let credential = query::of_request(request, &query)?;
        Self::with(request, broker, &credential).await
    }

    /// The same with the credential at hand.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub(super) async fn with(
        request: &HttpRequest,
        broker: &Broker,
        credential: &Credential,
    ) -> Result<Self, Fault> {
        let query = query::parse(request.query_string());
        let asks = query::client_id(request, &query)?;
        let authority = &broker.authority;
        let identity = connect::check(credential, asks.as_deref(), authority).await;
        let identity = identity.map_err(|fault| unnamed(fault, credential, &authority.view()))?;
        authority.admit(&identity.principal).await?;
        Ok(Self {
            identity,
            query,
            broker: broker.clone(),
        })
    }

    /// A query parameter.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The channel of that name.
    ///
    /// # Errors
    /// 40010.
    pub(super) fn channel(&self, text: &str) -> Result<Arc<ChannelKey>, Fault> {
        let name = ChannelName::parse(text)?.name;
        Ok(ChannelKey::channel(self.identity.principal.app, &name))
    }

    /// Asks for a right on each of these channels at once; what cannot be named is refused as that.
    ///
    /// # Errors
    /// 50003 while this node may not answer.
    pub(super) async fn authorize_all(
        &self,
        names: &[&str],
        needs: Operations,
    ) -> Result<Vec<Result<Allowed, Fault>>, Fault> {
        let keys: Vec<_> = names.iter().map(|name| self.channel(name)).collect();
        let asks = keys.iter().flatten().map(|key| ask(key, needs));
        let asks: Vec<_> = asks.collect();
        let authority = &self.broker.authority;
        let answers = authority.authorize_all(&self.identity.principal, None, &asks);
        let mut answers = answers.await?.into_iter();
        let allowed = keys.into_iter().map(|key| {
            let channel = key?;
            let answer = answers.next().ok_or_else(codes::no_capability)?;
            let pass = answer.map_err(|reason| Fault::from(&reason))?;
            Ok(Allowed { channel, pass })
        });
        Ok(allowed.collect())
    }

    /// Asks for a right on a channel.
    ///
    /// # Errors
    /// 40160 and others.
    pub(super) async fn authorize(
        &self,
        channel: &ChannelKey,
        needs: Operations,
    ) -> Result<Pass, Fault> {
        let ask = ask(channel, needs);
        let authority = &self.broker.authority;
        Ok(authority
            .authorize(&self.identity.principal, None, ask)
            .await?)
    }

    /// Tells operators of what is refused within an answer that is none as a whole.
    pub(super) fn refused(&self, request: &HttpRequest, channel: &str, fault: &Fault) {
        let who = &self.identity.principal;
        let told = fault.told().app(Some(who.app)).channel(Some(channel));
        let told = told
            .key(who.keys().next().map(|key| &**key))
            .user(who.user.as_deref());
        self.broker.refused(DIALECT, &remote(request), told);
    }

    /// Those of these channels on which it has the right.
    ///
    /// # Errors
    /// When the view could not be confirmed.
    pub(super) async fn visible(
        &self,
        names: Vec<Text>,
        needs: Operations,
    ) -> Result<BTreeSet<Text>, Fault> {
        let what = (Resource::Channel, needs);
        let principal = &self.identity.principal;
        let seen = self.broker.authority.visible(principal, what, names);
        Ok(seen.await?.into_iter().collect())
    }
}

/// A key that its app does not have is told apart from a wrong secret here, as the protocol's own service does.
fn unnamed(fault: Fault, credential: &Credential, state: &State) -> Fault {
    match fault.code {
        40101 if auth::names_nobody(credential, state) => {
            Fault::new(40400, 401, "No such key").because(Rule::UnknownKey)
        }
        _other => fault,
    }
}

/// A channel on which something is allowed.
pub(super) struct Allowed {
    pub(super) channel: Arc<ChannelKey>,
    pub(super) pass: Pass,
}

fn ask(channel: &ChannelKey, needs: Operations) -> AccessQuery<'_> {
    AccessQuery {
        resource: Resource::Channel,
        name: &channel.name,
        needs,
        wants: Operations::NONE,
        speaks_for: None,
    }
}

/// A body of bounded size, in either form.
///
/// # Errors
/// 40009 when it is too large, 40000 when it is not there or of another shape.
pub(super) async fn body<T: serde::de::DeserializeOwned>(
    request: &HttpRequest,
    payload: web::Payload,
    max: u64,
) -> Result<T, Fault> {
    let bytes = bytes(payload, max).await?;
    query::body_format(request).read(&bytes)
}

async fn bytes(payload: web::Payload, max: u64) -> Result<Bytes, Fault> {
    let limit = usize::try_from(max).unwrap_or(usize::MAX);
    let read = tokio::time::timeout(BODY_WITHIN, payload.to_bytes_limited(limit)).await;
    let read = read.map_err(|_| Fault::new(40000, 408, "The body did not arrive in time"))?;
    let read = read
        .map_err(|_| Fault::new(40009, 413, "The body is too large"))
        .map_err(|fault| fault.because(Rule::BodyTooLarge))?;
    read.map_err(|_| Fault::bad("The body could not be read"))
}

/// The largest body of a request of this app.
pub(super) fn max_body(call: &Call) -> u64 {
    let app = call.identity.principal.app;
    let authority = &call.broker.authority;
    authority.limit(app, &limits::MESSAGE_FRAME_BYTES)
}

/// How to answer a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer(pub(super) Format);

impl Answer {
    pub(super) fn of(request: &HttpRequest) -> Self {
        let query = query::parse(request.query_string());
        Self(query::answer_format(request, &query))
    }

    pub(super) fn ok(self, status: u16, body: &impl Serialize) -> HttpResponse {
        self.linked(status, body, &[])
    }

    /// With links to other pages.
    pub(super) fn linked(
        self,
        status: u16,
        body: &impl Serialize,
        links: &[String],
    ) -> HttpResponse {
        let mut response = response(status, self.0);
        for link in links {
            response.append_header(("link", link.as_str()));
        }
        response.body(self.0.write(body))
    }

    pub(super) fn json(self, status: u16, outcome: Result<Value, Fault>) -> HttpResponse {
        match outcome {
            Ok(body) => self.ok(status, &body),
            Err(fault) => failed(&fault, self.0),
        }
    }
}

fn response(status: u16, format: Format) -> actix_web::HttpResponseBuilder {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    for (name, value) in super::CORS {
        response.insert_header(super::header(name, value));
    }
    // Compared as a whole by clients: no charset.
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static(format.media_type())));
    response
}

/// A failed request, in the body and in headers: some clients read only those.
pub(super) fn failed(fault: &Fault, format: Format) -> HttpResponse {
    let mut response = response(fault.status_code, format);
    response.insert_header((
        HeaderName::from_static("x-ably-errorcode"),
        fault.code.to_string(),
    ));
    let plain: String = fault
        .message
        .chars()
        .filter(|letter| letter.is_ascii() && !letter.is_ascii_control())
        .collect();
    response.insert_header((HeaderName::from_static("x-ably-errormessage"), plain));
    let mut response = response.body(format.write(&json!({ "error": told(fault) })));
    response.extensions_mut().insert(fault.told());
    response
}

/// An error inside a body.
pub(super) fn told(fault: &Fault) -> Value {
    json!({
        "code": fault.code,
        "statusCode": fault.status_code,
        "message": fault.message,
        "href": format!("https://help.ably.io/error/{}", fault.code),
    })
}
