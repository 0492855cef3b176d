//! v3 tokens: what they say, byte for byte, and whose they are.
//!
//! **Must never know:** what is asked for; whether a token was revoked (the access plane knows).
//! **Why the MAC's key is derived from an app key's secret:** the key that granted it is its ceiling, and a disabled or
//! rotated key ends its tokens; nothing else has to be stored.
//! **Why the signature is longer than a MAC:** a token shows the second of its issue, and whole seconds do not tell
//! whether it or a revocation of the same second came first. Clients take the signature for opaque, so the milliseconds
//! stand behind the MAC, which covers them.

use super::cbor::Value;
use super::rights;
use crate::core::authority::{
    ApiKey, AppId, Capability, Holder, Issued, Millis, Pattern, Presented, Principal, Resource,
    Right, Signer, State, Text,
};
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Longest token that is looked at, characters.
pub(super) const MAX_TOKEN: usize = 32 << 10;
/// Most rights of one token, as the access plane bounds a capability.
pub(super) const MAX_RIGHTS: usize = 1_000;
/// Most of them that are expressions: each may cost its program, and every name that is asked about a search.
pub(super) const MAX_EXPRESSIONS: usize = 100;
/// Bytes of a MAC.
const MAC_BYTES: usize = 32;
/// Some clients drop the padding.
const ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The kinds of names, as a token orders them.
pub(super) const KINDS: [(&str, Option<Resource>); 5] = [
    ("chan", Some(Resource::Channel)),
    ("grp", Some(Resource::Group)),
    ("spc", None),
    ("usr", None),
    ("uuid", Some(Resource::User)),
];

/// What a token says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Claims {
    /// Cluster time. A token shows its second.
    pub(super) issued_ms: Millis,
    /// How long it lasts, minutes.
    pub(super) ttl: u64,
    /// Names and their masks, by kind.
    pub(super) resources: [Vec<(String, u64)>; 5],
    /// Expressions and their masks, by kind.
    pub(super) patterns: [Vec<(String, u64)>; 5],
    /// The granter's own.
    pub(super) meta: Value,
    /// Who alone may use it.
    pub(super) user: Option<String>,
}

/// A token that was verified.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    /// How revocations name it.
    pub(super) id: Text,
    /// Who alone may use it.
    pub(super) user: Option<Text>,
    /// Whoever bears it, with what it carries.
    pub(super) bearer: Principal,
}

impl Token {
    /// Whom it speaks for.
    pub(super) fn principal(&self) -> Principal {
        Principal {
            user: self.user.clone(),
            token: Some(self.id.clone()),
            ..self.bearer.clone()
        }
    }
}

/// What a text in `auth` is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Read {
    /// No token: an auth key of v2.
    Other,
    /// A token, but of none of these keys.
    Foreign,
    /// A token that was understood.
    Token(Arc<Token>),
}

impl Claims {
    fn map(&self) -> Vec<(Value, Value)> {
        let side = |kinds: &[Vec<(String, u64)>; 5]| {
            let kinds = KINDS.iter().zip(kinds).map(|((name, _), entries)| {
                let entries = entries.iter().map(|(name, mask)| {
                    let mask = i64::try_from(*mask).unwrap_or(0);
                    (Value::Text(name.clone()), Value::Int(mask))
                });
                (Value::key(name), Value::Map(entries.collect()))
            });
            Value::Map(kinds.collect())
        };
        let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
        let mut map = vec![
            (Value::key("v"), Value::Int(2)),
            (Value::key("t"), number(self.issued_ms / 1_000)),
            (Value::key("ttl"), number(self.ttl)),
            (Value::key("res"), side(&self.resources)),
            (Value::key("pat"), side(&self.patterns)),
            (Value::key("meta"), self.meta.clone()),
        ];
        if let Some(user) = &self.user {
            map.push((Value::key("uuid"), Value::Text(user.clone())));
        }
        map
    }

    /// The token, signed with what is derived from the key: only who has the key issues one.
    pub(super) fn sign(&self, app: AppId, key: &Holder) -> String {
        let mut map = self.map();
        // Below a thousand.
        let within = u16::try_from(self.issued_ms % 1_000).unwrap_or_default();
        let within = within.to_be_bytes();
        let message = [&bytes(&map)[..], &within].concat();
        let tag = mac(app, key, &message).map(|mac| mac.finalize().into_bytes().to_vec());
        let sig = [&tag.unwrap_or_default()[..], &within].concat();
        map.push((Value::key("sig"), Value::Bytes(sig)));
        general_purpose::URL_SAFE.encode(bytes(&map))
    }

