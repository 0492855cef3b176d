//! Keys of providers that are fetched: asked for, and what came of it.
//!
//! **Must never know:** who fetches, and how. **Why a set that cannot be stored is a failed try and no rejection:** whoever
//! fetched would try again at once, and for ever.

use super::super::limits::{self, Limits};
use super::super::{
    AppId, Effect, Fetched, KeyFetch, Millis, Provider, PublicKey, Rejection, Reply, State, Text,
};
use super::{Result, providers};

pub(super) fn ask(state: &mut State, (app, id): (AppId, &Text), pause_ms: Millis) -> Result {
    let provider = state.provider(app, id).ok_or(Rejection::NotFound)?;
    if provider.source.url().is_none() {
        let why = "the provider's keys are given, and not fetched";
        return Err(Rejection::Invalid(why.into()));
    }
    let mut fetch = state.key_fetch(app, id);
    if !fetch.may_be_asked(state.time_ms, pause_ms) {
        return Ok(Reply::Changed(0));
    }
    fetch.asked = state.revision;
    fetch.asked_ms = state.time_ms;
    state.key_fetches.insert((app, id.clone()), fetch);
    Ok(Reply::Changed(1))
}

pub(super) fn fetched(
    state: &mut State,
    (app, id): (AppId, &Text),
    fetched: &Fetched,
    effects: &mut Vec<Effect>,
) -> Result {
    let provider = state.provider(app, id).ok_or(Rejection::NotFound)?;
    let fetch = state.key_fetch(app, id);
    if provider.source != fetched.source || fetch.tried != fetched.after {
        return Ok(Reply::Changed(0));
    }
    let new = match &fetched.outcome {
        Ok(keys) => with(state, provider, keys).map_err(|why| why.to_string().into()),
        Err(why) => {
            limits::name("why", why, Limits::MAX_TEXT)?;
            Err(why.clone())
        }
    };
    let narrows = match &new {
        Ok(new) => !provider.keys.iter().all(|one| new.keys.contains(one)),
        Err(_) => false,
    };
    let mut fetch = KeyFetch {
        tried: state.revision,
        tried_ms: state.time_ms,
        ..fetch
    };
    match new {
        Ok(new) => {
            fetch.came_ms = Some(state.time_ms);
            (fetch.failures, fetch.error) = (0, None);
            if new.keys != provider.keys {
                state.put_provider(new);
            }
        }
        Err(why) => {
            fetch.failures = fetch.failures.saturating_add(1);
            fetch.error = Some(why);
        }
    }
    state.key_fetches.insert((app, id.clone()), fetch);
    if !narrows {
        return Ok(Reply::Changed(1));
    }
    effects.push(providers::judged_again(app, id));
    Ok(Reply::Narrowed(1))
}

/// The provider with these keys, if it can have them.
fn with(state: &State, provider: &Provider, keys: &[PublicKey]) -> Result<Provider> {
    if keys.is_empty() {
        return Err(Rejection::Invalid("there is no key for signing".into()));
    }
    let new = Provider {
        keys: providers::stored(keys, &provider.keys, state.revision),
        revision: state.revision,
        ..provider.clone()
    };
    providers::check(state, &new)?;
    Ok(new)
}
