//! `/v1/apps/{app}/users/{user}`: her groups; disconnect, block, unblock, show the block.

use super::app::missing;
use super::auth::Call;
use super::block::{BlockIn, block_command, block_json};
use super::codes::ApiError;
use super::group::groups_json;
use super::hint;
use super::input::{Body, Params, Wait};
use super::resource;
use super::text::name;
use super::write::{Write, answer};
use crate::core::authority::{AppId, Command, Issuer, Millis, Operations, Subject, Target, Text};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/apps/{app}/users/{user}").get(whole))
        .service(resource("/apps/{app}/users/{user}/disconnect").post(disconnect))
        .service(
            resource("/apps/{app}/users/{user}/block")
                .get(show)
                .post(block)
                .delete(unblock),
        );
}

/// How long to keep a user out, and why.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockFor {
    /// Milliseconds; none = until unblocked.
    pub for_ms: Option<Millis>,
    /// Why, in words for people.
    pub reason: String,
}

/// A disconnection as asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DisconnectIn {
    /// Keep the user out as well.
    pub block: Option<BlockFor>,
    /// How far to wait.
    pub wait: Wait,
}

impl DisconnectIn {
    /// One command: a block ends the user's connections by itself.
    ///
    /// # Errors
    /// As `block_command`.
    pub fn command(&self, app: AppId, issuer: Issuer, user: Text) -> Result<Command, ApiError> {
        match &self.block {
            Some(block) => {
                let subject = Subject::User(user);
                block_command(app, issuer, subject, block.for_ms, &block.reason)
            }
            None => Ok(Command::Disconnect {
                app,
                issuer,
                target: Target::User(user),
            }),
        }
    }
}

async fn disconnect(
    call: Call,
    path: web::Path<(String, String)>,
    body: Body<DisconnectIn>,
) -> Result<HttpResponse, ApiError> {
    let (app, user) = allowed(&call, &path).await?;
    let issuer = call.caller.issuer()?;
    let command = body.value.command(app, issuer, user.clone())?;
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(command, body.value.wait).await?;
    let named = Target::User(user).into();
    Ok(made.answer(hint::fields(&call, app, &named, &made).await))
}

async fn block(
    call: Call,
    path: web::Path<(String, String)>,
    body: Body<BlockIn>,
) -> Result<HttpResponse, ApiError> {
    let (app, user) = allowed(&call, &path).await?;
    let asked = &body.value;
    let issuer = call.caller.issuer()?;
    let subject = Subject::User(user.clone());
    let command = block_command(app, issuer, subject, asked.for_ms, &asked.reason)?;
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(command, asked.wait).await?;
    let named = Target::User(user).into();
    Ok(made.answer(hint::fields(&call, app, &named, &made).await))
}

async fn unblock(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (app, user) = allowed(&call, &path).await?;
    let command = Command::Unblock {
        app,
        issuer: call.caller.issuer()?,
        subject: Subject::User(user),
    };
    let made = Write::of(&call, b"")?.make(command, Wait::All).await?;
    Ok(made.answer(json!({})))
}

async fn show(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (app, user) = allowed(&call, &path).await?;
    let authority = &call.broker.authority;
    let (view, now) = (authority.view(), authority.now().cluster_ms);
    let block = block_json(&view, app, Subject::User(user), now);
    let block = block.ok_or_else(|| missing("block"))?;
    Ok(answer(
        StatusCode::OK,
        view.revision,
        json!({ "block": block }),
    ))
}

/// A user's own block, if there is one, and the groups that she is in.
async fn whole(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (app, user) = allowed(&call, &path).await?;
    let authority = &call.broker.authority;
    let (view, now) = (authority.view(), authority.now().cluster_ms);
    let body = json!({ "user": {
        "user": &*user,
        "groups": groups_json(&view, app, &user),
        "block": block_json(&view, app, Subject::User(user), now),
    }});
    Ok(answer(StatusCode::OK, view.revision, body))
}

async fn allowed(call: &Call, path: &(String, String)) -> Result<(AppId, Text), ApiError> {
    let user = Params::only_name(&call.http, &path.1)?;
    let app = call.app(&path.0).await?.id;
    let user = name("user", &user)?;
    call.caller.user(app, &user, Operations::REVOKE)?;
    Ok((app, user))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::native::input::json as read;

    #[test]
    fn a_disconnection_with_a_block_is_the_block() {
        let command = |body: &str| {
            let body = read::<DisconnectIn>(body.as_bytes()).unwrap();
            body.command(AppId(7), Issuer::Operator, "ana".into())
        };
        let plain = Command::Disconnect {
            app: AppId(7),
            issuer: Issuer::Operator,
            target: Target::User("ana".into()),
        };
        assert_eq!(command(""), Ok(plain));
        let blocked = Command::Block {
            app: AppId(7),
            issuer: Issuer::Operator,
            subject: Subject::User("ana".into()),
            for_ms: Some(60_000),
            reason: "spam".into(),
        };
        assert_eq!(
            command(r#"{"block":{"for_ms":60000,"reason":"spam"}}"#),
            Ok(blocked)
        );
        assert!(command(r#"{"block":{"for_ms":0}}"#).is_err());
        assert!(command("{\"block\":{\"reason\":\"a\\u001b\"}}").is_err());
    }
}
