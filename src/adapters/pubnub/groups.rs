//! Channel groups: replicated sets of channels.
//!
//! **Why a change is proposed in the operator's name:** the right to it is a grant on the group, held by clients that
//! have no key; it is judged here, by that grant.

use super::admit::{self, Caller, Ctx};
use super::codes::{Denied, Fault, answer};
use super::signature::fingerprint;
use super::{limits, names, query};
use crate::core::authority::{
    AppId, Authority, BarrierMode, Command, GroupChange, Issuer, Operations, RequestId, Resource,
    State,
};
use crate::core::ids::Text;
use crate::core::refusals::Rule;
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

/// All groups of the keyset.
pub(super) async fn list(authority: &Authority, caller: &Caller) -> Result<HttpResponse, Fault> {
    current(authority).await?;
    let view = authority.view();
    let all = view.groups_of(caller.app.id);
    let all: Vec<Text> = all.map(|(group, _)| group.clone()).collect();
    let groups = match admit::is_open(&caller.app) {
        true => all,
        false => caller.sees(authority, Resource::Group, all).await?,
    };
    let groups: Vec<&str> = groups.iter().map(|group| &**group).collect();
    Ok(done(Some(&json!({ "namespace": "", "groups": groups }))))
}

/// Whoever may read a group hears every channel in it. So nothing is added that the key behind the right to change the
/// group could not hear itself: else a key with rights to groups only would open every channel.
fn may_add(authority: &Authority, caller: &Caller, group: &str, add: &[&str]) -> Result<(), Fault> {
    if admit::is_open(&caller.app) {
        return Ok(());
    }
    let manages = admit::requirement(Resource::Group, group, Operations::MANAGE);
    let beyond = add.iter().filter(|channel| {
        let hears = (**channel, Operations::SUBSCRIBE);
        !authority.behind_it_may(&caller.principal, manages.ask(), hears)
    });
    let beyond: Vec<Denied> = beyond
        .map(|channel| (Resource::Channel, (*channel).into()))
        .collect();
    match beyond.is_empty() {
        true => Ok(()),
        false => Err(Fault::forbidden(&beyond)),
    }
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
        return Err(Fault::bad("Invalid channel name").because(Rule::ChannelName));
    }
    may_add(authority, caller, &group, &add)?;
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
        return Err(Fault::signature());
    }
    Ok(done(None))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{self, NARROW, SECRET, granted};
    use super::*;
    use crate::core::authority::{Capability, Pattern, Right, Subject};

    #[test]
    fn a_key_with_rights_to_groups_only_opens_no_channel_by_them() {
        let right = |resource, name: &str, operations| Right {
            resource,
            pattern: Pattern::Exact(name.into()),
            operations,
        };
        let group = Operations::MANAGE | Operations::SUBSCRIBE | Operations::GRANT;
        let mut commands = fixture::commands(&[("access_manager", true)]);
        commands.push(fixture::narrow(Capability {
            rights: vec![
                right(Resource::Group, "g", group),
                right(Resource::Channel, "own", Operations::SUBSCRIBE),
            ],
        }));
        let manages = (Resource::Group, "g", Operations::MANAGE);
        for (issuer, auth) in [
            (Issuer::Key("narrow".into()), "by-narrow"),
            (Issuer::Operator, "by-operator"),
        ] {
            commands.push(granted(issuer, Subject::Token(auth.into()), manages));
        }
        let authority = Authority::fixed(fixture::state(&commands), 1_000);
        let adds = |auth: &str, channel: &str| {
            let caller = fixture::caller(&authority, auth);
            may_add(&authority, &caller, "g", &[channel]).map_err(|fault| fault.status)
        };
        let signed = |id, secret| fixture::token(&fixture::key(id, secret), &[("g", 5)]);
        let (narrow, full) = (signed("narrow", NARROW), signed("k1", SECRET));
        for auth in ["by-narrow", &narrow] {
            assert_eq!(adds(auth, "own"), Ok(()), "{auth}");
            assert_eq!(adds(auth, "private-board"), Err(403), "{auth}");
        }
        for auth in ["by-operator", &full] {
            assert_eq!(adds(auth, "private-board"), Ok(()), "{auth}");
        }
        assert_eq!(adds("nobody", "own"), Err(403));
    }
}
