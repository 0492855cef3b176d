//! Application keys, private keys and tokens, as the access plane knows them; and the copy of a token's rights
//! that a connection keeps.
//!
//! **Why a copy and not the live grants alone:** the documented behaviour is that a connection keeps what its token
//! could do when it connected, also past the token's time. The copy hangs on the key that registered it, so a disabled
//! key ends it, and the connection still names its token, so a revocation or block ends it too.

use super::{DIALECT, limits};
use crate::core::authority::{
    self, App, AppId, Capability, Grant, GrantKey, Holder, Issued, Operations, Pattern, Principal,
    Proof, Resource, Right, Signer, State, Subject, Text,
};
use crate::core::refusals::Rule;
use crate::identity;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::collections::BTreeMap;

/// What only the server publishes to.
const ANNOUNCEMENTS: [&str; 4] = [
    "ortcClientConnected",
    "ortcClientDisconnected",
    "ortcClientSubscribed",
    "ortcClientUnsubscribed",
];

/// The app of an application key, whatever it takes.
pub(super) fn named<'s>(state: &'s State, application: &str) -> Option<&'s App> {
    let alias = (
        Text::from(super::APPLICATION_KEY.kind),
        Text::from(application),
    );
    let app = state.apps.get(state.aliases.get(&alias)?)?;
    Some(app)
}

/// Why nobody is let in who names this application key and this token.
pub(super) fn why_not(state: &State, application: &str, token: &str, now_ms: u64) -> Rule {
    match named(state, application) {
        None => Rule::UnknownKey,
        Some(app) if !app.enabled => Rule::AppDisabled,
        Some(_) if self::app(state, application).is_none() => Rule::ProtocolOff,
        Some(app) if identity::is_meant(token) => {
            let read = identity::read(state, Some(app.id), token, now_ms);
            read.err().map_or(Rule::TokenUnknown, |why| why.rule())
        }
        Some(_) => Rule::TokenUnknown,
    }
}

/// The app of an application key, if it takes this dialect.
pub(super) fn app<'s>(state: &'s State, application: &str) -> Option<&'s App> {
    let app = named(state, application)?;
    let open = app.enabled
        && app
            .protocols
            .iter()
            .any(|protocol| &*protocol.name == DIALECT);
    open.then_some(app)
}

/// Who shows the secret of a live key.
pub(super) fn private_key(state: &State, app: AppId, secret: &str, now_ms: u64) -> Option<Holder> {
    let holder = |key| Holder::by_secret(key, secret.as_bytes());
    // All keys are compared, so that the time taken says nothing about which one it was.
    let found = state.keys_of(app).filter_map(holder).last();
    found.filter(|key| key.is_live(now_ms))
}

/// A channel that clients may name.
pub(super) fn is_channel(name: &str) -> bool {
    (1..=limits::CHANNEL_CHARS).contains(&name.len()) && name.bytes().all(is_plain)
}

