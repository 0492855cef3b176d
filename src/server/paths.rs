//! Whose a request is, by the beginning of its path: a request is never matched against another dialect's paths, and what
//! nobody knows is refused in the words of the dialect whose it would have been.
//!
//! **Must never know:** any dialect by name, what is below its beginnings, nor its words.
//! **Why not the router alone:** it asks everybody in turn. What PubNub does not serve below `/v1` was the native API's
//! then, which calls PubNub's keys malformed; and a path of several tails was whoever's came first.

use crate::adapters::dialect::{Dialect, Dialects};
use crate::adapters::native;
use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::guard::{Guard, GuardContext, fn_guard};
use actix_web::http::header::CONTENT_TYPE;
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, Scope, web};
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, ready};
use std::sync::Arc;

/// Whose a path is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// It belongs to this dialect.
    Dialect(&'static dyn Dialect),
    /// Our own API's.
    Native,
    /// It begins like nobody's.
    Nobody,
}

impl Owner {
    /// The dialect's name; empty for the others, which are none.
    fn name(self) -> &'static str {
        match self {
            Self::Dialect(dialect) => dialect.name(),
            Self::Native => "native",
            Self::Nobody => "",
        }
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

/// The owners of the public port's paths.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    dialects: Dialects,
    /// Where the paths of some dialects stand as well.
    prefix: Arc<str>,
}

impl Paths {
    pub(super) fn new(dialects: Dialects, prefix: Arc<str>) -> Self {
        Self { dialects, prefix }
    }

    /// Whose a path is. The longest beginning counts; some clients keep the path of the URL that they were given in front
    /// of theirs.
    fn owner(&self, path: &str) -> Owner {
        if let Some(path) = path.strip_prefix(&*self.prefix)
            && !self.prefix.is_empty()
            && let Owner::Dialect(dialect) = self.named(path)
            && dialect.follows_path_prefix()
        {
            return Owner::Dialect(dialect);
        }
        match self.named(path) {
            Owner::Nobody => {
                let found = self.dialects.iter().find(|one| one.is_anywhere(path));
                found.map_or(Owner::Nobody, |one| Owner::Dialect(*one))
            }
            named @ (Owner::Dialect(_) | Owner::Native) => named,
        }
    }

    fn named(&self, path: &str) -> Owner {
        let longest = |beginnings: &[&str]| {
            let fits = |one: &&&str| {
                path == **one || (one.len() > 1 && one.ends_with('/') && path.starts_with(**one))
            };
            beginnings.iter().filter(fits).map(|one| one.len()).max()
        };
        let dialects = self.dialects.iter();
        let dialects = dialects.map(|one| (longest(one.beginnings()), Owner::Dialect(*one)));
        let all = dialects.chain([(longest(native::BEGINNINGS), Owner::Native)]);
        let known = all.filter_map(|(length, owner)| Some((length?, owner)));
        let found = known.max_by_key(|(length, _)| *length);
        found.map_or(Owner::Nobody, |(_, owner)| owner)
    }

    /// How a node that takes no more clients refuses a request: as its owner says. The connection ends with it, so that
    /// a balancer or a client goes elsewhere.
    pub(super) fn going_down(
        &self,
        request: &HttpRequest,
    ) -> LocalBoxFuture<'static, HttpResponse> {
        let own = match self.owner(request.path()) {
            Owner::Dialect(dialect) => dialect.going_down(request),
            Owner::Native | Owner::Nobody => None,
        };
        let refused = own.unwrap_or_else(|| Box::pin(ready(native::going_down())));
        let closed = refused.map(|mut response| {
            let head = response.head_mut();
            head.set_connection_type(ConnectionType::Close);
            response
        });
        Box::pin(closed)
    }

    /// To be done with every request before it is routed.
    pub(super) fn arrived(&self, request: &mut ServiceRequest) {
        let owner = self.owner(request.path());
        request.extensions_mut().insert(owner);
        as_get(request);
    }
}

