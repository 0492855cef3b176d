//! What a command is called in the audit, and what it names.
//!
//! **Must never know:** the value of a setting or the text of a token: settings hold secrets of webhooks, and a token is
//! one. **Why no record of members of the cluster, ticks, nonces and what has ended:** nobody may do more or less by the
//! first three, and what ends by itself does so at the time that a record says.

use super::super::apply::signals;
use super::super::records::{Issuer, Subject, Target};
use super::super::{
    Administered, Administration, AppChange, AppId, AppSpec, Capability, ChannelFlag, Command,
    GrantEntry, GrantMode, GroupChange, GroupMember, KeyChange, KeySpec, Operations, Pattern,
    ProviderChange, Resource, Signal, State, Text, Token, UserGroupChange,
};
use super::draft::{Draft, hidden, subject_words, target_words};
use std::fmt::Write as _;

/// The app of a command that names only a key: asked before it is carried out, because the key may go.
fn app_of_key(state: &State, key: &Text) -> AppId {
    state.keys.get(key).map_or(AppId(0), |key| key.app)
}

/// What is recorded of a command if it changes something; none = nothing is.
pub(in super::super) fn draft(state: &State, command: &Command) -> Option<Draft> {
    let operator = &Issuer::Operator;
    Some(match command {
        Command::Tick
        | Command::SetClusterVersion(_)
        | Command::Member(_)
        | Command::UseNonce { .. } => return None,
        Command::Asked(asked) => {
            draft(state, &asked.command)?.asked(asked.provider.as_ref(), asked.reason.as_ref())
        }
        Command::KeepAudit(keep) => Draft::by("operator", "audit retention")
            .name("records", keep.records)
            .name("bytes", keep.bytes)
            .name_some("age ms", keep.age_ms),
        Command::CreateApp(spec) => new_app(spec),
        Command::UpdateApp { app, change } => app_change(*app, operator, change),
        Command::DeleteApp { app } => Draft::of("app delete", *app, operator),
        Command::CreateKey(spec) => new_key(spec.app, operator, spec),
        Command::UpdateKey { key, change } => {
            key_change((app_of_key(state, key), operator), key, change)
        }
        Command::RotateKey { key, new, .. } => {
            rotated((app_of_key(state, key), operator), key, &new.id)
        }
        Command::DeleteKey { key } => {
            Draft::of("key delete", app_of_key(state, key), operator).name("key", key)
        }
        Command::SetGrants { .. } | Command::DeleteGrants { .. } => of_grants(command)?,
        Command::IssueToken { id, token } => issued(id, token),
        Command::Revoke { .. }
        | Command::Disconnect { .. }
        | Command::Block { .. }
        | Command::Unblock { .. } => of_ending(command)?,
        Command::SetChannelFlag(flag) => flagged(flag),
        Command::SetGroup(change) => channel_group(change),
        Command::Administer(asked) => administered(state, asked)?,
        Command::SignOut(asked) => {
            let draft = Draft::of("sign out", asked.app, &asked.issuer);
            asked.targets.iter().fold(draft, aimed)
        }
        Command::Signal(told) => event(state, told)?,
        Command::SetUserGroup(change) => user_group(change),
        Command::DeleteUserGroup(gone) => {
            Draft::of("group delete", gone.app, &gone.issuer).name("group", &gone.group)
        }
    })
}

/// A change of stored rights; none = it is another command.
fn of_grants(command: &Command) -> Option<Draft> {
    if let Command::SetGrants {
        app,
        issuer,
        subject,
        mode,
        entries,
    } = command
    {
        return Some(grants((*app, issuer), subject, *mode, entries));
    }
    let Command::DeleteGrants {
        app,
        issuer,
        subject,
        names,
    } = command
    else {
        return None;
    };
    let names = names.iter().map(|(on, pattern)| place(*on, pattern));
    Some(about(Draft::of("grant delete", *app, issuer), subject).name_all("line", names))
}

