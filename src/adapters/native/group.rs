//! `/v1/apps/{app}/groups`: who is in a user group, what it is in, who is kept out with it.
//!
//! **Must never know:** whom a change takes something from: the access machine says it, and every node acts on it before
//! the answer.
//! **Why users and groups come in one list:** who comes and who goes at once is one change, at one revision.

use super::auth::Call;
use super::block::{BlockIn, block_command, block_json};
use super::codes::{ApiError, Code};
use super::hint;
use super::input::{Body, Params, Wait};
use super::resource;
use super::text::{MemberText, name};
use super::write::{Write, answer};
use crate::core::authority::{
    AppId, Command, GroupMember, Operations, State, Subject, Target, Text, UserGroup,
    UserGroupChange, UserGroupDeletion,
};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

/// Adds the paths of this file.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(resource("/apps/{app}/groups").get(list))
        .service(
            resource("/apps/{app}/groups/{group}")
                .get(show)
                .delete(delete),
        )
        .service(
            resource("/apps/{app}/groups/{group}/members")
                .get(members)
                .post(change),
        )
        .service(resource("/apps/{app}/groups/{group}/disconnect").post(disconnect))
        .service(
            resource("/apps/{app}/groups/{group}/block")
                .post(block)
                .delete(unblock),
        );
}

/// Members as they come and go.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MembersIn {
    /// Who comes in.
    pub add: Vec<MemberText>,
    /// Those members who go.
    pub remove: Vec<MemberText>,
    /// How far to wait, when somebody goes.
    pub wait: Wait,
}

/// What can be said of ending the connections of a group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DisconnectIn {
    /// How far to wait.
    pub wait: Wait,
}

/// The app and group of a path.
async fn named(call: &Call, path: &(String, String)) -> Result<(AppId, Text), ApiError> {
    let group = Params::only_name(&call.http, &path.1)?;
    let app = call.app(&path.0).await?.id;
    Ok((app, name("group", &group)?))
}

async fn list(call: Call, path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let from = params.text("from").unwrap_or_default();
    let limit = params.limit(1_000, 10_000)?;
    params.finish()?;
    let app = call.app(&path).await?.id;
    call.caller.require_app_wide(app, Operations::GRANT)?;
    let view = call.broker.authority.view();
    let mut groups: Vec<Value> = view
        .user_groups_from(app, from.into())
        .take(limit + 1)
        .map(|(name, group)| group_json(name, group))
        .collect();
    let truncated = groups.len() > limit;
    groups.truncate(limit);
    let body = json!({ "groups": groups, "truncated": truncated });
    Ok(answer(StatusCode::OK, view.revision, body))
}

fn group_json(name: &Text, group: &UserGroup) -> Value {
    json!({ "group": &**name, "in": texts(&group.above), "members_below": group.below })
}

/// Of a group that nobody is in it is said that it is empty: a token may claim any name.
async fn show(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (app, group) = named(&call, &path).await?;
    call.caller.require_app_wide(app, Operations::GRANT)?;
    let authority = &call.broker.authority;
    let (view, now_ms) = (authority.view(), authority.now().cluster_ms);
    let subject = Subject::Group(group.clone());
    let below = view.user_group(app, &group).map_or(0, |one| one.below);
    let own = view.groups_with(app, GroupMember::Group(group.clone()));
    let body = json!({ "group": {
        "group": &*group,
        "in": texts(view.groups_above(app, &group)),
        "member_of": texts(own),
        "members_below": below,
        "grants": view.grants_of(app, &subject).count(),
        "block": block_json(&view, app, subject, now_ms),
    }});
    Ok(answer(StatusCode::OK, view.revision, body))
}

async fn members(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let mut params = Params::of(&call.http)?;
    let group = params.name_in(&path.1)?;
    let limit = params.limit(1_000, 10_000)?;
    let from = match (params.text("from_group"), params.text("from_user")) {
        (None, Some(user)) => GroupMember::User(user.into()),
        (from, None) => GroupMember::Group(from.unwrap_or_default().into()),
        (Some(_), Some(_)) => {
            let message = "`from_group` or `from_user`: groups come before users";
            return Err(ApiError::new(Code::BadValue, message));
        }
    };
    params.finish()?;
    let app = call.app(&path.0).await?.id;
    let group = name("group", &group)?;
    call.caller.require_app_wide(app, Operations::GRANT)?;
    let view = call.broker.authority.view();
    let mut members: Vec<MemberText> = view
        .members_from(app, &group, from)
        .take(limit + 1)
        .map(MemberText::from)
        .collect();
    let truncated = members.len() > limit;
    members.truncate(limit);
    let body = json!({ "members": members, "truncated": truncated });
    Ok(answer(StatusCode::OK, view.revision, body))
}

