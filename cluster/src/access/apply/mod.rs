//! Applying commands. One exhaustive match; a rejection changes nothing and is a reply.
//!
//! **Must never know:** who proposed a command, or whether this node leads. **Why check first, then write:**
//! the state has no undo; every function below looks at everything it needs before its first write.
//!
//! Whatever the command comes to, its stamp moves the machine's time and revision, and a bounded number of
//! records that have ended by then are removed (that is no part of the command's own outcome).

mod administer;
mod apps;
mod asked;
mod batch;
mod blocks;
mod flags;
mod grants;
mod groups;
mod issuer;
mod key_fetches;
mod keys;
mod members;
mod providers;
mod revoke;
pub(super) mod signals;
mod sweep;
mod tokens;
mod user_groups;

pub use batch::{Batch, Op, apply_batch};

/// Everybody who is connected to the app is looked at again.
fn everyone(app: AppId) -> Effect {
    Effect::Recheck {
        app,
        scope: Scope::App,
    }
}

/// Voids every credential of the app that was issued up to now, and nothing else.
pub(super) fn void_everything(state: &mut State, app: AppId) {
    revoke::leave_void(state, app, super::Target::App);
}

use super::{App, Cut, Subject, Target, audit};
use super::{AppId, Command, Effect, Limits, Rejection, Reply, Revision, Scope, Stamp, State};
use std::sync::Arc;

/// What applying one command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Log index at which it became true: of the first time, if the request is a retry.
    pub revision: Revision,
    /// For the caller.
    pub reply: Reply,
    /// For the connection shards of every node.
    pub effects: Vec<Effect>,
}

/// Shorthand: the revision and outcome of one applied command, as the caller of a proposal sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Log index at which it became true.
    pub revision: super::Revision,
    /// What it came to.
    pub reply: Reply,
}

type Result<T = Reply> = std::result::Result<T, Rejection>;

/// Applies one command. Deterministic; never panics, whatever the command.
pub fn apply(state: &mut State, command: &Command, stamp: Stamp) -> Outcome {
    state.revision = state.revision.max(stamp.index);
    state.time_ms = state.time_ms.max(stamp.time_ms);
    let mut effects = Vec::new();
    let ticks = matches!(command, Command::Tick);
    let budget = match ticks {
        true => Limits::SWEEP_TICK,
        false => Limits::SWEEP,
    };
    if ticks {
        state.audit.tick(state.time_ms);
    }
    sweep::sweep(state, budget, &mut effects);
    let swept = effects.len();
    // What a key belongs to is asked before it may be gone.
    let draft = audit::draft(state, command);
    let reply = run_if_known(state, command, &mut effects).unwrap_or_else(|rejection| {
        effects.truncate(swept);
        Reply::Rejected(rejection)
    });
    if let Some(draft) = draft
        && !matches!(reply, Reply::Rejected(_) | Reply::Changed(0))
    {
        let own = effects.get(swept..).unwrap_or_default();
        let record = draft.record(state, &reply, own);
        state.audit.append(record);
    }
    effects.dedup();
    Outcome {
        revision: stamp.index,
        reply,
        effects,
    }
}

/// The cluster version from which a command may be applied. New kinds go here, with the version that
/// brought them, so that no member is asked to read what it cannot.
fn since(command: &Command) -> u16 {
    match command {
        Command::Tick
        | Command::SetClusterVersion(_)
        | Command::Member(_)
        | Command::CreateApp(_)
        | Command::UpdateApp { .. }
        | Command::DeleteApp { .. }
        | Command::CreateKey(_)
        | Command::UpdateKey { .. }
        | Command::RotateKey { .. }
        | Command::DeleteKey { .. }
        | Command::SetGrants { .. }
        | Command::DeleteGrants { .. }
        | Command::IssueToken { .. }
        | Command::Revoke { .. }
        | Command::Disconnect { .. }
        | Command::Block { .. }
        | Command::Unblock { .. }
        | Command::UseNonce { .. }
        | Command::SetChannelFlag(_)
        | Command::SetGroup(_)
        | Command::Administer(_)
        | Command::SignOut(_)
        | Command::SetUserGroup(_)
        | Command::DeleteUserGroup(_)
        | Command::Signal(_)
        | Command::Asked(_)
        | Command::KeepAudit(_) => 0,
    }
}

