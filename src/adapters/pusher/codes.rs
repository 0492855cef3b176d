//! One table: what every ending and refusal of the core is in Pusher's numbers and words.
//!
//! Clients do not come back after 4000–4099, come back after a second for 4100–4199 and at once for
//! 4200–4299; everything here is chosen by what the client ought to do next.

use crate::core::authority::{Cut, Reason};
use crate::core::close::{Abuse, Close, End};
use crate::core::error::Refusal;
use crate::core::refusals::{Rule, Told, Why};
use std::borrow::Cow;

/// The app wants TLS.
pub(super) const TLS_ONLY: u16 = 4000;
/// The app key is unknown.
pub(super) const NO_SUCH_APP: u16 = 4001;
/// The app is disabled, or does not speak this protocol.
pub(super) const APP_DISABLED: u16 = 4003;
/// The app has as many connections as it may have.
pub(super) const OVER_QUOTA: u16 = 4004;
/// No app lives at this path.
pub(super) const BAD_PATH: u16 = 4005;
/// The client's version is no version.
pub(super) const BAD_VERSION: u16 = 4006;
/// The protocol is not supported.
pub(super) const BAD_PROTOCOL: u16 = 4007;
/// No protocol was named.
pub(super) const NO_PROTOCOL: u16 = 4008;
/// Not (or no longer) authorized.
pub(super) const UNAUTHORIZED: u16 = 4009;
/// Come back after a second.
pub(super) const OVER_CAPACITY: u16 = 4100;
/// Come back at once.
pub(super) const RECONNECT: u16 = 4200;
/// Nothing was heard in time.
pub(super) const NO_PONG: u16 = 4201;
/// Too many users on a watchlist. Only ever in `pusher:error`.
pub(super) const WATCHLIST_LIMIT: u16 = 4302;
/// Too many client events. Only ever in `pusher:error`.
pub(super) const CLIENT_EVENT_RATE: u16 = 4301;

/// What a connection is told as it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClosingError {
    /// The close code of the WebSocket.
    pub(super) code: u16,
    /// Text of the error and of the close frame.
    pub(super) text: Cow<'static, str>,
    /// What operators are told.
    pub(super) why: Why,
}

impl ClosingError {
    /// An error with this code or status and this text, for what the code says.
    pub(super) fn new(code: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
            why: rule(code).into(),
        }
    }

    /// For this, more exactly.
    pub(super) fn because(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// What operators are told.
    pub(super) fn told(&self) -> Told {
        Told::new(self.why.clone(), self.code)
    }

    /// The close frame; its text is cut to what one may hold.
    pub(super) fn close(&self) -> Close {
        Close {
            code: self.code,
            reason: clip(&self.text, 123).into(),
        }
    }
}

/// The rule that a code stands for where nothing more exact is known.
fn rule(code: u16) -> Rule {
    match code {
        TLS_ONLY => Rule::TlsOnly,
        NO_SUCH_APP => Rule::UnknownKey,
        APP_DISABLED => Rule::AppDisabled,
        OVER_QUOTA => Rule::LimitReached,
        BAD_PATH => Rule::NoSuchPath,
        BAD_VERSION | BAD_PROTOCOL | NO_PROTOCOL => Rule::ProtocolVersion,
        UNAUTHORIZED => Rule::CredentialMissing,
        NO_PONG => Rule::Silent,
        _other => Rule::Unavailable,
    }
}

/// The core ends the connection; `None` = there is nobody to tell.
pub(super) fn ending(end: End) -> Option<ClosingError> {
    let closing = match end {
        End::Cut(cut) => self::cut(cut),
        // It reads too slowly for this node now; at once would be too soon.
        End::Slow => ClosingError::new(
            OVER_CAPACITY,
            "Too many messages are waiting for this connection",
        ),
        // WebSocket's own numbers: the fault is below this protocol.
        End::Abuse(Abuse::TooLarge) => ClosingError::new(1009, "Message too large"),
        End::Abuse(Abuse::Protocol) => ClosingError::new(1002, "WebSocket protocol error"),
        End::Abuse(Abuse::NotUtf8) => ClosingError::new(1007, "Text is not UTF-8"),
        End::Draining => ClosingError::new(RECONNECT, "Server is restarting, please reconnect"),
        End::Stale => ClosingError::new(RECONNECT, "Server lost its cluster, please reconnect"),
        End::Missed => ClosingError::new(RECONNECT, "Messages were missed, please reconnect"),
        End::Silent => ClosingError::new(NO_PONG, "Nothing was received in time"),
        End::Gone => return None,
    };
    Some(closing)
}

