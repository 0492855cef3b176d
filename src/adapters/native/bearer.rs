//! Whoever bears a token of an identity provider, as a caller of `/v1`: who that is, and the few paths that are for users.
//!
//! **Must never know:** how a token is read. **Why a list of paths beside the right that each asks for:** a path that is
//! made later is closed to users until somebody writes it down here.

use super::codes::{ApiError, Code, reason_text};
use crate::core::authority::{AppId, Principal, State};
use crate::core::broker::Broker;
use crate::core::error::Refusal;
use crate::identity::{self, Refused};

/// Whoever shows a token of an identity provider, on a path of `named`. A token may be for several apps, and is for that one.
pub(super) async fn read(
    broker: &Broker,
    named: Option<AppId>,
    token: &str,
) -> Result<Principal, ApiError> {
    enum Failed {
        Token(Refused),
        Other(Refusal),
    }
    impl From<Refusal> for Failed {
        fn from(refusal: Refusal) -> Self {
            Self::Other(refusal)
        }
    }
    let authority = &broker.authority;
    let look = |view: &State| {
        let now_ms = authority.now().cluster_ms;
        let read = match identity::read(view, named, token, now_ms) {
            // Of another app, as far as there is one: that it is the wrong one is said then.
            Err(Refused::NoProvider) => identity::read(view, None, token, now_ms),
            read => read,
        };
        read.map_err(Failed::Token)
    };
    let lifts = |failed: &Failed| matches!(failed, Failed::Token(why) if why.may_be_lifted());
    let borne = authority.look(look, lifts).await;
    let borne = borne.map_err(|failed| match failed {
        Failed::Token(why) => {
            identity::want_key(authority, named, token);
            ApiError::new(Code::BadCredential, why.to_string()).because(why.rule())
        }
        Failed::Other(refusal) => refusal.into(),
    })?;
    match authority.admit(&borne.principal).await {
        Ok(()) => Ok(borne.principal),
        Err(Refusal::Denied(reason)) => {
            let error = ApiError::new(Code::BadCredential, reason_text(&reason));
            Err(error.because(&reason))
        }
        Err(other) => Err(other.into()),
    }
}

/// Whether a path is one of those that the bearer of a token may call.
pub(super) fn may_call(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    matches!(
        parts.as_slice(),
        ["v1", "apps", _, "publish"]
            | ["v1", "apps", _, "channels", _]
            | ["v1", "apps", _, "channels", _, "members"]
    )
}

/// What is said where only a key will do.
pub(super) fn only_keys() -> ApiError {
    let message =
        "a token of an identity provider publishes and looks at channels; this takes a key";
    ApiError::new(Code::NotAllowed, message)
}