/// HEAD is answered as GET is, everywhere; that no body follows is the protocol's part, which remembers.
pub(super) fn as_get(request: &mut ServiceRequest) {
    if *request.method() == Method::HEAD {
        request.head_mut().method = Method::GET;
    }
}

/// Where an owner's paths are: only what begins as it says gets there.
pub(super) fn of(owner: Owner) -> Scope {
    let here = move |cx: &GuardContext<'_>| cx.req_data().get::<Owner>() == Some(&owner);
    let unknown = |request: HttpRequest| async move { refused(&request, StatusCode::NOT_FOUND) };
    web::scope("")
        .guard(boxed(here))
        .default_service(web::to(unknown))
}

fn boxed(guard: impl Fn(&GuardContext<'_>) -> bool) -> impl Guard {
    fn_guard(guard)
}

/// In the words of whose it is; nobody's paths are refused in our own.
pub(super) fn refused(request: &HttpRequest, status: StatusCode) -> HttpResponse {
    let owner = request.extensions().get::<Owner>().copied();
    match owner.unwrap_or(Owner::Nobody) {
        Owner::Dialect(dialect) => dialect.unknown(request, status),
        Owner::Native | Owner::Nobody => native::unknown(request, status),
    }
}

/// To be done with every answer: the router says of a method that a path does not know nothing at all.
pub(super) fn answered<B: MessageBody>(
    response: ServiceResponse<B>,
) -> ServiceResponse<EitherBody<B, BoxBody>> {
    let silent = response.status() == StatusCode::METHOD_NOT_ALLOWED
        && !response.headers().contains_key(CONTENT_TYPE)
        && matches!(
            response.response().body().size(),
            BodySize::None | BodySize::Sized(0)
        );
    if !silent {
        return response.map_into_left_body();
    }
    let words = refused(response.request(), StatusCode::METHOD_NOT_ALLOWED);
    response.into_response(words).map_into_right_body()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::ALL;
    use crate::core::authority::State;
    use crate::server::plane::Workers;
    use actix_web::App;
    use actix_web::dev::Service as _;
    use actix_web::test::{TestRequest, call_service, init_service, read_body};
    use futures_util::TryFutureExt as _;

    #[test]
    fn a_path_is_one_dialects_by_its_beginning() {
        let paths = Paths::new(ALL, "/ws".into());
        for (path, owner) in [
            ("/", "ably"),
            ("/time", "ably"),
            ("/time/0", "pubnub"),
            ("/presence", "ably"),
            ("/presence/key/token/channel", "realtime"),
            ("/app/key", "pusher"),
            ("/ws/app/key", "pusher"),
            ("/ws/apps/1/events", "pusher"),
            ("/ws/time", ""),
            ("/application", ""),
            ("/broadcast/1/c/websocket", "realtime"),
            ("/their/own/broadcast/1/c/websocket", "realtime"),
            // The names that strangers choose are not beginnings.
            ("/channels/broadcast/1/websocket", "ably"),
            ("/publish/p/s/0/broadcast/0/websocket", "pubnub"),
            ("/v1/broadcast/1/c/websocket", "native"),
            ("/v1", "native"),
            ("/v1/apps/1/grants", "native"),
            ("/v1/channel-registration/sub-key/s/x", "pubnub"),
            ("/v1/message-actions/s/channel/c", "pubnub"),
            ("/v2/objects/s/uuids", "pubnub"),
            ("/up", ""),
            ("/nothing/here", ""),
        ] {
            assert_eq!(paths.owner(path).name(), owner, "{path}");
        }
        let dialects = ALL.iter().flat_map(|one| one.beginnings());
        let mut all: Vec<_> = dialects.chain(native::BEGINNINGS).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "two dialects claim the same beginning");
    }

    /// Status, content type, whether any page may read it, and the body.
    async fn asked(method: Method, path: &str) -> (u16, String, bool, String) {
        let workers = Workers::alone(ALL, State::default());
        let paths = workers.paths();
        let app = App::new()
            .app_data(web::Data::new(workers.broker()))
            .configure(|service| workers.configure(service))
            .default_service(web::to(|request: HttpRequest| async move {
                refused(&request, StatusCode::NOT_FOUND)
            }))
            .wrap_fn(move |mut request, app| {
                paths.arrived(&mut request);
                app.call(request).map_ok(answered)
            });
        let request = TestRequest::with_uri(path).method(method).to_request();
        let response = call_service(&init_service(app).await, request).await;
        let header = |name| {
            response
                .headers()
                .get(name)
                .map(|one| one.to_str().unwrap().to_owned())
        };
        let (status, kind) = (
            response.status().as_u16(),
            header("content-type").unwrap_or_default(),
        );
        let anywhere = header("access-control-allow-origin").is_some_and(|origin| origin == "*");
        let body = read_body(response).await;
        (
            status,
            kind,
            anywhere,
            String::from_utf8_lossy(&body).into_owned(),
        )
    }

    #[actix_web::test]
    async fn what_nobody_knows_is_refused_in_the_words_of_whose_it_is() {
        let (get, put) = (Method::GET, Method::PUT);
        for (method, path, status, kind, words) in [
            (
                &get,
                "/apps/1/nothing",
                404,
                "text/plain",
                "There is no such path",
            ),
            (
                &put,
                "/apps/1/channels",
                405,
                "text/plain",
                "does not know that method",
            ),
            (&put, "/app/key", 404, "text/plain", "There is no such path"),
            (
                &get,
                "/channels/a/nothing",
                404,
                "application/json",
                "40400",
            ),
            (&put, "/time", 405, "application/json", "40500"),
            (&put, "/", 404, "application/json", "40400"),
            (
                &get,
                "/v1/message-actions/s/channel/c",
                404,
                "text/javascript",
                "not supported",
            ),
            (
                &get,
                "/v1/files/s/channels/c/files",
                404,
                "text/javascript",
                "not supported",
            ),
            (
                &get,
                "/v1/push/sub-key/s/devices/d",
                404,
                "text/javascript",
                "not supported",
            ),
            (
                &get,
                "/v2/objects/s/uuids",
                404,
                "text/javascript",
                "not supported",
            ),
            (
                &get,
                "/v1/channel-registration/nothing",
                404,
                "text/javascript",
                "not supported",
            ),
            (&put, "/time/0", 404, "text/javascript", "not supported"),
            (&get, "/server/9", 404, "text/plain", "Invalid path"),
            (&get, "/authenticate", 404, "text/plain", "Invalid path"),
            (
                &get,
                "/nothing/here",
                404,
                "application/json",
                "no_such_path",
            ),
        ] {
            let (said, of, anywhere, body) = asked(method.clone(), path).await;
            assert_eq!(said, status, "{method} {path}: {body}");
            assert!(of.starts_with(kind) && anywhere, "{method} {path}: {of}");
            assert!(body.contains(words), "{method} {path}: {body}");
        }
    }

    #[actix_web::test]
    async fn head_is_answered_as_get_is() {
        for path in [
            "/time",
            "/time/0",
            "/server/2.1",
            "/apps/1/channels",
            "/app/key",
            "/channels",
            "/presence/k/t/c",
            "/v2/presence/sub-key/s/uuid/u",
            "/nothing",
        ] {
            let (get, head) = (
                asked(Method::GET, path).await,
                asked(Method::HEAD, path).await,
            );
            assert_eq!((get.0, &get.1), (head.0, &head.1), "{path}");
            assert!(get.0 < 500 && get.0 != 405, "{path}: {get:?}");
        }
    }

    #[actix_web::test]
    async fn a_websocket_that_was_not_asked_for_says_what_to_do() {
        for path in [
            "/app/key?protocol=7",
            "/app",
            "/?key=a.b:c&v=6",
            "/broadcast/1/c/websocket",
            "/their/own/broadcast/1/c/websocket",
        ] {
            let (status, _, anywhere, body) = asked(Method::GET, path).await;
            assert!(status == 426 && anywhere, "{path}: {status}");
            assert!(
                body.contains("your proxy dropped the Upgrade header"),
                "{path}: {body}"
            );
        }
    }
}
