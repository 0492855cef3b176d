//! Failed requests: a status and one line of plain text, which some clients show as it is.

use crate::adapters::realtime::codes;
use crate::core::authority::{AppId, ProposeError, WriteError};
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
    /// What is wrong, in words for people.
    pub(super) text: Cow<'static, str>,
    /// What operators are told.
    pub(super) told: Box<Told>,
}

impl Fault {
    pub(super) fn new(status: u16, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            text: text.into(),
            told: Told::new(Rule::of_status(status), status).into(),
        }
    }

    /// For this, more exactly.
    pub(super) fn because(mut self, why: impl Into<Why>) -> Self {
        self.told.why = why.into();
        self
    }

    /// Of this app and channel.
    pub(super) fn of(mut self, app: Option<AppId>, channel: Option<&str>) -> Self {
        *self.told = self.told.app(app).channel(channel);
        self
    }

    pub(super) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, text)
    }

    pub(super) fn unauthorized(text: &'static str) -> Self {
        Self::new(401, text)
    }
}

impl Fault {
    /// Has operators told of it with this answer.
    pub(super) fn tell(&self, response: &mut HttpResponse) {
        response.extensions_mut().insert(Told::clone(&self.told));
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::new(codes::status(&refusal), codes::text(&refusal)).because(&refusal)
    }
}

impl From<ProposeError> for Fault {
    fn from(error: ProposeError) -> Self {
        let (status, text) = codes::proposal(&error);
        Self::new(status, text)
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
        if self.status == 503 {
            response.insert_header((RETRY_AFTER, "1"));
        }
        let mut response = response.body(self.text.clone().into_owned());
        self.tell(&mut response);
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
