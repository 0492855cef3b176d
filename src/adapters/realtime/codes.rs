//! One table: what every ending and refusal of the core is in this dialect's words.
//!
//! The clients do not come back after an error of `validate`, and come back on their own after any other close.
//! Two texts make some of them come back without a pause. `Unable to connect` is never sent; `Server is too busy` only
//! to the one SDK that comes back after it in its own time, and that needs it ([`BUSY`]).

use crate::core::authority::{Cut, ProposeError, Reason, Rejection};
use crate::core::close::{Close, End};
use crate::core::error::Refusal;

/// What a client is told when it may not connect; clients compare it letter by letter.
pub(super) const INVALID_CONNECTION: &str = "Invalid connection.";

/// Said to the browser's SDK when nobody knows whether it may connect. To others it is a storm or the end.
pub(super) const BUSY: &str = "Server is too busy";

/// The close after which a client does not come back, because it has been told why.
pub(super) fn refused() -> Close {
    close(1008, "Invalid connection.")
}

/// The close after which a client comes back.
pub(super) fn come_back(reason: &'static str) -> Close {
    close(1013, reason)
}

/// A close in these words.
pub(super) fn close(code: u16, reason: &'static str) -> Close {
    Close {
        code,
        reason: reason.into(),
    }
}

/// How a connection is ended: whether it is told that it is invalid, and the close. None = the core's own words.
pub(super) fn ending(end: End) -> Option<(bool, Close)> {
    match end {
        End::Cut(Cut::Revoked { .. } | Cut::Blocked | Cut::Disabled) => Some((true, refused())),
        End::Cut(Cut::Disconnected) => Some((false, close(1000, "Disconnected"))),
        End::Draining | End::Stale | End::Missed => Some((false, come_back("Reconnect"))),
        End::Slow | End::Abuse(_) | End::Gone | End::Silent => None,
    }
}

/// A refusal in plain words.
pub(super) fn text(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Denied(reason) => why(reason),
        Refusal::Limit { limit, max } => format!("Limit {limit} of {max} is reached"),
        Refusal::Rate { limit, retry_ms } => {
            format!("Limit {limit} is reached, try again in {retry_ms} ms")
        }
        Refusal::AlreadySubscribed => "Already subscribed".into(),
        Refusal::NotSubscribed => "Not subscribed".into(),
        Refusal::Invalid(text) => format!("Invalid: {text}"),
        Refusal::Unavailable(what) => format!("Not available now ({what}), try again"),
        Refusal::OutcomeUnknown => "The outcome is unknown: it may or may not have happened".into(),
    }
}

/// What a refusal is over HTTP.
pub(super) fn status(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::Denied(_) => 401,
        Refusal::Limit { .. } | Refusal::Invalid(_) => 400,
        Refusal::AlreadySubscribed | Refusal::NotSubscribed => 400,
        Refusal::Rate { .. } => 429,
        Refusal::Unavailable(_) => 503,
        Refusal::OutcomeUnknown => 504,
    }
}

/// What a change that was not made is over HTTP.
pub(super) fn proposal(error: &ProposeError) -> (u16, String) {
    let status = match error {
        ProposeError::Rejected(rejection) => match rejection {
            Rejection::BeyondIssuer(_) | Rejection::NoSuchApp | Rejection::NoSuchKey => 401,
            Rejection::NotFound
            | Rejection::NoSuchMember
            | Rejection::Taken(_)
            | Rejection::NonceUsed
            | Rejection::LimitReached(_)
            | Rejection::Invalid(_)
            | Rejection::VersionNotEnabled(_) => 400,
        },
        ProposeError::NoQuorum(_) | ProposeError::Busy | ProposeError::Stopping => 503,
        ProposeError::OutcomeUnknown => 504,
        ProposeError::DiskFull => 507,
        ProposeError::TooLarge { .. } => 413,
    };
    (status, error.to_string())
}

fn why(reason: &Reason) -> String {
    match reason {
        Reason::NoSuchApp(_) => "Invalid application key".into(),
        Reason::AppDisabled => "The application is disabled".into(),
        Reason::NoSuchKey(_) | Reason::KeyDisabled(_) => "The private key is disabled".into(),
        Reason::Blocked { .. } => "Blocked".into(),
        Reason::Expired { .. } => "The token has expired".into(),
        Reason::NotYet { .. } => "The token is not valid yet".into(),
        Reason::Revoked { .. } => "The token was revoked".into(),
        Reason::BeyondKey(_) => "The private key may not do this".into(),
        Reason::NotVouched(_) => "The token is no longer vouched for".into(),
        Reason::NotGranted(operations) => {
            format!("No permission to {}", operations.names().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::authority::Operations;

    #[test]
    fn no_text_makes_clients_storm() {
        let denied = Refusal::Denied(Reason::NotGranted(Operations::PUBLISH));
        assert_eq!(text(&denied), "No permission to publish");
        for refusal in [
            denied,
            Refusal::Unavailable("x"),
            Refusal::OutcomeUnknown,
            Refusal::Limit { limit: "l", max: 1 },
        ] {
            let text = text(&refusal);
            assert!(!text.contains("Unable to connect") && !text.contains("too busy"));
        }
    }

    #[test]
    fn only_who_lost_access_is_told_to_stay_away() {
        let told = |end| ending(end).map(|(told, _)| told);
        assert_eq!(told(End::Cut(Cut::Blocked)), Some(true));
        assert_eq!(told(End::Cut(Cut::Disconnected)), Some(false));
        assert_eq!(told(End::Stale), Some(false));
        assert_eq!(told(End::Gone), None);
    }
}