/// A token or application key that clients may have.
pub(super) fn is_token(text: &str) -> bool {
    (1..=limits::TOKEN_CHARS).contains(&text.len()) && text.bytes().all(is_plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-:/.".contains(&byte)
}

/// A channel that only the server publishes to.
pub(super) fn is_announcement(channel: &str) -> bool {
    let head = channel.split_once(':').map_or(channel, |(head, _)| head);
    ANNOUNCEMENTS.contains(&head)
}

/// What permission letters allow: `r` receives, `w` sends and receives, `p` sees who is there.
pub(super) fn operations(letters: &str) -> Option<Operations> {
    let mut all = Operations::NONE;
    for letter in letters.chars() {
        all = all
            | match letter {
                'r' => Operations::SUBSCRIBE,
                'w' => Operations::SUBSCRIBE | Operations::PUBLISH,
                'p' => Operations::PRESENCE_READ,
                _ => return None,
            };
    }
    (!letters.is_empty()).then_some(all)
}

/// The pattern of a permission's channel: a name, or `main:*` for every channel below `main:`.
pub(super) fn pattern(channel: &str) -> Option<Pattern> {
    match channel.strip_suffix(":*") {
        Some(head) if is_channel(head) => Some(Pattern::Segments(channel.into())),
        None if is_channel(channel) => Some(Pattern::Exact(channel.into())),
        Some(_) | None => None,
    }
}

/// Who connects with a token: with authentication on, holding a copy of its rights; `None` when it has none.
pub(super) fn principal(state: &State, app: &App, token: &str, now_ms: u64) -> Option<Principal> {
    if identity::is_meant(token) {
        let borne = identity::read(state, Some(app.id), token, now_ms);
        return borne.ok().map(|borne| borne.principal);
    }
    let anonymous = Principal::anonymous(app.id, None, state.revision);
    let named = Principal {
        token: (!token.is_empty()).then(|| token.into()),
        ..anonymous
    };
    if !limits::AUTHENTICATION.on(app) {
        return Some(named);
    }
    let subject = Subject::Token(token.into());
    let held = held(state, app.id, &subject, now_ms);
    (!held.is_empty()).then(|| Principal {
        proof: copy(state, &held),
        ..named
    })
}

type Held<'s> = (&'s GrantKey, &'s Grant, Operations);

/// The live grants of a token on channels, with what each gives today.
fn held<'s>(state: &'s State, app: AppId, token: &'s Subject, now_ms: u64) -> Vec<Held<'s>> {
    let mut all = Vec::new();
    for (key, grant) in state.grants_of(app, token) {
        let name = match &key.pattern {
            Pattern::Exact(name) => &**name,
            Pattern::All
            | Pattern::Prefix(_)
            | Pattern::Segments(_)
            | Pattern::Levels(_)
            | Pattern::Regex(_)
            | Pattern::Except(_) => "",
        };
        let live = grant.expires_ms.is_none_or(|end| end > now_ms);
        // What a wildcard gives depends on the name; the key's ceiling is asked again for each.
        let gives = match name {
            "" if live => grant.operations,
            "" => Operations::NONE,
            name => state.grant_holds(key, grant, name, now_ms),
        };
        if key.resource == Resource::Channel && !gives.is_empty() {
            all.push((key, grant, gives));
        }
    }
    all
}

/// The copy. It hangs on one key, as every credential does: the one that gave most of the rights. What others
/// have given beside it stays live.
fn copy(state: &State, held: &[Held<'_>]) -> Option<Proof> {
    let mut by_key: BTreeMap<Text, (Signer, Vec<Right>)> = BTreeMap::new();
    for (key, grant, gives) in held {
        let Some(writer) = Signer::by_grant(state, key, grant) else {
            continue;
        };
        let of_key = by_key.entry(writer.key().clone());
        let (_, rights) = of_key.or_insert((writer, Vec::new()));
        rights.push(Right {
            resource: key.resource,
            pattern: key.pattern.clone(),
            operations: *gives,
        });
    }
    let (writer, rights) = by_key
        .into_values()
        .max_by_key(|(_, rights)| rights.len())?;
    let issued = Issued::Seen(state.revision);
    Some(writer.proof(issued, None, Capability { rights }))
}

/// What a client is told of its permissions: channel or wildcard, and a hash that stands for them. `None` with
/// authentication off.
pub(super) fn permissions(
    state: &State,
    app: &App,
    (application, token): (&str, &str),
    now_ms: u64,
) -> Option<Vec<(String, String)>> {
    if !limits::AUTHENTICATION.on(app) {
        return None;
    }
    if identity::is_meant(token) {
        let borne = identity::read(state, Some(app.id), token, now_ms).ok()?;
        return vouched(state, &borne.principal, (application, token), now_ms);
    }
    let named = |(key, _, gives): &Held<'_>| {
        let uses = Operations::SUBSCRIBE | Operations::PUBLISH;
        let name = wire_pattern(&key.pattern)?;
        (!gives.and(uses).is_empty()).then(|| {
            let hash = hash(state, app.id, &[application, token, &name], *gives);
            (name, hash)
        })
    };
    let subject = Subject::Token(token.into());
    let held = held(state, app.id, &subject, now_ms);
    Some(held.iter().filter_map(named).collect())
}

/// The same for a token of an identity provider: what it carries and what is granted to its user and her groups. `None` where that
/// cannot be said in names and wildcards: then the client asks, and is answered, for each channel.
fn vouched(
    state: &State,
    principal: &Principal,
    (application, token): (&str, &str),
    now_ms: u64,
) -> Option<Vec<(String, String)>> {
    let mut all: BTreeMap<String, Operations> = BTreeMap::new();
    let mut add = |pattern: &Pattern, operations: Operations| {
        let uses = operations.and(Operations::SUBSCRIBE | Operations::PUBLISH);
        if uses.is_empty() {
            return Some(());
        }
        let known = all.entry(wire_pattern(pattern)?).or_default();
        *known = *known | uses;
        Some(())
    };
    let carried = principal.proof.as_ref().map(|proof| &proof.capability);
    for right in carried.iter().flat_map(|capability| &capability.rights) {
        if right.resource == Resource::Channel {
            add(&right.pattern, right.operations)?;
        }
    }
    let user = principal.user.as_ref();
    let groups = state.groups_of_user(principal.app, user, principal.claimed());
    let groups = groups.into_iter().cloned().map(Subject::Group);
    for subject in user.cloned().map(Subject::User).into_iter().chain(groups) {
        for (key, _, gives) in held(state, principal.app, &subject, now_ms) {
            add(&key.pattern, gives)?;
        }
    }
    let named = all.into_iter().map(|(name, operations)| {
        let hash = hash(
            state,
            principal.app,
            &[application, token, &name],
            operations,
        );
        (name, hash)
    });
    Some(named.collect())
}

/// How a client writes this pattern; it knows names and `text before the first colon:*`.
fn wire_pattern(pattern: &Pattern) -> Option<String> {
    match pattern {
        Pattern::Exact(name) => is_channel(name).then(|| name.to_string()),
        Pattern::Segments(text) => {
            let head = text.strip_suffix(":*").unwrap_or(text);
            is_channel(head).then(|| text.to_string())
        }
        Pattern::Prefix(text) => {
            let head = text.strip_suffix(':')?;
            is_channel(head).then(|| format!("{text}*"))
        }
        Pattern::All | Pattern::Levels(_) | Pattern::Regex(_) | Pattern::Except(_) => None,
    }
}

/// Ten hexadecimal digits that stand for a permission. Nothing is ever decided by them.
fn hash(state: &State, app: AppId, parts: &[&str], operations: Operations) -> String {
    let secret = state.keys_of(app).next().map(|key| key.secret.0.clone());
    let secret = secret.unwrap_or_default();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return "0".repeat(10);
    };
    for part in parts {
        mac.update(part.as_bytes());
        mac.update(b"\n");
    }
    mac.update(&operations.0.to_be_bytes());
    let mut digits = hex::encode(mac.finalize().into_bytes());
    digits.truncate(10);
    digits
}

