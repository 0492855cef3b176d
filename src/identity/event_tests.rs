//! Security events: what each kind means, whom a subject names, and everything that must not be taken for one. What the CAEP
//! interoperability profile wants of whoever receives is named so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::events::{self, Meaning, Told};
use super::fixture::{
    ISS, administer, an_app, claims, event, event_with, logout_token, provide, run, token,
};
use super::*;
use crate::core::authority::fixture::state_after;
use crate::core::authority::{
    Administered, AppId, CarriedRights, Claims, Delivery, ProviderChange, Reaction, Secret,
    SignalsSpec, State, Stream, Target,
};
use serde_json::{Value, json};

const APP: AppId = AppId(1);
const NOW_S: u64 = 1_700_000_000;
const NOW: u64 = NOW_S * 1_000;
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";

fn state() -> State {
    let app = an_app(APP);
    let mut state = state_after(&[app], NOW);
    provide(&mut state, APP, "ceiling", CarriedRights::Grants);
    state
}

/// Users of the provider are whom this claim names.
fn with_user_claim(claim: &str) -> State {
    let mut state = state();
    let change = ProviderChange {
        claims: Some(Claims {
            user: claim.into(),
            session: "sid".into(),
            groups: None,
            rights: CarriedRights::Grants,
        }),
        ..ProviderChange::default()
    };
    let change = Administered::Provider {
        id: "idp".into(),
        change: Box::new(change),
    };
    run(&mut state, &administer(APP, change));
    state
}

fn with_signals(reaction: Reaction) -> State {
    let mut state = state();
    let spec = SignalsSpec {
        audiences: vec!["stream".into()],
        device_compliance: reaction,
        assurance_level: reaction,
        delivery: Delivery::Push { bearer: None },
        stream: Some(Stream {
            id: "st".into(),
            configuration: "https://id.test/streams".into(),
            token: "https://id.test/token".into(),
            client: "c".into(),
            secret: Secret("s".into()),
            scope: None,
            state: Some("asked".into()),
        }),
    };
    let id = "idp".into();
    let change = Administered::Signals {
        id,
        spec: Box::new(spec),
    };
    run(&mut state, &administer(APP, change));
    state
}

fn read_in(state: &State, text: &str) -> Result<Told, Refused> {
    events::read(state, (APP, "idp"), text, NOW)
}

fn caep(state: &State, kind: &str, fields: Value, more: Value) -> Result<Meaning, Refused> {
    let text = event(NOW_S, &format!("{CAEP}{kind}"), fields, more);
    read_in(state, &text).map(|told| told.meaning)
}

fn over(targets: &[Target]) -> Result<Meaning, Refused> {
    Ok(Meaning::Over {
        targets: targets.to_vec(),
        happened_ms: NOW,
    })
}

fn user(name: &str) -> Target {
    Target::User(name.into())
}

fn key(name: &str) -> Target {
    Target::RevocationKey(name.into())
}

/// Whom the revocation of a session with this subject ends.
fn revoked(state: &State, subject: &Value) -> Result<Meaning, Refused> {
    caep(
        state,
        "session-revoked",
        json!({}),
        json!({ "sub_id": subject }),
    )
}

#[test]
fn caep_interop_session_revoked_ends_the_user_or_the_session() {
    let state = state();
    let sub = json!({"format": "iss_sub", "iss": ISS, "sub": "ana"});
    let of = |session: &str| {
        json!({"format": "complex", "user": sub, "session": {"format": "opaque", "id": session},
            "tenant": {"format": "opaque", "id": "t"}})
    };
    let session = [key("session:idp:s1"), key("sessionless:idp:ana")];
    for (subject, targets) in [
        (sub.clone(), &[user("ana")][..]),
        (of("s1"), &session),
        // What Keycloak says when all of a user's sessions are over.
        (of("ALL"), &[user("ana")]),
        (json!({"format": "complex", "user": sub}), &[user("ana")]),
        (
            json!({"user": sub, "session": {"format": "opaque", "id": "s1"}}),
            &session,
        ),
        (
            json!({"format": "complex", "session": {"format": "opaque", "id": "s1"}}),
            &session[..1],
        ),
        (
            json!({"subject_type": "iss-sub", "iss": ISS, "sub": "ana"}),
            &[user("ana")],
        ),
        (
            json!({"format": "opaque", "id": "s1"}),
            &[user("s1"), key("session:idp:s1")],
        ),
        (
            json!({"format": "aliases", "identifiers": [{"format": "email", "email": "a@b.c"}, sub]}),
            &[user("ana")],
        ),
    ] {
        assert_eq!(revoked(&state, &subject), over(targets), "{subject}");
    }
    // Older drafts name it inside the event; both are taken if they say the same.
    let inside = |more: Value| caep(&state, "session-revoked", json!({ "subject": sub }), more);
    assert_eq!(inside(json!({"sub_id": {}})), over(&[user("ana")]));
    assert_eq!(inside(json!({})), over(&[user("ana")]));
    let other = json!({"sub_id": {"format": "iss_sub", "iss": ISS, "sub": "eve"}});
    assert_eq!(
        inside(other),
        Err(Refused::NoEvent("it names two subjects"))
    );
}

