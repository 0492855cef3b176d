//! Credentials against a fixed state.
#![allow(clippy::unwrap_used)]

use super::super::fixture::{self, NAME, SECRET, b64, jwt, ours, signed};
use super::*;
use crate::core::authority::{CarriedRights, Command, KeyChange};
use crate::identity::fixture as idp;
use serde_json::{Value, json};
use std::sync::Arc;

const NOW: Millis = 1_700_000_000_000;

fn told(credential: &Credential, asks: Option<&str>) -> Result<Identity, u32> {
    check(credential, asks, &fixture::state(), NOW).map_err(|fault| fault.code)
}

fn token(text: String) -> Result<Identity, u32> {
    told(&Credential::Token(text), None)
}

#[test]
fn keys_are_right_or_not() {
    let key = |text: &str| told(&Credential::Key(text.to_owned()), None).map(|_| ());
    assert_eq!(key(&format!("{NAME}:{SECRET}")), Ok(()));
    assert_eq!(key(&format!("{NAME}:wrong")), Err(40101));
    assert_eq!(key("this.is:wrong"), Err(40101));
    assert_eq!(key("4.keyId:topsecret"), Err(40101));
    assert_eq!(key("nothing"), Err(40005));
}

#[test]
fn only_what_a_newer_view_could_lift_is_looked_at_again() {
    let of = |text: String| Credential::Key(text);
    let fault = Fault::new(40101, 401, "Invalid credentials");
    let usable =
        |credential: &Credential, state: &State| !may_be_lifted(&fault, credential, state, NOW);
    let (state, right) = (fixture::state(), of(format!("{NAME}:{SECRET}")));
    assert!(usable(&right, &state));
    assert!(
        usable(&of(format!("{NAME}:wrong")), &state),
        "it stays wrong"
    );
    assert!(!usable(&of("3.another:x".into()), &state));
    assert!(!usable(&Credential::Token(ours(NOW, 60_000, None)), &state));
    let by_key = Credential::Token(jwt(NAME, SECRET, &json!({})));
    assert!(usable(&by_key, &state));
    let mut disabled = state.clone();
    Arc::make_mut(disabled.keys.get_mut(fixture::KEY).unwrap()).enabled = false;
    assert!(!usable(&right, &disabled) && !usable(&by_key, &disabled));
    let mut closed = state;
    Arc::make_mut(closed.apps.get_mut(&fixture::APP).unwrap()).enabled = false;
    assert!(!usable(&right, &closed));
}

/// Rounds of catching up, secrets looked at, and what whoever connects is told.
async fn cost(credential: &Credential) -> (u64, u64, Option<(u32, u16)>) {
    use crate::core::authority::{Authority, holder::looks};
    let authority = Authority::fixed(fixture::state(), NOW);
    let before = looks();
    let outcome = super::super::connect::check(credential, None, &authority).await;
    let fault = outcome.err().map(|fault| on_connect(credential, fault));
    let said = fault.map(|fault| (fault.code, fault.status_code));
    (authority.rounds(), looks() - before, said)
}

#[actix_web::test]
async fn an_unknown_key_costs_what_a_wrong_secret_costs() {
    let of = |text: String| Credential::Key(text);
    let wrong = Some((40101, 401));
    for unknown in [
        format!("{NAME}:wrong"),
        "3.another:x".into(),
        "9.key:x".into(),
    ] {
        assert_eq!(cost(&of(unknown.clone())).await, (1, 2, wrong), "{unknown}");
    }
    assert_eq!(cost(&of(format!("{NAME}:{SECRET}"))).await, (0, 1, None));
    let jwt = |name, secret| Credential::Token(jwt(name, secret, &json!({})));
    let (unsigned, unknown) = (jwt(NAME, "other"), jwt("9.keyId", SECRET));
    assert_eq!(cost(&unsigned).await.0, 1);
    assert_eq!(cost(&unknown).await.0, 1);
}

#[actix_web::test]
async fn whoever_connects_with_what_is_no_token_has_a_wrong_one() {
    for text in ["nonsense", "1.e30", "a.b.c", "3.x", ""] {
        let token = Credential::Token(text.into());
        assert_eq!(told(&token, None).unwrap_err(), 40005, "{text}");
        assert_eq!(cost(&token).await.2, Some((40101, 401)), "{text}");
    }
    let expired = Credential::Token(ours(NOW - 2, 1, None));
    assert_eq!(cost(&expired).await.2, Some((40142, 401)), "others stay");
}