    /// What it opens. Expressions are compiled when a name is first asked about.
    fn capability(&self, expressions: &mut Expressions) -> Capability {
        let mut rights = Vec::new();
        for ((_, resource), entries) in KINDS.iter().zip(&self.resources) {
            let Some(resource) = *resource else { continue };
            rights.extend(entries.iter().map(|(name, mask)| Right {
                resource,
                pattern: Pattern::Exact(name.as_str().into()),
                operations: rights::of_mask(*mask),
            }));
        }
        for ((_, resource), entries) in KINDS.iter().zip(&self.patterns) {
            let Some(resource) = *resource else { continue };
            rights.extend(entries.iter().filter_map(|(text, mask)| {
                Some(Right {
                    resource,
                    pattern: expressions.pattern(resource, text)?,
                    operations: rights::of_mask(*mask),
                })
            }));
        }
        Capability { rights }
    }
}

/// Expressions by their text: tokens that hold the same one share its program.
#[derive(Debug, Default)]
struct Expressions(HashMap<(Resource, Text), Pattern>);

impl Expressions {
    fn pattern(&mut self, resource: Resource, text: &str) -> Option<Pattern> {
        let place = (resource, text.into());
        if let Some(known) = self.0.get(&place) {
            return Some(known.clone());
        }
        let made = rights::expression(resource, text)?;
        self.0.insert(place, made.clone());
        Some(made)
    }
}

fn bytes(map: &[(Value, Value)]) -> Vec<u8> {
    let mut out = Vec::new();
    Value::Map(map.to_vec()).write(&mut out);
    out
}

/// Apart from everything else that is signed with a key's secret.
const PURPOSE: &[u8] = b"gatecast pubnub v3 token\n";

fn mac(app: AppId, key: &ApiKey, message: &[u8]) -> Option<Hmac<Sha256>> {
    let mut derive = Hmac::<Sha256>::new_from_slice(key.secret.0.as_bytes()).ok()?;
    derive.update(PURPOSE);
    derive.update(&app.0.to_be_bytes());
    let derived = derive.finalize().into_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(&derived).ok()?;
    mac.update(message);
    Some(mac)
}

/// A CBOR map, in its own order.
type Entries = Vec<(Value, Value)>;

/// The claims and the signature of what has the form of a token. One that is spelt otherwise than it was signed has
/// none: a number may be written longer and the signature stand elsewhere, the MAC over what was read would verify, and
/// a revocation, which names a token by its text, would not reach it.
fn parse(text: &str) -> Option<(Entries, Vec<u8>)> {
    if text.len() > MAX_TOKEN {
        return None;
    }
    let given = ANY_PADDING.decode(text).ok()?;
    let Value::Map(mut map) = Value::read(&given)? else {
        return None;
    };
    let has = |name: &str| map.iter().any(|(known, _)| *known == Value::key(name));
    if !["v", "res", "sig"].into_iter().all(has) {
        return None;
    }
    let as_signed = bytes(&map) == given;
    let (name, last) = map.pop()?;
    if let Value::Bytes(sig) = last
        && as_signed
        && name == Value::key("sig")
    {
        return Some((map, sig));
    }
    Some((map, Vec::new()))
}

fn side(map: &Value, name: &str) -> [Vec<(String, u64)>; 5] {
    KINDS.map(
        |(kind, _)| match map.get(name).and_then(|side| side.get(kind)) {
            Some(Value::Map(entries)) => entries
                .iter()
                .filter_map(|(key, mask)| {
                    let Value::Text(name) = key else {
                        return None;
                    };
                    Some((name.clone(), mask.number()?))
                })
                .collect(),
            Some(_) | None => Vec::new(),
        },
    )
}

fn claims(map: Vec<(Value, Value)>) -> Option<Claims> {
    let map = Value::Map(map);
    Some(Claims {
        issued_ms: map.get("t")?.number()?.saturating_mul(1_000),
        ttl: map.get("ttl")?.number()?,
        resources: side(&map, "res"),
        patterns: side(&map, "pat"),
        meta: map.get("meta").cloned().unwrap_or(Value::Null),
        user: match map.get("uuid") {
            Some(Value::Text(user)) => Some(user.clone()),
            Some(_) | None => None,
        },
    })
}

/// How revocations name a token.
pub(super) fn id(text: &str) -> Text {
    let canonical = text.trim_end_matches('=');
    let hash = Sha256::digest(canonical.as_bytes());
    format!("pn3:{}", general_purpose::URL_SAFE_NO_PAD.encode(hash)).into()
}