/// What ends or keeps out, or lets in again; none = it is another command.
fn of_ending(command: &Command) -> Option<Draft> {
    if let Command::Revoke {
        app,
        issuer,
        target,
        issued_before_ms,
        margin_ms,
    } = command
    {
        let draft = aimed(Draft::of("revoke", *app, issuer), target);
        let margin = Some(*margin_ms).filter(|margin| *margin > 0);
        let draft = draft.name_some("issued before ms", *issued_before_ms);
        return Some(draft.name_some("margin ms", margin));
    }
    if let Command::Disconnect {
        app,
        issuer,
        target,
    } = command
    {
        return Some(aimed(Draft::of("disconnect", *app, issuer), target));
    }
    if let Command::Block {
        app,
        issuer,
        subject,
        for_ms,
        reason,
    } = command
    {
        let draft = about(Draft::of("block", *app, issuer), subject);
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        return Some(draft.name_some("for ms", *for_ms).asked(None, reason));
    }
    let Command::Unblock {
        app,
        issuer,
        subject,
    } = command
    else {
        return None;
    };
    Some(about(Draft::of("unblock", *app, issuer), subject))
}

fn new_app(spec: &AppSpec) -> Draft {
    Draft::of("app create", spec.id, &Issuer::Operator)
        .name("name", &spec.name)
        .name_all("protocol", spec.protocols.iter().map(|one| &one.name))
        .name_all(
            "open",
            spec.open
                .iter()
                .map(|rule| right(Resource::Channel, &rule.pattern, rule.operations)),
        )
        .name_all("setting", spec.settings.keys())
        .name_all("key", spec.keys.iter().map(|key| &key.id))
}

fn app_change(app: AppId, issuer: &Issuer, change: &AppChange) -> Draft {
    let protocols = change.protocols.iter().flatten().map(|one| &one.name);
    let open = change.open.iter().flatten();
    Draft::of("app update", app, issuer)
        .name_some("name", change.name.as_ref())
        .name_some("enabled", change.enabled)
        .name_all("protocol", protocols)
        .name_all(
            "open",
            open.map(|rule| right(Resource::Channel, &rule.pattern, rule.operations)),
        )
        .name_all("setting", change.settings.keys())
}

fn new_key(app: AppId, issuer: &Issuer, spec: &KeySpec) -> Draft {
    rights(
        Draft::of("key create", app, issuer).name("key", &spec.id),
        &spec.capability,
    )
}

fn key_change((app, issuer): (AppId, &Issuer), key: &Text, change: &KeyChange) -> Draft {
    let draft = Draft::of("key update", app, issuer)
        .name("key", key)
        .name_some("name", change.name.as_ref())
        .name_some("enabled", change.enabled);
    match &change.capability {
        Some(capability) => rights(draft, capability),
        None => draft,
    }
}

fn rotated((app, issuer): (AppId, &Issuer), key: &Text, new: &Text) -> Draft {
    let draft = Draft::of("key rotate", app, issuer);
    draft.name("key", key).name("new key", new)
}

fn grants(
    (app, issuer): (AppId, &Issuer),
    subject: &Subject,
    mode: GrantMode,
    entries: &[GrantEntry],
) -> Draft {
    let line = |entry: &GrantEntry| {
        let mut text = right(entry.resource, &entry.pattern, entry.operations);
        if let Some(ttl_ms) = entry.ttl_ms {
            let _ = write!(text, " for {ttl_ms} ms");
        }
        text
    };
    let replaces = match mode {
        GrantMode::Merge => None,
        GrantMode::Replace | GrantMode::Renew => Some("all others"),
    };
    about(Draft::of("grant set", app, issuer), subject)
        .name_some("replaces", replaces)
        .name_all("line", entries.iter().map(line))
}

fn issued(id: &Text, token: &Token) -> Draft {
    let draft = Draft::of("token issue", token.app, &Issuer::Key(token.key.clone()))
        .name("token", hidden(id))
        .name_some("user", token.user.as_ref());
    rights(draft, &token.capability)
}

fn flagged(flag: &ChannelFlag) -> Draft {
    Draft::of("channel flag", flag.app, &flag.issuer)
        .name("channel", &flag.channel)
        .name("flag", &flag.flag)
        .name("on", flag.on)
}

fn channel_group(change: &GroupChange) -> Draft {
    Draft::of("channel group", change.app, &change.issuer)
        .name("channel group", &change.group)
        .name_some("cleared", Some("all others").filter(|_| change.clear))
        .name_all("add channel", &change.add)
        .name_all("remove channel", &change.remove)
}

