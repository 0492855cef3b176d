//! Apps: create, change, delete with everything in them.
//!
//! **Why deleting is eager:** an app id that is made again must not find anything of its former self.

use super::super::limits::{self, Limits};
use super::super::{App, AppChange, AppId, AppSpec, Cut, Effect, Rejection, Reply, State, Target};
use super::{Result, flags, grants, keys, revoke};

pub(super) fn create(state: &mut State, spec: &AppSpec, effects: &mut Vec<Effect>) -> Result {
    if state.apps.contains_key(&spec.id) {
        return Err(Rejection::Taken(spec.id.to_string().into()));
    }
    limits::at_most("apps", state.apps.len() + 1, Limits::APPS)?;
    limits::label("name", &spec.name)?;
    limits::protocols(&spec.protocols)?;
    limits::open(&spec.open)?;
    limits::at_most("settings", spec.settings.len(), Limits::SETTINGS)?;
    for (name, value) in &spec.settings {
        limits::setting(name, Some(value))?;
    }
    aliases(state, spec)?;
    limits::at_most("keys", spec.keys.len(), Limits::KEYS_PER_APP)?;
    for (at, key) in spec.keys.iter().enumerate() {
        if key.app != spec.id {
            return Err(Rejection::Invalid("a key names another app".into()));
        }
        keys::check(state, key)?;
        if spec
            .keys
            .iter()
            .skip(at + 1)
            .any(|other| other.id == key.id)
        {
            return Err(Rejection::Taken(key.id.clone()));
        }
    }

    for alias in &spec.aliases {
        state.aliases.insert(alias.clone(), spec.id);
    }
    for key in &spec.keys {
        keys::put(state, key, key.capability.clone());
    }
    let app = App {
        id: spec.id,
        name: spec.name.clone(),
        enabled: true,
        protocols: spec.protocols.clone(),
        open: spec.open.clone(),
        settings: spec.settings.clone(),
        aliases: spec.aliases.clone(),
        revision: state.revision,
    };
    state.apps.insert(spec.id, app.into());
    effects.push(Effect::AppChanged(spec.id));
    Ok(Reply::Done)
}

fn aliases(state: &State, spec: &AppSpec) -> Result<()> {
    limits::at_most("aliases", spec.aliases.len(), Limits::ALIASES)?;
    for (at, alias) in spec.aliases.iter().enumerate() {
        limits::name("alias", &alias.0, Limits::ID_TEXT)?;
        limits::name("alias", &alias.1, Limits::MAX_TEXT)?;
        let twice = spec.aliases.iter().skip(at + 1).any(|other| other == alias);
        if twice || state.aliases.contains_key(alias) {
            return Err(Rejection::Taken(alias.1.clone()));
        }
    }
    Ok(())
}

pub(super) fn update(
    state: &mut State,
    id: AppId,
    change: &AppChange,
    effects: &mut Vec<Effect>,
) -> Result {
    let before = super::app(state, id)?;
    let mut app = App::clone(before);
    if let Some(name) = &change.name {
        limits::label("name", name)?;
        app.name = name.clone();
    }
    if let Some(protocols) = &change.protocols {
        limits::protocols(protocols)?;
        app.protocols.clone_from(protocols);
    }
    if let Some(open) = &change.open {
        limits::open(open)?;
        app.open.clone_from(open);
    }
    for (name, value) in &change.settings {
        limits::setting(name, value.as_ref())?;
        match value {
            Some(value) => app.settings.insert(name.clone(), value.clone()),
            None => app.settings.remove(name),
        };
    }
    limits::at_most("settings", app.settings.len(), Limits::SETTINGS)?;
    app.enabled = change.enabled.unwrap_or(app.enabled);

    let disabled = before.enabled && !app.enabled;
    let renamed_only = App {
        name: before.name.clone(),
        ..app.clone()
    } == *before;
    app.revision = state.revision;
    state.apps.insert(id, app.into());
    effects.push(Effect::AppChanged(id));
    if disabled {
        effects.push(gone(id));
    } else if !renamed_only {
        effects.push(super::everyone(id));
    }
    Ok(match narrows(change) {
        true => Reply::Narrowed(1),
        false => Reply::Done,
    })
}

/// Whether somebody may do less by it. What protocols, open rules and settings leave open hangs together (a second protocol
/// ends the first one's defaults, and a setting's meaning is the broker's), so each of them counts when it is given.
fn narrows(change: &AppChange) -> bool {
    change.enabled == Some(false)
        || change.protocols.is_some()
        || change.open.is_some()
        || !change.settings.is_empty()
}

pub(super) fn delete(state: &mut State, id: AppId, effects: &mut Vec<Effect>) -> Result {
    let app = super::app(state, id)?.clone();
    let mut touched = 1 + grants::clear(state, id);
    for alias in &app.aliases {
        state.aliases.remove(alias);
    }
    let keys: Vec<_> = state.keys_of(id).map(|key| key.id.clone()).collect();
    touched += keys.len() as u64;
    for key in &keys {
        state.drop_key(key);
    }
    let key_successors: Vec<_> = state
        .key_successors
        .iter()
        .filter(|(_, successor)| keys.contains(successor))
        .map(|(old, _)| old.clone())
        .collect();
    for old in &key_successors {
        state.key_successors.remove(old);
    }
    touched += clear_rest(state, id) + flags::clear(state, id);
    state.apps.remove(&id);
    // Should the id be made again, nothing from before may pass.
    revoke::leave_void(state, id, Target::App);
    effects.push(Effect::AppChanged(id));
    effects.push(gone(id));
    Ok(Reply::Narrowed(touched))
}

fn clear_rest(state: &mut State, id: AppId) -> u64 {
    let tokens: Vec<_> = (state.tokens.range((id, "".into())..))
        .take_while(|((app, _), _)| *app == id)
        .map(|((_, token), _)| token.clone())
        .collect();
    for token in &tokens {
        state.drop_token(id, token);
    }
    let first = (id, Target::Token("".into()));
    let revocations: Vec<_> = (state.revocations.range(first..))
        .take_while(|((app, _), _)| *app == id)
        .map(|((_, target), _)| target.clone())
        .collect();
    for target in &revocations {
        state.drop_revocation(id, target);
    }
    let first = (id, super::Subject::Everyone);
    let blocks: Vec<_> = (state.blocks.range(first..))
        .take_while(|((app, _), _)| *app == id)
        .map(|((_, subject), _)| subject.clone())
        .collect();
    for subject in &blocks {
        state.drop_block(id, subject);
    }
    let first = (id, "".into(), "".into());
    let nonces: Vec<_> = (state.nonces.range(first..))
        .take_while(|((app, ..), _)| *app == id)
        .map(|(nonce, _)| nonce.clone())
        .collect();
    for nonce in &nonces {
        state.drop_nonce(nonce);
    }
    let groups = super::groups::clear(state, id);
    let members = super::user_groups::clear(state, id);
    let providers = super::providers::clear(state, id);
    groups
        + members
        + providers
        + (tokens.len() + revocations.len() + blocks.len() + nonces.len()) as u64
}

fn gone(app: AppId) -> Effect {
    Effect::Cut {
        app,
        target: Target::App,
        cut: Cut::Disabled,
    }
}
