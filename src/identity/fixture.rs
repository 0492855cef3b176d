//! A provider for tests, here and in every dialect: its tokens, good ones and all the bad ones that must be refused alike.
#![allow(clippy::unwrap_used)]

use super::Refused;
use crate::core::authority::fixture::{Stamp, apply};
use crate::core::authority::{
    Administered, Administration, Algorithm, AppId, AppSpec, Capability, CarriedRights, Claims,
    Command, Issuer, KeyKind, KeySource, KeySpec, Operations, ProviderChange, ProviderSpec,
    PublicKey, Reply, Secret, State,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{KeyInit as _, Mac as _};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

pub(crate) const ISS: &str = "https://id.test";
const OTHER: &str = "https://other.test";
const OFF: &str = "https://off.test";
/// How far the clock may be off.
pub(crate) const LEEWAY_S: u64 = 10;
/// Whose key: the provider's two, another provider's, nobody's.
const SEEDS: [u8; 4] = [1, 2, 3, 9];

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn key(kid: &str, seed: u8) -> PublicKey {
    PublicKey {
        kid: kid.into(),
        kind: KeyKind::Ed25519,
        algorithm: None,
        bytes: pair(seed).public_key().as_ref().to_vec(),
    }
}

/// An app with a key that is to be a ceiling: it may subscribe to `room`.
pub(crate) fn an_app(id: AppId) -> Command {
    Command::CreateApp(AppSpec {
        id,
        name: "".into(),
        protocols: Vec::new(),
        open: Vec::new(),
        settings: [].into(),
        aliases: Vec::new(),
        keys: vec![KeySpec {
            id: "ceiling".into(),
            app: id,
            name: "".into(),
            secret: Secret("secret".into()),
            capability: Capability::channel("room", Operations::SUBSCRIBE),
            revocable_tokens: true,
        }],
    })
}

/// Applies a command, which must be taken.
pub(crate) fn run(state: &mut State, command: &Command) {
    let stamp = Stamp {
        index: state.revision + 1,
        time_ms: state.time_ms,
    };
    let reply = apply(state, command, stamp).reply;
    assert!(!matches!(reply, Reply::Rejected(_)), "{reply:?}");
}

/// A change of a provider, in the operator's name.
pub(crate) fn administer(app: AppId, change: Administered) -> Command {
    Command::Administer(Administration {
        app,
        issuer: Issuer::Operator,
        hands_on: Capability::default(),
        change,
    })
}

/// The provider `idp` and those beside it.
pub(crate) fn provide(state: &mut State, app: AppId, ceiling: &str, rights: CarriedRights) {
    for command in commands(app, ceiling, rights) {
        run(state, &command);
    }
}

/// What makes them.
pub(crate) fn commands(app: AppId, ceiling: &str, rights: CarriedRights) -> Vec<Command> {
    let made = |id: &str, iss: &str, audience: &str, keys| {
        let spec = ProviderSpec {
            id: id.into(),
            iss: iss.into(),
            audiences: vec![audience.into()],
            algorithms: vec![Algorithm::EdDsa, Algorithm::Es256],
            keys,
            source: KeySource::Given,
            claims: Claims {
                user: "sub".into(),
                session: "sid".into(),
                groups: None,
                rights,
            },
            leeway_ms: LEEWAY_S * 1_000,
            ceiling: ceiling.into(),
        };
        administer(app, Administered::NewProvider(Box::new(spec)))
    };
    let [own, second, others, _] = SEEDS;
    let off = ProviderChange {
        enabled: Some(false),
        ..ProviderChange::default()
    };
    vec![
        made("idp", ISS, "chat", vec![key("k1", own), key("k2", second)]),
        made("beside", ISS, "beside", vec![key("k1", own)]),
        made(
            "other",
            OTHER,
            "chat",
            vec![key("k1", others), key("k9", others)],
        ),
        made("off", OFF, "chat", vec![key("k1", own)]),
        administer(
            app,
            Administered::Provider {
                id: "off".into(),
                change: Box::new(off),
            },
        ),
    ]
}

fn b64(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signed(header: &str, payload: &str, seed: u8) -> String {
    let text = format!("{header}.{payload}");
    let signature = pair(seed).sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header() -> Value {
    json!({"alg": "EdDSA", "kid": "k1", "typ": "JWT"})
}

/// What a good token says at that time, in seconds.
pub(crate) fn claims(now_s: u64) -> Value {
    json!({"iss": ISS, "aud": "chat", "sub": "ana", "sid": "s1", "iat": now_s, "exp": now_s + 600})
}

fn with(mut base: Value, more: Value) -> Value {
    let (fields, more) = (base.as_object_mut().unwrap(), more.as_object().unwrap());
    for (name, value) in more {
        // A lone `{}` takes the field out.
        if value.as_object().is_some_and(serde_json::Map::is_empty) {
            fields.remove(name);
        } else {
            fields.insert(name.clone(), value.clone());
        }
    }
    base
}

/// A token with these claims over the good ones; `{}` takes one out.
pub(crate) fn token(now_s: u64, more: Value) -> String {
    signed(&b64(&header()), &b64(&with(claims(now_s), more)), SEEDS[0])
}

/// A logout token with these claims over the good ones.
pub(crate) fn logout_token(now_s: u64, more: Value) -> String {
    let event = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let said = json!({
        "iss": ISS, "aud": "chat", "sub": "ana", "sid": "s1", "iat": now_s, "exp": now_s + 120, "jti": "j1",
        "events": event,
    });
    let header = with(header(), json!({"typ": "logout+jwt"}));
    signed(&b64(&header), &b64(&with(said, more)), SEEDS[0])
}

/// A security event: of this kind, with these fields, and these claims over the good ones.
pub(crate) fn event(now_s: u64, kind: &str, fields: Value, more: Value) -> String {
    let said = json!({
        "iss": ISS, "aud": "chat", "iat": now_s, "jti": "e1", "events": {kind: fields},
        "sub_id": {"format": "iss_sub", "iss": ISS, "sub": "ana"},
    });
    event_with(json!({}), with(said, more))
}

/// A security event whose header has these fields over the good ones, and that says exactly this.
pub(crate) fn event_with(more: Value, said: Value) -> String {
    let header = with(header(), json!({"typ": "secevent+jwt"}));
    signed(&b64(&with(header, more)), &b64(&said), SEEDS[0])
}

/// Tokens that nobody may take, with what each is and why.
pub(crate) fn hostile(now_s: u64) -> Vec<(&'static str, String, Refused)> {
    let [mut all, claims, rest] = [headers(now_s), bodies(now_s), spellings(now_s)];
    all.extend(claims);
    all.extend(rest);
    all
}

type Hostile = Vec<(&'static str, String, Refused)>;

fn headers(now_s: u64) -> Hostile {
    let [own, second, others, nobody] = SEEDS;
    let headed =
        |more: Value, seed| signed(&b64(&with(header(), more)), &b64(&claims(now_s)), seed);
    let key_in_header = json!({"kty": "OKP", "crv": "Ed25519", "kid": "k1",
        "x": URL_SAFE_NO_PAD.encode(pair(nobody).public_key().as_ref())});
    let confused = {
        let header = with(header(), json!({"alg": "HS256"}));
        let text = format!("{}.{}", b64(&header), b64(&claims(now_s)));
        let public = pair(own).public_key().as_ref().to_vec();
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(&public).unwrap();
        mac.update(text.as_bytes());
        format!(
            "{text}.{}",
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        )
    };
    let twice = r#"{"alg":"EdDSA","kid":"k1","alg":"ES256"}"#;
    let twice = signed(&URL_SAFE_NO_PAD.encode(twice), &b64(&claims(now_s)), own);
    vec![
        (
            "no algorithm",
            headed(json!({"alg": "none"}), own),
            Refused::NoAlgorithm,
        ),
        (
            "None",
            headed(json!({"alg": "None"}), own),
            Refused::NoAlgorithm,
        ),
        ("a MAC under the public key", confused, Refused::NoAlgorithm),
        (
            "RS512",
            headed(json!({"alg": "RS512"}), own),
            Refused::NoAlgorithm,
        ),
        (
            "without alg",
            headed(json!({"alg": {}}), own),
            Refused::Malformed,
        ),
        ("two algs", twice, Refused::Malformed),
        (
            "another kind of key",
            headed(json!({"alg": "ES256"}), own),
            Refused::WrongAlgorithm,
        ),
        (
            "not the provider's way",
            headed(json!({"alg": "RS256"}), own),
            Refused::WrongAlgorithm,
        ),
        (
            "without kid",
            headed(json!({"kid": {}}), own),
            Refused::Claim("kid"),
        ),
        (
            "kid is a number",
            headed(json!({"kid": 1}), own),
            Refused::Malformed,
        ),
        (
            "unknown kid",
            headed(json!({"kid": "k3"}), own),
            Refused::NoKey,
        ),
        (
            "another provider's kid",
            headed(json!({"kid": "k9"}), others),
            Refused::NoKey,
        ),
        (
            "the same kid elsewhere",
            headed(json!({}), others),
            Refused::Signature,
        ),
        (
            "the provider's other key",
            headed(json!({}), second),
            Refused::Signature,
        ),
        (
            "critical",
            headed(json!({"crit": ["exp"]}), own),
            Refused::Critical,
        ),
        (
            "not encoded",
            headed(json!({"b64": false}), own),
            Refused::Critical,
        ),
        (
            "jwk",
            headed(json!({"jwk": key_in_header}), nobody),
            Refused::Signature,
        ),
        (
            "jku",
            headed(json!({"jku": "https://evil.test"}), nobody),
            Refused::Signature,
        ),
        (
            "x5u",
            headed(json!({"x5u": "https://evil.test"}), nobody),
            Refused::Signature,
        ),
        (
            "x5c",
            headed(json!({"x5c": ["MIIB"]}), nobody),
            Refused::Signature,
        ),
        (
            "logout+jwt",
            headed(json!({"typ": "logout+jwt"}), own),
            Refused::Kind,
        ),
        (
            "secevent+jwt",
            headed(json!({"typ": "secevent+jwt"}), own),
            Refused::Kind,
        ),
        (
            "dpop+jwt",
            headed(json!({"typ": "dpop+jwt"}), own),
            Refused::Kind,
        ),
        (
            "a logout token",
            logout_token(now_s, json!({})),
            Refused::Kind,
        ),
    ]
}

fn bodies(now_s: u64) -> Hostile {
    let said = |more: Value| token(now_s, more);
    let many: Vec<String> = (0..33).map(|n| format!("a{n}")).collect();
    let long = "u".repeat(513);
    vec![
        ("events", said(json!({"events": {"x": {}}})), Refused::Kind),
        (
            "without iss",
            said(json!({"iss": {}})),
            Refused::Claim("iss"),
        ),
        (
            "iss is a number",
            said(json!({"iss": 1})),
            Refused::Claim("iss"),
        ),
        (
            "unknown iss",
            said(json!({"iss": "https://evil.test"})),
            Refused::NoProvider,
        ),
        (
            "iss with a slash",
            said(json!({"iss": "https://id.test/"})),
            Refused::NoProvider,
        ),
        (
            "another provider's iss",
            said(json!({"iss": OTHER})),
            Refused::Signature,
        ),
        (
            "a disabled provider",
            said(json!({"iss": OFF})),
            Refused::Disabled,
        ),
        (
            "without aud",
            said(json!({"aud": {}})),
            Refused::Claim("aud"),
        ),
        (
            "no aud in a list",
            said(json!({"aud": []})),
            Refused::Claim("aud"),
        ),
        (
            "another aud",
            said(json!({"aud": "shop"})),
            Refused::NoProvider,
        ),
        (
            "aud is no text",
            said(json!({"aud": ["chat", 1]})),
            Refused::Claim("aud"),
        ),
        (
            "too many auds",
            said(json!({"aud": many})),
            Refused::Claim("aud"),
        ),
        (
            "two providers",
            said(json!({"aud": ["chat", "beside"]})),
            Refused::Ambiguous,
        ),
        (
            "without exp",
            said(json!({"exp": {}})),
            Refused::Claim("exp"),
        ),
        (
            "exp is a text",
            said(json!({"exp": "9999999999"})),
            Refused::Claim("exp"),
        ),
        (
            "expired",
            said(json!({"exp": now_s - 600})),
            Refused::Expired,
        ),
        (
            "expired by more than the leeway",
            said(json!({"exp": now_s - LEEWAY_S})),
            Refused::Expired,
        ),
        (
            "not before",
            said(json!({"nbf": now_s + LEEWAY_S + 1})),
            Refused::NotYet,
        ),
        (
            "nbf is a text",
            said(json!({"nbf": "0"})),
            Refused::Claim("nbf"),
        ),
        (
            "without iat",
            said(json!({"iat": {}})),
            Refused::Claim("iat"),
        ),
        (
            "issued later",
            said(json!({"iat": now_s + 6})),
            Refused::NotYet,
        ),
        (
            "issued before time",
            said(json!({"iat": -1})),
            Refused::Claim("iat"),
        ),
        ("without sub", said(json!({"sub": {}})), Refused::NoUser),
        ("sub is empty", said(json!({"sub": ""})), Refused::NoUser),
        ("sub is a number", said(json!({"sub": 7})), Refused::NoUser),
        (
            "sub of two lines",
            said(json!({"sub": "a\nb"})),
            Refused::NoUser,
        ),
        ("sub is long", said(json!({"sub": long})), Refused::NoUser),
        (
            "sid is a number",
            said(json!({"sid": 1})),
            Refused::Claim("sid"),
        ),
        (
            "8 KiB and more",
            said(json!({"x": "x".repeat(8_192)})),
            Refused::TooLong,
        ),
        (
            "1 MiB",
            said(json!({"x": "x".repeat(1 << 20)})),
            Refused::TooLong,
        ),
    ]
}

fn spellings(now_s: u64) -> Hostile {
    let good = token(now_s, json!({}));
    let (text, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = text.split_once('.').unwrap();
    let eve = b64(&with(claims(now_s), json!({"sub": "eve"})));
    let list = URL_SAFE_NO_PAD.encode("[1]");
    let plain = URL_SAFE_NO_PAD.encode("hello");
    let cut = &signature[..80];
    vec![
        ("no signature", format!("{text}."), Refused::Signature),
        (
            "a short signature",
            format!("{text}.{cut}"),
            Refused::Signature,
        ),
        (
            "another payload",
            format!("{head}.{eve}.{signature}"),
            Refused::Signature,
        ),
        (
            "another header",
            {
                let header = b64(&with(header(), json!({"kid": "k2"})));
                format!("{header}.{payload}.{signature}")
            },
            Refused::Signature,
        ),
        ("two parts", text.to_owned(), Refused::Malformed),
        ("four parts", format!("{good}.x"), Refused::Malformed),
        ("padding", format!("{good}=="), Refused::Malformed),
        (
            "no JSON",
            signed(head, &plain, SEEDS[0]),
            Refused::Malformed,
        ),
        ("a list", signed(head, &list, SEEDS[0]), Refused::Malformed),
        (
            "blanks",
            format!("{head} .{payload}.{signature}"),
            Refused::Malformed,
        ),
    ]
}