fn administered(state: &State, asked: &Administration) -> Option<Draft> {
    let (app, issuer) = (asked.app, &asked.issuer);
    Some(match &asked.change {
        // What changes no right: that somebody would like the keys.
        Administered::AskForKeys { .. } => return None,
        Administered::App(change) => app_change(app, issuer, change),
        Administered::NewKey(spec) => new_key(app, issuer, spec),
        Administered::Key { key, change } => key_change((app, issuer), key, change),
        Administered::Rotated { key, new, .. } => rotated((app, issuer), key, &new.id),
        Administered::NoKey { key } => Draft::of("key delete", app, issuer).name("key", key),
        Administered::NewProvider(spec) => Draft::of("provider create", app, issuer)
            .name("provider", &spec.id)
            .name("issuer", &spec.iss)
            .name("ceiling", &spec.ceiling),
        Administered::Provider { id, change } => provider_change((app, issuer), id, change),
        Administered::NoProvider { id } => {
            Draft::of("provider delete", app, issuer).name("provider", id)
        }
        Administered::Signals { id, .. } => {
            Draft::of("provider signals", app, issuer).name("provider", id)
        }
        Administered::NoSignals { id } => Draft::of("provider signals", app, issuer)
            .name("provider", id)
            .name("removed", true),
        Administered::KeysFetched { id, fetched } => {
            // A try that brought nothing leaves the keys as they are.
            let keys = fetched.outcome.as_ref().ok()?;
            let known = state.provider(app, id)?.keys.iter().map(|one| &one.key);
            if keys.len() == known.len() && known.zip(keys).all(|(known, new)| known == new) {
                return None;
            }
            Draft::by("cluster", "provider keys")
                .in_app(app)
                .name("provider", id)
                .name_all("kid", keys.iter().map(|key| &key.kid))
        }
    })
}

fn provider_change((app, issuer): (AppId, &Issuer), id: &Text, change: &ProviderChange) -> Draft {
    Draft::of("provider update", app, issuer)
        .name("provider", id)
        .name_some("enabled", change.enabled)
        .name_some("issuer", change.iss.as_ref())
        .name_some("ceiling", change.ceiling.as_ref())
}

/// What a provider has told; none = it names nobody, or is known already.
fn event(state: &State, told: &Signal) -> Option<Draft> {
    if told.targets.is_empty() || signals::is_known(state, told) {
        return None;
    }
    let draft = Draft::by(&format!("provider {}", told.provider), "provider event")
        .in_app(told.app)
        .name("event", &told.id)
        .name("issued before ms", told.issued_before_ms);
    Some(told.targets.iter().fold(draft, aimed))
}

fn user_group(change: &UserGroupChange) -> Draft {
    let mut draft =
        Draft::of("group update", change.app, &change.issuer).name("group", &change.group);
    for member in &change.add {
        match member {
            GroupMember::User(user) => draft.push("add user", user),
            GroupMember::Group(group) => draft.push("add group", group),
        }
    }
    for member in &change.remove {
        match member {
            GroupMember::User(user) => draft.push("remove user", user),
            GroupMember::Group(group) => draft.push("remove group", group),
        }
    }
    draft
}

fn about(draft: Draft, subject: &Subject) -> Draft {
    let (name, value) = subject_words(subject);
    draft.name(name, value)
}

fn aimed(draft: Draft, target: &Target) -> Draft {
    let (name, value) = target_words(target);
    draft.name(name, value)
}

fn rights(draft: Draft, capability: &Capability) -> Draft {
    let lines = capability.rights.iter();
    draft.name_all(
        "right",
        lines.map(|line| right(line.resource, &line.pattern, line.operations)),
    )
}

fn right(resource: Resource, pattern: &Pattern, operations: Operations) -> String {
    format!(
        "{}: {}",
        place(resource, pattern),
        operations.names().join(",")
    )
}

fn place(resource: Resource, pattern: &Pattern) -> String {
    let kind = match resource {
        Resource::Channel => "channel",
        Resource::Group => "channel group",
        Resource::User => "record of user",
    };
    format!("{kind} {pattern}")
}
