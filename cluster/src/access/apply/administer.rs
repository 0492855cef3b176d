//! Changes to an app and its keys in somebody's name, judged by the rights that they hand on to others.
//!
//! **Why judged here and not only where it is asked for:** the node that was asked may not know yet that the asking key
//! was narrowed, or what is open by now; what a key opens to everyone, or puts into a new key, would outlive its own
//! narrowing.

use super::super::{
    Administered, Administration, App, AppChange, AppId, Capability, Effect, KeyChange, Operations,
    Pattern, ProviderChange, Rejection, Resource, Right, State, Text,
};
use super::issuer::authority;
use super::{Result, apps, key_fetches, keys, providers, signals};

pub(super) fn administer(
    state: &mut State,
    asked: &Administration,
    effects: &mut Vec<Effect>,
) -> Result {
    check_hands_on(state, asked)?;
    match &asked.change {
        Administered::App(change) => apps::update(state, asked.app, change, effects),
        Administered::NewKey(spec) => keys::create(state, spec, effects),
        Administered::Key { key, change } => keys::update(state, key, change, effects),
        Administered::Rotated {
            key,
            new,
            overlap_ms,
        } => keys::rotate(state, key, new, *overlap_ms, effects),
        Administered::NoKey { key } => keys::delete(state, key, effects),
        Administered::NewProvider(spec) => {
            providers::create(state, (asked.app, &asked.issuer), spec)
        }
        Administered::Provider { id, change } => {
            providers::update(state, (asked.app, &asked.issuer, id), change, effects)
        }
        Administered::NoProvider { id } => providers::delete(state, (asked.app, id), effects),
        Administered::AskForKeys { id, pause_ms } => {
            key_fetches::ask(state, (asked.app, id), *pause_ms)
        }
        Administered::KeysFetched { id, fetched } => {
            key_fetches::fetched(state, (asked.app, id), fetched, effects)
        }
        Administered::Signals { id, spec } => signals::set(state, (asked.app, id), spec),
        Administered::NoSignals { id } => signals::unset(state, (asked.app, id)),
    }
}

fn check_hands_on(state: &State, asked: &Administration) -> Result<()> {
    let issuer = authority(state, asked.app, &asked.issuer)?;
    issuer.may_do(Resource::Channel, &Pattern::All, Operations::ADMIN)?;
    issuer.may_hand_on(&asked.hands_on)?;
    issuer.may_hand_on(&given(state, asked.app, &asked.change)?)
}

/// What somebody may do by the change who could not before. Also looks whether the change is about this app at all.
fn given(state: &State, app: AppId, change: &Administered) -> Result<Capability> {
    match change {
        Administered::App(change) => Ok(opened(super::app(state, app)?, change)),
        Administered::NewKey(spec) if spec.app == app => Ok(spec.capability.clone()),
        Administered::NewKey(_) => Err(Rejection::Invalid("the key names another app".into())),
        Administered::Key { key, change } => woken(state, app, key, change),
        Administered::Rotated { key, .. } => {
            let old = state.key_of(app, key).ok_or(Rejection::NoSuchKey)?;
            Ok(old.capability.clone())
        }
        Administered::NoKey { key } => {
            state.key_of(app, key).ok_or(Rejection::NoSuchKey)?;
            Ok(Capability::default())
        }
        Administered::NewProvider(spec) => ceiling(state, app, &spec.ceiling),
        Administered::Provider { id, change } => {
            let provider = state.provider(app, id).ok_or(Rejection::NotFound)?;
            let only_off = ProviderChange {
                enabled: Some(false),
                ..ProviderChange::default()
            };
            if **change == only_off {
                return Ok(Capability::default());
            }
            // Whoever says whose word counts hands on what that is worth, before and after.
            let mut given = ceiling(
                state,
                app,
                change.ceiling.as_ref().unwrap_or(&provider.ceiling),
            )?;
            if let Some(before) = state.key_of(app, &provider.ceiling) {
                given
                    .rights
                    .extend(before.capability.rights.iter().cloned());
            }
            Ok(given)
        }
        Administered::KeysFetched { id, .. } => {
            let provider = state.provider(app, id).ok_or(Rejection::NotFound)?;
            let ceiling = state.key_of(app, &provider.ceiling);
            Ok(ceiling.map_or_else(Capability::default, |key| key.capability.clone()))
        }
        // What a provider tells takes, and gives nobody anything.
        Administered::NoProvider { id }
        | Administered::AskForKeys { id, .. }
        | Administered::Signals { id, .. }
        | Administered::NoSignals { id } => {
            state.provider(app, id).ok_or(Rejection::NotFound)?;
            Ok(Capability::default())
        }
    }
}

/// What the key may do up to which a provider's word counts.
fn ceiling(state: &State, app: AppId, key: &Text) -> Result<Capability> {
    let key = state.key_of(app, key).ok_or(Rejection::NoSuchKey)?;
    Ok(key.capability.clone())
}

/// What a changed key may do of which it is told; all of it where it is switched on.
fn woken(state: &State, app: AppId, key: &Text, change: &KeyChange) -> Result<Capability> {
    let before = state.key_of(app, key).ok_or(Rejection::NoSuchKey)?;
    let after = change.capability.clone();
    Ok(match change.enabled {
        Some(true) => after.unwrap_or_else(|| before.capability.clone()),
        Some(false) | None => after.unwrap_or_default(),
    })
}

/// What a change opens to everyone that was not open before.
fn opened(before: &App, change: &AppChange) -> Capability {
    let after = App {
        protocols: change
            .protocols
            .as_ref()
            .unwrap_or(&before.protocols)
            .clone(),
        open: change.open.as_ref().unwrap_or(&before.open).clone(),
        ..before.clone()
    };
    let (before, mut after) = (open(before), open(&after));
    for right in &mut after.rights {
        let already = before.operations_over(right.resource, &right.pattern);
        right.operations = right.operations.without(already);
    }
    after.rights.retain(|right| !right.operations.is_empty());
    after
}

fn open(app: &App) -> Capability {
    let rights = app.opens().map(|rule| Right {
        resource: Resource::Channel,
        pattern: rule.pattern.clone(),
        operations: rule.operations,
    });
    Capability {
        rights: rights.collect(),
    }
}
