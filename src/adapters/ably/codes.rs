//! The protocol's error objects, and which of them each refusal and ending of the core is.

use crate::core::authority::{Cut, NonceRefused, ProposeError, Reason, Rejection, WriteError};
use crate::core::close::{Abuse, Close, End};
use crate::core::error::Refusal;
use crate::core::refusals::{Rule, Told, Why};
use serde::Serialize;
use std::borrow::Cow;

/// An error as the SDKs decode it: all of code, status and text are always there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{code} {message}")]
#[serde(rename_all = "camelCase")]
pub(super) struct Fault {
    /// The protocol's number.
    pub(super) code: u32,
    /// Status in HTTP's sense.
    pub(super) status_code: u16,
    /// For people; never a secret.
    pub(super) message: Cow<'static, str>,
    /// What operators are told.
    #[serde(skip)]
    pub(super) why: Why,
}

impl Fault {
    pub(super) fn new(code: u32, status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            status_code: status,
            message: message.into(),
            why: rule(code, status).into(),
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

    /// 40000: the request is wrong.
    pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(40000, 400, message)
    }

    /// 40101: the credential is wrong.
    pub(super) fn credentials(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(40101, 401, message)
    }

    /// 40101: there is no credential.
    pub(super) fn no_credential() -> Self {
        let text = "No authentication information provided";
        Self::credentials(text).because(Rule::CredentialMissing)
    }

    /// Whether a fresh token may help: clients renew on these and only these.
    pub(super) fn wants_token(&self) -> bool {
        (40140..40150).contains(&self.code)
    }
}

/// The rule that a number stands for where nothing more exact is known.
fn rule(code: u32, status: u16) -> Rule {
    match code {
        40005 => Rule::CredentialMalformed,
        40009 => Rule::MessageTooLarge,
        40010 => Rule::ChannelName,
        40012 | 40102 => Rule::WrongUser,
        40017 => Rule::ProtocolVersion,
        40034 | 42910 | 90010 | 91003 => Rule::LimitReached,
        40101 => Rule::WrongSecret,
        40104 => Rule::ClockOff,
        40105 => Rule::NonceUsed,
        40131 => Rule::KeyDisabled,
        40133 | 40162 | 40163 => Rule::KeyNeeded,
        40141 => Rule::TokenRevoked,
        40142 => Rule::TokenExpired,
        40143 => Rule::TokenUnknown,
        40144 => Rule::TokenNotYet,
        40160 => Rule::NotGranted,
        40165 => Rule::ModeMissing,
        40300 => Rule::AppDisabled,
        40400 if status == 401 => Rule::UnknownKey,
        42911 => Rule::TooFast,
        90001 => Rule::NotSubscribed,
        91000 => Rule::UserName,
        _other => Rule::of_status(status),
    }
}

impl From<&Reason> for Fault {
    fn from(reason: &Reason) -> Self {
        let fault = match reason {
            Reason::NoSuchApp(_) => Self::new(40400, 404, "No such app"),
            Reason::AppDisabled => Self::new(40300, 403, "The app is disabled"),
            Reason::NoSuchKey(_) => Self::credentials("No such key"),
            Reason::KeyDisabled(_) => Self::new(40131, 401, "The key is disabled"),
            Reason::Blocked { .. } => Self::new(40300, 403, "Blocked by the app"),
            Reason::Expired { .. } => expired(),
            Reason::Revoked { .. } => revoked(),
            Reason::NotYet { .. } => not_yet(),
            Reason::NotVouched(_) => Self::new(
                40144,
                401,
                "The identity provider no longer vouches for the token",
            ),
            Reason::BeyondKey(_) | Reason::NotGranted(_) => no_capability(),
        };
        fault.because(reason)
    }
}

impl From<&Refusal> for Fault {
    fn from(refusal: &Refusal) -> Self {
        let fault = match refusal {
            Refusal::Denied(reason) => reason.into(),
            Refusal::Limit { limit, max } => {
                let (code, status) = match *limit {
                    "subscriptions_per_connection" => (90010, 400),
                    "presence_clients" => (91003, 400),
                    _ => (42910, 429),
                };
                Self::new(code, status, format!("limit {limit} of {max} exceeded"))
            }
            Refusal::Rate { limit, retry_ms } => {
                let text = format!("Rate limit {limit} exceeded, try again in {retry_ms} ms");
                Self::new(42911, 429, text)
            }
            Refusal::AlreadySubscribed | Refusal::NotSubscribed => {
                Self::new(90001, 404, "The channel is not attached")
            }
            Refusal::Invalid(text) => Self::bad(text.to_string()),
            Refusal::Unavailable(text) => Self::new(50003, 503, *text),
            Refusal::OutcomeUnknown => Self::new(50003, 503, "It may or may not have happened"),
        };
        fault.because(refusal)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        (&refusal).into()
    }
}

