//! What is taken and what is not: every bad token by its reason, and the algorithms by signatures made elsewhere.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::compact::Compact;
use super::fixture::{LEEWAY_S, administer, an_app, hostile, logout_token, provide, run, token};
use super::*;
use crate::core::authority::fixture::{Stamp, apply, state_after};
use crate::core::authority::{
    Administered, Algorithm, AppId, Authority, Capability, CarriedRights, Cut, Operations, Pattern,
    Presented, ProviderChange, Reply, State, Target, Text,
};
use crate::core::connection::state::State as Connection;
use serde_json::{Value, json};

const APP: AppId = AppId(1);
const NOW_S: u64 = 1_700_000_000;
const NOW: u64 = NOW_S * 1_000;

fn state(rights: CarriedRights) -> State {
    let mut state = state_after(&[an_app(APP)], NOW);
    provide(&mut state, APP, "ceiling", rights);
    state
}

#[test]
fn a_good_token_makes_a_user_up_to_the_ceiling() {
    let state = state(CarriedRights::Grants);
    let text = token(
        NOW_S,
        json!({"aud": ["elsewhere", "chat"], "nbf": NOW_S + LEEWAY_S}),
    );
    for within in [None, Some(APP)] {
        let borne = read(&state, within, &text, NOW).unwrap();
        let principal = &borne.principal;
        assert_eq!((principal.app, &*borne.user), (APP, "ana"));
        assert_eq!(principal.user.as_deref(), Some("ana"));
        assert_eq!(principal.held().map(|key| &**key), Some("ceiling"));
        assert_eq!(principal.revocation_key.as_deref(), Some("session:idp:s1"));
        let end = NOW + 600_000 + LEEWAY_S * 1_000;
        assert_eq!(principal.expires_ms, Some(end));
        let proof = principal.proof.as_ref().unwrap();
        assert_eq!(proof.capability, Capability::default());
        assert_eq!(&*proof.vouched.as_ref().unwrap().audience, "chat");
    }
    assert_eq!(
        read(&state, Some(AppId(2)), &text, NOW),
        Err(Refused::NoProvider)
    );
    // Late, but within what clocks may be off; and without a session.
    let late = token(NOW_S, json!({"exp": NOW_S - LEEWAY_S + 1, "sid": {}}));
    let late = read(&state, None, &late, NOW).unwrap();
    let key = late.principal.revocation_key.as_deref();
    assert_eq!(key, Some("sessionless:idp:ana"));
}

fn name_of(text: &str) -> Text {
    Compact::parse(text).unwrap().id()
}

#[test]
fn a_token_that_is_ahead_has_the_name_by_which_it_will_be_known() {
    let state = state(CarriedRights::Grants);
    let text = token(NOW_S, json!({"nbf": NOW_S + 60}));
    let early = presented(&state, APP, &text, NOW);
    let later = presented(&state, APP, &text, NOW + 60_000);
    assert_eq!(early, Presented::Unproven(name_of(&text)));
    assert!(matches!(later, Presented::Signed(_)));
    assert_eq!(early.id(), later.id());
    let mut off = state.clone();
    let change = ProviderChange {
        enabled: Some(false),
        ..ProviderChange::default()
    };
    let change = Administered::Provider {
        id: "idp".into(),
        change: Box::new(change),
    };
    run(&mut off, &administer(APP, change));
    let text = token(NOW_S, json!({}));
    let switched_off = presented(&off, APP, &text, NOW);
    assert_eq!(switched_off, Presented::Unproven(name_of(&text)));
    assert_eq!(switched_off.id(), presented(&state, APP, &text, NOW).id());
}

#[test]
fn every_hostile_token_is_refused_for_its_reason() {
    let state = state(CarriedRights::Grants);
    let all = hostile(NOW_S);
    assert!(all.len() >= 60, "{}", all.len());
    for (what, text, why) in all {
        let refused = read(&state, None, &text, NOW).map(|borne| borne.principal);
        assert_eq!(refused, Err(why), "{what}");
        assert!(why.to_string().len() > 10);
        if is_meant(&text) {
            // What may count later can be ended now, by the name that it will have then.
            let later = [Refused::NotYet, Refused::Disabled, Refused::NoKey].contains(&why);
            let given = presented(&state, APP, &text, NOW);
            match later {
                true => assert_eq!(given, Presented::Unproven(name_of(&text)), "{what}"),
                false => assert_eq!(given, Presented::Foreign, "{what}"),
            }
        }
    }
}

