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
            let connected = connected(call, app, user).await;
            let member = || member(call, app, user);
            match connected {
                Some(hint) => Some(hint),
                None => member().await,
            }
        }
        Target::Token(id) if named.plain && made.touched() == 0 => unknown_token(call, app, id),
        Target::Token(_)
        | Target::RevocationKey(_)
        | Target::Channel(_)
        | Target::Key(_)
        | Target::Group(_)
        | Target::App => None,
    }
}

/// Somebody who is connected as this user, and was left so.
async fn connected(call: &Call, app: AppId, user: &Text) -> Option<String> {
    let filter = ConnectionFilter {
        app: Some(app),
        user: Some(user.clone()),
        limit: 1,
    };
    let found = call.broker.connections(filter).await.ok()?;
    let open = !found.is_empty();
    open.then(|| {
        format!(
            "No connection was closed, but `{user}` is connected. Her credential is newer than what this call reaches, \
             or the margin of the call has not run out yet: leave out `issued_before_ms` and `margin_ms` to end her \
             connections now."
        )
    })
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
