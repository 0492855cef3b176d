//! Signals of providers: how they come, and what one of them ends.
//!
//! **Must never know:** what kinds of events there are. **Why an event that is known is answered as one that narrows:** the first
//! time may still be on its way to the other nodes, and whoever tells it again may not be told sooner that it is over.
//! **Why an event reaches back to when it happened and no further on:** it may be told hours later, and what the provider has
//! issued since is its word.

use super::super::limits::{self, Limits};
use super::super::{
    AppId, Delivery, Effect, Millis, Rejection, Reply, Revocation, Signal, Signals, SignalsSpec,
    State, Text,
};
use super::{Result, revoke};

pub(super) fn set(state: &mut State, (app, id): (AppId, &Text), spec: &SignalsSpec) -> Result {
    state.provider(app, id).ok_or(Rejection::NotFound)?;
    check(spec)?;
    let record = Signals {
        spec: spec.clone(),
        verified_ms: None,
        revision: state.revision,
    };
    state.signals.insert((app, id.clone()), record);
    Ok(Reply::Changed(1))
}

pub(super) fn unset(state: &mut State, (app, id): (AppId, &Text)) -> Result {
    let gone = state.signals.remove(&(app, id.clone()));
    gone.ok_or(Rejection::NotFound)?;
    Ok(Reply::Changed(1))
}

fn check(spec: &SignalsSpec) -> Result<()> {
    let audiences = &spec.audiences;
    limits::at_most("audiences", audiences.len(), Limits::PROVIDER_AUDIENCES)?;
    for audience in audiences {
        limits::name("audience", audience, Limits::MAX_TEXT)?;
    }
    match &spec.delivery {
        Delivery::Push { bearer } => {
            if let Some(bearer) = bearer {
                limits::name("bearer", &bearer.0, Limits::MAX_TEXT)?;
            }
        }
        Delivery::Poll { endpoint } => limits::name("endpoint", endpoint, Limits::MAX_TEXT)?,
    }
    let polled = matches!(spec.delivery, Delivery::Poll { .. });
    let Some(stream) = &spec.stream else {
        return match polled {
            true => Err(Rejection::Invalid(
                "who is asked for events needs a stream".into(),
            )),
            false => Ok(()),
        };
    };
    limits::name("stream", &stream.id, Limits::MAX_TEXT)?;
    limits::name("endpoint", &stream.configuration, Limits::MAX_TEXT)?;
    limits::name("endpoint", &stream.token, Limits::MAX_TEXT)?;
    limits::name("client", &stream.client, Limits::MAX_TEXT)?;
    limits::name("client secret", &stream.secret.0, Limits::MAX_TEXT)?;
    for text in [&stream.scope, &stream.state].into_iter().flatten() {
        limits::name("stream", text, Limits::MAX_TEXT)?;
    }
    Ok(())
}

/// Where it is kept that an event was told.
fn once(app: AppId, provider: &Text, event: &Text) -> (AppId, Text, Text) {
    (app, format!("events:{provider}").into(), event.clone())
}

/// Whether this event was told before.
pub(in super::super) fn is_known(state: &State, told: &Signal) -> bool {
    let once = once(told.app, &told.provider, &told.id);
    let until = state.nonces.get(&once);
    until.is_some_and(|until| *until > state.time_ms)
}

pub(super) fn told(state: &mut State, told: &Signal, effects: &mut Vec<Effect>) -> Result {
    let app = told.app;
    let provider = state.provider(app, &told.provider);
    let provider = provider.ok_or(Rejection::NotFound)?.id.clone();
    limits::name("event", &told.id, Limits::MAX_TEXT)?;
    limits::at_most("targets", told.targets.len(), Limits::SIGNED_OUT)?;
    for target in &told.targets {
        limits::target(target)?;
    }
    let now_ms = state.time_ms;
    if is_known(state, told) {
        return Ok(Reply::Narrowed(0));
    }
    let once = once(app, &provider, &told.id);
    limits::at_most("nonces", state.nonces.len() + 1, Limits::NONCES)?;
    let until_ms = now_ms.max(told.issued_before_ms);
    state.put_nonce(once, until_ms.saturating_add(Limits::NONCE_MS));
    if let Some(verifies) = &told.verifies {
        verified(state, (app, provider), verifies);
    }
    for target in &told.targets {
        let made = reach(state, told.issued_before_ms);
        revoke::put(state, (app, target), made, effects);
    }
    Ok(match told.targets.is_empty() {
        true => Reply::Changed(1),
        false => Reply::Narrowed(1),
    })
}

/// What an event reaches. One that happened longer ago than its id is remembered is told again without being known: it
/// reaches only what states a time of issue, which the first time has reached as well.
fn reach(state: &State, issued_before_ms: Millis) -> Revocation {
    let now_ms = state.time_ms;
    let forgotten = issued_before_ms.saturating_add(Limits::NONCE_MS) <= now_ms;
    Revocation {
        issued_before_ms: issued_before_ms.min(now_ms.saturating_add(1)),
        applies_ms: now_ms,
        forget_ms: Some(now_ms.saturating_add(Limits::CREDENTIAL_MS)),
        revision: match forgotten {
            true => 0,
            false => state.revision,
        },
        standing: None,
    }
}

fn verified(state: &mut State, place: (AppId, Text), said: &Text) {
    let Some(signals) = state.signals.get(&place) else {
        return;
    };
    let stream = signals.spec.stream.as_ref();
    if stream.and_then(|stream| stream.state.as_ref()) == Some(said) {
        let mut signals = signals.clone();
        signals.verified_ms = Some(state.time_ms);
        state.signals.insert(place, signals);
    }
}