fn cut(cut: Cut) -> ClosingError {
    match cut {
        Cut::Disconnected => ClosingError::new(UNAUTHORIZED, "You got disconnected by the app."),
        Cut::Blocked => ClosingError::new(UNAUTHORIZED, "You have been blocked by the app."),
        Cut::Revoked { .. } => ClosingError::new(UNAUTHORIZED, "Your access has been revoked."),
        Cut::Disabled => ClosingError::new(APP_DISABLED, "The app or its key is disabled"),
    }
}

/// An identity (the key's on connecting, the user's on signing in) was refused: the connection ends,
/// because a client that waits for its sign-in has no other way to learn of it.
pub(super) fn identify(refusal: &Refusal, key: &str, quota_retry: bool) -> ClosingError {
    let closing = match refusal {
        Refusal::Denied(reason) => {
            let code = match reason {
                Reason::NoSuchApp(_) | Reason::NoSuchKey(_) | Reason::KeyDisabled(_) => {
                    return unknown_key(key).because(reason);
                }
                Reason::AppDisabled => APP_DISABLED,
                Reason::Blocked { .. }
                | Reason::Expired { .. }
                | Reason::Revoked { .. }
                | Reason::NotYet { .. }
                | Reason::BeyondKey(_)
                | Reason::NotVouched(_)
                | Reason::NotGranted(_) => UNAUTHORIZED,
            };
            ClosingError::new(code, why(reason))
        }
        Refusal::Limit { .. } => {
            let code = if quota_retry {
                OVER_CAPACITY
            } else {
                OVER_QUOTA
            };
            ClosingError::new(code, "Application is over connection quota")
        }
        Refusal::Rate { .. } | Refusal::Unavailable(_) | Refusal::OutcomeUnknown => {
            ClosingError::new(OVER_CAPACITY, general(refusal))
        }
        Refusal::AlreadySubscribed | Refusal::NotSubscribed | Refusal::Invalid(_) => {
            ClosingError::new(UNAUTHORIZED, general(refusal))
        }
    };
    closing.because(refusal)
}

/// What is said of a key nobody has.
pub(super) fn unknown_key(key: &str) -> ClosingError {
    let key = clip(key, 40);
    let text = format!("App key {key} not in this cluster. Did you forget to specify the cluster?");
    ClosingError::new(NO_SUCH_APP, text)
}

/// A refused subscription, as `pusher:subscription_error` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubscriptionError {
    /// The class of the error.
    pub(super) kind: &'static str,
    /// Status in HTTP's sense.
    pub(super) status: u16,
    /// What is wrong, in words for people.
    pub(super) text: String,
    /// What operators are told.
    pub(super) why: Why,
}

