//! Whose a token is, whether its provider has signed it, and who bears it.
//!
//! **Must never know:** whether the bearer may do anything, or was revoked: that is asked of the authority.
//! **Why `iss` and `aud` find the provider, and `kid` only a key of its:** two providers may use the same `kid`, and one that
//! signs for many audiences must not be able to speak for one that is not ours.

use super::compact::Compact;
use super::{Refused, groups, rights};
use crate::core::authority::{
    AppId, Attested, Bearer, MAX_AHEAD_MS, Millis, Presented, Principal, Provider, SaidBy, State,
    Text,
};

/// Longest user or session that a token may name, bytes.
const NAME_BYTES: usize = 512;
/// Kinds of tokens (`typ`) that say who somebody is. A provider signs others with the same keys.
const KINDS: [&str; 4] = ["jwt", "at+jwt", "jose", "okta-internal-at+jwt"];

/// A token that a provider has signed.
#[derive(Clone, Debug, PartialEq)]
pub struct Borne {
    /// Who bears it.
    pub principal: Principal,
    /// The user it names.
    pub user: Text,
    /// The provider that signed.
    pub provider: Text,
    /// Its time of issue, cluster time.
    pub issued_ms: Millis,
}

/// The provider of a token, and for which of its audiences the token is. `within` = only of this app.
pub(super) fn provider_of<'s, 't>(
    state: &'s State,
    within: Option<AppId>,
    compact: &'t Compact<'_>,
) -> Result<(&'s Provider, &'t str), Refused> {
    let iss = compact.text("iss").ok_or(Refused::Claim("iss"))?;
    let mut found: Option<(&Provider, &str)> = None;
    for audience in compact.audiences()? {
        let Some(provider) = state.provider_for(iss, audience) else {
            continue;
        };
        if within.is_some_and(|app| app != provider.app) {
            continue;
        }
        match found {
            Some((other, _)) if (other.app, &other.id) != (provider.app, &provider.id) => {
                return Err(Refused::Ambiguous);
            }
            Some(_) => {}
            None => found = Some((provider, audience)),
        }
    }
    found.ok_or(Refused::NoProvider)
}

/// What its provider has attested of a token.
pub(super) fn attested<'s>(
    state: &'s State,
    within: Option<AppId>,
    compact: &Compact<'_>,
) -> Result<(Attested, &'s Provider), Refused> {
    let (provider, audience) = provider_of(state, within, compact)?;
    let said = SaidBy {
        kid: &compact.kid,
        algorithm: compact.algorithm,
        audience,
    };
    let attested = Attested::by_signature(provider, said, compact.signed, &compact.signature)?;
    Ok((attested, provider))
}

/// Reads a token and verifies it. `within` = only a provider of this app counts.
///
/// # Errors
/// See [`Refused`].
pub fn read(
    state: &State,
    within: Option<AppId>,
    text: &str,
    now_ms: Millis,
) -> Result<Borne, Refused> {
    let compact = Compact::parse(text)?;
    let known = |kind: &String| KINDS.contains(&kind.as_str());
    // A logout token says who somebody was.
    if !compact.kind.as_ref().is_none_or(known) || compact.claim("events").is_some() {
        return Err(Refused::Kind);
    }
    let (attested, provider) = attested(state, within, &compact)?;
    let (issued_ms, expires_ms) = times(&compact, provider, now_ms)?;
    let user = name(&compact, &provider.claims.user).ok_or(Refused::NoUser)?;
    let session = match compact.claim(&provider.claims.session) {
        None => None,
        Some(_) => Some(name(&compact, &provider.claims.session).ok_or(Refused::Claim("sid"))?),
    };
    let bearer = Bearer {
        user: user.clone(),
        session,
        token: compact.id(),
        issued_ms,
        expires_ms,
        groups: groups::claimed(provider, &compact)?,
        capability: rights::carried(state, provider, &compact)?,
    };
    Ok(Borne {
        provider: attested.provider().clone(),
        principal: attested.principal(bearer),
        user,
        issued_ms,
    })
}

/// When it was issued and when it ends, if it counts now.
fn times(
    compact: &Compact<'_>,
    provider: &Provider,
    now_ms: Millis,
) -> Result<(Millis, Millis), Refused> {
    let leeway_ms = provider.leeway_ms;
    let issued_ms = compact.time("iat")?.ok_or(Refused::Claim("iat"))?;
    let expires_ms = compact.time("exp")?.ok_or(Refused::Claim("exp"))?;
    let expires_ms = expires_ms.saturating_add(leeway_ms);
    let from_ms = compact.time("nbf")?.unwrap_or(0).saturating_sub(leeway_ms);
    if expires_ms <= now_ms {
        return Err(Refused::Expired);
    }
    // A little ahead is waited for: the access plane honours nothing before its time of issue, however far a clock may
    // be off, because a revocation made until then would not reach it.
    let ahead = issued_ms > now_ms.saturating_add(MAX_AHEAD_MS);
    match ahead || from_ms > now_ms {
        true => Err(Refused::NotYet),
        false => Ok((issued_ms, expires_ms)),
    }
}

/// A claim that names somebody or something.
pub(super) fn name(compact: &Compact<'_>, claim: &str) -> Option<Text> {
    usable_name(compact.text(claim)?)
}

/// A text that can be one.
pub(super) fn usable_name(text: &str) -> Option<Text> {
    let usable = (1..=NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
    usable.then(|| text.into())
}

/// What a text given as a token is, to whoever revokes it or asks about it.
#[must_use]
pub fn presented(state: &State, app: AppId, text: &str, now_ms: Millis) -> Presented {
    if !super::is_meant(text) {
        return Presented::Other;
    }
    match read(state, Some(app), text, now_ms) {
        Ok(borne) => Presented::Signed(Box::new(borne.principal)),
        Err(why) if why.is_for_now() => match Compact::parse(text) {
            Ok(compact) => Presented::Unproven(compact.id()),
            Err(_) => Presented::Foreign,
        },
        Err(_) => Presented::Foreign,
    }
}