#[test]
fn caep_interop_the_subject_formats_email_and_iss_sub_and_opaque_are_supported() {
    let email = json!({"format": "email", "email": "ana@b.c"});
    let sub = json!({"format": "iss_sub", "iss": ISS, "sub": "ana"});
    let other =
        Refused::NoEvent("its subject is named by another claim than the provider's users are");
    let by_email = with_user_claim("email");
    assert_eq!(revoked(&by_email, &email), over(&[user("ana@b.c")]));
    assert_eq!(revoked(&by_email, &sub), Err(other));
    assert_eq!(revoked(&state(), &email), Err(other));
    assert_eq!(revoked(&state(), &sub), over(&[user("ana")]));
    let opaque = revoked(
        &with_user_claim("oid"),
        &json!({"format": "opaque", "id": "7"}),
    );
    assert_eq!(opaque, over(&[user("7"), key("session:idp:7")]));
    let stream = json!({"sub_id": {"format": "opaque", "id": "st"}});
    let verified = event(NOW_S, VERIFICATION, json!({"state": "asked"}), stream);
    let verified = read_in(&with_signals(Reaction::Ignore), &verified);
    assert_eq!(verified.unwrap().meaning, Meaning::Verifies("asked".into()));
}

#[test]
fn a_subject_that_names_nobody_is_refused_in_words() {
    let state = state();
    let sub = Err(Refused::Claim("sub_id"));
    let said = |why| Err(Refused::NoEvent(why));
    let nobody = said("its subject names neither a user nor a session");
    let unknown = said("its subject is of a format that names no user here");
    let many: Vec<Value> = vec![json!({"format": "email", "email": "a@b.c"}); 9];
    for (subject, why) in [
        (json!("ana"), sub.clone()),
        (json!({"format": "iss_sub", "iss": ISS}), sub.clone()),
        (
            json!({"format": "iss_sub", "iss": ISS, "sub": ""}),
            sub.clone(),
        ),
        (
            json!({"format": "iss_sub", "iss": ISS, "sub": "a\nb"}),
            sub.clone(),
        ),
        (
            json!({"format": "iss_sub", "iss": ISS, "sub": "u".repeat(513)}),
            sub.clone(),
        ),
        (json!({"format": 1, "sub": "ana"}), sub.clone()),
        (json!({"format": "complex", "user": "ana"}), sub.clone()),
        (
            json!({"format": "complex", "session": {"format": "opaque"}}),
            sub.clone(),
        ),
        (json!({"format": "aliases", "identifiers": many}), sub),
        (
            json!({"format": "iss_sub", "iss": "https://evil.test", "sub": "ana"}),
            said("its subject is another issuer's"),
        ),
        (json!({"format": "uri", "uri": "x:y"}), unknown.clone()),
        (
            json!({"format": "complex", "user": {"format": "complex"}}),
            unknown,
        ),
        (json!({"format": "complex"}), nobody.clone()),
        (
            json!({"format": "complex", "device": {"format": "opaque", "id": "d"}}),
            nobody.clone(),
        ),
        (
            json!({"format": "complex", "session": {"format": "opaque", "id": "ALL"}}),
            nobody,
        ),
        (
            json!({"format": "aliases", "identifiers": [{"format": "email", "email": "a@b.c"}]}),
            said("none of its subject's names is a user's"),
        ),
    ] {
        assert_eq!(revoked(&state, &subject), why, "{subject}");
    }
    let missing = caep(&state, "session-revoked", json!({}), json!({"sub_id": {}}));
    assert_eq!(missing, Err(Refused::Claim("sub_id")));
}