impl From<ProposeError> for Fault {
    fn from(error: ProposeError) -> Self {
        match &error {
            ProposeError::Rejected(rejection) => match rejection {
                Rejection::NonceUsed => Self::new(40105, 401, "The nonce has been used before"),
                Rejection::BeyondIssuer(_) => no_capability(),
                Rejection::NoSuchApp | Rejection::NoSuchKey | Rejection::NotFound => {
                    Self::new(40400, 404, "No such app or key")
                }
                Rejection::NoSuchMember
                | Rejection::Taken(_)
                | Rejection::LimitReached(_)
                | Rejection::Invalid(_)
                | Rejection::VersionNotEnabled(_) => Self::bad(error.to_string()),
            },
            ProposeError::TooLarge { .. } => Self::bad("The request is too large"),
            ProposeError::NoQuorum(_)
            | ProposeError::Busy
            | ProposeError::Stopping
            | ProposeError::DiskFull
            | ProposeError::OutcomeUnknown => Self::new(50003, 503, error.to_string()),
        }
    }
}

impl From<NonceRefused> for Fault {
    fn from(refused: NonceRefused) -> Self {
        match refused {
            NonceRefused::Used => Self::new(40105, 401, "The nonce has been used before"),
            NonceRefused::Unusable(why) => ProposeError::Rejected(why).into(),
            NonceRefused::Unchecked(error) => error.into(),
        }
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            // Made, but a node may still serve by what was taken: no success.
            WriteError::Pending(_) => Self::new(50003, 503, error.to_string()),
        }
    }
}

pub(super) fn no_capability() -> Fault {
    Fault::new(40160, 401, "The capability does not permit this")
}

pub(super) fn expired() -> Fault {
    Fault::new(40142, 401, "Token expired")
}

pub(super) fn revoked() -> Fault {
    Fault::new(40141, 401, "Token revoked")
}

pub(super) fn not_yet() -> Fault {
    Fault::new(40144, 401, "The token is not valid yet")
}

pub(super) fn channel_name() -> Fault {
    Fault::new(40010, 400, "Invalid channel name")
}

/// How a goodbye is framed: who reads what as final is the clients' law, not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClosingError {
    /// `true`: the client gives up (or renews its token) and says so; else it comes back by itself.
    pub(super) fails: bool,
    /// The error that the client is told.
    pub(super) fault: Fault,
}

/// The core ends the connection; `None` = there is nobody to tell.
pub(super) fn ending(end: End) -> Option<ClosingError> {
    let back = |code, status, text: &'static str| ClosingError {
        fails: false,
        fault: Fault::new(code, status, text),
    };
    let closing = match end {
        End::Cut(Cut::Revoked { .. }) => ClosingError {
            fails: false,
            fault: revoked(),
        },
        End::Cut(Cut::Disconnected) => back(80003, 400, "Disconnected by the app"),
        End::Cut(Cut::Blocked) => ClosingError {
            fails: true,
            fault: Fault::new(40300, 403, "Blocked by the app"),
        },
        End::Cut(Cut::Disabled) => ClosingError {
            fails: true,
            fault: Fault::new(40131, 401, "The app or its key is disabled"),
        },
        End::Abuse(Abuse::TooLarge) => back(40009, 413, "The frame is too large"),
        End::Abuse(Abuse::Protocol | Abuse::NotUtf8) => back(40000, 400, "Not a usable frame"),
        End::Draining => back(80003, 503, "The server is restarting"),
        End::Stale => back(80003, 503, "The server has lost its cluster"),
        End::Missed => back(80003, 503, "Messages were missed here, please resume"),
        End::Silent => back(80014, 408, "Nothing was received in time"),
        End::Slow | End::Gone => return None,
    };
    Some(closing)
}

/// A refused identification on opening or in place.
pub(super) fn identify(refusal: &Refusal) -> ClosingError {
    let fault = Fault::from(refusal);
    let fails = match refusal {
        Refusal::Denied(_) => true,
        // These pass: the client is to come back.
        Refusal::Limit { .. }
        | Refusal::Rate { .. }
        | Refusal::Unavailable(_)
        | Refusal::OutcomeUnknown
        | Refusal::AlreadySubscribed
        | Refusal::NotSubscribed
        | Refusal::Invalid(_) => false,
    };
    ClosingError { fails, fault }
}

/// The close frame after the last word.
pub(super) fn close() -> Close {
    Close {
        code: 1000,
        reason: "".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::authority::fixture::{assert_words, rejections};

    #[test]
    fn rejections_are_sentences() {
        for rejection in rejections() {
            let fault = Fault::from(ProposeError::Rejected(rejection.clone()));
            assert_words(&rejection, &fault.message);
        }
    }
}