/// The app's own right to one thing, for what this server does in its name (announcements, a subscriber's
/// place, presence entries).
pub(super) fn server_proof(
    state: &State,
    app: AppId,
    (resource, name): (Resource, &str),
    operations: Operations,
    now_ms: u64,
) -> Option<Box<Proof>> {
    let right = right((resource, name), operations);
    authority::server_proof(state, app, right, now_ms).map(Box::new)
}

/// What a private key allows on one thing.
pub(super) fn proof(
    state: &State,
    key: &Holder,
    target: (Resource, &str),
    operations: Operations,
) -> Proof {
    key.signer()
        .right(state.revision, right(target, operations))
}

fn right((resource, name): (Resource, &str), operations: Operations) -> Right {
    Right {
        resource,
        pattern: Pattern::Exact(name.into()),
        operations,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::fixture::{APP, APPLICATION, state};
    use super::*;
    use crate::core::authority::CarriedRights;
    use crate::identity::fixture::{hostile, provide, token};
    use serde_json::json;

    const NOW_S: u64 = 1_700_000_000;

    fn with_provider(authentication: bool, rights: CarriedRights) -> State {
        let mut state = state(authentication);
        provide(&mut state, APP, "k1", rights);
        state
    }

    #[test]
    fn a_providers_token_connects_its_user_and_no_bad_one_connects_anybody() {
        for authentication in [true, false] {
            let state = with_provider(authentication, CarriedRights::Ceiling);
            let app = super::app(&state, APPLICATION).unwrap();
            let who = |text: &str| principal(&state, app, text, NOW_S * 1_000);
            let ana = who(&token(NOW_S, json!({}))).unwrap();
            assert_eq!(ana.user.as_deref(), Some("ana"));
            assert!(ana.proof.unwrap().vouched.is_some());
            for (what, text, _) in hostile(NOW_S) {
                let nobody = who(&text);
                assert!(
                    nobody.as_ref().is_none_or(|one| one.proof.is_none()),
                    "{what}"
                );
                assert!(nobody.is_none() || !identity::is_meant(&text), "{what}");
            }
        }
    }

    #[test]
    fn its_permissions_are_what_it_carries_unless_that_has_no_name_here() {
        let told = |rights, more: serde_json::Value| {
            let state = with_provider(true, rights);
            let app = super::app(&state, APPLICATION).unwrap();
            let text = token(NOW_S, more);
            let all = permissions(&state, app, (APPLICATION, &text), NOW_S * 1_000);
            all.map(|all| all.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        let rooms = json!({"x-ably-capability": {"room": ["publish"], "a:*": ["subscribe"], "seen": ["history"]}});
        let named = told(CarriedRights::Capability, rooms);
        assert_eq!(named, Some(vec!["a:*".to_owned(), "room".to_owned()]));
        assert_eq!(
            told(CarriedRights::Ceiling, json!({})),
            None,
            "it may do everything"
        );
        assert_eq!(told(CarriedRights::Grants, json!({})), Some(Vec::new()));
    }
}
