//! Revocations and disconnects.
//!
//! **Must never know:** which connections hold a target: that is the shards' knowledge. **Why the target's
//! stored grants go too:** a revoke is finished when nothing of the target passes any more; a grant that was
//! left would pass for the next credential.

use super::super::limits::{self, Limits};
use super::super::{
    AppId, Cut, Effect, Issuer, Millis, Rejection, Reply, Revocation, SignOut, State, Subject,
    Target, Text,
};
use super::issuer::authority;
use super::{Result, cut, everyone, grants, recheck};

/// Issued before (none = now) and margin.
type When = (Option<Millis>, Millis);

pub(super) fn revoke(
    state: &mut State,
    (app, issuer, target): (AppId, &Issuer, &Target),
    (issued_before_ms, margin_ms): When,
    effects: &mut Vec<Effect>,
) -> Result {
    check(state, app, issuer, target)?;
    if margin_ms > Limits::MARGIN_MS {
        return Err(Rejection::LimitReached("margin".into()));
    }
    let end_ms = void(state, app, target, (issued_before_ms, margin_ms), effects);
    let touched = match target {
        Target::Token(text) => end(state, app, Subject::Token(text.clone()), end_ms, effects),
        Target::User(text) => end(state, app, Subject::User(text.clone()), end_ms, effects),
        Target::Key(text) => end(state, app, Subject::Key(text.clone()), end_ms, effects),
        // Who is in it stays in it, with what is her own.
        Target::Group(text) => end(state, app, Subject::Group(text.clone()), end_ms, effects),
        Target::RevocationKey(_) => 0,
        Target::Channel(_) => {
            effects.push(everyone(app));
            0
        }
        Target::App => {
            effects.push(everyone(app));
            end_app(state, app, end_ms)
        }
    };
    Ok(Reply::Narrowed(touched))
}

/// As [`revoke`], from now on and without what is stored.
pub(super) fn sign_out(state: &mut State, asked: &SignOut, effects: &mut Vec<Effect>) -> Result {
    limits::at_most("targets", asked.targets.len(), Limits::SIGNED_OUT)?;
    if asked.targets.is_empty() {
        return Err(Rejection::Invalid("somebody is signed out".into()));
    }
    for target in &asked.targets {
        check(state, asked.app, &asked.issuer, target)?;
    }
    for target in &asked.targets {
        void(state, asked.app, target, (None, 0), effects);
    }
    Ok(Reply::Narrowed(0))
}

/// Voids the credentials of a target; from when on.
fn void(
    state: &mut State,
    app: AppId,
    target: &Target,
    (issued_before_ms, margin_ms): When,
    effects: &mut Vec<Effect>,
) -> Millis {
    let now_ms = state.time_ms;
    // "Before now" takes in what was issued in this very millisecond; nothing later than that can be
    // meant, since it does not exist yet.
    let latest = now_ms.saturating_add(1);
    let applies_ms = now_ms.saturating_add(margin_ms);
    let made = Revocation {
        issued_before_ms: issued_before_ms.unwrap_or(latest).min(latest),
        applies_ms,
        forget_ms: match target {
            // It also voids stored grants on the channel, and those need not end.
            Target::Channel(_) => None,
            Target::Token(_)
            | Target::User(_)
            | Target::RevocationKey(_)
            | Target::Key(_)
            | Target::Group(_)
            | Target::App => Some(applies_ms.saturating_add(Limits::CREDENTIAL_MS)),
        },
        revision: state.revision,
        standing: None,
    };
    put(state, (app, target), made, effects)
}

/// Stores a revocation beside what stands, and cuts whom it reaches; from when on.
pub(super) fn put(
    state: &mut State,
    (app, target): (AppId, &Target),
    made: Revocation,
    effects: &mut Vec<Effect>,
) -> Millis {
    if let Target::Group(group) = target {
        return void_members(state, app, group, &made, effects);
    }
    let now_ms = state.time_ms;
    let before = state.revocations.get(&(app, target.clone()));
    let record = made.joined(before, now_ms);
    effects.push(Effect::Cut {
        app,
        target: target.clone(),
        cut: Cut::Revoked {
            issued_before_ms: record.issued_before_ms,
            revision: record.revision,
            applies_ms: record.applies_ms,
        },
    });
    let end_ms = record.applies_ms;
    state.put_revocation(app, target.clone(), record);
    end_ms
}

/// Voids what everybody has who is in a group now: of members by their names, of others by what they claim. Who comes
/// later is not meant, and who goes is.
fn void_members(
    state: &mut State,
    app: AppId,
    group: &Text,
    made: &Revocation,
    effects: &mut Vec<Effect>,
) -> Millis {
    let whom = state.reach_of_group(app, group);
    let users = whom.users.iter().cloned().map(Target::User);
    let claims = whom.groups.iter().cloned().map(Target::Group);
    for target in users.chain(claims) {
        let before = state.revocations.get(&(app, target.clone()));
        let record = made.clone().joined(before, state.time_ms);
        state.put_revocation(app, target, record);
    }
    effects.push(Effect::CutAll {
        app,
        whom,
        cut: Cut::Revoked {
            issued_before_ms: made.issued_before_ms,
            revision: made.revision,
            applies_ms: made.applies_ms,
        },
    });
    made.applies_ms
}

/// Voids everything of a target that is being deleted, for when its id should be made again.
pub(super) fn leave_void(state: &mut State, app: AppId, target: Target) {
    let made = Revocation {
        issued_before_ms: state.time_ms.saturating_add(1),
        applies_ms: state.time_ms,
        forget_ms: Some(state.time_ms.saturating_add(Limits::CREDENTIAL_MS)),
        revision: state.revision,
        standing: None,
    };
    let before = state.revocations.get(&(app, target.clone()));
    let record = made.joined(before, state.time_ms);
    state.put_revocation(app, target, record);
}

fn end(
    state: &mut State,
    app: AppId,
    subject: Subject,
    end_ms: Millis,
    effects: &mut Vec<Effect>,
) -> u64 {
    let touched = grants::end_all(state, app, &subject, end_ms);
    if touched > 0 {
        effects.push(recheck(state, app, &subject));
    }
    touched
}

fn end_app(state: &mut State, app: AppId, end_ms: Millis) -> u64 {
    if end_ms <= state.time_ms {
        return grants::clear(state, app);
    }
    let mut subjects: Vec<Subject> = state
        .grants_in(app)
        .map(|(key, _)| key.subject.clone())
        .collect();
    subjects.dedup();
    subjects
        .iter()
        .map(|subject| grants::end_all(state, app, subject, end_ms))
        .sum()
}

pub(super) fn disconnect(
    state: &State,
    app: AppId,
    issuer: &Issuer,
    target: &Target,
    effects: &mut Vec<Effect>,
) -> Result {
    check(state, app, issuer, target)?;
    effects.push(cut(state, app, target, Cut::Disconnected));
    Ok(Reply::Narrowed(0))
}

fn check(state: &State, app: AppId, issuer: &Issuer, target: &Target) -> Result<()> {
    let authority = authority(state, app, issuer)?;
    limits::target(target)?;
    if let Target::Key(key) = target {
        state.key_of(app, key).ok_or(Rejection::NoSuchKey)?;
    }
    authority.may_end(state, app, target)
}
