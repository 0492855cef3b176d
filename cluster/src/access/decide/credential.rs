//! Whether a credential still stands: app, key, block, expiry, revocation, in that order.
//!
//! **Why apart from rights:** a revoked credential is void even where everything is open, and a connection asks this
//! without naming a channel.

use super::super::records::{Subject, Target};
use super::super::{
    AppId, Issued, Millis, Principal, Proof, Resource, Revocation, SpokenFor, State, Text,
};
use super::Reason;

/// Until when it stands, as far as is known now.
type Standing = Result<Option<Millis>, Reason>;

/// The principal with the proof it connected with.
pub(super) fn stands(state: &State, principal: &Principal, now_ms: Millis) -> Standing {
    let app = principal.app;
    let record = state.apps.get(&app).ok_or(Reason::NoSuchApp(app))?;
    if !record.enabled {
        return Err(Reason::AppDisabled);
    }
    let mut until = None;
    for key in principal.keys() {
        until = earliest(until, key_is_live(state, app, key, now_ms)?);
    }
    if !state.blocks.is_empty() {
        for subject in subjects_that_are_blocked(principal) {
            not_blocked(state, app, subject, now_ms)?;
        }
        groups_not_blocked(state, app, (principal.user.as_ref(), &[]), now_ms)?;
    }
    until = earliest(
        until,
        in_its_time(principal.expires_ms, principal.issued, now_ms)?,
    );
    for target in targets(principal) {
        until = earliest(
            until,
            not_revoked(state, app, target, principal.issued, now_ms)?,
        );
    }
    match &principal.proof {
        Some(proof) => Ok(earliest(until, proof_stands(state, app, proof, now_ms)?)),
        None => Ok(until),
    }
}

/// A proof by itself: its key, its time, and what was revoked of either.
pub(super) fn proof_stands(state: &State, app: AppId, proof: &Proof, now_ms: Millis) -> Standing {
    let mut until = key_is_live(state, app, &proof.key, now_ms)?;
    if let Some(by) = &proof.vouched
        && !state.still_vouched(app, &proof.key, by)
    {
        return Err(Reason::NotVouched(by.provider.clone()));
    }
    not_blocked(state, app, Subject::Key(proof.key.clone()), now_ms)?;
    let claimed = proof.claimed();
    groups_not_blocked(state, app, (None, claimed), now_ms)?;
    until = earliest(until, in_its_time(proof.expires_ms, proof.issued, now_ms)?);
    let named = proof
        .capability
        .names_channels()
        .cloned()
        .map(Target::Channel);
    let claims = claimed.iter().cloned().map(Target::Group);
    for target in [Target::App, Target::Key(proof.key.clone())]
        .into_iter()
        .chain(named)
        .chain(claims)
    {
        until = earliest(
            until,
            not_revoked(state, app, target, proof.issued, now_ms)?,
        );
    }
    Ok(until)
}

/// Somebody who is spoken for: blocked, or revoked since that was said.
pub(super) fn spoken_for(state: &State, app: AppId, other: &SpokenFor, now_ms: Millis) -> Standing {
    not_blocked(state, app, Subject::User(other.user.clone()), now_ms)?;
    groups_not_blocked(state, app, (Some(&other.user), &[]), now_ms)?;
    let target = Target::User(other.user.clone());
    not_revoked(state, app, target, other.issued, now_ms)
}

fn subjects_that_are_blocked(principal: &Principal) -> impl Iterator<Item = Subject> {
    let user = principal.user.clone().map(Subject::User);
    let token = principal.token.clone().map(Subject::Token);
    let keys = principal.keys().cloned().map(Subject::Key);
    [user, token].into_iter().flatten().chain(keys)
}

fn targets(principal: &Principal) -> impl Iterator<Item = Target> {
    let token = principal.token.clone().map(Target::Token);
    let user = principal.user.clone().map(Target::User);
    let revocation_key = principal.revocation_key.clone().map(Target::RevocationKey);
    let keys = principal.keys().cloned().map(Target::Key);
    let named = [token, user, revocation_key].into_iter().flatten();
    std::iter::once(Target::App).chain(keys).chain(named)
}

/// Nothing that somebody is in is blocked. Asked only where some group of the app is.
fn groups_not_blocked(
    state: &State,
    app: AppId,
    (user, claimed): (Option<&Text>, &[Text]),
    now_ms: Millis,
) -> Result<(), Reason> {
    let first = (app, Subject::Group(Text::default()));
    let next = state.blocks.range(first..).next();
    if next.is_none_or(|((of, _), _)| *of != app) {
        return Ok(());
    }
    for group in state.groups_of_user(app, user, claimed) {
        not_blocked(state, app, Subject::Group(group.clone()), now_ms)?;
    }
    Ok(())
}

fn key_is_live(state: &State, app: AppId, key: &Text, now_ms: Millis) -> Standing {
    let record = state
        .key_of(app, key)
        .ok_or_else(|| Reason::NoSuchKey(key.clone()))?;
    match record.is_live(now_ms) {
        true => Ok(record.expires_ms),
        false => Err(Reason::KeyDisabled(key.clone())),
    }
}

fn not_blocked(state: &State, app: AppId, subject: Subject, now_ms: Millis) -> Result<(), Reason> {
    match state.blocks.get(&(app, subject)) {
        Some(block) if block.until_ms.is_none_or(|end| end > now_ms) => Err(Reason::Blocked {
            until_ms: block.until_ms,
        }),
        Some(_) | None => Ok(()),
    }
}

/// Issued by now, and not over. What was honoured at some time says an earlier one, and so every revocation from that
/// time on reaches it, however often it is shown again.
fn in_its_time(stated: Option<Millis>, issued: Issued, now_ms: Millis) -> Standing {
    if let Issued::At(at_ms) = issued
        && at_ms > now_ms
    {
        return Err(Reason::NotYet { at_ms });
    }
    let end = earliest(stated, issued.latest_end());
    match end {
        Some(at_ms) if at_ms <= now_ms => Err(Reason::Expired { at_ms }),
        Some(_) | None => Ok(end),
    }
}

fn not_revoked(
    state: &State,
    app: AppId,
    target: Target,
    issued: Issued,
    now_ms: Millis,
) -> Standing {
    let place = (app, target);
    let Some(revocation) = state.revocations.get(&place) else {
        return Ok(None);
    };
    if revocation.voids(issued, now_ms) {
        return Err(Reason::Revoked {
            target: place.1,
            revision: revocation.revision,
        });
    }
    Ok(revocation.will_void(issued, now_ms))
}

/// The earlier of two ends.
pub(super) fn earliest(a: Option<Millis>, b: Option<Millis>) -> Option<Millis> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}

/// When a stored grant on exactly this channel will be void by a revocation whose margin runs.
pub(super) fn channel_margin(
    revocation: Option<&Revocation>,
    written: u64,
    now_ms: Millis,
) -> Option<Millis> {
    // A grant counts as seen at its own revision; one of the same revision is reached too.
    revocation.and_then(|r| r.will_void(Issued::Seen(written.saturating_sub(1)), now_ms))
}

/// Whether a resource is one that revocations name.
pub(super) const fn is_channel(resource: Resource) -> bool {
    matches!(resource, Resource::Channel)
}