#[test]
fn a_key_is_missing_only_in_an_app_that_is_there() {
    let state = fixture::state();
    let nobody = |text: &str| names_nobody(&Credential::Key(text.into()), &state);
    assert!(nobody("3.another:x") && nobody("3.:x"));
    assert!(!nobody(&format!("{NAME}:wrong")), "it is there");
    assert!(!nobody("9.keyId:x") && !nobody("nothing") && !nobody("x.y:z"));
    assert!(!names_nobody(
        &Credential::Token("3.another.x".into()),
        &state
    ));
}

#[test]
fn a_jwt_counts_from_its_nbf_and_asks_for_no_extension() {
    let s = NOW / 1000;
    let of = |nbf| json!({"iat": s, "exp": s + 60, "nbf": nbf});
    let begins = |nbf| token(jwt(NAME, SECRET, &of(nbf))).map(|one| one.not_before_ms);
    assert_eq!(begins(json!(s - 5)), Ok(NOW - 5_000));
    assert_eq!(begins(Value::Null), Ok(0));
    // What is near is waited for; what is not, is refused.
    assert_eq!(begins(json!(s + 5)), Ok(NOW + MAX_AHEAD_MS));
    assert_eq!(begins(json!(s as f64 + 5.001)), Err(40144));
    for bad in [json!("soon"), json!(-1), json!(1e300)] {
        assert_eq!(begins(bad.clone()), Err(40144), "{bad}");
    }
    let claims = json!({"iat": s, "exp": s + 60});
    for critical in [json!(["b64"]), json!([]), json!(["exp"]), Value::Null] {
        let header = b64(&json!({"alg": "HS256", "kid": NAME, "crit": critical}));
        assert_eq!(token(signed(&header, &claims, SECRET)).unwrap_err(), 40144);
    }
}

#[actix_web::test]
async fn nobody_is_let_in_before_the_jwts_nbf() {
    use crate::core::authority::Authority;
    let authority = Authority::fixed(fixture::state(), NOW);
    let s = NOW / 1000;
    // 40 ms ahead: the check waits for as long, and the clock that stands still does not count.
    let ahead = json!({"iat": s, "exp": s + 60, "nbf": (NOW + 40) as f64 / 1000.0});
    let credential = Credential::Token(jwt(NAME, SECRET, &ahead));
    let began = tokio::time::Instant::now();
    let identity = super::super::connect::check(&credential, None, &authority).await;
    assert_eq!(identity.unwrap().not_before_ms, NOW + 40);
    assert!(began.elapsed().as_millis() >= 40, "it was waited for");
}

#[test]
fn client_ids_follow_the_table() {
    let key = Credential::Key(format!("{NAME}:{SECRET}"));
    let plain = told(&key, None).unwrap();
    assert!(plain.client.is_none() && plain.any_client);
    assert_eq!(plain.stamp(Some("x")).unwrap().as_deref(), Some("x"));
    assert_eq!(told(&key, Some("x")).unwrap().client.as_deref(), Some("x"));
    let of = |client: Option<&str>| Credential::Token(ours(NOW, 60_000, client));
    assert_eq!(
        told(&of(Some("bob")), None).unwrap().client.as_deref(),
        Some("bob")
    );
    assert_eq!(
        told(&of(Some("bob")), Some("bob"))
            .unwrap()
            .client
            .as_deref(),
        Some("bob")
    );
    assert_eq!(told(&of(Some("bob")), Some("eve")).unwrap_err(), 40102);
    assert_eq!(told(&of(None), Some("eve")).unwrap_err(), 40102);
    assert!(told(&of(Some("*")), None).unwrap().any_client);
    let anonymous = told(&of(None), None).unwrap();
    assert_eq!(anonymous.stamp(None).unwrap(), None);
    assert_eq!(anonymous.stamp(Some("x")).unwrap_err().code, 40012);
    let bob = told(&of(Some("bob")), None).unwrap();
    assert_eq!(bob.stamp(Some("eve")).unwrap_err().code, 40012);
    assert_eq!(plain.stamp(Some("*")).unwrap_err().code, 40012);
}

#[test]
fn tokens_end_to_the_millisecond() {
    let token = Credential::Token(ours(NOW, 1, None));
    let at = |now| check(&token, None, &fixture::state(), now).map(|_| ());
    assert!(at(NOW).is_ok());
    assert_eq!(at(NOW + 1).unwrap_err().code, 40142);
}

