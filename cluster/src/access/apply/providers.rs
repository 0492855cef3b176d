//! Identity providers: make, change, take away.
//!
//! **Must never know:** who may ask (that is `administer`'s), tokens, where keys were fetched.
//! **Why every change that states something narrows:** whether somebody stands on what it leaves out is known by the
//! connections only; they judge themselves, and whoever asked waits for them.
//! **Why an issuer is one app's unless an operator shares it out:** where no app is named, a token is for the app that has its
//! audience. Whoever could take another of its audiences would make it a token for two apps, which is refused.

use super::super::limits::{self, Limits};
use super::super::{
    Algorithm, AppId, Effect, Issuer, KeyKind, KeySource, Provider, ProviderChange, ProviderKey,
    ProviderSpec, PublicKey, Rejection, Reply, Revision, Scope, State, Text,
};
use super::Result;

pub(super) fn create(
    state: &mut State,
    (app, asked_by): (AppId, &Issuer),
    spec: &ProviderSpec,
) -> Result {
    super::app(state, app)?;
    if state.provider(app, &spec.id).is_some() {
        return Err(Rejection::Taken(spec.id.clone()));
    }
    let count = state.providers_of(app).count();
    limits::at_most("providers", count + 1, Limits::PROVIDERS_PER_APP)?;
    let provider = Provider {
        app,
        id: spec.id.clone(),
        enabled: true,
        iss: spec.iss.clone(),
        audiences: spec.audiences.clone(),
        algorithms: spec.algorithms.clone(),
        keys: stored(&spec.keys, &[], state.revision),
        source: spec.source.clone(),
        claims: spec.claims.clone(),
        leeway_ms: spec.leeway_ms,
        ceiling: spec.ceiling.clone(),
        revision: state.revision,
    };
    state
        .key_of(app, &spec.ceiling)
        .ok_or(Rejection::NoSuchKey)?;
    not_shared_out(state, asked_by, &provider)?;
    check(state, &provider)?;
    state.put_provider(provider);
    Ok(Reply::Done)
}

pub(super) fn update(
    state: &mut State,
    (app, asked_by, id): (AppId, &Issuer, &Text),
    change: &ProviderChange,
    effects: &mut Vec<Effect>,
) -> Result {
    let before = state.provider(app, id).ok_or(Rejection::NotFound)?;
    if change
        .if_source
        .as_ref()
        .is_some_and(|source| *source != before.source)
    {
        let why = "the provider's keys come from elsewhere by now";
        return Err(Rejection::Invalid(why.into()));
    }
    let mut provider = before.clone();
    provider.enabled = change.enabled.unwrap_or(before.enabled);
    set(&mut provider.iss, &change.iss);
    set(&mut provider.audiences, &change.audiences);
    set(&mut provider.algorithms, &change.algorithms);
    set(&mut provider.source, &change.source);
    set(&mut provider.claims, &change.claims);
    set(&mut provider.leeway_ms, &change.leeway_ms);
    if let Some(ceiling) = &change.ceiling {
        state.key_of(app, ceiling).ok_or(Rejection::NoSuchKey)?;
        provider.ceiling = ceiling.clone();
    }
    if let Some(keys) = &change.keys {
        provider.keys = stored(keys, &before.keys, state.revision);
    } else if provider.source != before.source {
        provider.keys.clear();
    }
    // What was made of a token is not made anew: it ends, and whoever has the token shows it again.
    if (&provider.iss, &provider.claims) != (&before.iss, &before.claims) {
        for key in &mut provider.keys {
            key.since = state.revision;
        }
    }
    provider.revision = state.revision;
    if (&provider.iss, &provider.audiences) != (&before.iss, &before.audiences) {
        not_shared_out(state, asked_by, &provider)?;
    }
    check(state, &provider)?;
    if provider.source != before.source {
        state.key_fetches.remove(&(app, id.clone()));
    }
    state.put_provider(provider);
    effects.push(judged_again(app, id));
    let only_on = ProviderChange {
        if_source: change.if_source.clone(),
        enabled: Some(true),
        ..ProviderChange::default()
    };
    Ok(match *change == only_on {
        true => Reply::Changed(1),
        false => Reply::Narrowed(1),
    })
}

pub(super) fn delete(
    state: &mut State,
    (app, id): (AppId, &Text),
    effects: &mut Vec<Effect>,
) -> Result {
    state.drop_provider(app, id).ok_or(Rejection::NotFound)?;
    state.key_fetches.remove(&(app, id.clone()));
    state.signals.remove(&(app, id.clone()));
    effects.push(judged_again(app, id));
    Ok(Reply::Narrowed(1))
}

/// Deletes every provider of an app; how many there were.
pub(super) fn clear(state: &mut State, app: AppId) -> u64 {
    let doomed: Vec<Text> = state.providers_of(app).map(|one| one.id.clone()).collect();
    for id in &doomed {
        state.drop_provider(app, id);
        state.key_fetches.remove(&(app, id.clone()));
        state.signals.remove(&(app, id.clone()));
    }
    doomed.len() as u64
}

