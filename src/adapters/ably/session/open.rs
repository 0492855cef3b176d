//! The beginning, renewal and time of a connection: hello, `CONNECTED`, `AUTH`, heartbeats, expiry.

use super::{AblySession, Phase, Turn};
use crate::adapters::ably::auth::{self, Credential, Identity};
use crate::adapters::ably::codes::{self, ClosingError, Fault};
use crate::adapters::ably::format::Format;
use crate::adapters::ably::frame::{Auth, Details, ProtocolMessage, action};
use crate::adapters::ably::{limits, position, resume};
use crate::core::authority::{Millis, State};
use crate::core::session::{Action, Intent};
use crate::identity;

/// What a connection's address said, with the credential checked.
#[derive(Debug)]
pub(in crate::adapters::ably) struct Hello {
    pub(in crate::adapters::ably) format: Format,
    /// Whom it speaks for, or why it may not connect.
    pub(in crate::adapters::ably) identity: Result<Identity, Fault>,
    /// It wanted to be carried on and cannot be.
    pub(in crate::adapters::ably) not_resumed: Option<Fault>,
    /// Own messages come back.
    pub(in crate::adapters::ably) echo: bool,
    pub(in crate::adapters::ably) heartbeat_ms: u64,
    /// How long its members stay after its socket was lost.
    pub(in crate::adapters::ably) present_ms: u64,
}

/// How much before its token's end a connection ends, ms: before the core finds the rights gone one by one.
const EARLY_MS: u64 = 10;

/// What the connection waits for, monotonic ms.
#[derive(Debug)]
pub(super) struct Timers {
    every_ms: u64,
    heartbeat: u64,
    renew: Option<u64>,
    expires: Option<u64>,
}

impl Timers {
    pub(super) fn new(every_ms: u64) -> Self {
        Self {
            every_ms,
            heartbeat: 0,
            renew: None,
            expires: None,
        }
    }

    fn next(&self) -> u64 {
        let others = [self.renew, self.expires].into_iter().flatten();
        others.fold(self.heartbeat, u64::min)
    }
}

/// The identity of a token handed in on an open connection.
///
/// # Errors
/// 40102 when it is somebody else's; as [`auth::check`].
pub(super) fn renewed(
    own: &Identity,
    auth: Option<&Auth>,
    turn: &Turn<'_>,
) -> Result<Identity, Fault> {
    let token = auth.map(|auth| auth.access_token.clone());
    let token = token.ok_or_else(|| Fault::bad("AUTH without a token"))?;
    let (state, now) = (turn.cx.authority.view(), turn.cx.now.cluster_ms);
    let asks = own.client.as_deref();
    let identity = auth::check(&Credential::Token(token.clone()), asks, &state, now);
    let identity = identity.inspect_err(|_| {
        identity::want_key(turn.cx.authority, None, &token);
    })?;
    if identity.not_before_ms > now {
        return Err(codes::not_yet());
    }
    let same_word = identity.key_name == own.key_name || same_provider(&identity, own);
    let same = same_word && identity.client == own.client;
    match same {
        true => Ok(identity),
        false => Err(Fault::new(
            40102,
            401,
            "The token is not of this connection's app, key and clientId",
        )),
    }
}

/// Whether one provider vouches for both: the key that is its ceiling may be another by now.
fn same_provider(one: &Identity, other: &Identity) -> bool {
    let provider = |identity: &Identity| {
        let proof = identity.principal.proof.as_ref();
        let by = proof.and_then(|proof| proof.vouched.as_ref());
        by.map(|by| (identity.principal.app, by.provider.clone()))
    };
    provider(one).is_some() && provider(one) == provider(other)
}

/// As [`auth::may_be_lifted`], of what came with an `AUTH`.
pub(super) fn may_be_lifted(
    fault: &Fault,
    auth: Option<&Auth>,
    state: &State,
    now: Millis,
) -> bool {
    let token = auth.map(|auth| Credential::Token(auth.access_token.clone()));
    token.is_some_and(|token| auth::may_be_lifted(fault, &token, state, now))
}

