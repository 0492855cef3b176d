//! `POST /v1/apps/{app}/providers/{provider}/logout`: OpenID Connect Back-Channel Logout 1.0. A provider says that a session,
//! or a user, is over; it is answered once no node serves her any more.
//!
//! **Why without a credential of ours:** what is asked is in a token that the provider has signed, and nothing else can be asked.
//! **Why the request's id is made of the whole token:** a provider that got no answer sends it again, and it is carried out
//! once; one that gives two tokens the same `jti` has both carried out, because each was answered.

use super::codes::{ApiError, Code};
use super::input;
use super::resource;
use super::write::answer;
use crate::core::authority::{
    AppId, Asked, BarrierMode, Command, Issuer, RequestId, SignOut, State, UNCONFIRMED, WriteError,
};
use crate::core::broker::Broker;
use crate::core::error::Refusal;
use crate::identity::{self, Refused, logout};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

/// Most bytes of a body.
const MAX_BODY: usize = 16 << 10;

/// Adds the path of this file: it stands before the scope whose guard asks for a key.
pub fn routes(config: &mut web::ServiceConfig) {
    let path = "/apps/{app}/providers/{provider}/logout";
    config.service(resource(&["/v1", path].concat()).post(log_out));
}

/// Why it is not done: the token's fault, or ours.
enum Failed {
    Token(Refused),
    Other(ApiError),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Other(refusal.into())
    }
}

impl From<Failed> for ApiError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Token(why) => Self::new(Code::BadValue, why.to_string()).because(why.rule()),
            Failed::Other(error) => error,
        }
    }
}

async fn log_out(
    path: web::Path<(String, String)>,
    broker: web::Data<Broker>,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let app = input::app_id(&path.0)?;
    let token = token(payload).await?;
    let said = read(&broker, app, &path.1, &token).await?;
    let authority = &broker.authority;
    // What the provider issued before it said so is meant, by its clock: nothing is void that is issued later than now.
    authority.reach(said.said_ms).await;
    let command = Command::Asked(Box::new(Asked {
        provider: Some(path.1.as_str().into()),
        reason: None,
        command: Command::SignOut(SignOut {
            app,
            issuer: Issuer::Operator,
            targets: said.targets,
        }),
    }));
    let request = RequestId(said.request);
    let written = authority.write(request, command, BarrierMode::All).await;
    match written {
        Ok(written) => {
            let closed = written.report.closed;
            let body = json!({ "closed": closed });
            Ok(answer(StatusCode::OK, written.revision, body))
        }
        Err(WriteError::Pending(_)) => Err(ApiError::new(
            Code::OutcomeUnknown,
            "it is stored, but not every node has confirmed it yet",
        )
        .of_request(request)),
        Err(WriteError::Refused(error)) => Err(ApiError::from(error).of_request(request)),
    }
}

async fn read(
    broker: &Broker,
    app: AppId,
    provider: &str,
    token: &str,
) -> Result<logout::Logout, ApiError> {
    let authority = &broker.authority;
    if !authority.serving() {
        return Err(UNCONFIRMED.into());
    }
    let look = |view: &State| {
        let now_ms = authority.now().cluster_ms;
        logout::read(view, (app, provider), token, now_ms).map_err(Failed::Token)
    };
    let lifts = |failed: &Failed| match failed {
        Failed::Token(why) => why.may_be_lifted(),
        Failed::Other(_) => false,
    };
    let read = authority.look(look, lifts).await;
    Ok(read.inspect_err(|_| identity::want_key(authority, Some(app), token))?)
}

/// The form's `logout_token`.
async fn token(payload: web::Payload) -> Result<String, ApiError> {
    let mut form = input::form(payload, MAX_BODY).await?;
    form.take("logout_token")?
        .ok_or_else(|| ApiError::new(Code::BadValue, "the body is no form with a `logout_token`"))
}
