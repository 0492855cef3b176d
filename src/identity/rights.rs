//! What a provider's token may do by itself, as its provider's record says: nothing, the ceiling, or what a claim lists.
//!
//! **Must never know:** whether that is within the ceiling: it is cut to it at every decision.
//! **Why nothing unless the record says otherwise:** a token of a provider says who somebody is. That an id token of a
//! public provider should open channels by itself has to be said by whoever runs the app.

use super::Refused;
use super::compact::Compact;
use crate::core::authority::{
    Capability, CarriedRights, Operations, Pattern, Provider, Resource, Right, State, whole_ceiling,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The type of those authorization details (RFC 9396) that are for us.
const DETAILS_TYPE: &str = "gatecast";
/// The claim with a capability.
const CAPABILITY_CLAIM: &str = "x-ably-capability";
/// Most rights of one token: each may cost every name that is asked about a look.
const MAX_RIGHTS: usize = 256;

/// One of the authorization details.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Detail {
    #[serde(rename = "type")]
    _kind: String,
    channels: Vec<String>,
    actions: Vec<String>,
}

/// What the token may do.
pub(super) fn carried(
    state: &State,
    provider: &Provider,
    compact: &Compact<'_>,
) -> Result<Capability, Refused> {
    let lines = match provider.claims.rights {
        CarriedRights::Grants => return Ok(Capability::default()),
        CarriedRights::Ceiling => return Ok(whole_ceiling(state, provider)),
        CarriedRights::Details => details(compact.claim("authorization_details"))?,
        CarriedRights::Capability => capability(compact.claim(CAPABILITY_CLAIM))?,
    };
    if lines.len() > MAX_RIGHTS {
        return Err(Refused::Rights);
    }
    let right = |(pattern, operations): (String, Operations)| {
        let pattern = Pattern::parse(&pattern).map_err(|_| Refused::Rights)?;
        Ok::<_, Refused>(Right {
            resource: Resource::Channel,
            pattern,
            operations,
        })
    };
    let rights = lines.into_iter().map(right).collect::<Result<_, _>>()?;
    Ok(Capability { rights })
}

type Lines = Vec<(String, Operations)>;

fn details(claim: Option<&Value>) -> Result<Lines, Refused> {
    let Some(claim) = claim else {
        return Ok(Vec::new());
    };
    let ours = |one: &&Value| one.get("type").and_then(Value::as_str) == Some(DETAILS_TYPE);
    let all = claim.as_array().ok_or(Refused::Rights)?;
    let mut lines = Lines::new();
    for detail in all.iter().filter(ours) {
        let detail = Detail::deserialize(detail).map_err(|_| Refused::Rights)?;
        let operations = operations(&detail.actions)?;
        lines.extend(detail.channels.into_iter().map(|name| (name, operations)));
    }
    Ok(lines)
}

/// An object of names with lists of operations, or the same as a text.
fn capability(claim: Option<&Value>) -> Result<Lines, Refused> {
    let lines: BTreeMap<String, Vec<String>> = match claim {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| Refused::Rights)?,
        Some(value) => Deserialize::deserialize(value).map_err(|_| Refused::Rights)?,
    };
    let line = |(name, words): (String, Vec<String>)| Ok((name, operations(&words)?));
    lines.into_iter().map(line).collect()
}

/// Words of operations, as `/v1` spells them; `*` is everything that is served to a client.
fn operations(words: &[String]) -> Result<Operations, Refused> {
    let mut all = Operations::NONE;
    for word in words {
        let one = match word.as_str() {
            "*" => Operations::CLIENT,
            "channel-metadata" => Operations::METADATA,
            name => Operations::named(name).ok_or(Refused::Rights)?,
        };
        all = all | one;
    }
    match all.is_empty() {
        true => Err(Refused::Rights),
        false => Ok(all),
    }
}