#[test]
fn what_a_token_carries_is_what_its_provider_may_say() {
    let carried = |rights, more: Value| {
        let read = read(&state(rights), None, &token(NOW_S, more), NOW);
        read.map(|borne| borne.principal.proof.unwrap().capability)
    };
    let room = Capability::channel("room", Operations::SUBSCRIBE);
    let details = json!({"authorization_details": [
        {"type": "payment", "amount": 3},
        {"type": "gatecast", "channels": ["room"], "actions": ["subscribe"]},
    ]});
    let claim = json!({"x-ably-capability": {"room": ["subscribe"]}});
    let text = json!({"x-ably-capability": "{\"room\":[\"subscribe\"]}"});
    for (rights, more, expected) in [
        (
            CarriedRights::Grants,
            details.clone(),
            Capability::default(),
        ),
        (CarriedRights::Grants, claim.clone(), Capability::default()),
        (CarriedRights::Details, json!({}), Capability::default()),
        (CarriedRights::Details, claim.clone(), Capability::default()),
        (CarriedRights::Capability, json!({}), Capability::default()),
        (CarriedRights::Ceiling, json!({}), room.clone()),
        (CarriedRights::Details, details, room.clone()),
        (CarriedRights::Capability, claim, room.clone()),
        (CarriedRights::Capability, text, room),
    ] {
        assert_eq!(carried(rights, more.clone()), Ok(expected), "{more}");
    }
    let star = json!({"x-ably-capability": {"a:*": ["*"]}});
    let star = carried(CarriedRights::Capability, star).unwrap();
    assert_eq!(star.rights[0].operations, Operations::CLIENT);
    assert_eq!(star.rights[0].pattern, Pattern::parse("a:*").unwrap());
    let ours = |more: Value| {
        let mut detail =
            json!({"type": "gatecast", "channels": ["room"], "actions": ["subscribe"]});
        detail
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        (
            CarriedRights::Details,
            json!({"authorization_details": [detail]}),
        )
    };
    let many: Vec<String> = (0..257).map(|n| format!("room{n}")).collect();
    for (rights, more) in [
        ours(json!({"actions": ["fly"]})),
        ours(json!({"actions": []})),
        ours(json!({"locations": ["x"]})),
        ours(json!({"channels": many})),
        ours(json!({"channels": [""]})),
        (
            CarriedRights::Details,
            json!({"authorization_details": {"type": "gatecast"}}),
        ),
        (
            CarriedRights::Capability,
            json!({"x-ably-capability": ["room"]}),
        ),
        (CarriedRights::Capability, json!({"x-ably-capability": "{"})),
    ] {
        assert_eq!(
            carried(rights, more.clone()),
            Err(Refused::Rights),
            "{more}"
        );
    }
}

#[test]
fn signatures_made_elsewhere_verify_under_their_own_algorithm_only() {
    let vectors: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let set = json!({"keys": vectors["keys"]}).to_string();
    let keys = keys::read(set.as_bytes()).unwrap();
    let tokens = vectors["tokens"].as_array().unwrap();
    assert_eq!((keys.len(), tokens.len()), (5, 5));
    let allowed = |algorithms: Vec<Algorithm>| {
        let mut state = state_after(&[an_app(APP)], NOW);
        provide(&mut state, APP, "ceiling", CarriedRights::Grants);
        let change = ProviderChange {
            algorithms: Some(algorithms),
            keys: Some(keys.clone()),
            ..ProviderChange::default()
        };
        let change = Administered::Provider {
            id: "idp".into(),
            change: Box::new(change),
        };
        run(&mut state, &fixture::administer(APP, change));
        state
    };
    for (at, (_, only)) in Algorithm::NAMES.into_iter().enumerate() {
        let state = allowed(vec![only]);
        for (other, token) in tokens.iter().enumerate() {
            let read = read(&state, None, token.as_str().unwrap(), NOW).map(|_| ());
            let expected = match at == other {
                true => Ok(()),
                false => Err(Refused::WrongAlgorithm),
            };
            assert_eq!(read, expected, "{at} {other}");
        }
    }
    // An RSA key takes either padding; a token of one does not pass as one of the other.
    let all = allowed(Algorithm::NAMES.map(|(_, one)| one).to_vec());
    let pss = tokens[1].as_str().unwrap();
    let (_, rest) = pss.split_once('.').unwrap();
    let header = base64::Engine::encode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        r#"{"alg":"RS256","kid":"ps256","typ":"JWT"}"#,
    );
    let forged = read(&all, None, &format!("{header}.{rest}"), NOW).map(|_| ());
    assert_eq!(forged, Err(Refused::Signature));
}