impl SubscriptionError {
    /// For this, more exactly.
    pub(super) fn because(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// What operators are told of this channel.
    pub(super) fn told(&self, channel: &str) -> Told {
        Told::new(self.why.clone(), self.status).channel(Some(channel))
    }

    /// The credential is missing or wrong.
    pub(super) fn auth(status: u16, text: String) -> Self {
        Self {
            kind: "AuthError",
            status,
            text,
            why: Rule::of_status(status).into(),
        }
    }

    /// A limit is reached; `status` is the number peers use for it.
    pub(super) fn limit(status: u16, text: String) -> Self {
        Self {
            kind: "LimitReached",
            status,
            text,
            why: Rule::LimitReached.into(),
        }
    }
}

/// A subscription was refused, or ended by a change of rights.
pub(super) fn subscription(refusal: &Refusal, channel: &str) -> SubscriptionError {
    let error = match refusal {
        Refusal::Denied(reason) => {
            let text = format!("Access to channel {channel} denied: {}", why(reason));
            SubscriptionError::auth(403, text)
        }
        Refusal::Limit { .. } => SubscriptionError::limit(OVER_CAPACITY, general(refusal)),
        Refusal::Rate { .. } => SubscriptionError::limit(429, general(refusal)),
        Refusal::AlreadySubscribed => SubscriptionError::auth(400, existing(channel)),
        Refusal::NotSubscribed => SubscriptionError::auth(400, no_current(channel)),
        Refusal::Invalid(_) => SubscriptionError::auth(400, general(refusal)),
        Refusal::Unavailable(_) | Refusal::OutcomeUnknown => SubscriptionError {
            kind: "ServerError",
            status: 503,
            text: general(refusal),
            why: Rule::Unavailable.into(),
        },
    };
    error.because(refusal)
}

/// A client event was refused: code and text of the `pusher:error`.
pub(super) fn client_event(refusal: &Refusal, channel: &str) -> (Option<u16>, String) {
    match refusal {
        Refusal::Denied(_) => (None, may_not_publish(channel)),
        Refusal::Rate { .. } => (Some(CLIENT_EVENT_RATE), general(refusal)),
        Refusal::NotSubscribed => (None, no_current(channel)),
        Refusal::Limit { .. }
        | Refusal::AlreadySubscribed
        | Refusal::Invalid(_)
        | Refusal::Unavailable(_)
        | Refusal::OutcomeUnknown => (None, general(refusal)),
    }
}

/// An HTTP request was refused: status and plain text.
pub(super) fn http(refusal: &Refusal) -> (u16, String) {
    match refusal {
        Refusal::Denied(reason) => {
            let status = match reason {
                Reason::NoSuchApp(_) => 404,
                Reason::NoSuchKey(_)
                | Reason::KeyDisabled(_)
                | Reason::Expired { .. }
                | Reason::NotVouched(_)
                | Reason::NotYet { .. } => 401,
                Reason::AppDisabled
                | Reason::Blocked { .. }
                | Reason::Revoked { .. }
                | Reason::BeyondKey(_)
                | Reason::NotGranted(_) => 403,
            };
            (status, why(reason))
        }
        Refusal::Limit { .. } => (413, general(refusal)),
        Refusal::Rate { .. } => (429, general(refusal)),
        Refusal::AlreadySubscribed | Refusal::NotSubscribed | Refusal::Invalid(_) => {
            (400, general(refusal))
        }
        Refusal::Unavailable(_) => (503, general(refusal)),
        Refusal::OutcomeUnknown => (504, general(refusal)),
    }
}

/// A reason in plain words.
fn why(reason: &Reason) -> String {
    match reason {
        Reason::NoSuchApp(app) => format!("there is no app {app}"),
        Reason::AppDisabled => "the app is disabled".into(),
        Reason::NoSuchKey(key) => format!("there is no key {key} in this app"),
        Reason::KeyDisabled(key) => format!("key {key} is disabled"),
        Reason::Blocked { until_ms: None } => "you have been blocked by the app".into(),
        Reason::Blocked { until_ms: Some(at) } => {
            format!("you have been blocked by the app until {at} ms")
        }
        Reason::Expired { at_ms } => format!("the credential expired at {at_ms} ms"),
        Reason::NotYet { at_ms } => format!("the credential is issued later, at {at_ms} ms"),
        Reason::Revoked { revision, .. } => {
            format!("the credential was revoked (revision {revision})")
        }
        Reason::BeyondKey(key) => format!("key {key} may not do this"),
        Reason::NotVouched(provider) => {
            format!("identity provider {provider} no longer vouches for the token")
        }
        Reason::NotGranted(operations) => {
            format!("nothing grants {}", operations.names().join(", "))
        }
    }
}

fn general(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Denied(reason) => why(reason),
        Refusal::Limit { limit, max } => format!("Limit {limit} of {max} is reached"),
        Refusal::Rate { limit, retry_ms } => {
            format!("Limit {limit} is reached, try again in {retry_ms} ms")
        }
        Refusal::AlreadySubscribed => "Existing subscription".into(),
        Refusal::NotSubscribed => "No current subscription".into(),
        Refusal::Invalid(text) => format!("Invalid: {text}"),
        Refusal::Unavailable(what) => format!("Not available now ({what}), try again"),
        Refusal::OutcomeUnknown => "The outcome is unknown: it may or may not have happened".into(),
    }
}