/// A key was replaced: its successor is the ceiling from here on. What stands under the old one stands until that ends.
pub(super) fn follow(state: &mut State, app: AppId, old: &Text, new: &Text) {
    let under: Vec<Provider> = state
        .providers_of(app)
        .filter(|one| one.ceiling == *old)
        .cloned()
        .collect();
    for mut provider in under {
        provider.ceiling = new.clone();
        provider.revision = state.revision;
        state.put_provider(provider);
    }
}

pub(super) fn judged_again(app: AppId, id: &Text) -> Effect {
    let scope = Scope::Provider(id.clone());
    Effect::Recheck { app, scope }
}

fn set<T: Clone>(place: &mut T, given: &Option<T>) {
    if let Some(given) = given {
        place.clone_from(given);
    }
}

/// Keys as they are kept: one that was there before is as old as it was.
pub(super) fn stored(
    keys: &[PublicKey],
    before: &[ProviderKey],
    now: Revision,
) -> Vec<ProviderKey> {
    let since = |key: &PublicKey| {
        let same = before.iter().find(|one| one.key == *key);
        same.map_or(now, |one| one.since)
    };
    let keys = keys.iter().map(|key| ProviderKey {
        since: since(key),
        key: key.clone(),
    });
    keys.collect()
}

/// Refuses to an app's own keys what takes an audience of an issuer that other apps have audiences of.
fn not_shared_out(state: &State, asked_by: &Issuer, provider: &Provider) -> Result<()> {
    match asked_by {
        Issuer::Operator => Ok(()),
        Issuer::Key(_) if state.is_only_of(&provider.iss, provider.app) => Ok(()),
        Issuer::Key(_) => Err(Rejection::BeyondIssuer(
            "another app has this issuer as well, so that an operator has to make this change"
                .into(),
        )),
    }
}

pub(super) fn check(state: &State, provider: &Provider) -> Result<()> {
    limits::word("provider", &provider.id)?;
    limits::name("iss", &provider.iss, Limits::MAX_TEXT)?;
    limits::at_most(
        "audiences",
        provider.audiences.len(),
        Limits::PROVIDER_AUDIENCES,
    )?;
    if provider.audiences.is_empty() {
        return Err(Rejection::Invalid("a provider has an audience".into()));
    }
    for audience in &provider.audiences {
        limits::name("audience", audience, Limits::MAX_TEXT)?;
        let other = state.provider_for(&provider.iss, audience);
        if let Some(other) = other.filter(|one| (one.app, &one.id) != (provider.app, &provider.id))
        {
            // Of another app only an operator comes here.
            let whose = format!("{audience} (provider {} of app {})", other.id, other.app);
            return Err(Rejection::Taken(whose.into()));
        }
    }
    if provider.algorithms.is_empty() {
        return Err(Rejection::Invalid("a provider has an algorithm".into()));
    }
    limits::at_most(
        "algorithms",
        provider.algorithms.len(),
        Algorithm::NAMES.len(),
    )?;
    keys(&provider.keys)?;
    if let KeySource::KeySet(url) | KeySource::Discovery(url) = &provider.source {
        limits::name("address", url, Limits::MAX_TEXT)?;
    }
    limits::name("claim", &provider.claims.user, Limits::ID_TEXT)?;
    limits::name("claim", &provider.claims.session, Limits::ID_TEXT)?;
    if let Some(path) = &provider.claims.groups {
        limits::name("claim", path, Limits::ID_TEXT)?;
    }
    if provider.leeway_ms > Limits::LEEWAY_MS {
        return Err(Rejection::LimitReached("leeway".into()));
    }
    Ok(())
}

fn keys(keys: &[ProviderKey]) -> Result<()> {
    limits::at_most("provider keys", keys.len(), Limits::PROVIDER_KEYS)?;
    for (at, ProviderKey { key, .. }) in keys.iter().enumerate() {
        limits::name("kid", &key.kid, Limits::ID_TEXT)?;
        let mut before = keys.iter().take(at);
        if before.any(|other| other.key.kid == key.kid) {
            return Err(Rejection::Invalid("two keys have the same kid".into()));
        }
        let fits = match key.kind {
            KeyKind::Rsa => (Limits::RSA_BYTES.0..=Limits::RSA_BYTES.1).contains(&key.bytes.len()),
            KeyKind::P256 => key.bytes.len() == 65,
            KeyKind::P384 => key.bytes.len() == 97,
            KeyKind::Ed25519 => key.bytes.len() == 32,
        };
        if !fits || key.algorithm.is_some_and(|only| !key.kind.signs(only)) {
            return Err(Rejection::Invalid("a key is not of its kind".into()));
        }
    }
    Ok(())
}
