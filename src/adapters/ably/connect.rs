//! How a WebSocket is opened: reads the address, checks the credential, finds the connection to be carried on.
//!
//! **Must never know:** how a refusal is said; the session says it on the open socket, because clients read nothing
//! into a refused handshake.

use super::auth::{self, Credential, Identity};
use super::codes::Fault;
use super::format::Format;
use super::query::{self, Query};
use super::resume::{self, ClosedConnections, NoResume};
use super::session::{AblySession, Hello};
use super::{DIALECT, Encodings, limits};
use crate::core::authority::{Authority, Reason, State};
use crate::core::broker::Broker;
use crate::core::ids::ConnectionId;
use crate::core::limits::Setting;
use crate::identity;
use crate::transport::ws::{self, Opening};
use actix_web::{HttpRequest, HttpResponse, web};

/// The oldest protocol version that is understood.
const OLDEST: u32 = 2;

/// Answers `GET /?key=…&format=json&v=6&…`.
pub(super) async fn connect(
    request: HttpRequest,
    payload: web::Payload,
    broker: web::Data<Broker>,
    encodings: web::Data<Encodings>,
    closed_connections: web::Data<ClosedConnections>,
) -> Result<HttpResponse, actix_web::Error> {
    if !ws::is_asked_for(&request) {
        return Ok(ws::not_asked_for());
    }
    let query = query::parse(request.query_string());
    let format = match query.get("format").map(String::as_str) {
        Some("msgpack") => Format::MsgPack,
        Some(_) | None => Format::Json,
    };
    let authority = &broker.authority;
    let identity = identify(&query, authority).await;
    let (named_app, key) = match identity {
        Ok(_) => (None, None),
        Err(_) => query::credential(&query)
            .and_then(|one| auth::named(&one))
            .unzip(),
    };
    let (resumes, not_resumed) = match &identity {
        Ok(identity) => carried_on(&query, identity, authority, &closed_connections),
        Err(_) => (None, None),
    };
    let app = identity.as_ref().ok().map(|one| one.principal.app);
    let settings = app.and_then(|app| authority.app(app));
    let limit = |setting: Setting| {
        let value = settings
            .as_ref()
            .map_or(setting.default, |app| setting.of(app));
        usize::try_from(value).unwrap_or(usize::MAX)
    };
    let hand_over = match resumes {
        Some(id) => {
            let elsewhere = Broker::clone(&broker);
            actix_web::rt::spawn(async move { elsewhere.sever_elsewhere(id).await });
            broker.take_over(id).await
        }
        None => None,
    };
    let opening = Opening {
        dialect: DIALECT,
        app: app.or(named_app),
        key,
        encoding: match format {
            Format::Json => encodings.json,
            Format::MsgPack => encodings.msgpack,
        },
        max_frame_bytes: limit(limits::MESSAGE_FRAME_BYTES),
        max_outbox_bytes: limits::outbox_bytes(settings.as_deref()),
        subprotocol: None,
        resumes,
        hand_over,
    };
    let hello = Hello {
        format,
        identity,
        not_resumed,
        echo: query.get("echo").is_none_or(|text| text != "false"),
        heartbeat_ms: heartbeat(&query),
        present_ms: present(&query),
    };
    let closed_connections = ClosedConnections::clone(&closed_connections);
    ws::open(&request, payload, opening, move |_| {
        Box::new(AblySession::new(hello, closed_connections))
    })
}

fn heartbeat(query: &Query) -> u64 {
    let asked = query
        .get("heartbeatInterval")
        .and_then(|text| text.parse().ok());
    asked.map_or(limits::HEARTBEAT_MS, |ms: u64| ms.clamp(5_000, 1_800_000))
}

/// How long its members stay after the socket was lost: never longer than the connection could be carried on.
fn present(query: &Query) -> u64 {
    let asked = query
        .get("remainPresentFor")
        .and_then(|text| text.parse().ok());
    asked.map_or(limits::PRESENT_MS, |ms: u64| ms.min(limits::STATE_MS))
}

async fn identify(query: &Query, authority: &Authority) -> Result<Identity, Fault> {
    let version = query
        .get("v")
        .and_then(|text| text.split('.').next()?.parse::<u32>().ok());
    if version.is_none_or(|version| version < OLDEST) {
        return Err(Fault::new(
            40017,
            400,
            "The protocol version is missing or too old",
        ));
    }
    let credential = query::credential(query).ok_or_else(Fault::no_credential)?;
    let asks = query.get("clientId").map(String::as_str);
    let outcome = check(&credential, asks, authority).await;
    outcome.map_err(|fault| auth::on_connect(&credential, fault))
}

/// Verifies a credential. One that is refused by what this node knows is looked at again after it has caught up: also a
/// wrong secret, so that what is done does not tell which keys are there.
///
/// # Errors
/// As [`auth::check`].
pub(super) async fn check(
    credential: &Credential,
    asks: Option<&str>,
    authority: &Authority,
) -> Result<Identity, Fault> {
    let identity = verified(credential, asks, authority).await?;
    // At most five seconds: what is further ahead has been refused.
    authority.reach(identity.not_before_ms).await;
    ambiguous(&identity, authority).await;
    Ok(identity)
}