/// Said of a second subscription.
pub(super) fn existing(channel: &str) -> String {
    format!("Existing subscription to channel {channel}")
}

/// Said of a subscription that is not there.
pub(super) fn no_current(channel: &str) -> String {
    format!("No current subscription to channel {channel}, or subscription in progress")
}

/// Said to a subscriber who may only listen.
pub(super) fn may_not_publish(channel: &str) -> String {
    format!("You may not send client events to channel {channel}")
}

/// The first `max` bytes of a text, cut between characters: what clients send is repeated only so far.
pub(super) fn clip(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::core::authority::Operations;

    #[test]
    fn endings_tell_the_client_whether_to_return() {
        let code = |end| ending(end).unwrap().code;
        let revoked = Cut::Revoked {
            issued_before_ms: 0,
            revision: 1,
            applies_ms: 0,
        };
        for cut in [Cut::Disconnected, Cut::Blocked, revoked] {
            assert_eq!(code(End::Cut(cut)), 4009);
        }
        assert_eq!(code(End::Cut(Cut::Disabled)), 4003);
        assert_eq!(code(End::Slow), 4100);
        assert_eq!((code(End::Draining), code(End::Stale)), (4200, 4200));
        assert_eq!(code(End::Silent), 4201);
        assert_eq!(code(End::Abuse(Abuse::TooLarge)), 1009);
        assert_eq!(code(End::Abuse(Abuse::Protocol)), 1002);
        assert_eq!(code(End::Abuse(Abuse::NotUtf8)), 1007);
        assert_eq!(ending(End::Gone), None);
    }

    #[test]
    fn identities_are_refused_for_good_or_for_now() {
        let code = |refusal: Refusal| identify(&refusal, "k", false).code;
        let full = Refusal::Limit { limit: "x", max: 1 };
        assert_eq!(identify(&full, "k", true).code, 4100);
        assert_eq!(code(full), 4004);
        assert_eq!(
            code(Refusal::Denied(Reason::Blocked { until_ms: None })),
            4009
        );
        assert_eq!(code(Refusal::Denied(Reason::AppDisabled)), 4003);
        assert_eq!(code(Refusal::Denied(Reason::KeyDisabled("k".into()))), 4001);
        assert_eq!(code(Refusal::Unavailable("stale")), 4100);
        assert_eq!(code(Refusal::OutcomeUnknown), 4100);
    }

    #[test]
    fn http_statuses_follow_the_refusal() {
        let status = |refusal: Refusal| http(&refusal).0;
        let denied = Reason::NotGranted(Operations::PUBLISH);
        assert_eq!(
            http(&Refusal::Denied(denied)),
            (403, "nothing grants publish".into())
        );
        assert_eq!(status(Refusal::Denied(Reason::BeyondKey("k".into()))), 403);
        assert_eq!(status(Refusal::Denied(Reason::NoSuchKey("k".into()))), 401);
        assert_eq!(status(Refusal::Limit { limit: "x", max: 1 }), 413);
        assert_eq!(
            status(Refusal::Rate {
                limit: "x",
                retry_ms: 1
            }),
            429
        );
        assert_eq!(status(Refusal::Invalid("x".into())), 400);
        assert_eq!(status(Refusal::Unavailable("x")), 503);
        assert_eq!(status(Refusal::OutcomeUnknown), 504);
    }

    #[test]
    fn close_texts_fit_a_close_frame() {
        let closing = ClosingError::new(4001, "ü".repeat(200));
        let reason = closing.close().reason;
        assert!(reason.len() <= 123 && reason.chars().all(|c| c == 'ü'));
        assert!(unknown_key(&"k".repeat(5000)).close().reason.len() <= 123);
    }
}
