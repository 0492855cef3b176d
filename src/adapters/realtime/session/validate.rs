//! The handshake: which app, which token, and with what rights.
//!
//! **Why the view is brought up to date for every token:** the connection keeps what it finds now. On a view that is
//! behind, it would keep rights that were replaced before it came.

use super::{Phase, RealtimeSession, invalid_connection};
use crate::adapters::realtime::command::Validate;
use crate::adapters::realtime::{auth, codes, frame, limits};
use crate::core::authority::{Capability, Operations, Principal};
use crate::core::error::Refusal;
use crate::core::ids::Text;
use crate::core::refusals::{Rule, Told, Why};
use crate::core::session::{Action, Context, Intent};
use crate::identity;

/// Who the client says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClaimedIdentity {
    pub(super) application: Text,
    pub(super) token: Text,
    /// Sub-channel of the announcements it causes; empty = none.
    pub(super) announcements: Text,
    pub(super) metadata: Text,
}

/// A client that waits to be let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Permissions to be told of; none with authentication off.
    permissions: Option<Vec<(String, String)>>,
    /// The copy of the token's rights that it is to have.
    copy: Option<Capability>,
}

fn copy(principal: &Principal) -> Option<Capability> {
    let proof = principal.proof.as_ref();
    proof.map(|proof| proof.capability.clone())
}

impl RealtimeSession {
    pub(super) fn validate(&mut self, ask: Validate<'_>, cx: Context<'_>, out: &mut Vec<Action>) {
        let metadata: String = ask.metadata.chars().take(limits::METADATA_CHARS).collect();
        let bad_name = !ask.announcements.is_empty() && !auth::is_channel(ask.announcements);
        // A provider's token has a bound of its own.
        let vouched = identity::is_meant(ask.token);
        let too_long = ask.token.len() > limits::TOKEN_CHARS && !vouched;
        if !auth::is_token(ask.key) || too_long || bad_name {
            return self.refuse(Rule::CredentialMalformed, cx, out);
        }
        self.who = ClaimedIdentity {
            application: ask.key.into(),
            token: ask.token.into(),
            announcements: ask.announcements.into(),
            metadata: metadata.into(),
        };
        self.silence_ms = ask.heartbeat.map(|(every_s, fails)| {
            let patience = every_s.clamp(10, 60) * fails.clamp(1, 6);
            // One more interval, so that a beat on its way is not too late.
            (patience + every_s.clamp(10, 60)) * 1_000
        });
        self.phase = Phase::Asking(Box::default());
        self.end_ms = Some(cx.now.mono_ms + limits::ASKING_MS);
        self.wake_later(out);
        let state = cx.authority.view();
        let app = auth::app(&state, &self.who.application);
        match app {
            Some(app) if !limits::AUTHENTICATION.on(app) && !vouched => {
                self.finish_validation(Ok(()), cx, out);
            }
            Some(_) | None => out.push(Action::Do(Intent::CatchUp)),
        }
    }

    /// On a view that is as fresh as could be had.
    pub(super) fn finish_validation(
        &mut self,
        fresh: Result<(), Refusal>,
        cx: Context<'_>,
        out: &mut Vec<Action>,
    ) {
        let state = cx.authority.view();
        let now_ms = cx.now.cluster_ms;
        let who = &self.who;
        let app = auth::app(&state, &who.application);
        let found = app.and_then(|app| {
            let principal = auth::principal(&state, app, &who.token, now_ms)?;
            let names = (&*who.application, &*who.token);
            let permissions = auth::permissions(&state, app, names, now_ms);
            Some((principal, permissions))
        });
        match (found, fresh) {
            // Nobody is refused for good on a view that may be old.
            (_, Err(_)) => self.not_now(out),
            (None, Ok(())) => {
                if let Some(app) = app {
                    identity::want_key(cx.authority, Some(app.id), &who.token);
                }
                let why = auth::why_not(&state, &who.application, &who.token, now_ms);
                self.refuse(why, cx, out);
            }
            (Some((principal, permissions)), Ok(())) => {
                self.app = principal.app;
                let copy = copy(&principal);
                self.phase = Phase::Asking(Box::new(Greeting { permissions, copy }));
                out.push(Action::Do(Intent::Identify(Box::new(principal))));
            }
        }
    }

    /// The core has accepted the token.
    pub(super) fn identified(&mut self, cx: Context<'_>, out: &mut Vec<Action>) {
        let Phase::Asking(greeting) = std::mem::replace(&mut self.phase, Phase::Open) else {
            return;
        };
        self.end_ms = None;
        // What was taken between the copy and now has reached nobody: the connection was not known yet.
        if self.copied(cx) != greeting.copy {
            return self.not_now(out);
        }
        let permissions = greeting.permissions.as_deref();
        let minutes = limits::SESSION_MINUTES;
        out.push(Action::Send(frame::validated(permissions, minutes)));
        self.turn(cx, out, |session, turn| {
            session.announce("ortcClientConnected", None, turn);
        });
        self.wake_later(out);
    }

    /// The copy that it would get now.
    fn copied(&self, cx: Context<'_>) -> Option<Capability> {
        let state = cx.authority.view();
        let app = auth::app(&state, &self.who.application)?;
        let principal = auth::principal(&state, app, &self.who.token, cx.now.cluster_ms)?;
        copy(&principal)
    }

    pub(super) fn not_identified(
        &mut self,
        refusal: &Refusal,
        cx: Context<'_>,
        out: &mut Vec<Action>,
    ) {
        match refusal {
            Refusal::Unavailable(_) | Refusal::OutcomeUnknown => {
                self.not_now(out);
            }
            Refusal::Denied(_)
            | Refusal::Limit { .. }
            | Refusal::Rate { .. }
            | Refusal::AlreadySubscribed
            | Refusal::NotSubscribed
            | Refusal::Invalid(_) => self.refuse(refusal, cx, out),
        }
    }

    /// Nobody can say now whether it may connect: it is to come back, and not at once.
    pub(super) fn not_now(&mut self, out: &mut Vec<Action>) {
        self.say_why_not(out);
        self.close(codes::come_back("Try again"), out);
    }

    /// Before a close that lets the client come back: of the close alone the SDKs make that, except the browser's.
    /// Unless it is told why, it goes over to TLS for good.
    pub(super) fn say_why_not(&self, out: &mut Vec<Action>) {
        if self.browser {
            out.push(Action::Send(frame::error("validate", None, codes::BUSY)));
        }
    }

    /// Says so, and closes once the client has had time to read it: some clients leave the socket open.
    pub(super) fn refuse(&mut self, why: impl Into<Why>, cx: Context<'_>, out: &mut Vec<Action>) {
        let state = cx.authority.view();
        let app = auth::named(&state, &self.who.application);
        let told = Told::new(why, codes::refused().code).app(app.map(|app| app.id));
        out.push(Action::Refused(told.into()));
        self.phase = Phase::Refused;
        self.silence_ms = None;
        out.push(Action::Send(invalid_connection()));
        self.end_ms = Some(cx.now.mono_ms + limits::REFUSED_MS);
        self.wake_later(out);
    }
}

/// What a subscription takes as well if it may.
pub(super) const WANTS: Operations = Operations::PUBLISH;
