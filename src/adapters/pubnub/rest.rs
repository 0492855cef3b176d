//! Which call a request is, and its way to whoever carries it out.
//!
//! **Why the path is taken apart here:** a router hands its parameters over partly decoded, and a `%2F` in a name must
//! not become a segment.

use super::admit::{self, Caller, Ctx};
use super::codes::{Fault, answer};
use super::publish::{self, Publication};
use super::query::Query;
use super::subscribe::{self, Version};
use super::{PubNub, body, grant, groups, history, pam, presence, query};
use crate::adapters::dialect::Named;
use crate::core::authority::State;
use crate::core::broker::Broker;
use crate::transport::longpoll;
use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use bytes::Bytes;

/// What is asked for. Segments are still escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call<'a> {
    Publish(Publication<'a>),
    Subscribe(&'a str, Version),
    Heartbeat(&'a str),
    Leave(&'a str),
    HereNow(Option<&'a str>),
    WhereNow(&'a str),
    State(&'a str, &'a str),
    SetState(&'a str, &'a str),
    Groups,
    Group(&'a str, bool),
    Grant,
    Audit,
    GrantToken,
    RevokeToken(&'a str),
    Fetch(&'a str),
    FetchOld(&'a str),
    Counts(&'a str),
    DeleteMessages(&'a str),
}

/// The subscribe key and the call.
fn call<'a>(method: &str, path: &'a str) -> Option<(&'a str, Call<'a>)> {
    let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let found = match (method, segments.as_slice()) {
        (
            "GET" | "POST",
            [
                kind @ ("publish" | "signal"),
                publish_key,
                sub,
                _,
                channel,
                _,
                rest @ ..,
            ],
        ) => {
            let message = match (method, rest) {
                ("GET", [message]) => Some(*message),
                ("POST", []) => None,
                _ => return None,
            };
            let publication = Publication {
                publish_key,
                channel,
                message,
                signal: *kind == "signal",
            };
            (*sub, Call::Publish(publication))
        }
        ("GET", ["v2", "subscribe", sub, channels, _]) => {
            (*sub, Call::Subscribe(channels, Version::Two))
        }
        ("GET", ["subscribe", sub, channels, _, timetoken]) => {
            let version = Version::One(timetoken.parse().ok()?);
            (*sub, Call::Subscribe(channels, version))
        }
        ("GET", ["v2", "presence", "sub-key" | "sub_key", sub, rest @ ..]) => {
            (*sub, presence_call(rest)?)
        }
        ("GET", ["v1", "channel-registration", "sub-key", sub, rest @ ..]) => {
            let call = match rest {
                ["channel-group"] => Call::Groups,
                ["channel-group", group] => Call::Group(group, false),
                ["channel-group", group, "remove"] => Call::Group(group, true),
                _ => return None,
            };
            (*sub, call)
        }
        ("GET", ["v1" | "v2", "auth", "grant", "sub-key", sub]) => (*sub, Call::Grant),
        ("GET", ["v1" | "v2", "auth", "audit", "sub-key", sub]) => (*sub, Call::Audit),
        ("POST", ["v3", "pam", sub, "grant"]) => (*sub, Call::GrantToken),
        ("DELETE", ["v3", "pam", sub, "grant", token]) => (*sub, Call::RevokeToken(token)),
        (
            _,
            [
                version @ ("v2" | "v3"),
                "history" | "history-with-actions",
                "sub-key",
                sub,
                rest @ ..,
            ],
        ) => (*sub, history_call(method, version, rest)?),
        _ => return None,
    };
    Some(found)
}

/// What a refused request names of itself. Its auth key or token is left out, wherever it stands.
pub(super) fn named(state: &State, request: &HttpRequest) -> Named {
    let user =
        Query::parse(request.query_string()).and_then(|query| query.get("uuid").map(str::to_owned));
    let Some((key, call)) = call(request.method().as_str(), request.path()) else {
        return Named {
            user,
            ..Named::default()
        };
    };
    let alias = (super::SUBSCRIBE_KEY.kind.into(), key.into());
    let channel = match call {
        Call::Publish(given) => Some(given.channel),
        Call::Subscribe(channels, _)
        | Call::Heartbeat(channels)
        | Call::Leave(channels)
        | Call::State(channels, _)
        | Call::SetState(channels, _)
        | Call::Fetch(channels)
        | Call::FetchOld(channels)
        | Call::Counts(channels)
        | Call::DeleteMessages(channels) => Some(channels),
        Call::HereNow(channels) => channels,
        Call::WhereNow(_)
        | Call::Groups
        | Call::Group(..)
        | Call::Grant
        | Call::Audit
        | Call::GrantToken
        | Call::RevokeToken(_) => None,
    };
    Named {
        app: state.aliases.get(&alias).copied(),
        key: None,
        channel: channel.and_then(query::decode),
        user,
    }
}

fn history_call<'a>(method: &str, version: &str, segments: &[&'a str]) -> Option<Call<'a>> {
    Some(match (method, version, segments) {
        ("GET", "v2", ["channel", channel]) => Call::FetchOld(channel),
        ("GET", "v3", ["channel", channels]) => Call::Fetch(channels),
        ("GET", "v3", ["message-counts", channels]) => Call::Counts(channels),
        ("DELETE", "v3", ["channel", channel]) => Call::DeleteMessages(channel),
        _ => return None,
    })
}

fn presence_call<'a>(segments: &[&'a str]) -> Option<Call<'a>> {
    Some(match segments {
        [] => Call::HereNow(None),
        ["channel", channels] => Call::HereNow(Some(channels)),
        ["channel", channels, "leave"] => Call::Leave(channels),
        ["channel", channels, "heartbeat"] => Call::Heartbeat(channels),
        ["channel", channels, "uuid", uuid] => Call::State(channels, uuid),
        ["channel", channels, "uuid", uuid, "data"] => Call::SetState(channels, uuid),
        ["uuid", uuid] => Call::WhereNow(uuid),
        _ => return None,
    })
}

/// `/time/0`: always up, asks for nothing.
async fn time(broker: web::Data<Broker>) -> HttpResponse {
    let now = broker.authority.now().cluster_ms.saturating_mul(10_000);
    answer(200, format!("[{now}]"))
}

/// How a request is refused that this node cannot serve now. A subscribe is left without an answer: that is what all
/// SDKs come back from, with the cursor they have. At any status but 200 the older JavaScript SDKs stop for good.
pub(super) async fn unserved(http: HttpRequest) -> HttpResponse {
    let found = call(http.method().as_str(), http.uri().path());
    if matches!(found, Some((_, Call::Subscribe(..)))) {
        longpoll::hang_up(&http).await;
    }
    Fault::unavailable().error_response()
}

/// Every other call.
async fn any(
    http: HttpRequest,
    payload: web::Payload,
    node: web::Data<PubNub>,
    broker: web::Data<Broker>,
) -> Result<HttpResponse, Fault> {
    if *http.method() == Method::OPTIONS {
        return Ok(answer(200, ""));
    }
    let method = http.method().as_str();
    let path = http.uri().path().to_owned();
    let (subscribe_key, call) = call(method, &path).ok_or_else(Fault::unknown)?;
    let waits = matches!(call, Call::Subscribe(..));
    let answer = answer_to(&http, payload, (node, broker), (&path, subscribe_key, call)).await;
    if waits && answer.as_ref().is_err_and(Fault::is_unavailable) {
        longpoll::hang_up(&http).await;
    }
    answer
}

async fn answer_to(
    http: &HttpRequest,
    payload: web::Payload,
    (node, broker): (web::Data<PubNub>, web::Data<Broker>),
    (path, subscribe_key, call): (&str, &str, Call<'_>),
) -> Result<HttpResponse, Fault> {
    let method = http.method().as_str();
    let query = Query::parse(http.query_string()).ok_or_else(|| Fault::bad("Invalid query"))?;
    let body = match method {
        "POST" => {
            let packed = body::read(payload)
                .await
                .and_then(|body| body::unpacked(&body));
            packed.map_err(|why| match why {
                body::NoBody::TooLarge => Fault::too_large(),
                body::NoBody::Broken => Fault::bad("Invalid body"),
            })?
        }
        _ => Bytes::new(),
    };
    let ctx = Ctx {
        method,
        path,
        query: &query,
        body,
    };
    let key = query::decode(subscribe_key).ok_or_else(super::codes::no_keyset)?;
    let asked = async {
        let caller = admit::admit(&broker.authority, &node.tokens, &key, &ctx).await;
        caller.map_err(|fault| in_its_form(fault, &call))
    };
    let caller = Box::pin(asked).await?;
    // A subscribe waits for minutes: what it keeps meanwhile is what it needs then, not what any call may need.
    if let Call::Subscribe(channels, version) = call {
        let what = (channels, version);
        let begun = subscribe::begin(http, node, broker, caller, &ctx, what);
        let begun = Box::pin(begun).await?;
        return Box::pin(begun.answer()).await;
    }
    Box::pin(carry_out(&node, &broker, &caller, call, &ctx)).await
}

async fn carry_out(
    node: &web::Data<PubNub>,
    broker: &web::Data<Broker>,
    caller: &Caller,
    call: Call<'_>,
    ctx: &Ctx<'_>,
) -> Result<HttpResponse, Fault> {
    let authority = &broker.authority;
    let presence = presence::Call {
        node,
        broker,
        caller,
        ctx,
    };
    let history = history::Call {
        broker,
        caller,
        ctx,
    };
    match call {
        Call::Publish(given) => publish::publish(node, broker, caller, ctx, given).await,
        // Begun before, since it waits.
        Call::Subscribe(..) => Err(Fault::unavailable()),
        Call::Heartbeat(channels) => presence.heartbeat(channels).await,
        Call::Leave(channels) => presence.leave(channels).await,
        Call::HereNow(channels) => presence.here_now(channels).await,
        Call::WhereNow(uuid) => presence.where_now(uuid).await,
        Call::State(channels, uuid) => presence.state(channels, uuid).await,
        Call::SetState(channels, uuid) => presence.set_state(channels, uuid).await,
        Call::Groups => groups::list(authority, caller).await,
        Call::Group(group, remove) => groups::group(authority, caller, ctx, group, remove).await,
        Call::Grant => grant::grant(authority, caller, ctx).await,
        Call::Audit => grant::audit(authority, caller, ctx).await,
        Call::GrantToken => pam::grant(authority, caller, ctx).await,
        Call::RevokeToken(token) => {
            let token = query::decode(token).unwrap_or_default();
            pam::revoke(authority, caller, &token).await
        }
        Call::Fetch(channels) => history.fetch(channels).await,
        Call::FetchOld(channel) => history.fetch_old(channel).await,
        Call::Counts(channels) => history.counts(channels).await,
        Call::DeleteMessages(channel) => history.delete(channel).await,
    }
}

/// v3 says in its own form that a signature is wrong.
fn in_its_form(fault: Fault, call: &Call<'_>) -> Fault {
    let source = if matches!(call, Call::GrantToken) {
        "grant"
    } else if matches!(call, Call::RevokeToken(_)) {
        "revoke"
    } else {
        return fault;
    };
    match fault.status {
        403 => pam::unsigned(source),
        _other => fault,
    }
}

/// The paths of this adapter. What they do not know is refused in PubNub's form, since clients read no other.
pub(super) fn routes(config: &mut web::ServiceConfig) {
    // First what is asked most: the router tries one path after the other.
    for path in [
        "/v2/subscribe/{tail:.*}",
        "/publish/{tail:.*}",
        "/v2/presence/{tail:.*}",
        "/signal/{tail:.*}",
        "/subscribe/{tail:.*}",
        "/v1/channel-registration/{tail:.*}",
        "/v1/auth/{tail:.*}",
        "/v2/auth/{tail:.*}",
        "/v3/pam/{tail:.*}",
        "/v2/history/{tail:.*}",
        "/v3/history/{tail:.*}",
        "/v3/history-with-actions/{tail:.*}",
    ] {
        config.route(path, web::to(any));
    }
    config.route("/time/{callback}", web::get().to(time));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn calls_are_told_apart_by_method_and_path() {
        let publication = |message, signal| {
            Call::Publish(Publication {
                publish_key: "p",
                channel: "c%2C1",
                message,
                signal,
            })
        };
        let cases = [
            (
                "GET",
                "/publish/p/s/0/c%2C1/0/%22x%22",
                publication(Some("%22x%22"), false),
            ),
            ("POST", "/publish/p/s/0/c%2C1/0", publication(None, false)),
            (
                "GET",
                "/signal/p/s/0/c%2C1/0/1",
                publication(Some("1"), true),
            ),
            (
                "GET",
                "/v2/subscribe/s/a,b/0",
                Call::Subscribe("a,b", Version::Two),
            ),
            (
                "GET",
                "/subscribe/s/a/0/17",
                Call::Subscribe("a", Version::One(17)),
            ),
            (
                "GET",
                "/v2/presence/sub_key/s/channel/a/leave",
                Call::Leave("a"),
            ),
            ("GET", "/v2/presence/sub-key/s", Call::HereNow(None)),
            (
                "GET",
                "/v2/presence/sub-key/s/channel/a/uuid/u/data",
                Call::SetState("a", "u"),
            ),
            (
                "GET",
                "/v1/channel-registration/sub-key/s/channel-group/g/remove",
                Call::Group("g", true),
            ),
            ("GET", "/v1/auth/grant/sub-key/s", Call::Grant),
            ("DELETE", "/v3/pam/s/grant/t%3D", Call::RevokeToken("t%3D")),
            (
                "GET",
                "/v3/history-with-actions/sub-key/s/channel/a",
                Call::Fetch("a"),
            ),
            (
                "DELETE",
                "/v3/history/sub-key/s/channel/a",
                Call::DeleteMessages("a"),
            ),
        ];
        for (method, path, wanted) in cases {
            assert_eq!(call(method, path), Some(("s", wanted)), "{path}");
        }
        for (method, path) in [
            ("POST", "/v2/subscribe/s/a/0"),
            ("GET", "/publish/p/s/0/c/0"),
            ("POST", "/publish/p/s/0/c/0/1"),
            ("GET", "/v2/presence/sub-key/s/x"),
            ("GET", "/v3/pam/s/grant"),
            ("GET", "/"),
        ] {
            assert_eq!(call(method, path), None, "{path}");
        }
    }
}
