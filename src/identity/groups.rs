//! The user groups that a token says its user is in, where its provider's record names a claim for that.
//!
//! **Must never know:** what is granted to a group, or which groups are inside which.
//! **Why too many are a refusal and not cut off:** a group that was left out might be a blocked one.

use super::Refused;
use super::compact::Compact;
use crate::core::authority::{Limits, Provider, Text};
use serde_json::Value;

/// The groups of the claim. Without one she is in none by this token.
pub(super) fn claimed(provider: &Provider, compact: &Compact<'_>) -> Result<Vec<Text>, Refused> {
    let claim = provider.claims.groups.as_ref();
    let all = match claim.and_then(|path| at(compact, path)) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::String(one)) => return Ok(usable(one).into_iter().collect()),
        Some(Value::Array(all)) => all,
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => return Err(Refused::Groups),
    };
    if all.len() > Limits::CLAIMED_GROUPS {
        return Err(Refused::Groups);
    }
    let texts = all.iter().map(|one| one.as_str().ok_or(Refused::Groups));
    let mut groups = Vec::with_capacity(all.len());
    for text in texts {
        groups.extend(usable(text?));
    }
    Ok(groups)
}

/// A name that a group may have. Nothing is granted to another, and nobody can block it.
fn usable(text: &str) -> Option<Text> {
    let fits = (1..=Limits::ID_TEXT).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.into())
}

/// A claim of that name, or the one that a path of names with dots between them leads to.
fn at<'c>(compact: &'c Compact<'_>, path: &str) -> Option<&'c Value> {
    if let Some(claim) = compact.claim(path) {
        return Some(claim);
    }
    let mut names = path.split('.');
    let first = compact.claim(names.next()?);
    names.fold(first, |claim, name| claim?.get(name))
}
