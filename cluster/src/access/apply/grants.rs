//! Stored grants of one subject: merge, replace, delete.
//!
//! **Why a replace needs authority over what it removes:** else a key limited to `a:*` could empty what an operator
//! gave on `b`.

use super::super::limits::{self, Limits};
use super::super::{
    AppId, Effect, Grant, GrantEntry, GrantKey, GrantMode, Issuer, Pattern, Rejection, Reply,
    Resource, Scope, State, Subject,
};
use super::issuer::{Authority, authority};
use super::{Result, recheck};
use std::collections::BTreeMap;

/// Of which app, who asks, for whom.
pub(super) type Whose<'a> = (AppId, &'a Issuer, &'a Subject);

type Wanted<'a> = BTreeMap<(Resource, &'a Pattern), &'a GrantEntry>;

#[allow(clippy::mutable_key_type)] // A pattern is ordered by its text; what is compiled beside it does not count.
pub(super) fn set(
    state: &mut State,
    (app, issuer, subject): Whose<'_>,
    mode: GrantMode,
    entries: &[GrantEntry],
    effects: &mut Vec<Effect>,
) -> Result {
    let authority = authority(state, app, issuer)?;
    limits::subject(subject)?;
    if let Subject::Key(key) = subject {
        state.key_of(app, key).ok_or(Rejection::NoSuchKey)?;
    }
    limits::at_most("grant entries", entries.len(), Limits::GRANT_ENTRIES)?;
    let mut wanted = Wanted::new();
    for entry in entries {
        check(entry, authority)?;
        wanted.insert((entry.resource, &entry.pattern), entry);
    }
    let removed = match mode {
        GrantMode::Merge => Vec::new(),
        GrantMode::Replace | GrantMode::Renew => state
            .grants_of(app, subject)
            .map(|(key, _)| key)
            .filter(|key| !wanted.contains_key(&(key.resource, &key.pattern)))
            .cloned()
            .collect(),
    };
    may_take_all(authority, &removed)?;
    room(state, app, subject, mode, &wanted)?;

    let issuer = authority.issuer();
    // One text per subject, however many grants it has.
    let shared = state.grants_of(app, subject).next();
    let replaces = mode != GrantMode::Merge && shared.is_some();
    let subject = shared.map_or_else(|| subject.clone(), |(key, _)| key.subject.clone());
    let mut touched = 0;
    // Who replaces says "exactly these", also where an earlier replacement has seen to it already.
    let mut narrowed = replaces;
    let mut took = !removed.is_empty();
    for key in &removed {
        touched += u64::from(state.drop_grant(key).is_some());
    }
    for ((resource, pattern), entry) in wanted {
        let key = GrantKey {
            app,
            subject: subject.clone(),
            resource,
            pattern: pattern.clone(),
        };
        let (did, less) = write(state, key, entry, &issuer);
        touched += u64::from(did);
        took |= less;
        narrowed |= less || entry.operations.is_empty();
    }
    if touched > 0 {
        effects.push(recheck(state, app, &subject));
    }
    if took && mode != GrantMode::Renew {
        effects.extend(copies(app, &subject));
    }
    Ok(super::touched(touched, narrowed))
}

/// Writes one line: whether anything was touched, and whether something was taken away.
fn write(state: &mut State, key: GrantKey, entry: &GrantEntry, issuer: &Issuer) -> (bool, bool) {
    if entry.operations.is_empty() {
        let dropped = state.drop_grant(&key).is_some();
        return (dropped, dropped);
    }
    let grant = Grant {
        operations: entry.operations,
        expires_ms: entry.ttl_ms.map(|ttl| state.time_ms.saturating_add(ttl)),
        issuer: issuer.clone(),
        revision: state.revision,
    };
    let before = state.grants.get(&key);
    let less = before.is_some_and(|before| is_less(&grant, before));
    state.put_grant(key, grant);
    (true, less)
}

/// Whether a line takes away something of the one it overwrites.
fn is_less(after: &Grant, before: &Grant) -> bool {
    let sooner = match (before.expires_ms, after.expires_ms) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => after < before,
    };
    sooner || !after.operations.contains(before.operations)
}

fn check(entry: &GrantEntry, authority: Authority<'_>) -> Result<()> {
    limits::pattern(&entry.pattern)?;
    if entry.operations.is_empty() {
        return authority.may_take(entry.resource, &entry.pattern);
    }
    if entry.ttl_ms == Some(0) {
        return Err(Rejection::Invalid("a ttl of 0 would end at once".into()));
    }
    authority.may_grant(entry.resource, &entry.pattern, entry.operations)
}