async fn change(
    call: Call,
    path: web::Path<(String, String)>,
    body: Body<MembersIn>,
) -> Result<HttpResponse, ApiError> {
    let (app, group) = named(&call, &path).await?;
    let asked = &body.value;
    if asked.add.is_empty() && asked.remove.is_empty() {
        let message = "`add` and `remove` are both empty: nobody comes in and nobody goes";
        return Err(ApiError::new(Code::BadValue, message));
    }
    // Who only takes out may be one who only revokes; the rest is for the access machine to say.
    let may = |needs| call.caller.require_app_wide(app, needs);
    match asked.add.is_empty() {
        false => may(Operations::GRANT)?,
        true => may(Operations::GRANT).or_else(|_| may(Operations::REVOKE))?,
    }
    let read = |all: &[MemberText]| all.iter().map(MemberText::read).collect::<Result<_, _>>();
    let command = Command::SetUserGroup(UserGroupChange {
        app,
        issuer: call.caller.issuer()?,
        group,
        add: read(&asked.add)?,
        remove: read(&asked.remove)?,
    });
    let made = Write::of(&call, &body.raw)?
        .make(command, asked.wait)
        .await?;
    Ok(made.answer(json!({ "changed": made.touched() })))
}

async fn delete(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (app, group) = named(&call, &path).await?;
    let may = |needs| call.caller.require_app_wide(app, needs);
    may(Operations::GRANT).or_else(|_| may(Operations::REVOKE))?;
    let command = Command::DeleteUserGroup(UserGroupDeletion {
        app,
        issuer: call.caller.issuer()?,
        group,
    });
    let made = Write::of(&call, b"")?.make(command, Wait::All).await?;
    Ok(made.answer(json!({})))
}

async fn disconnect(
    call: Call,
    path: web::Path<(String, String)>,
    body: Body<DisconnectIn>,
) -> Result<HttpResponse, ApiError> {
    let (app, group) = ended(&call, &path).await?;
    let command = Command::Disconnect {
        app,
        issuer: call.caller.issuer()?,
        target: Target::Group(group.clone()),
    };
    let write = Write::of(&call, &body.raw)?;
    let made = write.make(command, body.value.wait).await?;
    let named = Target::Group(group).into();
    Ok(made.answer(hint::fields(&call, app, &named, &made).await))
}

async fn block(
    call: Call,
    path: web::Path<(String, String)>,
    body: Body<BlockIn>,
) -> Result<HttpResponse, ApiError> {
    let (app, group) = ended(&call, &path).await?;
    let asked = &body.value;
    let issuer = call.caller.issuer()?;
    let subject = Subject::Group(group.clone());
    let command = block_command(app, issuer, subject, asked.for_ms, &asked.reason)?;
    let made = Write::of(&call, &body.raw)?
        .make(command, asked.wait)
        .await?;
    let named = Target::Group(group).into();
    Ok(made.answer(hint::fields(&call, app, &named, &made).await))
}

async fn unblock(call: Call, path: web::Path<(String, String)>) -> Result<HttpResponse, ApiError> {
    let (app, group) = ended(&call, &path).await?;
    let command = Command::Unblock {
        app,
        issuer: call.caller.issuer()?,
        subject: Subject::Group(group),
    };
    let made = Write::of(&call, b"")?.make(command, Wait::All).await?;
    Ok(made.answer(json!({})))
}

/// A group whose members are ended: they may be anybody, so that the right is the app's.
async fn ended(call: &Call, path: &(String, String)) -> Result<(AppId, Text), ApiError> {
    let (app, group) = named(call, path).await?;
    call.caller.require_app_wide(app, Operations::REVOKE)?;
    Ok((app, group))
}

/// The groups that a user is in as a member, nearest first, each with the way that leads there.
#[must_use]
pub fn groups_json(view: &State, app: AppId, user: &Text) -> Value {
    let all = view.groups_of_user(app, Some(user), &[]).into_iter();
    all.map(|group| {
        let way = view.way_to_group(app, Some(user), &[], group);
        json!({ "group": &**group, "path": texts(&way.unwrap_or_default()) })
    })
    .collect()
}

/// Names as JSON wants them.
#[must_use]
pub fn texts(names: &[Text]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::native::input::json as read;

    #[test]
    fn members_are_users_and_groups() {
        let body = r#"{"add":[{"user":"ana"},{"group":"eng"}],"remove":[{"user":"bob"}]}"#;
        let body = read::<MembersIn>(body.as_bytes()).unwrap();
        let add: Result<Vec<_>, _> = body.add.iter().map(MemberText::read).collect();
        let expected = [
            GroupMember::User("ana".into()),
            GroupMember::Group("eng".into()),
        ];
        assert_eq!(add, Ok(expected.to_vec()));
        for bad in [
            r#"{"add":["ana"]}"#,
            r#"{"add":[{"token":"t"}]}"#,
            r#"{"members":[]}"#,
        ] {
            assert_eq!(
                read::<MembersIn>(bad.as_bytes()).unwrap_err().code,
                Code::BadJson
            );
        }
    }
}
