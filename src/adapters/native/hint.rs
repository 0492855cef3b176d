//! `hint`: what a call did not reach, said in words where `closed: 0` alone would be believed.
//!
//! **Why it looks for members after the write and not before:** what the write has ended must not be found.
//! **Why it looks at so few channels:** a hint is for whoever tries the call by hand; it may not make each of ten
//! thousand calls dear, and it promises nothing when it is not there.

use super::auth::Call;
use super::token::Named;
use super::write::Made;
use crate::core::authority::{AppId, Operations, Target, Text};
use crate::core::ids::ChannelKey;
use crate::core::limits::PRESENCE_IS_USER;
use crate::core::listing::ConnectionFilter;
use futures_util::future::join_all;
use serde_json::{Value, json};

/// Occupied channels that are looked at.
const CHANNELS: usize = 1_000;
/// Presence sets of them that are asked for.
const SETS: usize = 100;

/// The fields to be added to the answer of a write that was to end what is `named`.
pub async fn fields(call: &Call, app: AppId, named: &Named, made: &Made) -> Value {
    let hint = match made.closed_nobody() {
        true => text(call, app, named, made).await,
        false => None,
    };
    hint.map_or_else(|| json!({}), |hint| json!({ "hint": hint }))
}

async fn text(call: &Call, app: AppId, named: &Named, made: &Made) -> Option<String> {
    match &named.target {
        Target::User(user) => {
            // What cannot be looked for is not said to be missing.
            match is_connected(call, app, user).await? {
                true => Some(left_connected(user)),
                false => {
                    let present = member(call, app, user).await;
                    Some(present.unwrap_or_else(|| nobody(user)))
                }
            }
        }
        Target::Group(group) => Some(empty(call, app, group)),
        Target::Token(id) if named.plain && made.touched() == 0 => unknown_token(call, app, id),
        Target::Token(_)
        | Target::RevocationKey(_)
        | Target::Channel(_)
        | Target::Key(_)
        | Target::App => None,
    }
}

/// Nobody was found at all: a name with another spelling looks like this.
fn nobody(user: &Text) -> String {
    format!(
        "No connection was closed: nobody is connected as `{user}`. User ids are compared letter by letter, and what is one in each \
         protocol is in docs/users.md."
    )
}

/// A group that nobody of is connected, or that is none.
fn empty(call: &Call, app: AppId, group: &Text) -> String {
    let view = call.broker.authority.view();
    let below = view.user_group(app, group).map_or(0, |one| one.below);
    match below {
        0 => format!(
            "No connection was closed: nobody is a member of the group `{group}`, and no connection that this call reaches has a \
             token that claims it. Names of groups are compared letter by letter."
        ),
        below => format!(
            "No connection was closed: no connection that this call reaches is of one of the {below} members of the group `{group}` \
             and of those inside it, or has a token that claims it."
        ),
    }
}

/// Whether somebody is connected as this user, who was left so.
async fn is_connected(call: &Call, app: AppId, user: &Text) -> Option<bool> {
    let filter = ConnectionFilter {
        app: Some(app),
        user: Some(user.clone()),
        limit: 1,
    };
    let found = call.broker.connections(filter).await.ok()?;
    Some(!found.is_empty())
}

fn left_connected(user: &Text) -> String {
    format!(
        "No connection was closed, but `{user}` is connected. Her credential is newer than what this call reaches, \
         or the margin of the call has not run out yet: leave out `issued_before_ms` and `margin_ms` to end her \
         connections now."
    )
}

/// Somebody who is present under this id, as far as the caller may see it.
async fn member(call: &Call, app: AppId, user: &Text) -> Option<String> {
    let occupied = call.broker.occupied(app, "", CHANNELS).await.ok()?;
    let readable = |name: &Text| {
        let may = Operations::PRESENCE_READ;
        call.caller.channel(app, name, may).is_ok()
    };
    let keys: Vec<_> = occupied
        .iter()
        .filter(|(name, counts)| counts.members > 0 && readable(name))
        .take(SETS)
        .map(|(name, _)| ChannelKey::channel(app, name))
        .collect();
    let sets = join_all(keys.iter().map(|key| call.broker.members(key))).await;
    let (key, _) = keys.iter().zip(sets).find(|(_, members)| {
        let members = members.as_ref().map(|all| &all[..]).unwrap_or_default();
        members.iter().any(|one| one.client == *user)
    })?;
    let setting = PRESENCE_IS_USER.name;
    let counts = call.broker.authority.app(app)?;
    let what_to_do = match PRESENCE_IS_USER.on(&counts) {
        false => format!(
            "The app's setting `{setting}` is off, so the id of a presence entry is no user: switch it on and repeat \
             the call."
        ),
        true => "Nobody has vouched for that id, or a client that acts for many users has entered it: revoke the token \
                 or the key it came with. Which ids are users is in docs/users.md."
            .to_owned(),
    };
    Some(format!(
        "No connection was closed, but `{user}` is a member of the channel `{}`. {what_to_do}",
        key.name
    ))
}

/// A text that no dialect signs, and that nothing here was known by.
fn unknown_token(call: &Call, app: AppId, id: &Text) -> Option<String> {
    let view = call.broker.authority.view();
    let stored = view.tokens.contains_key(&(app, id.clone()));
    (!stored).then(|| {
        "Nothing that is known was reached: no token is stored under this text, no grants were, and no connection had \
         shown it. It is void from now on all the same. Check that the whole token was given, and that it belongs to \
         this app."
            .to_owned()
    })
}