/// For what was not named by the one who asks: the refusal does not name it either.
fn may_take_all(authority: Authority<'_>, grants: &[GrantKey]) -> Result<()> {
    let may = |key: &GrantKey| authority.may_take(key.resource, &key.pattern).is_ok();
    match grants.iter().all(may) {
        true => Ok(()),
        false => Err(Rejection::BeyondIssuer(
            "other grants of the subject".into(),
        )),
    }
}

/// As [`may_take_all`], of everything that the subject has.
pub(super) fn may_take_all_of(
    state: &State,
    authority: Authority<'_>,
    app: AppId,
    subject: &Subject,
) -> Result<()> {
    let held: Vec<GrantKey> = state
        .grants_of(app, subject)
        .map(|(key, _)| key.clone())
        .collect();
    may_take_all(authority, &held)
}

/// Bounds of what the subject and the cluster hold afterwards.
#[allow(clippy::mutable_key_type)] // A pattern is ordered by its text; what is compiled beside it does not count.
fn room(
    state: &State,
    app: AppId,
    subject: &Subject,
    mode: GrantMode,
    wanted: &Wanted<'_>,
) -> Result<()> {
    limits::at_most("grants", state.grants.len() + wanted.len(), Limits::GRANTS)?;
    for resource in [Resource::Channel, Resource::Group, Resource::User] {
        let wild = wanted
            .iter()
            .filter(|((of, pattern), entry)| {
                *of == resource && !pattern.is_exact() && !entry.operations.is_empty()
            })
            .count();
        if wild == 0 {
            continue;
        }
        let kept = match mode {
            GrantMode::Replace | GrantMode::Renew => 0,
            GrantMode::Merge => state
                .wildcards_of(app, subject, resource)
                .filter(|(key, _)| !wanted.contains_key(&(resource, &key.pattern)))
                .count(),
        };
        limits::at_most("patterns", kept + wild, Limits::PATTERNS_PER_SUBJECT)?;
    }
    Ok(())
}

pub(super) fn delete(
    state: &mut State,
    (app, issuer, subject): Whose<'_>,
    names: &[(Resource, Pattern)],
    effects: &mut Vec<Effect>,
) -> Result {
    let authority = authority(state, app, issuer)?;
    limits::subject(subject)?;
    limits::at_most("grant entries", names.len(), Limits::GRANT_ENTRIES)?;
    // Judged before it is looked up: a refusal must not tell whether there is such a grant.
    for (resource, pattern) in names {
        authority.may_take(*resource, pattern)?;
    }
    let doomed: Vec<GrantKey> = match names.is_empty() {
        true => state
            .grants_of(app, subject)
            .map(|(key, _)| key.clone())
            .collect(),
        false => names
            .iter()
            .map(|(resource, pattern)| GrantKey {
                app,
                subject: subject.clone(),
                resource: *resource,
                pattern: pattern.clone(),
            })
            .filter(|key| state.grants.contains_key(key))
            .collect(),
    };
    may_take_all(authority, &doomed)?;
    if doomed.is_empty() {
        return Err(Rejection::NotFound);
    }
    let mut touched = 0;
    for key in &doomed {
        touched += u64::from(state.drop_grant(key).is_some());
    }
    effects.push(recheck(state, app, subject));
    effects.extend(copies(app, subject));
    Ok(Reply::Narrowed(touched))
}

/// Reaches the connections that keep a copy of what is stored for a token. Nobody keeps one of anything else.
fn copies(app: AppId, subject: &Subject) -> Option<Effect> {
    match subject {
        Subject::Token(token) => Some(Effect::Recheck {
            app,
            scope: Scope::Copies(token.clone()),
        }),
        Subject::Everyone | Subject::User(_) | Subject::Key(_) | Subject::Group(_) => None,
    }
}

/// Ends all grants of a subject at `end_ms`: at once if that is now. How many were touched.
pub(super) fn end_all(state: &mut State, app: AppId, subject: &Subject, end_ms: u64) -> u64 {
    let now_ms = state.time_ms;
    let held: Vec<(GrantKey, Grant)> = state
        .grants_of(app, subject)
        .map(|(key, grant)| (key.clone(), grant.clone()))
        .collect();
    let mut touched = 0;
    for (key, mut grant) in held {
        touched += 1;
        if end_ms <= now_ms {
            state.drop_grant(&key);
        } else if grant.expires_ms.is_none_or(|end| end > end_ms) {
            grant.expires_ms = Some(end_ms);
            state.put_grant(key, grant);
        }
    }
    touched
}

/// Deletes every grant of the app; how many there were.
pub(super) fn clear(state: &mut State, id: AppId) -> u64 {
    let grants: Vec<GrantKey> = state.grants_in(id).map(|(key, _)| key.clone()).collect();
    for key in &grants {
        state.drop_grant(key);
    }
    grants.len() as u64
}