#[test]
fn caep_interop_every_change_of_every_credential_voids_what_was_issued_before() {
    let state = state();
    for change in ["create", "revoke", "update", "delete"] {
        for credential in [
            "password",
            "pin",
            "x509",
            "fido2-platform",
            "app",
            "one-of-the-future",
        ] {
            let fields = json!({"change_type": change, "credential_type": credential});
            let meaning = caep(&state, "credential-change", fields, json!({}));
            assert_eq!(meaning, over(&[user("ana")]), "{change} {credential}");
        }
    }
    for (fields, claim) in [
        (json!({"credential_type": "pin"}), "change_type"),
        (
            json!({"change_type": "lost", "credential_type": "pin"}),
            "change_type",
        ),
        (
            json!({"change_type": 1, "credential_type": "pin"}),
            "change_type",
        ),
        (json!({"change_type": "update"}), "credential_type"),
    ] {
        let meaning = caep(&state, "credential-change", fields, json!({}));
        assert_eq!(meaning, Err(Refused::Claim(claim)));
    }
}

#[test]
fn other_events_mean_what_the_provider_is_set_to() {
    let (ignoring, strict) = (state(), with_signals(Reaction::NewerToken));
    let device = |state: &State, now: &str| {
        let fields = json!({"previous_status": "compliant", "current_status": now});
        caep(state, "device-compliance-change", fields, json!({}))
    };
    assert_eq!(device(&ignoring, "not-compliant"), Ok(Meaning::Nothing));
    assert_eq!(device(&strict, "not-compliant"), over(&[user("ana")]));
    assert_eq!(device(&strict, "compliant"), Ok(Meaning::Nothing));
    assert_eq!(
        device(&strict, "odd"),
        Err(Refused::Claim("current_status"))
    );
    let level = |state: &State, more: Value| {
        let mut fields = json!({"namespace": "NIST-AAL", "current_level": "nist-aal1"});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        caep(state, "assurance-level-change", fields, json!({}))
    };
    let (down, up) = (
        json!({"change_direction": "decrease"}),
        json!({"change_direction": "increase"}),
    );
    assert_eq!(level(&ignoring, down.clone()), Ok(Meaning::Nothing));
    assert_eq!(level(&strict, down), over(&[user("ana")]));
    assert_eq!(level(&strict, json!({})), over(&[user("ana")]));
    assert_eq!(level(&strict, up), Ok(Meaning::Nothing));
    let claims = json!({"claims": {"role": "guest"}});
    assert_eq!(
        caep(&ignoring, "token-claims-change", claims, json!({})),
        over(&[user("ana")])
    );
    let none = caep(&ignoring, "token-claims-change", json!({}), json!({}));
    assert_eq!(none, Err(Refused::Claim("claims")));
    for kind in [
        "session-established",
        "session-presented",
        "risk-level-change",
        "of-the-future",
    ] {
        let unread = json!({"sub_id": {"format": "of-the-future"}});
        assert_eq!(caep(&strict, kind, json!({}), unread), Ok(Meaning::Nothing));
    }
}