#[test]
fn key_sets_are_read_strictly() {
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let and = |mut key: Value, more: Value| {
        key.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        key
    };
    let set = |all: Vec<Value>| keys::read(json!({ "keys": all }).to_string().as_bytes());
    let weak = |bytes: usize, e: &str| {
        let n = base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            vec![0xff; bytes],
        );
        json!({"kty": "RSA", "kid": "r", "n": n, "e": e})
    };
    assert_eq!(set(vec![ed.clone(), weak(256, "AQAB")]).unwrap().len(), 2);
    // Not for signing, or of a kind that is not known: left out.
    for other in [
        and(ed.clone(), json!({"use": "enc"})),
        and(ed.clone(), json!({"key_ops": ["encrypt"]})),
        json!({"kty": "RSA", "alg": "RS512", "kid": "x"}),
        json!({"kty": "EC", "crv": "secp256k1", "kid": "x"}),
        json!({"kty": "new"}),
    ] {
        assert_eq!(set(vec![other.clone()]), Ok(Vec::new()), "{other}");
    }
    for bad in [
        vec![weak(128, "AQAB")],
        vec![weak(1_025, "AQAB")],
        vec![weak(256, "AQ")],
        vec![weak(256, "Ag")],
        vec![ed.clone(), ed.clone()],
        vec![and(ed.clone(), json!({"kid": ""}))],
        vec![and(ed.clone(), json!({"d": "AAAA"}))],
        vec![json!({"kty": "oct", "kid": "s", "k": "AAAA"})],
        vec![and(ed.clone(), json!({"x": "AAAA"}))],
        vec![and(ed.clone(), json!({"alg": "RS256"}))],
        vec![json!({"kty": "EC", "crv": "P-256", "kid": "x", "x": "AAAA", "y": "AAAA"})],
        (0..33)
            .map(|n| and(ed.clone(), json!({"kid": n.to_string()})))
            .collect(),
        (0..10_000)
            .map(|n| and(ed.clone(), json!({"kid": n.to_string()})))
            .collect(),
    ] {
        let read = set(bad.clone());
        assert!(read.is_err(), "{:?}", bad.first());
    }
    for bad in ["", "[]", "{}", "{\"keys\":1}"] {
        assert_eq!(keys::read(bad.as_bytes()), Err(keys::BadKeys::Malformed));
    }
    let large = vec![b' '; keys::MAX_BYTES + 1];
    assert_eq!(keys::read(&large), Err(keys::BadKeys::TooLarge));
}