/// Reads what `auth` holds, given the app's usable keys.
pub(super) fn read<'k>(app: AppId, text: &str, keys: impl Iterator<Item = &'k ApiKey>) -> Read {
    read_with(app, text, keys, &mut Expressions::default())
}

fn read_with<'k>(
    app: AppId,
    text: &str,
    mut keys: impl Iterator<Item = &'k ApiKey>,
    expressions: &mut Expressions,
) -> Read {
    let Some((map, sig)) = parse(text) else {
        return Read::Other;
    };
    let Some((tag, &[high, low])) = sig.split_at_checked(MAC_BYTES) else {
        return Read::Foreign;
    };
    let message = [&bytes(&map)[..], &[high, low]].concat();
    let purpose: [&[u8]; 2] = [PURPOSE, &app.0.to_be_bytes()];
    let signer = keys.find_map(|key| Signer::by_derived_mac(key, &purpose, &message, tag));
    let Some((signer, claims)) = signer.zip(claims(map)) else {
        return Read::Foreign;
    };
    let within: Millis = u16::from_be_bytes([high, low]).into();
    let life_ms = claims.ttl.saturating_mul(60_000);
    let end_ms = claims.issued_ms.saturating_add(life_ms);
    let issued = Issued::At(claims.issued_ms.saturating_add(within));
    let capability = claims.capability(expressions);
    let bearer = signer.principal(issued, Some(end_ms), capability);
    Read::Token(Arc::new(Token {
        id: id(text),
        user: claims.user.map(Into::into),
        bearer,
    }))
}

/// What a text given as a token is here.
pub(super) fn presented(state: &State, app: AppId, text: &str) -> Presented {
    if text.len() > MAX_TOKEN {
        return Presented::Other;
    }
    // A disabled key's as well: it may be switched on again, and whoever asks whether a token is good is told by its key.
    match read(app, text, state.keys_of(app)) {
        Read::Other => Presented::Other,
        Read::Foreign => Presented::Foreign,
        Read::Token(token) => Presented::Signed(Box::new(Principal {
            user: token.user.clone(),
            token: Some(token.id.clone()),
            ..token.bearer.clone()
        })),
    }
}

/// Tokens that were verified before: their expressions stay compiled. Says nothing about whether they still hold.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    tokens: HashMap<(AppId, Text), Arc<Token>>,
    expressions: Expressions,
    bytes: usize,
}

/// Most bytes that are remembered, counted at their worst; then all is forgotten.
const MAX_KNOWN_BYTES: usize = 64 << 20;
/// What a token may weigh for each byte of its text: its names, their rights and the map's own.
const PER_BYTE: usize = 16;
/// What each may weigh beside that.
const PER_TOKEN: usize = 1 << 10;

impl Memory {
    fn remember(&mut self, place: (AppId, Text), text: &str, token: &Arc<Token>) {
        self.bytes += PER_TOKEN + text.len() * PER_BYTE;
        self.tokens.insert(place, token.clone());
    }

    fn bound(&mut self) {
        let programs = self.expressions.0.len() * rights::EXPRESSION_BYTES;
        if self.bytes + programs > MAX_KNOWN_BYTES {
            *self = Self::default();
        }
    }
}