#[test]
fn jwts_are_verified_before_they_are_read() {
    let s = NOW / 1000;
    let good =
        json!({"iat": s, "exp": s + 60, "x-ably-clientId": "bob", "x-ably-revocation-key": "r"});
    let identity = token(jwt(NAME, SECRET, &good)).unwrap();
    assert_eq!(identity.client.as_deref(), Some("bob"));
    assert_eq!(identity.principal.revocation_key.as_deref(), Some("r"));
    assert_eq!(token(jwt(NAME, "other", &good)).unwrap_err(), 40144);
    assert_eq!(token(jwt("9.keyId", SECRET, &good)).unwrap_err(), 40400);
    for (claims, code) in [
        (json!({"exp": s + 60}), 40144),
        (json!({"iat": s}), 40144),
        (json!({"iat": s - 60, "exp": s}), 40142),
        (json!({"iat": s + 60, "exp": s + 90}), 40144),
        (json!({"iat": s, "exp": s + 86_401}), 40003),
        (
            json!({"iat": s, "exp": s + 60, "x-ably-capability": "x"}),
            40144,
        ),
    ] {
        assert_eq!(
            token(jwt(NAME, SECRET, &claims)).unwrap_err(),
            code,
            "{claims}"
        );
    }
    assert_eq!(token("nonsense".into()).unwrap_err(), 40005);
    let none = jwt(NAME, SECRET, &good).replacen("eyJ", "fyJ", 1);
    assert_eq!(token(none).unwrap_err(), 40005);
}

#[test]
fn a_jwt_says_the_same_time_of_issue_whenever_it_is_shown() {
    let s = NOW / 1000;
    let claims = json!({"iat": s, "exp": s + 60});
    let shown = Credential::Token(jwt(NAME, SECRET, &claims));
    for now in [NOW - MAX_AHEAD_MS, NOW - 1, NOW, NOW + 1, NOW + 59_999] {
        let identity = check(&shown, None, &fixture::state(), now).unwrap();
        assert_eq!(identity.principal.issued, Issued::At(NOW), "{now}");
    }
    let far = check(&shown, None, &fixture::state(), NOW - MAX_AHEAD_MS - 1);
    assert_eq!(far.unwrap_err().code, 40144);
}

#[test]
fn an_algorithm_named_by_the_token_is_not_followed() {
    let s = NOW / 1000;
    let claims = json!({"iat": s, "exp": s + 60});
    let good = jwt(NAME, SECRET, &claims);
    assert!(token(good.clone()).is_ok());
    for algorithm in [
        "none", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256", "",
    ] {
        let header = b64(&json!({"alg": algorithm, "kid": NAME}));
        let unsigned = format!("{header}.{}.", b64(&claims));
        assert_eq!(token(unsigned).unwrap_err(), 40144, "{algorithm}");
        // Signed as it ought to be, and saying otherwise.
        let signed = signed(&header, &claims, SECRET);
        assert_eq!(token(signed).unwrap_err(), 40144, "{algorithm}");
    }
    // The key of the header is the key of the app, not one that the token brings along.
    let header = b64(&json!({"alg": "HS256", "kid": NAME, "jwk": {"kty": "oct", "k": "eA"}}));
    assert_eq!(token(signed(&header, &claims, "x")).unwrap_err(), 40144);
    let (parts, _) = good.rsplit_once('.').unwrap();
    assert_eq!(token(format!("{parts}.")).unwrap_err(), 40144);
    assert_eq!(token(format!("{good}.x")).unwrap_err(), 40005);
}

#[test]
fn embedded_tokens_may_outlive_but_not_be_outlived() {
    let s = NOW / 1000;
    let inner = ours(NOW, 60_000, Some("bob"));
    let outer = |exp: u64| jwt("x", "any", &json!({"exp": exp, "x-ably-token": inner}));
    assert_eq!(token(outer(s + 30)).unwrap().client.as_deref(), Some("bob"));
    assert_eq!(token(outer(s + 61)).unwrap_err(), 40144);
    assert_eq!(token(outer(s - 1)).unwrap_err(), 40142);
}

