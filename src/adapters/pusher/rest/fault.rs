//! Failed requests: a status and one line of plain text, which the libraries show as it is.

use crate::adapters::pusher::codes;
use crate::core::authority::{ProposeError, Reason, Rejection, WriteError};
use crate::core::error::Refusal;
use crate::core::refusals::{Rule, Told, Why};
use actix_web::http::StatusCode;
use actix_web::http::header::{ContentType, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use std::borrow::Cow;

/// The answer to a failed request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(super) struct Fault {
    /// The HTTP status of the answer.
    pub(super) status: u16,
    /// For people; without a line end.
    pub(super) text: Cow<'static, str>,
    /// What operators are told.
    pub(super) why: Why,
}

impl Fault {
    /// An error with this code or status and this text.
    pub(super) fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
            why: Rule::of_status(status).into(),
        }
    }

    /// For this, more exactly.
    pub(super) fn because(mut self, why: impl Into<Why>) -> Self {
        self.why = why.into();
        self
    }

    /// The request is wrong.
    pub(super) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, text)
    }

    /// The signature, its key or its time is wrong.
    pub(super) fn unauthorized(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(401, text)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let (status, text) = codes::http(&refusal);
        Self::new(status, text).because(&refusal)
    }
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Refusal::Denied(reason).into()
    }
}

impl From<ProposeError> for Fault {
    fn from(error: ProposeError) -> Self {
        let status = match &error {
            ProposeError::Rejected(rejection) => match rejection {
                Rejection::BeyondIssuer(_) => 403,
                Rejection::NoSuchApp | Rejection::NoSuchKey | Rejection::NotFound => 404,
                Rejection::NoSuchMember
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
        Self::new(status, error.to_string())
    }
}

impl From<WriteError> for Fault {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            // Made, but a node may still serve by what was taken: no success.
            WriteError::Pending(_) => Self::new(503, error.to_string()),
        }
    }
}

impl ResponseError for Fault {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(ContentType::plaintext());
        response.insert_header(super::ANYWHERE);
        if self.status == 503 {
            response.insert_header((RETRY_AFTER, "1"));
        }
        let mut response = response.body(format!("{}\n", self.text));
        let told = Told::new(self.why.clone(), self.status);
        response.extensions_mut().insert(told);
        response
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
            assert_words(&rejection, &fault.text);
        }
    }
}