/// Whole seconds do not tell whether a JWT or a revocation of the same second came first, and so it counts as revoked.
/// That is told when the second is over: the one that the client fetches then is issued after the revocation.
async fn ambiguous(identity: &Identity, authority: &Authority) {
    let Some(at_ms) = identity.in_second_ms else {
        return;
    };
    let refused = authority.objection(&identity.principal);
    let over_ms = at_ms.saturating_add(1_000);
    let now_ms = authority.now().cluster_ms;
    if matches!(refused, Some(Reason::Revoked { .. })) && (at_ms..over_ms).contains(&now_ms) {
        authority.reach(over_ms).await;
    }
}

async fn verified(
    credential: &Credential,
    asks: Option<&str>,
    authority: &Authority,
) -> Result<Identity, Fault> {
    let now = || authority.now().cluster_ms;
    let look = |state: &State| auth::check(credential, asks, state, now());
    let identity = authority.look(look, auth::is_of_credentials).await;
    if let (Err(_), Credential::Token(token)) = (&identity, credential) {
        identity::want_key(authority, None, token);
    }
    identity
}

/// The connection that this one wants to carry on, or why it cannot.
fn carried_on(
    query: &Query,
    identity: &Identity,
    authority: &Authority,
    closed_connections: &ClosedConnections,
) -> (Option<ConnectionId>, Option<Fault>) {
    let Some(text) = query.get("resume").or_else(|| query.get("recover")) else {
        return (None, None);
    };
    let view = authority.view();
    let key = identity.principal.held();
    let key = key.and_then(|key| view.keys.get(key));
    let now = authority.now().cluster_ms;
    let found = key.map_or(Err(NoResume::Unknown), |key| {
        resume::resumable(text, identity, key, (closed_connections, now))
    });
    match found {
        Ok(id) => (Some(id), None),
        Err(NoResume::Unknown) => {
            let fault = Fault::new(80018, 400, "Unable to recover connection: invalid key");
            (None, Some(fault))
        }
        Err(NoResume::Expired) => {
            let fault = Fault::new(80008, 400, "Unable to recover connection: expired");
            (None, Some(fault))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::ably::fixture::{self, APP, NAME, SECRET};
    use crate::core::authority::fixture::state_after;
    use crate::core::authority::{
        AppSpec, Capability, Command, EnabledProtocol, Issuer, KeySpec, Millis, Secret, Target,
    };
    use serde_json::json;
    use std::time::Duration;
    use tokio::time::Instant;

    /// A whole second.
    const SECOND: Millis = 1_700_000_000_000;

    /// The app, and everything revoked at that time.
    fn revoked(at_ms: Millis) -> Authority {
        let key = KeySpec {
            id: fixture::KEY.into(),
            app: APP,
            name: "".into(),
            secret: Secret(SECRET.into()),
            capability: Capability::full(),
            revocable_tokens: true,
        };
        let app = Command::CreateApp(AppSpec {
            id: APP,
            name: "".into(),
            protocols: vec![EnabledProtocol {
                name: DIALECT.into(),
                default_open: Vec::new(),
            }],
            open: Vec::new(),
            settings: [].into(),
            aliases: Vec::new(),
            keys: vec![key],
        });
        let revoke = Command::Revoke {
            app: APP,
            issuer: Issuer::Operator,
            target: Target::App,
            issued_before_ms: None,
            margin_ms: 0,
        };
        Authority::fixed(state_after(&[app, revoke], at_ms), at_ms)
    }

    #[actix_web::test]
    async fn a_jwt_of_the_second_of_a_revocation_is_refused_when_that_is_over() {
        // The runtime's clock stands still but for what is slept.
        tokio::time::pause();
        for (issued_s, revoked_at_ms, waits_ms) in [
            (0, 400, 600),
            (0, 999, 1),
            (0, 1_000, 0),
            // Of the second before, and of the one to come: neither is unclear.
            (0, 1_400, 0),
            (2, 1_400, 0),
        ] {
            let issued = SECOND / 1_000 + issued_s;
            let claims = json!({"iat": issued, "exp": issued + 60});
            let token = Credential::Token(fixture::jwt(NAME, SECRET, &claims));
            let authority = revoked(SECOND + revoked_at_ms);
            let (began, waits) = (Instant::now(), Duration::from_millis(waits_ms));
            let clock = async {
                tokio::time::sleep(waits).await;
                let now_ms = SECOND + revoked_at_ms + waits_ms;
                authority.set_fixed(authority.view().as_ref().clone(), now_ms, true);
            };
            let shown = async {
                assert!(check(&token, None, &authority).await.is_ok());
                began.elapsed()
            };
            let ((), slept) = futures_util::future::join(clock, shown).await;
            // Timers go by whole milliseconds, and none ends early.
            let latest = waits + Duration::from_millis(u64::from(waits_ms > 0));
            assert!(
                (waits..=latest).contains(&slept),
                "{issued_s} {revoked_at_ms}: {slept:?}"
            );
        }
    }

    #[test]
    fn members_stay_as_long_as_is_asked_for_within_bounds() {
        let of = |text: &str| present(&query::parse(text));
        assert_eq!(of("v=6"), 15_000);
        assert_eq!(of("remainPresentFor=1000"), 1_000);
        assert_eq!(of("remainPresentFor=0"), 0);
        assert_eq!(of("remainPresentFor=99999999999"), 120_000);
        for unreadable in ["", "x", "-1", "1e3"] {
            assert_eq!(of(&format!("remainPresentFor={unreadable}")), 15_000);
        }
    }
}
