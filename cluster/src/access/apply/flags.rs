//! Flags of channels: named switches whose meaning belongs to the broker.
//!
//! **Why no effect:** a flag takes no right away; whoever goes by one reads it from the view each time it acts.

use super::super::limits::{self, Limits};
use super::super::{AppId, ChannelFlag, Operations, Pattern, Reply, Resource, State, Text};
use super::Result;
use super::issuer::authority;

/// Sets one flag; how many changed.
pub(super) fn set(state: &mut State, change: &ChannelFlag) -> Result {
    let ChannelFlag {
        app,
        issuer,
        channel,
        flag,
        on,
    } = change;
    let (app, on) = (*app, *on);
    let pattern = Pattern::Exact(channel.clone());
    limits::pattern(&pattern)?;
    limits::name("flag", flag, Limits::ID_TEXT)?;
    authority(state, app, issuer)?.may_do(Resource::Channel, &pattern, Operations::UPDATE)?;
    let key = (app, channel.clone(), flag.clone());
    let is_on = state.flags.contains_key(&key);
    if is_on == on {
        return Ok(Reply::Changed(0));
    }
    if on {
        limits::at_most("flags", state.flags.len() + 1, Limits::FLAGS)?;
        state.flags.insert(key, state.revision);
    } else {
        state.flags.remove(&key);
    }
    Ok(Reply::Changed(1))
}

/// Forgets every flag of an app; how many there were.
pub(super) fn clear(state: &mut State, app: AppId) -> u64 {
    let first = (app, Text::default(), Text::default());
    let keys: Vec<_> = (state.flags.range(first..))
        .take_while(|((owner, ..), _)| *owner == app)
        .map(|(key, _)| key.clone())
        .collect();
    for key in &keys {
        state.flags.remove(key);
    }
    keys.len() as u64
}
