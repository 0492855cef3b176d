//! API keys: create, change, rotate, delete.
//!
//! **Why a rotated key has a successor:** what it granted must neither vanish with it nor outlive all control; the
//! successor answers for it.

use super::super::limits::{self, Limits};
use super::super::{
    ApiKey, AppId, Capability, Cut, Effect, GrantKey, Issuer, KeyChange, KeySpec, Millis,
    Rejection, Reply, State, Subject, Target, Text,
};
use super::{Result, everyone, providers, revoke};
use std::collections::BTreeSet;

/// Whether a key of that spec may be made (its app aside).
pub(super) fn check(state: &State, spec: &KeySpec) -> Result<()> {
    limits::name("key", &spec.id, Limits::ID_TEXT)?;
    limits::label("name", &spec.name)?;
    limits::name("secret", &spec.secret.0, Limits::MAX_TEXT)?;
    limits::capability(&spec.capability)?;
    if state.keys.contains_key(&spec.id) || state.key_successors.contains_key(&spec.id) {
        return Err(Rejection::Taken(spec.id.clone()));
    }
    Ok(())
}

/// Stores a new key.
pub(super) fn put(state: &mut State, spec: &KeySpec, capability: Capability) {
    let key = ApiKey {
        id: spec.id.clone(),
        app: spec.app,
        name: spec.name.clone(),
        secret: spec.secret.clone(),
        capability,
        enabled: true,
        expires_ms: None,
        revocable_tokens: spec.revocable_tokens,
        created_ms: state.time_ms,
        revision: state.revision,
    };
    state.put_key(key);
}

fn room_for_one(state: &State, app: AppId) -> Result<()> {
    let count = state.keys_of(app).count();
    limits::at_most("keys", count + 1, Limits::KEYS_PER_APP)
}

pub(super) fn create(state: &mut State, spec: &KeySpec, effects: &mut Vec<Effect>) -> Result {
    super::app(state, spec.app)?;
    check(state, spec)?;
    room_for_one(state, spec.app)?;
    put(state, spec, spec.capability.clone());
    effects.push(Effect::AppChanged(spec.app));
    Ok(Reply::Done)
}

pub(super) fn update(
    state: &mut State,
    id: &Text,
    change: &KeyChange,
    effects: &mut Vec<Effect>,
) -> Result {
    let before = state.keys.get(id).ok_or(Rejection::NoSuchKey)?;
    let mut key = ApiKey::clone(before);
    if let Some(name) = &change.name {
        limits::label("name", name)?;
        key.name = name.clone();
    }
    if let Some(capability) = &change.capability {
        limits::capability(capability)?;
        key.capability = capability.clone();
    }
    if let Some(enabled) = change.enabled {
        let over = key.expires_ms.is_some_and(|end| end <= state.time_ms);
        if enabled && over {
            return Err(Rejection::Invalid(
                "the key was rotated and its overlap has ended".into(),
            ));
        }
        key.enabled = enabled;
    }
    key.revocable_tokens = change.revocable_tokens.unwrap_or(key.revocable_tokens);

    let disabled = before.enabled && !key.enabled;
    let rights = before.enabled != key.enabled || before.capability != key.capability;
    let app = key.app;
    key.revision = state.revision;
    state.put_key(key);
    effects.push(Effect::AppChanged(app));
    if disabled {
        effects.push(cut(app, id));
    }
    if rights {
        effects.push(everyone(app));
    }
    let narrows = change.enabled == Some(false) || change.capability.is_some();
    Ok(match narrows {
        true => Reply::Narrowed(1),
        false => Reply::Done,
    })
}

pub(super) fn rotate(
    state: &mut State,
    id: &Text,
    new: &KeySpec,
    overlap_ms: Millis,
    effects: &mut Vec<Effect>,
) -> Result {
    let old = state.keys.get(id).ok_or(Rejection::NoSuchKey)?;
    let old = ApiKey::clone(old);
    if new.app != old.app {
        return Err(Rejection::Invalid("the new key names another app".into()));
    }
    if !old.is_live(state.time_ms) {
        return Err(Rejection::Invalid("the key is disabled".into()));
    }
    if old.expires_ms.is_some() {
        return Err(Rejection::Invalid("the key has been rotated before".into()));
    }
    if overlap_ms > Limits::OVERLAP_MS {
        return Err(Rejection::LimitReached("overlap".into()));
    }
    check(state, new)?;
    room_for_one(state, old.app)?;

    put(state, new, old.capability.clone());
    for former in with_heir(state, id) {
        state.key_successors.insert(former, new.id.clone());
    }
    state.key_successors.insert(id.clone(), new.id.clone());
    let app = old.app;
    providers::follow(state, app, id, &new.id);
    let enabled = overlap_ms > 0;
    state.put_key(ApiKey {
        enabled,
        expires_ms: Some(state.time_ms.saturating_add(overlap_ms)),
        revision: state.revision,
        ..old
    });
    effects.push(Effect::AppChanged(app));
    if !enabled {
        effects.push(cut(app, id));
        effects.push(everyone(app));
    }
    // The old key has an end now.
    Ok(Reply::Narrowed(2))
}

pub(super) fn delete(state: &mut State, id: &Text, effects: &mut Vec<Effect>) -> Result {
    let app = state.keys.get(id).ok_or(Rejection::NoSuchKey)?.app;
    let formers = with_heir(state, id);
    // Issuers whose grants end with this key: itself unless a successor answers for it, and those it
    // answers for.
    let mut issuers: BTreeSet<Text> = formers.iter().cloned().collect();
    if !state.key_successors.contains_key(id) {
        issuers.insert(id.clone());
    }
    let grants: Vec<GrantKey> = state
        .grants_in(app)
        .filter(|(key, grant)| {
            key.subject == Subject::Key(id.clone())
                || matches!(&grant.issuer, Issuer::Key(issuer) if issuers.contains(issuer))
        })
        .map(|(key, _)| key.clone())
        .collect();
    let tokens: Vec<Text> = (state.tokens.range((app, "".into())..))
        .take_while(|((owner, _), _)| *owner == app)
        .filter(|(_, token)| token.key == *id)
        .map(|((_, token), _)| token.clone())
        .collect();

    for key in &grants {
        state.drop_grant(key);
    }
    for token in &tokens {
        state.drop_token(app, token);
    }
    for former in &formers {
        state.key_successors.remove(former);
    }
    state.drop_block(app, &Subject::Key(id.clone()));
    state.drop_key(id);
    revoke::leave_void(state, app, Target::Key(id.clone()));
    effects.push(Effect::AppChanged(app));
    effects.push(cut(app, id));
    effects.push(everyone(app));
    Ok(Reply::Narrowed(1 + (grants.len() + tokens.len()) as u64))
}

/// The rotated keys that this key answers for.
fn with_heir(state: &State, id: &Text) -> Vec<Text> {
    state
        .key_successors
        .iter()
        .filter(|(_, successor)| *successor == id)
        .map(|(former, _)| former.clone())
        .collect()
}

/// Ends what was done under a key.
pub(super) fn cut(app: AppId, key: &Text) -> Effect {
    Effect::Cut {
        app,
        target: Target::Key(key.clone()),
        cut: Cut::Disabled,
    }
}
