//! Channel groups: replicated sets of channels.
//!
//! **Must never know:** who subscribes through them, nor who may change one: that right is a grant on the group, and
//! whoever holds it is judged before the command is proposed. **Why an empty group is none:** nothing would ever
//! delete it.

use super::super::limits::{self, Limits};
use super::super::{AppId, Effect, GroupChange, State, Text};
use super::issuer::authority;
use super::{Result, everyone};
use imbl::OrdSet;

/// Carries out a [`super::super::Command::SetGroup`].
pub(super) fn set(state: &mut State, change: &GroupChange, effects: &mut Vec<Effect>) -> Result {
    let GroupChange {
        app,
        issuer,
        group,
        add,
        remove,
        clear,
    } = change;
    let app = *app;
    authority(state, app, issuer)?;
    limits::name("group", group, Limits::ID_TEXT)?;
    for channel in add.iter().chain(remove) {
        limits::name("channel", channel, Limits::MAX_TEXT)?;
    }
    let named = add.len() + remove.len();
    limits::at_most("group channels", named, Limits::GROUP_CHANNELS)?;
    let place = (app, group.clone());
    let before = state.groups.get(&place).cloned();
    if before.is_none() {
        limits::at_most("groups", state.groups.len() + 1, Limits::GROUPS)?;
    }
    let before = before.unwrap_or_default();
    let mut after = match clear {
        true => OrdSet::new(),
        false => before.clone(),
    };
    for channel in remove {
        after.remove(channel);
    }
    for channel in add {
        after.insert(channel.clone());
    }
    limits::at_most("group channels", after.len(), Limits::GROUP_CHANNELS)?;
    let narrows = *clear || !remove.is_empty();
    if after == before {
        return Ok(super::touched(0, narrows));
    }
    let touched = after.len().abs_diff(before.len()).max(1) as u64;
    match after.is_empty() {
        true => state.groups.remove(&place),
        false => state.groups.insert(place, after),
    };
    effects.push(everyone(app));
    Ok(super::touched(touched, narrows))
}

/// Deletes every group of an app; how many there were.
pub(super) fn clear(state: &mut State, app: AppId) -> u64 {
    let doomed: Vec<(AppId, Text)> = state
        .groups
        .range((app, Text::default())..)
        .take_while(|((owner, _), _)| *owner == app)
        .map(|(place, _)| place.clone())
        .collect();
    for place in &doomed {
        state.groups.remove(place);
    }
    doomed.len() as u64
}