fn read_by_all(state: &State, command: &Command) -> Result<()> {
    match since(command) {
        since if since > state.version => Err(Rejection::VersionNotEnabled(since)),
        _enabled => Ok(()),
    }
}

fn run_if_known(state: &mut State, command: &Command, effects: &mut Vec<Effect>) -> Result {
    read_by_all(state, command)?;
    run(state, command, effects)
}

fn run(state: &mut State, command: &Command, effects: &mut Vec<Effect>) -> Result {
    match command {
        Command::Tick => Ok(Reply::Done),
        Command::SetClusterVersion(version) => members::set_version(state, *version),
        Command::Member(member) => members::change(state, member, effects),
        Command::CreateApp(spec) => apps::create(state, spec, effects),
        Command::UpdateApp { app, change } => apps::update(state, *app, change, effects),
        Command::DeleteApp { app } => apps::delete(state, *app, effects),
        Command::CreateKey(spec) => keys::create(state, spec, effects),
        Command::UpdateKey { key, change } => keys::update(state, key, change, effects),
        Command::RotateKey {
            key,
            new,
            overlap_ms,
        } => keys::rotate(state, key, new, *overlap_ms, effects),
        Command::DeleteKey { key } => keys::delete(state, key, effects),
        Command::SetGrants {
            app,
            issuer,
            subject,
            mode,
            entries,
        } => grants::set(state, (*app, issuer, subject), *mode, entries, effects),
        Command::DeleteGrants {
            app,
            issuer,
            subject,
            names,
        } => grants::delete(state, (*app, issuer, subject), names, effects),
        Command::IssueToken { id, token } => tokens::issue(state, id, token),
        Command::Revoke {
            app,
            issuer,
            target,
            issued_before_ms: before,
            margin_ms: margin,
        } => revoke::revoke(state, (*app, issuer, target), (*before, *margin), effects),
        Command::Disconnect {
            app,
            issuer,
            target,
        } => revoke::disconnect(state, *app, issuer, target, effects),
        Command::Block {
            app,
            issuer,
            subject,
            for_ms,
            reason,
        } => blocks::block(state, (*app, issuer, subject), *for_ms, reason, effects),
        Command::Unblock {
            app,
            issuer,
            subject,
        } => blocks::unblock(state, *app, issuer, subject, effects),
        Command::UseNonce {
            app,
            key,
            nonce,
            expires_ms,
        } => tokens::use_nonce(state, (*app, key, nonce), *expires_ms),
        Command::SetChannelFlag(flag) => flags::set(state, flag),
        Command::SetGroup(change) => groups::set(state, change, effects),
        Command::Administer(asked) => administer::administer(state, asked, effects),
        Command::SignOut(asked) => revoke::sign_out(state, asked, effects),
        Command::SetUserGroup(change) => user_groups::set(state, change, effects),
        Command::DeleteUserGroup(asked) => user_groups::delete(state, asked, effects),
        Command::Signal(told) => signals::told(state, told, effects),
        Command::Asked(_) | Command::KeepAudit(_) => asked::of_audit(state, command, effects),
    }
}

/// The reply of a command that touched so many records.
fn touched(records: u64, narrowed: bool) -> Reply {
    match narrowed {
        true => Reply::Narrowed(records),
        false => Reply::Changed(records),
    }
}

fn app(state: &State, app: AppId) -> Result<&App> {
    let found = state.apps.get(&app).map(Arc::as_ref);
    found.ok_or(Rejection::NoSuchApp)
}

fn recheck(state: &State, app: AppId, subject: &Subject) -> Effect {
    let scope = match subject {
        Subject::Everyone => Scope::App,
        Subject::Group(group) => Scope::Affected(state.reach_of_group(app, group)),
        one @ (Subject::User(_) | Subject::Token(_) | Subject::Key(_)) => {
            Scope::Subject(one.clone())
        }
    };
    Effect::Recheck { app, scope }
}

/// Ends the connections of a target.
fn cut(state: &State, app: AppId, target: &Target, cut: Cut) -> Effect {
    match target {
        Target::Group(group) => Effect::CutAll {
            app,
            whom: state.reach_of_group(app, group),
            cut,
        },
        one @ (Target::Token(_)
        | Target::User(_)
        | Target::RevocationKey(_)
        | Target::Channel(_)
        | Target::Key(_)
        | Target::App) => Effect::Cut {
            app,
            target: one.clone(),
            cut,
        },
    }
}
