//! `POST /v1/apps/{app}/revoke`: credentials of a target are void, its connections end, everywhere, before
//! the answer.

use super::auth::Call;
use super::codes::{ApiError, Code};
use super::hint;
use super::input::{Body, Params, Wait};
use super::resource;
use super::text::TargetText;
use super::token;
use super::write::Write;
use crate::core::authority::{AppId, Command, Issuer, Millis, Operations, Target};
use actix_web::{HttpResponse, web};
use serde::Deserialize;

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config.service(resource("/apps/{app}/revoke").post(revoke));
}

/// A revocation as asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeIn {
    /// Whose credentials are revoked.
    pub target: TargetText,
    /// Only credentials issued before this (cluster ms); none = before now.
    #[serde(default)]
    pub issued_before_ms: Option<Millis>,
    /// How long clients may still use it while they renew.
    #[serde(default)]
    pub margin_ms: Millis,
    /// How far to wait.
    #[serde(default)]
    pub wait: Wait,
}

impl RevokeIn {
    /// The command that carries it out.
    #[must_use]
    pub fn command(&self, app: AppId, issuer: Issuer, target: Target) -> Command {
        Command::Revoke {
            app,
            issuer,
            target,
            issued_before_ms: self.issued_before_ms,
            margin_ms: self.margin_ms,
        }
    }
}

async fn revoke(
    call: Call,
    path: web::Path<String>,
    body: Body<RevokeIn>,
) -> Result<HttpResponse, ApiError> {
    Params::none(&call)?;
    let app = call.app(&path).await?.id;
    let named = token::target(&call, app, &body.value.target).await?;
    match &named.target {
        Target::Channel(name) => call.caller.channel(app, name, Operations::REVOKE)?,
        Target::App | Target::Key(_) | Target::Group(_) => {
            call.caller.require_app_wide(app, Operations::REVOKE)?
        }
        Target::User(_) | Target::Token(_) | Target::RevocationKey(_) => {
            call.caller.require_any(app, Operations::REVOKE)?;
        }
    }
    let issuer = call.caller.issuer()?;
    let command = body.value.command(app, issuer, named.target.clone());
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(command, body.value.wait).await?;
    let mut answer = hint::fields(&call, app, &named, &made).await;
    if body.value.margin_ms > 0
        && let Some(fields) = answer.as_object_mut()
    {
        // Enforced means here: every node will act when the margin has run out.
        fields.insert("margin_ms".into(), body.value.margin_ms.into());
    }
    Ok(made.answer(answer))
}

/// A refusal for what is both asked and unasked; used by the user paths as well.
pub(super) fn nonsense(message: &str) -> ApiError {
    ApiError::new(Code::BadValue, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::native::input::json as read;

    #[test]
    fn a_revocation_is_one_command() {
        let body =
            br#"{"target":{"token":"t1"},"issued_before_ms":5,"margin_ms":30000,"wait":"strict"}"#;
        let body = read::<RevokeIn>(body).unwrap();
        assert_eq!(body.wait, Wait::Strict);
        let target = body.target.read().unwrap();
        let command = body.command(AppId(7), Issuer::Key("k".into()), target);
        let expected = Command::Revoke {
            app: AppId(7),
            issuer: Issuer::Key("k".into()),
            target: Target::Token("t1".into()),
            issued_before_ms: Some(5),
            margin_ms: 30_000,
        };
        assert_eq!(command, expected);
        for bad in [
            r#"{}"#,
            r#"{"target":{"everything":1}}"#,
            r#"{"target":"app","when":1}"#,
        ] {
            assert_eq!(
                read::<RevokeIn>(bad.as_bytes()).unwrap_err().code,
                Code::BadJson
            );
        }
    }
}