impl Known {
    /// As [`read`], from memory where that has it.
    pub(super) fn read<'k>(
        &self,
        app: AppId,
        text: &str,
        keys: impl Iterator<Item = &'k ApiKey>,
    ) -> Read {
        // A token begins with a map, and no map of ours is that short.
        if !text.starts_with(['o', 'p', 'q', 'r', 'u']) || text.len() < 64 {
            return Read::Other;
        }
        let place = (app, id(text));
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = memory.tokens.get(&place) {
            return Read::Token(known.clone());
        }
        let read = read_with(app, text, keys, &mut memory.expressions);
        if let Read::Token(token) = &read {
            memory.remember(place, text, token);
            memory.bound();
        }
        read
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::adapters::pubnub::fixture::{self, APP};
    use crate::core::authority::Operations;
    use serde_json::json;

    /// A real one, which every SDK's own suite holds.
    const REFERENCE: &str = "qEF2AkF0GmEI03xDdHRsGDxDcmVzpURjaGFuoWljaGFubmVsLTEY70NncnChb2NoYW5uZWxfZ3JvdXAtMQVDdXNyoENzcGOgRHV1aWShZnV1aWQtMRhoQ3BhdKVEY2hhbqFtXmNoYW5uZWwtXFMqJBjvQ2dycKF0XjpjaGFubmVsX2dyb3VwLVxTKiQFQ3VzcqBDc3BjoER1dWlkoWpedXVpZC1cUyokGGhEbWV0YaBEdXVpZHR0ZXN0LWF1dGhvcml6ZWQtdXVpZENzaWdYIPpU-vCe9rkpYs87YUrFNWkyNq8CVvmKwEjVinnDrJJc";

    #[test]
    fn the_reference_token_reads_and_is_nobodys_here() {
        let (map, sig) = parse(REFERENCE).unwrap();
        assert_eq!(sig.len(), 32);
        let claims = claims(map).unwrap();
        assert_eq!((claims.issued_ms, claims.ttl), (1_627_968_380_000, 60));
        let of = |side: &[Vec<(String, u64)>; 5], kind: usize| side.get(kind).unwrap().clone();
        assert_eq!(of(&claims.resources, 0), [("channel-1".into(), 239)]);
        assert_eq!(
            of(&claims.patterns, 1),
            [(r"^:channel_group-\S*$".into(), 5)]
        );
        assert_eq!(of(&claims.patterns, 4), [(r"^uuid-\S*$".into(), 104)]);
        assert_eq!(claims.user.as_deref(), Some("test-authorized-uuid"));
        let key = fixture::key("k", "secret");
        assert_eq!(read(APP, REFERENCE, [&key].into_iter()), Read::Foreign);
    }

    fn claims_for(channel: &str, mask: u64) -> Claims {
        let mut resources: [Vec<(String, u64)>; 5] = Default::default();
        resources.first_mut().unwrap().push((channel.into(), mask));
        let mut patterns: [Vec<(String, u64)>; 5] = Default::default();
        patterns
            .first_mut()
            .unwrap()
            .push(("^room-[0-9]+$".into(), 1));
        Claims {
            issued_ms: 1_000_250,
            ttl: 15,
            resources,
            patterns,
            meta: Value::of_json(&json!({"role": "x"})),
            user: Some("alice".into()),
        }
    }

    #[test]
    fn a_token_is_its_keys_own_and_nobody_elses() {
        let (key, other) = (fixture::key("k1", "s1"), fixture::key("k2", "s2"));
        let text = claims_for("secure", 3).sign(APP, &fixture::holder(&key));
        assert_eq!(text.len() % 4, 0);
        let Read::Token(token) = read(APP, &text, [&other, &key].into_iter()) else {
            panic!("it is a token of k1");
        };
        assert_eq!(
            (token.bearer.held().map(|key| &**key), token.user.as_deref()),
            (Some("k1"), Some("alice"))
        );
        assert_eq!(token.bearer.issued, Issued::At(1_000_250));
        assert_eq!(token.bearer.expires_ms, Some(1_900_000));
        let on = |name| {
            let proof = token.bearer.proof.as_ref().unwrap();
            proof.capability.operations_on(Resource::Channel, name)
        };
        assert_eq!(on("secure"), rights::READ | Operations::PUBLISH);
        assert_eq!(on("room-12"), rights::READ);
        assert_eq!(on("room-x"), Operations::NONE);
        assert_eq!(read(APP, &text, [&other].into_iter()), Read::Foreign);
        assert_eq!(read(AppId(8), &text, [&key].into_iter()), Read::Foreign);
        let bare = text.trim_end_matches('=');
        assert!(matches!(
            read(APP, bare, [&key].into_iter()),
            Read::Token(_)
        ));
        assert_eq!(id(bare), id(&text));
    }

    #[test]
    fn a_token_given_as_text_is_known_by_what_is_revoked_of_it() {
        let state = fixture::state(&fixture::commands(&[]));
        let of = |secret: &str| {
            let key = fixture::key("k1", secret);
            claims_for("secure", 3).sign(APP, &fixture::holder(&key))
        };
        let text = of(fixture::SECRET);
        let found = presented(&state, APP, &text);
        assert_eq!(found.id(), Some(id(&text)));
        let bare = text.trim_end_matches('=');
        assert_eq!(presented(&state, APP, bare).id(), found.id());
        assert_eq!(presented(&state, APP, &of("s2")), Presented::Foreign);
        assert_eq!(presented(&state, AppId(8), &text), Presented::Foreign);
        for other in ["", "k", "my-auth-key", "t1"] {
            assert_eq!(presented(&state, APP, other), Presented::Other);
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let key = fixture::key("k1", "s1");
        let text = claims_for("secure", 3).sign(APP, &fixture::holder(&key));
        let bytes = ANY_PADDING.decode(&text).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            *changed.get_mut(at).unwrap() ^= 1;
            let changed = general_purpose::URL_SAFE.encode(changed);
            let read = read(APP, &changed, [&key].into_iter());
            assert!(!matches!(read, Read::Token(_)), "byte {at}");
        }
    }

    #[test]
    fn a_token_has_one_spelling() {
        let key = fixture::key("k1", "s1");
        let text = claims_for("secure", 3).sign(APP, &fixture::holder(&key));
        let bytes = ANY_PADDING.decode(&text).unwrap();
        let Value::Map(mut map) = Value::read(&bytes).unwrap() else {
            panic!("a map")
        };
        let (head, rest) = bytes.split_first().unwrap();
        let (before, number) = (rest.get(..2).unwrap(), rest.get(2..).unwrap());
        let longer = [&[*head][..], before, &[0x18], number].concat();
        let longest = [&[0xb8, head & 31][..], rest].concat();
        map.rotate_right(1);
        let mut moved = Vec::new();
        Value::Map(map).write(&mut moved);
        for other in [longer, longest, moved] {
            assert!(Value::read(&other).is_some());
            let other = general_purpose::URL_SAFE.encode(other);
            assert_eq!(read(APP, &other, [&key].into_iter()), Read::Foreign);
        }
        assert!(matches!(
            read(APP, &text, [&key].into_iter()),
            Read::Token(_)
        ));
    }

    fn with_expressions(texts: &[String]) -> String {
        let mut claims = claims_for("secure", 3);
        let patterns = claims.patterns.first_mut().unwrap();
        *patterns = texts.iter().map(|text| (text.clone(), 1)).collect();
        claims.sign(APP, &fixture::holder(&fixture::key("k1", "s1")))
    }

    #[test]
    fn equal_expressions_are_one_program_and_what_is_remembered_is_bounded_by_bytes() {
        let (known, key) = (Known::default(), fixture::key("k1", "s1"));
        let read = |text: &str| match known.read(APP, text, [&key].into_iter()) {
            Read::Token(token) => token,
            Read::Other | Read::Foreign => panic!("it is a token of k1"),
        };
        let (one, other) = (["^a$", "^b$"], ["^b$", "^c$"]);
        for texts in [one, other] {
            read(&with_expressions(&texts.map(str::to_owned)));
        }
        let weighs = |known: &Known| {
            let memory = known.0.lock().unwrap();
            (
                memory.expressions.0.len(),
                memory.tokens.len(),
                memory.bytes,
            )
        };
        assert_eq!(weighs(&known).0, 3, "`^b$` is shared");
        for round in 0..40 {
            let texts: Vec<String> = (0..MAX_EXPRESSIONS)
                .map(|n| format!("^r{round}n{n}$"))
                .collect();
            read(&with_expressions(&texts));
            let (expressions, tokens, bytes) = weighs(&known);
            assert!(
                expressions * rights::EXPRESSION_BYTES + bytes <= MAX_KNOWN_BYTES,
                "{tokens}"
            );
        }
        assert!(weighs(&known).1 < 40, "something had to be forgotten");
    }

    #[test]
    fn nothing_is_compiled_before_a_name_is_asked_about() {
        let key = fixture::key("k1", "s1");
        let text = with_expressions(&["^a$".into()]);
        let Read::Token(token) = read(APP, &text, [&key].into_iter()) else {
            panic!("it is a token of k1");
        };
        let pattern = |token: &Token| {
            let proof = token.bearer.proof.as_ref().unwrap();
            let Pattern::Regex(expression) = &proof.capability.rights.last().unwrap().pattern
            else {
                panic!("not an expression");
            };
            expression.is_compiled()
        };
        assert!(!pattern(&token));
        let on = |name| {
            token
                .bearer
                .proof
                .as_ref()
                .unwrap()
                .capability
                .operations_on(Resource::Channel, name)
        };
        assert_eq!(on("a"), rights::READ);
        assert!(pattern(&token));
    }

    #[test]
    fn the_layout_is_that_of_the_reference() {
        let key = fixture::key("k1", "s1");
        let bytes = ANY_PADDING
            .decode(claims_for("secure", 3).sign(APP, &fixture::holder(&key)))
            .unwrap();
        // A map of eight; "v" as bytes: 2; "t" as bytes.
        assert!(bytes.starts_with(&[0xa8, 0x41, b'v', 2, 0x41, b't']));
        let Value::Map(map) = Value::read(&bytes).unwrap() else {
            panic!("a map")
        };
        let keys: Vec<_> = map.iter().map(|(key, _)| key.json()).collect();
        assert_eq!(keys, ["v", "t", "ttl", "res", "pat", "meta", "uuid", "sig"]);
        assert!(map.iter().all(|(key, _)| matches!(key, Value::Bytes(_))));
    }
}
