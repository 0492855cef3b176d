//! Issued tokens and used nonces.
//!
//! **Why a token is checked against its key now and again at every decision:** now, so that nobody is handed what will
//! not work; later, because keys change.

use super::super::limits::{self, Limits};
use super::super::{AppId, Issuer, Millis, Rejection, Reply, State, Text, Token};
use super::Result;
use super::issuer::authority;

pub(super) fn issue(state: &mut State, id: &Text, token: &Token) -> Result {
    limits::name("token", id, Limits::MAX_TEXT)?;
    for text in [&token.user, &token.revocation_key].into_iter().flatten() {
        limits::name("token claim", text, Limits::MAX_TEXT)?;
    }
    limits::capability(&token.capability)?;
    authority(state, token.app, &Issuer::Key(token.key.clone()))?;
    let key = state
        .key_of(token.app, &token.key)
        .ok_or(Rejection::NoSuchKey)?;
    if let Some(right) = token.capability.beyond(&key.capability) {
        let text = format!("{}: {}", right.pattern, right.operations.names().join(","));
        return Err(Rejection::BeyondIssuer(text.into()));
    }
    if state.tokens.contains_key(&(token.app, id.clone())) {
        return Err(Rejection::Taken(id.clone()));
    }
    limits::at_most("tokens", state.tokens.len() + 1, Limits::TOKENS)?;
    // A time of issue in the future would slip past a revocation made now.
    let issued_ms = token.issued_ms.min(state.time_ms);
    let latest = issued_ms.saturating_add(Limits::CREDENTIAL_MS);
    let expires_ms = token.expires_ms.unwrap_or(latest).min(latest);
    if expires_ms <= state.time_ms {
        return Err(Rejection::Invalid("the token has already expired".into()));
    }
    let record = Token {
        key: key.id.clone(),
        issued_ms,
        expires_ms: Some(expires_ms),
        revision: state.revision,
        ..token.clone()
    };
    state.put_token(id.clone(), record);
    Ok(Reply::Done)
}

pub(super) fn use_nonce(
    state: &mut State,
    (app, key, nonce): (AppId, &Text, &Text),
    expires_ms: Millis,
) -> Result {
    super::app(state, app)?;
    limits::name("nonce", nonce, Limits::MAX_TEXT)?;
    let key = state.key_of(app, key).ok_or(Rejection::NoSuchKey)?;
    let place = (app, key.id.clone(), nonce.clone());
    let now_ms = state.time_ms;
    if state
        .nonces
        .get(&place)
        .is_some_and(|until| *until > now_ms)
    {
        return Err(Rejection::NonceUsed);
    }
    if expires_ms <= now_ms {
        return Err(Rejection::Invalid("the nonce has already expired".into()));
    }
    if expires_ms > now_ms.saturating_add(Limits::NONCE_MS) {
        return Err(Rejection::LimitReached("nonce lifetime".into()));
    }
    limits::at_most("nonces", state.nonces.len() + 1, Limits::NONCES)?;
    state.put_nonce(place, expires_ms);
    Ok(Reply::Done)
}