#[test]
fn an_event_reaches_back_to_when_it_happened() {
    let state = state();
    let happened = |fields: Value, more: Value| {
        let meaning = caep(&state, "session-revoked", fields, more);
        meaning.map(|meaning| match meaning {
            Meaning::Over { happened_ms, .. } => happened_ms,
            Meaning::Verifies(_) | Meaning::Nothing => 0,
        })
    };
    let stamp = |at: Value| happened(json!({ "event_timestamp": at }), json!({}));
    assert_eq!(stamp(json!(NOW_S - 60)), Ok(NOW - 60_000));
    assert_eq!(stamp(json!(1_699_999_999.5)), Ok(NOW - 500));
    assert_eq!(stamp(json!(NOW_S + 60)), Ok(NOW), "not after it was told");
    assert_eq!(
        stamp(json!(NOW - 60_000)),
        Ok(NOW),
        "milliseconds are no seconds"
    );
    assert_eq!(
        stamp(json!("yesterday")),
        Err(Refused::Claim("event_timestamp"))
    );
    assert_eq!(
        happened(json!({}), json!({"toe": NOW_S - 5})),
        Ok(NOW - 5_000)
    );
    // However long it was on its way.
    assert_eq!(
        happened(json!({}), json!({"iat": NOW_S - 900_000})),
        Ok(NOW - 900_000_000)
    );
    assert_eq!(
        happened(json!({}), json!({"iat": NOW_S + 6})),
        Err(Refused::NotYet)
    );
}

#[test]
fn a_stream_is_verified_by_what_was_asked_for() {
    let state = with_signals(Reaction::Ignore);
    let verified = |state: &State, fields: Value, id: &str| {
        let stream = json!({"aud": "stream", "sub_id": {"format": "opaque", "id": id}});
        read_in(state, &event(NOW_S, VERIFICATION, fields, stream)).map(|told| told.meaning)
    };
    let asked = json!({"state": "asked"});
    assert_eq!(
        verified(&state, asked.clone(), "st"),
        Ok(Meaning::Verifies("asked".into()))
    );
    assert_eq!(
        verified(&state, json!({"state": "other"}), "st"),
        Err(Refused::State)
    );
    assert_eq!(
        verified(&state, json!({"state": 1}), "st"),
        Err(Refused::Claim("state"))
    );
    let another = Err(Refused::NoEvent("it is about another stream"));
    assert_eq!(verified(&state, asked.clone(), "su"), another);
    assert_eq!(
        verified(&state, json!({}), "st"),
        Ok(Meaning::Nothing),
        "of its own accord"
    );
    // Nobody has set up anything: that audience is nobody's.
    assert_eq!(
        verified(&super::event_tests::state(), asked, "st"),
        Err(Refused::Audience)
    );
}

fn said(more: Value) -> Value {
    let mut said = json!({
        "iss": ISS, "aud": "chat", "iat": NOW_S, "jti": "e1",
        "events": {format!("{CAEP}session-revoked"): {}},
        "sub_id": {"format": "iss_sub", "iss": ISS, "sub": "ana"},
    });
    said.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    said
}