impl AblySession {
    pub(super) fn open(&mut self, turn: &mut Turn<'_>) {
        match &self.hello.identity {
            Ok(identity) => {
                turn.ask(Intent::Identify(identity.principal.clone()));
                self.claimed = Some(identity.clone());
            }
            Err(fault) => {
                let fault = fault.clone();
                self.leave(ClosingError { fails: true, fault }, turn);
            }
        }
    }

    pub(super) fn identified(&mut self, turn: &mut Turn<'_>) {
        if let Some(identity) = self.claimed.take() {
            self.identity = Some(identity);
        }
        let greeting = self.phase == Phase::Greeting;
        self.phase = Phase::Open;
        self.connected(greeting, turn);
        self.arm(greeting, turn);
    }

    fn connected(&mut self, greeting: bool, turn: &mut Turn<'_>) {
        let Some(identity) = &self.identity else {
            return;
        };
        let (id, now) = (turn.cx.id, turn.cx.now.cluster_ms);
        let view = turn.cx.authority.view();
        let key = identity.principal.held();
        let Some(key) = key.and_then(|key| view.keys.get(key)) else {
            return;
        };
        let app = view.apps.get(&identity.principal.app);
        let limit = |setting: crate::core::limits::Setting| {
            app.map_or(setting.default, |app| setting.of(app))
        };
        let wildcard = (identity.any_client && identity.by_token).then(|| "*".to_owned());
        let client = identity.client.as_ref().map(|client| client.to_string());
        let connection_key = resume::connection_key(id, key, client.as_deref(), now);
        let details = Details {
            connection_key,
            client_id: client.or(wildcard),
            max_message_size: limit(limits::MESSAGE_BYTES),
            max_frame_size: limit(limits::MESSAGE_FRAME_BYTES),
            max_inbound_rate: Some(limit(limits::INBOUND_MESSAGES_PER_SECOND))
                .filter(|rate| *rate > 0),
            connection_state_ttl: limits::STATE_MS,
            max_idle_interval: self.hello.heartbeat_ms,
            server_id: format!("node-{}", turn.cx.authority.node()),
            site_code: "local",
        };
        let mut frame = ProtocolMessage::new(action::CONNECTED);
        frame.connection_id = Some(position::connection(id));
        frame.connection_details = Some(details);
        frame.error = self.hello.not_resumed.take().filter(|_| greeting);
        turn.send(&frame);
    }

    fn arm(&mut self, greeting: bool, turn: &mut Turn<'_>) {
        let now = turn.cx.now;
        if greeting {
            self.timers.heartbeat = now.mono_ms + self.timers.every_ms;
        }
        let ends = self.identity.as_ref().and_then(|one| one.expires_ms);
        let left = ends.map(|at| at.saturating_sub(now.cluster_ms));
        self.timers.expires = left.map(|left| now.mono_ms + left.saturating_sub(EARLY_MS));
        // A shorter token is not worth asking for another at once; it ends, and the client comes back.
        let early = left.and_then(|left| left.checked_sub(limits::RENEW_MS));
        self.timers.renew = early.filter(|ms| *ms > 0).map(|ms| now.mono_ms + ms);
        turn.out.push(Action::Wake {
            at_mono_ms: self.timers.next(),
        });
    }

    pub(super) fn wake(&mut self, turn: &mut Turn<'_>) {
        let now = turn.cx.now.mono_ms;
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now);
        if due(self.timers.expires) {
            let fault = codes::expired();
            return self.leave(
                ClosingError {
                    fails: false,
                    fault,
                },
                turn,
            );
        }
        if due(self.timers.renew) {
            self.timers.renew = None;
            turn.send(&ProtocolMessage::new(action::AUTH));
        }
        if self.timers.heartbeat <= now {
            self.timers.heartbeat = now + self.timers.every_ms;
            turn.send(&ProtocolMessage::new(action::HEARTBEAT));
        }
        turn.out.push(Action::Wake {
            at_mono_ms: self.timers.next(),
        });
    }
}
