//! Channel groups: replicated sets of channels.
//!
//! **Must never know:** who is subscribed through them.
//! **Why a change is proposed in the operator's name:** the right to it is a grant on the group, held by clients that have no
//! key; it is judged here, by that grant.

use super::admit::{Caller, Ctx};
use super::codes::{Fault, answer};
use super::signature::fingerprint;
use super::{limits, names, query};
use crate::core::authority::{
    AppId, Authority, BarrierMode, Command, GroupChange, Issuer, Operations, RequestId, State,
};
use crate::core::ids::Text;
use actix_web::HttpResponse;
use serde_json::{Value, json};

/// The channels of a group.
pub(super) fn members(state: &State, app: AppId, group: &str) -> Vec<Text> {
    let channels = state.groups.get(&(app, group.into()));
    channels.map_or_else(Vec::new, |channels| channels.iter().cloned().collect())
}

fn done(payload: Option<&Value>) -> HttpResponse {
    let service = "channel-registry";
    let body = match payload {
        Some(payload) => {
            json!({ "status": 200, "payload": payload, "service": service, "error": false })
        }
        None => json!({ "status": 200, "message": "OK", "service": service, "error": false }),
    };
    answer(200, body.to_string())
}

/// Whoever asks sees what was changed anywhere before.
async fn current(authority: &Authority) -> Result<(), Fault> {
    let caught_up = authority.catch_up().await;
    caught_up.map(|_| ()).map_err(|_| Fault::unavailable())
}

/// All groups.
pub(super) async fn list(authority: &Authority, caller: &Caller) -> Result<HttpResponse, Fault> {
    current(authority).await?;
    let view = authority.view();
    let mut groups = Vec::new();
    for (group, _) in view.groups_of(caller.app.id) {
        if caller
            .group(authority, group, Operations::SUBSCRIBE)
            .await
            .is_ok()
        {
            groups.push(group.to_string());
        }
    }
    Ok(done(Some(&json!({ "namespace": "", "groups": groups }))))
}

/// Lists, changes or removes one.
pub(super) async fn group(
    authority: &Authority,
    caller: &Caller,
    ctx: &Ctx<'_>,
    group: &str,
    clear: bool,
) -> Result<HttpResponse, Fault> {
    let group = query::decode(group).unwrap_or_default();
    let max = caller.limit(limits::NAME_CHARACTERS);
    if !names::is_valid(&group, max) {
        return Err(Fault::bad("Invalid channel group name"));
    }
    let (add, remove) = (ctx.query.list("add"), ctx.query.list("remove"));
    if !clear && add.is_empty() && remove.is_empty() {
        caller
            .group(authority, &group, Operations::SUBSCRIBE)
            .await?;
        current(authority).await?;
        let channels = members(&authority.view(), caller.app.id, &group);
        let channels: Vec<&str> = channels.iter().map(|channel| &**channel).collect();
        return Ok(done(Some(&json!({ "channels": channels, "group": group }))));
    }
    caller.group(authority, &group, Operations::MANAGE).await?;
    if add.iter().any(|name| !names::is_valid(name, max)) {
        return Err(Fault::bad("Invalid channel name"));
    }
    let texts = |names: Vec<&str>| names.into_iter().map(Into::into).collect();
    let command = Command::SetGroup(GroupChange {
        app: caller.app.id,
        issuer: Issuer::Operator,
        group: group.into(),
        add: texts(add),
        remove: texts(remove),
        clear,
    });
    let request = match caller.key {
        // Sent again within its minute, a signed change changes nothing.
        Some(_) => u128::from_be_bytes(fingerprint(ctx.query, ctx.path)),
        None => rand::random(),
    };
    let before = authority.view().revision;
    let written = authority
        .write(RequestId(request), command, BarrierMode::All)
        .await?;
    if caller.key.is_some() && written.revision <= before {
        return Err(Fault::service(403, "Invalid Signature"));
    }
    Ok(done(None))
}
