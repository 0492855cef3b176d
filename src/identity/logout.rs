//! Logout tokens (OpenID Connect Back-Channel Logout 1.0): that a provider says that a session, or a user, is over.
//!
//! **Why it must not be taken for a token that lets in, nor the other way round:** both are signed by the same keys. What
//! tells them apart is the `events` claim, which one has to have and the other must not.

use super::compact::Compact;
use super::{Refused, once, token};
use crate::core::authority::{
    AppId, Claims, MAX_AHEAD_MS, Millis, State, Target, session_key, sessionless_key,
};
use serde_json::Value;

/// The event that makes it one.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old one may be: a little less than a request is remembered, so that no replay is carried out once more.
const OLDEST_MS: Millis = 9 * 60 * 1_000;

/// What is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// The session, and what names none of its user's; without a session, the user.
    pub targets: Vec<Target>,
    /// When the provider said so, cluster time: whatever it issued before is meant.
    pub said_ms: Millis,
    /// The same for the same token, and no other, whatever ids the provider gives them.
    pub request: u128,
}

/// Reads a logout token to this provider of an app, and verifies it.
///
/// # Errors
/// See [`Refused`].
pub fn read(
    state: &State,
    (app, provider): (AppId, &str),
    text: &str,
    now_ms: Millis,
) -> Result<Logout, Refused> {
    let compact = Compact::parse(text)?;
    if compact
        .kind
        .as_deref()
        .is_some_and(|kind| !["logout+jwt", "jwt"].contains(&kind))
    {
        return Err(Refused::Kind);
    }
    let (attested, record) = token::attested(state, Some(app), &compact)?;
    if **attested.provider() != *provider {
        return Err(Refused::NoProvider);
    }
    let event = compact.claim("events").and_then(|events| events.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(Refused::NoLogout("it has no such event"));
    }
    if compact.claim("nonce").is_some() {
        return Err(Refused::NoLogout("it has a nonce"));
    }
    let said_ms = compact.time("iat")?.ok_or(Refused::Claim("iat"))?;
    let ends_ms = compact.time("exp")?.unwrap_or(Millis::MAX);
    let ends_ms = ends_ms.saturating_add(record.leeway_ms);
    if ends_ms.min(said_ms.saturating_add(OLDEST_MS)) <= now_ms {
        return Err(Refused::Expired);
    }
    if said_ms > now_ms.saturating_add(MAX_AHEAD_MS) {
        return Err(Refused::NotYet);
    }
    token::name(&compact, "jti").ok_or(Refused::Claim("jti"))?;
    let targets = targets(&compact, &record.id, &record.claims)?;
    Ok(Logout {
        targets,
        said_ms,
        request: once::request("logout", app, &record.id, &compact.id()),
    })
}

fn targets(compact: &Compact<'_>, provider: &str, claims: &Claims) -> Result<Vec<Target>, Refused> {
    let given = |claim: &str, what| match compact.claim(claim) {
        None => Ok(None),
        Some(_) => token::name(compact, claim)
            .map(Some)
            .ok_or(Refused::Claim(what)),
    };
    // The session by the name that logout tokens give it, whatever claim of other tokens has it.
    let session = given("sid", "sid")?;
    let user = given(&claims.user, "sub")?;
    match (session, user) {
        (Some(session), user) => {
            let sessionless = user.map(|user| sessionless_key(provider, &user));
            let keys = [Some(session_key(provider, &session)), sessionless];
            let keys = keys.into_iter().flatten();
            Ok(keys.map(Target::RevocationKey).collect())
        }
        (None, Some(user)) => Ok(vec![Target::User(user)]),
        (None, None) => Err(Refused::NoLogout("it names neither a user nor a session")),
    }
}