#[test]
fn a_logout_token_ends_a_session_or_a_user() {
    let state = state(CarriedRights::Grants);
    let read = |text: &str| logout::read(&state, (APP, "idp"), text, NOW);
    let said = |more: Value| read(&logout_token(NOW_S, more));
    let session = said(json!({})).unwrap();
    let keys = |names: &[&str]| -> Vec<Target> {
        let keys = names
            .iter()
            .map(|name| Target::RevocationKey((*name).into()));
        keys.collect()
    };
    assert_eq!(session.said_ms, NOW);
    assert_eq!(
        session.targets,
        keys(&["session:idp:s1", "sessionless:idp:ana"])
    );
    let nameless = said(json!({"sub": {}})).unwrap();
    assert_eq!(nameless.targets, keys(&["session:idp:s1"]));
    let user = said(json!({"sid": {}})).unwrap();
    assert_eq!(user.targets, [Target::User("ana".into())]);
    assert_eq!(session.request, said(json!({})).unwrap().request);
    assert_ne!(
        session.request, user.request,
        "what a provider says under an id that it has used is said as well"
    );
    assert_ne!(said(json!({"jti": "j2"})).unwrap().request, session.request);
    let event = "http://schemas.openid.net/event/backchannel-logout";
    for (more, why) in [
        (json!({"nonce": "n"}), Refused::NoLogout("it has a nonce")),
        (
            json!({"events": {}}),
            Refused::NoLogout("it has no such event"),
        ),
        (
            json!({"events": {"x": {}}}),
            Refused::NoLogout("it has no such event"),
        ),
        (
            json!({"events": {event: 1}}),
            Refused::NoLogout("it has no such event"),
        ),
        (
            json!({"sub": {}, "sid": {}}),
            Refused::NoLogout("it names neither a user nor a session"),
        ),
        (json!({"sid": 1}), Refused::Claim("sid")),
        (json!({"jti": {}}), Refused::Claim("jti")),
        (json!({"iat": {}}), Refused::Claim("iat")),
        (json!({"aud": "shop"}), Refused::NoProvider),
        (json!({"aud": "beside"}), Refused::NoProvider),
        (json!({"iss": "https://evil.test"}), Refused::NoProvider),
        (json!({"exp": NOW_S - LEEWAY_S}), Refused::Expired),
        (
            json!({"iat": NOW_S - 541, "exp": NOW_S + 900}),
            Refused::Expired,
        ),
        (json!({"iat": NOW_S + 6}), Refused::NotYet),
    ] {
        assert_eq!(said(more.clone()), Err(why), "{more}");
    }
    // Neither is taken for the other.
    assert_eq!(
        read(&token(NOW_S, json!({"jti": "j"}))),
        Err(Refused::NoLogout("it has no such event"))
    );
    assert_eq!(
        super::read(&state, None, &logout_token(NOW_S, json!({})), NOW),
        Err(Refused::Kind)
    );
    let forged = logout_token(NOW_S, json!({}));
    let (text, _) = forged.rsplit_once('.').unwrap();
    assert_eq!(read(&format!("{text}.AAAA")), Err(Refused::Signature));
    let elsewhere = logout::read(&state, (APP, "other"), &logout_token(NOW_S, json!({})), NOW);
    assert_eq!(elsewhere, Err(Refused::NoProvider));
}

#[test]
fn a_connection_goes_when_its_provider_takes_its_word_back() {
    let state = state(CarriedRights::Ceiling);
    let changed = |id: &str, change: ProviderChange| {
        let change = Administered::Provider {
            id: id.into(),
            change: Box::new(change),
        };
        let mut after = state.clone();
        let stamp = Stamp {
            index: after.revision + 1,
            time_ms: NOW,
        };
        let outcome = apply(&mut after, &fixture::administer(APP, change), stamp);
        assert!(matches!(outcome.reply, Reply::Narrowed(_)));
        let authority = Authority::fixed(state.clone(), NOW);
        let mut connection = Connection::<u32>::default();
        let bearer = read(&state, None, &token(NOW_S, json!({})), NOW).unwrap();
        connection.identify(Box::new(bearer.principal), &authority, &mut Vec::new());
        let mut enforced = outcome
            .effects
            .iter()
            .filter_map(|effect| connection.enforce(effect, &after, &authority, &mut Vec::new()));
        enforced.next()
    };
    let own = state.provider(APP, "idp").unwrap().keys.clone();
    let second = own.iter().filter(|one| &*one.key.kid == "k2");
    let second = Some(second.map(|one| one.key.clone()).collect());
    let without = || ProviderChange {
        keys: second.clone(),
        ..ProviderChange::default()
    };
    assert!(matches!(
        changed("idp", without()),
        Some(Cut::Revoked { .. })
    ));
    assert_eq!(
        changed("beside", without()),
        None,
        "another provider's are not concerned"
    );
    let all = ProviderChange {
        keys: Some(own.into_iter().map(|one| one.key).collect()),
        ..ProviderChange::default()
    };
    assert_eq!(changed("idp", all), None, "the same keys");
    let off = ProviderChange {
        enabled: Some(false),
        ..ProviderChange::default()
    };
    assert!(changed("idp", off).is_some());
}
