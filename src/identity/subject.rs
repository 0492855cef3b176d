//! Whom a security event is about (RFC 9493): which user of the provider, and which of her sessions.
//!
//! **Must never know:** what the event says of them.
//! **Why only by the claim that the record takes for the user:** a provider may know somebody by an address that was another's
//! before. What names nobody here is refused in words, and not passed over: somebody would stay whom the provider has ended.

use super::Refused;
use super::token::usable_name;
use crate::core::authority::{Provider, Target, Text, session_key, sessionless_key};
use serde_json::{Map, Value};

/// Most identifiers of one subject.
const ALIASES: usize = 8;
/// What a session is called that stands for all of a user's.
const ALL: &str = "ALL";

type Fields = Map<String, Value>;

/// The credentials of whom a subject names: of a session, with those of her that name none, or of a user.
pub(super) fn targets(provider: &Provider, subject: &Value) -> Result<Vec<Target>, Refused> {
    let fields = subject.as_object().ok_or(Refused::Claim("sub_id"))?;
    match format(fields)?.as_deref() {
        Some("complex") | None => of_parts(provider, fields),
        Some("opaque") => {
            // What the provider calls by one name only: one of its users, or one of its sessions.
            let id = text(fields, "id")?;
            let session = session_key(&provider.id, &id);
            Ok(vec![Target::User(id), Target::RevocationKey(session)])
        }
        Some(_) => Ok(users(provider, fields)?
            .into_iter()
            .map(Target::User)
            .collect()),
    }
}

/// How it is written; `subject_type` and dashes are of older drafts.
fn format(fields: &Fields) -> Result<Option<String>, Refused> {
    let Some(format) = fields.get("format").or_else(|| fields.get("subject_type")) else {
        return Ok(None);
    };
    let format = format.as_str().ok_or(Refused::Claim("sub_id"))?;
    Ok(Some(format.replace('-', "_")))
}

/// Further parts (a device, a tenant) say which of her things are meant. Nobody here knows them, so all of hers are.
fn of_parts(provider: &Provider, fields: &Fields) -> Result<Vec<Target>, Refused> {
    let part = |name: &str| match fields.get(name) {
        None => Ok(None),
        Some(part) => part.as_object().map(Some).ok_or(Refused::Claim("sub_id")),
    };
    let users = match part("user")? {
        Some(user) => users(provider, user)?,
        None => Vec::new(),
    };
    let session = match part("session")? {
        Some(session) => Some(text(session, "id")?).filter(|id| **id != *ALL),
        None => None,
    };
    let nobody = Refused::NoEvent("its subject names neither a user nor a session");
    match session {
        Some(session) => {
            let sessionless = users.iter().map(|user| sessionless_key(&provider.id, user));
            let keys = std::iter::once(session_key(&provider.id, &session)).chain(sessionless);
            Ok(keys.map(Target::RevocationKey).collect())
        }
        None if users.is_empty() => Err(nobody),
        None => Ok(users.into_iter().map(Target::User).collect()),
    }
}

fn users(provider: &Provider, fields: &Fields) -> Result<Vec<Text>, Refused> {
    if format(fields)?.as_deref() != Some("aliases") {
        return Ok(vec![user(provider, fields)?]);
    }
    let all = fields.get("identifiers").and_then(Value::as_array);
    let all = all.filter(|all| all.len() <= ALIASES);
    let all = all.ok_or(Refused::Claim("sub_id"))?;
    let known = all.iter().filter_map(Value::as_object);
    let known: Vec<Text> = known.filter_map(|one| user(provider, one).ok()).collect();
    match known.is_empty() {
        true => Err(Refused::NoEvent("none of its subject's names is a user's")),
        false => Ok(known),
    }
}

fn user(provider: &Provider, fields: &Fields) -> Result<Text, Refused> {
    let named_by = |claim: &str, name: &'static str| match *provider.claims.user == *claim {
        true => text(fields, name),
        false => Err(Refused::NoEvent(
            "its subject is named by another claim than the provider's users are",
        )),
    };
    match format(fields)?.as_deref() {
        Some("iss_sub") if text(fields, "iss")? != provider.iss => {
            Err(Refused::NoEvent("its subject is another issuer's"))
        }
        Some("iss_sub") => named_by("sub", "sub"),
        Some("email") => named_by("email", "email"),
        Some("phone_number") => named_by("phone_number", "phone_number"),
        Some("opaque") => text(fields, "id"),
        Some(_) | None => Err(Refused::NoEvent(
            "its subject is of a format that names no user here",
        )),
    }
}

fn text(fields: &Fields, name: &str) -> Result<Text, Refused> {
    let text = fields.get(name).and_then(Value::as_str);
    let usable = text.and_then(usable_name);
    usable.ok_or(Refused::Claim("sub_id"))
}