#[test]
fn a_jwt_gets_no_more_than_its_key() {
    use crate::core::authority::{Operations, Resource};
    let s = NOW / 1000;
    let mut state = fixture::state();
    let mut key = fixture::key();
    key.capability = Wanted::parse(r#"{"a":["subscribe"]}"#).unwrap().rights();
    state.keys.insert(key.id.clone(), key.into());
    let asks = |capability: &str| {
        let claims = json!({"iat": s, "exp": s + 60, "x-ably-capability": capability});
        let token = Credential::Token(jwt(NAME, SECRET, &claims));
        check(&token, None, &state, NOW).map_err(|fault| fault.code)
    };
    let identity = asks(r#"{"*":["*"]}"#).unwrap();
    let proof = identity.principal.proof.unwrap();
    let on = |name| proof.capability.operations_on(Resource::Channel, name);
    assert!(on("a").contains(Operations::SUBSCRIBE) && !on("a").contains(Operations::PUBLISH));
    assert!(on("b").is_empty());
    assert_eq!(asks(r#"{"b":["*"]}"#).unwrap_err(), 40160);
}

/// A key that may publish to `private-x` only, and a user with a stored right elsewhere.
fn narrow() -> State {
    use crate::core::authority::fixture::state_after;
    use crate::core::authority::{
        AppSpec, Capability, Command, EnabledProtocol, GrantEntry, GrantMode, Issuer, KeySpec,
        Operations, Pattern, Resource, Secret, Subject,
    };
    let app = Command::CreateApp(AppSpec {
        id: fixture::APP,
        name: "demo".into(),
        protocols: vec![EnabledProtocol {
            name: DIALECT.into(),
            default_open: Vec::new(),
        }],
        open: Vec::new(),
        settings: [].into(),
        aliases: Vec::new(),
        keys: vec![KeySpec {
            id: fixture::KEY.into(),
            app: fixture::APP,
            name: "narrow".into(),
            secret: Secret(SECRET.into()),
            capability: Capability::channel("private-x", Operations::PUBLISH),
            revocable_tokens: true,
        }],
    });
    let grants = ["private-board", "private-x"].map(|channel| GrantEntry {
        resource: Resource::Channel,
        pattern: Pattern::Exact(channel.into()),
        operations: Operations::HISTORY | Operations::PUBLISH,
        ttl_ms: None,
    });
    let grant = Command::SetGrants {
        app: fixture::APP,
        issuer: Issuer::Operator,
        subject: Subject::User("ana".into()),
        mode: GrantMode::Merge,
        entries: grants.into(),
    };
    state_after(&[app, grant], NOW)
}

#[test]
fn a_client_id_is_worth_no_more_than_the_key_that_names_it() {
    use crate::core::authority::{AccessQuery, Authority, Operations, Reason, Resource};
    let state = narrow();
    let s = NOW / 1000;
    let claims = json!({"iat": s, "exp": s + 60, "x-ably-clientId": "ana"});
    let by_key = Credential::Key(format!("{NAME}:{SECRET}"));
    let by_jwt = Credential::Token(jwt(NAME, SECRET, &claims));
    let by_token = Credential::Token(ours(NOW, 60_000, Some("ana")));
    for credential in [by_key, by_jwt, by_token] {
        let identity = check(&credential, Some("ana"), &state, NOW).unwrap();
        let authority = Authority::fixed(state.clone(), NOW);
        let may = |name, needs| {
            let ask = AccessQuery {
                resource: Resource::Channel,
                name,
                needs,
                wants: Operations::NONE,
                speaks_for: None,
            };
            authority.decide(&identity.principal, None, ask).map(|_| ())
        };
        let beyond = Err(Reason::BeyondKey(fixture::KEY.into()));
        assert_eq!(may("private-board", Operations::HISTORY), beyond);
        assert_eq!(may("private-x", Operations::HISTORY), beyond);
        assert_eq!(may("private-x", Operations::PUBLISH), Ok(()));
    }
}

#[test]
fn a_token_given_as_text_is_understood_whole_or_not_at_all() {
    let state = fixture::state();
    let at = |app, text: &str| presented(&state, app, text, NOW);
    let here = |text: &str| at(fixture::APP, text);
    let ours = ours(NOW - 1_000, 60_000, Some("bob"));
    let id = here(&ours).id();
    assert_eq!(id.as_deref(), Some(&*format!("t{}", NOW - 1_000)));
    let s = NOW / 1_000;
    let claims = json!({"iat": s, "exp": s + 60, "x-ably-clientId": "bob"});
    let jwt_of = |secret: &str| jwt(NAME, secret, &claims);
    let signed = jwt_of(SECRET);
    let Presented::Signed(bearer) = here(&signed) else {
        unreachable!("{signed}")
    };
    assert_eq!(bearer.user.as_deref(), Some("bob"));
    // The same token, whoever presents it, and what is revoked is what a connection by it is known by.
    let connected = token(signed.clone()).unwrap();
    assert_eq!(bearer.token, connected.principal.token);
    assert!(bearer.token.is_some());
    let carried = STANDARD.encode(&ours);
    assert_eq!(here(&carried).id(), id, "as a header carries it");
    let inner = json!({"iat": s, "exp": s + 30, "x-ably-token": ours});
    assert_eq!(here(&jwt("any", "x", &inner)).id(), id, "inside a JWT");
    for foreign in [
        jwt_of("wrong"),
        format!("{ours}A"),
        ours.replacen("3.", "4.", 1),
    ] {
        assert_eq!(here(&foreign), Presented::Foreign, "{foreign}");
    }
    assert_eq!(at(AppId(4), &signed), Presented::Foreign, "another app's");
    // What does not count now and will is known by the name that it will have.
    let ahead = json!({"iat": s, "nbf": s + 60, "exp": s + 120});
    let ahead = jwt(NAME, SECRET, &ahead);
    let later = presented(&state, fixture::APP, &ahead, NOW + 60_000).id();
    assert!(later.is_some());
    assert_eq!(here(&ahead), Presented::Unproven(later.unwrap()));
    assert_eq!(at(AppId(4), &ahead), Presented::Foreign, "another app's");
    let over = json!({"iat": s - 60, "exp": s - 1});
    assert_eq!(here(&jwt(NAME, SECRET, &over)), Presented::Foreign);
    let mut off = state.clone();
    let disabled = Command::UpdateKey {
        key: fixture::KEY.into(),
        change: KeyChange {
            enabled: Some(false),
            ..KeyChange::default()
        },
    };
    idp::run(&mut off, &disabled);
    for text in [&signed, &ours, &carried] {
        let name = here(text).id();
        let now_off = presented(&off, fixture::APP, text, NOW);
        assert!(matches!(now_off, Presented::Unproven(_)), "{text}");
        assert_eq!(now_off.id(), name);
    }
    for other in [
        "",
        "t1",
        "1",
        "1.2.3",
        "a.b.c",
        "s3cr3t-bearer-token",
        "1.e30",
    ] {
        assert_eq!(here(other), Presented::Other, "{other}");
    }
}

#[test]
fn a_providers_token_names_its_client_and_every_bad_one_is_refused() {
    let mut state = fixture::state();
    state.time_ms = NOW;
    idp::provide(
        &mut state,
        fixture::APP,
        fixture::KEY,
        CarriedRights::Ceiling,
    );
    let now_s = NOW / 1_000;
    let check = |text: String, asks: Option<&str>| {
        let checked = check(&Credential::Token(text), asks, &state, NOW);
        checked.map_err(|fault| fault.code)
    };
    let good = || idp::token(now_s, json!({}));
    let ana = check(good(), None).unwrap();
    assert_eq!((ana.client.as_deref(), &*ana.key_name), (Some("ana"), NAME));
    assert!(ana.by_token && !ana.any_client && ana.principal.proof.is_some());
    assert_eq!(ana.in_second_ms, Some(NOW));
    assert_eq!(check(good(), Some("ana")).unwrap().client, ana.client);
    assert_eq!(check(good(), Some("eve")), Err(40102));
    for (what, text, _) in idp::hostile(now_s) {
        let credential = Credential::Token(text.clone());
        let code = check(text, None).unwrap_err();
        assert!(
            [40003, 40005, 40142, 40144, 40400].contains(&code),
            "{what}: {code}"
        );
        assert!(
            !matches!(
                presented(
                    &state,
                    fixture::APP,
                    match &credential {
                        Credential::Token(text) | Credential::Key(text) => text,
                    },
                    NOW
                ),
                Presented::Signed(_)
            ),
            "{what}"
        );
    }
    let unknown = idp::token(now_s, json!({"iss": "https://new.test"}));
    let fault = Fault::new(40144, 401, "");
    assert!(may_be_lifted(
        &fault,
        &Credential::Token(unknown),
        &state,
        NOW
    ));
}