#[test]
fn hostile_events_are_refused_by_their_reason() {
    let state = state();
    let one = NOW_S.to_string();
    let bodies = [
        (json!({"iss": "https://evil.test"}), Refused::Issuer),
        (json!({"iss": "https://id.test/"}), Refused::Issuer),
        (json!({"iss": null}), Refused::Issuer),
        (json!({"aud": "shop"}), Refused::Audience),
        (json!({"aud": "beside"}), Refused::Audience),
        (json!({"aud": []}), Refused::Audience),
        (json!({"aud": null}), Refused::Audience),
        (
            json!({"exp": NOW_S + 600}),
            Refused::NoEvent("it has an `exp` or a `sub`"),
        ),
        (
            json!({"exp": null}),
            Refused::NoEvent("it has an `exp` or a `sub`"),
        ),
        (
            json!({"sub": "ana"}),
            Refused::NoEvent("it has an `exp` or a `sub`"),
        ),
        (json!({"iat": null}), Refused::Claim("iat")),
        (json!({"iat": one}), Refused::Claim("iat")),
        (json!({"iat": -1}), Refused::Claim("iat")),
        (json!({"jti": null}), Refused::Claim("jti")),
        (json!({"jti": ""}), Refused::Claim("jti")),
        (json!({"jti": "j".repeat(513)}), Refused::Claim("jti")),
        (json!({"events": null}), Refused::Claim("events")),
        (json!({"events": []}), Refused::Claim("events")),
        (
            json!({"events": {}}),
            Refused::NoEvent("it does not tell one event"),
        ),
        (json!({"events": {"a": 1}}), Refused::Claim("events")),
        (json!({"toe": "then"}), Refused::Claim("toe")),
        (json!({"x": "x".repeat(8 << 10)}), Refused::TooLong),
        (json!({"x": "x".repeat(1 << 20)}), Refused::TooLong),
    ];
    for (more, why) in bodies {
        let text = event_with(json!({}), said(more.clone()));
        assert_eq!(read_in(&state, &text), Err(why), "{:.80}", more.to_string());
    }
    for (more, why) in [
        (json!({"typ": "JWT"}), Refused::Kind),
        (json!({"typ": "at+jwt"}), Refused::Kind),
        (json!({"typ": "logout+jwt"}), Refused::Kind),
        (json!({"typ": {}}), Refused::Kind),
        (json!({"alg": "none"}), Refused::NoAlgorithm),
        (json!({"alg": "HS256"}), Refused::NoAlgorithm),
        (json!({"alg": "ES256"}), Refused::WrongAlgorithm),
        (json!({"alg": "RS256"}), Refused::WrongAlgorithm),
        (json!({"kid": "k3"}), Refused::NoKey),
        (json!({"kid": "k2"}), Refused::Signature),
        (json!({"kid": {}}), Refused::Claim("kid")),
        (json!({"crit": ["exp"]}), Refused::Critical),
        (json!({"b64": false}), Refused::Critical),
    ] {
        let text = event_with(more.clone(), said(json!({})));
        assert_eq!(read_in(&state, &text), Err(why), "{more}");
    }
    let good = event_with(json!({}), said(json!({})));
    assert_eq!(read_in(&state, &good).unwrap().kind.len(), CAEP.len() + 15);
    let (text, _) = good.rsplit_once('.').unwrap();
    assert_eq!(
        read_in(&state, &format!("{text}.AAAA")),
        Err(Refused::Signature)
    );
    assert_eq!(read_in(&state, text), Err(Refused::Malformed));
    for (provider, why) in [
        ("nobody", Refused::NoProvider),
        ("other", Refused::Issuer),
        ("off", Refused::Issuer),
        ("beside", Refused::Audience),
    ] {
        let told = events::read(&state, (APP, provider), &good, NOW);
        assert_eq!(told, Err(why), "{provider}");
    }
}

#[test]
fn caep_interop_a_set_tells_one_event() {
    let two = json!({"events": {format!("{CAEP}session-revoked"): {}, format!("{CAEP}credential-change"): {}}});
    let text = event_with(json!({}), said(two));
    let why = Refused::NoEvent("it does not tell one event");
    assert_eq!(read_in(&state(), &text), Err(why));
}

#[test]
fn an_event_and_a_token_and_a_logout_are_never_taken_for_each_other() {
    let state = state();
    let good = event_with(json!({}), said(json!({})));
    assert_eq!(super::read(&state, None, &good, NOW), Err(Refused::Kind));
    assert_eq!(
        logout::read(&state, (APP, "idp"), &good, NOW),
        Err(Refused::Kind)
    );
    let access = token(NOW_S, json!({"jti": "j"}));
    assert_eq!(read_in(&state, &access), Err(Refused::Kind));
    assert_eq!(
        read_in(&state, &logout_token(NOW_S, json!({}))),
        Err(Refused::Kind)
    );
    // Not even where the kind in the header is that of an event.
    let dressed = event_with(json!({}), claims(NOW_S));
    assert_eq!(
        read_in(&state, &dressed),
        Err(Refused::NoEvent("it has an `exp` or a `sub`"))
    );
}

#[test]
fn an_event_is_known_by_its_id_and_what_it_says() {
    let state = state();
    let told = |more: Value| read_in(&state, &event_with(json!({}), said(more))).unwrap();
    assert_eq!(
        told(json!({})).request,
        told(json!({"iat": NOW_S - 1})).request
    );
    assert_ne!(told(json!({})).request, told(json!({"jti": "e2"})).request);
    // Two events with one id, by a mistake of the transmitter: neither is passed over.
    let other = json!({"sub_id": {"format": "iss_sub", "iss": ISS, "sub": "bob"}});
    assert_ne!(told(json!({})).request, told(other).request);
    let logout = logout::read(
        &state,
        (APP, "idp"),
        &logout_token(NOW_S, json!({"jti": "e1"})),
        NOW,
    );
    assert_ne!(logout.unwrap().request, told(json!({})).request);
}
