//! Security events over `/v1`: what is answered to whoever sends one, and how their coming is set up.

use super::*;
use crate::core::authority::{
    Administered, CarriedRights, Fetched, KeySource, Millis, ProviderChange, Target, Text,
};
use crate::identity::fixture::{
    ISS, administer, event, event_with, logout_token, provide, run, token,
};

const NOW_S: u64 = 1_700_000_000;
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const DEVICE: &str = "https://schemas.openid.net/secevent/caep/event-type/device-compliance-change";

fn authority() -> Arc<Authority> {
    let mut state = state();
    state.time_ms = NOW_S * 1_000;
    provide(&mut state, AppId(7), "chat", CarriedRights::Grants);
    let authority = Authority::fixed(state, NOW_S * 1_000);
    authority.take_writes(&[]);
    Arc::new(authority)
}

async fn tell_as(
    authority: &Arc<Authority>,
    (provider, kind, shown): (&str, &str, &str),
    body: String,
) -> (u16, Value) {
    let uri = format!("/v1/apps/7/providers/{provider}/events");
    let mut request = TestRequest::post()
        .uri(&uri)
        .insert_header(("content-type", kind.to_owned()));
    if !shown.is_empty() {
        request = request.insert_header(("authorization", shown.to_owned()));
    }
    let (status, _, body) =
        ask_of(authority.clone(), AuthMode::Keys, request.set_payload(body)).await;
    (status, body)
}

async fn tell(authority: &Arc<Authority>, body: String) -> (u16, Value) {
    tell_as(authority, ("idp", "application/secevent+jwt", ""), body).await
}

fn revoked(id: &str) -> String {
    event(NOW_S, REVOKED, json!({}), json!({ "jti": id }))
}

fn voided_before(authority: &Authority, user: &str) -> Option<Millis> {
    let view = authority.view();
    let place = (AppId(7), Target::User(user.into()));
    view.revocations.get(&place).map(|one| one.issued_before_ms)
}

#[actix_web::test]
async fn an_event_is_accepted_when_nobody_serves_by_what_it_ends() {
    let authority = authority();
    assert_eq!(tell(&authority, revoked("e1")).await, (202, Value::Null));
    assert_eq!(authority.fences(), 1, "after the barrier");
    assert_eq!(voided_before(&authority, "ana"), Some(NOW_S * 1_000 + 1));
    // What is granted to her stays hers.
    let view = authority.view();
    assert!(
        view.grants_of(AppId(7), &Subject::User("ana".into()))
            .next()
            .is_some()
    );
    // Where somebody has not confirmed, nobody knows: it is to be told again.
    authority.take_writes(&[2]);
    let (status, body) = tell(&authority, revoked("e2")).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (504, &json!("outcome_unknown"))
    );
}

#[actix_web::test]
async fn an_event_told_again_changes_nothing_and_waits_all_the_same() {
    let authority = authority();
    assert_eq!(tell(&authority, revoked("e1")).await.0, 202);
    let once = voided_before(&authority, "ana");
    // With the same id, whatever else it says.
    let eve = json!({"sub_id": {"format": "iss_sub", "iss": ISS, "sub": "eve"}});
    assert_eq!(
        tell(&authority, event(NOW_S, REVOKED, json!({}), eve))
            .await
            .0,
        202
    );
    assert_eq!(voided_before(&authority, "eve"), None, "its id was used");
    assert_eq!(voided_before(&authority, "ana"), once);
    assert_eq!(authority.fences(), 2);
}

#[actix_web::test]
async fn an_event_that_means_nothing_here_is_accepted_and_changes_nothing() {
    let authority = authority();
    let before = authority.view().revision;
    for kind in [
        "https://schemas.openid.net/secevent/risc/event-type/opt-in",
        "urn:x",
    ] {
        let body = event(NOW_S, kind, json!({"y": 1}), json!({"sub_id": {}}));
        assert_eq!(tell(&authority, body).await.0, 202, "{kind}");
    }
    assert_eq!((authority.view().revision, authority.fences()), (before, 0));
}

#[actix_web::test]
async fn what_is_no_event_is_refused_in_the_words_of_rfc_8935() {
    let authority = authority();
    let before = authority.view().revision;
    let kind = "application/secevent+jwt";
    let said = |more: Value| event(NOW_S, REVOKED, json!({}), more);
    let headed = |more: Value| event_with(more, json!({"iss": ISS, "aud": "chat"}));
    for (provider, kind, body, word) in [
        ("idp", "application/json", revoked("e1"), "invalid_request"),
        ("idp", "", revoked("e1"), "invalid_request"),
        ("idp", kind, String::new(), "invalid_request"),
        ("idp", kind, "x".repeat(9 << 10), "invalid_request"),
        (
            "idp",
            kind,
            token(NOW_S, json!({"jti": "j"})),
            "invalid_request",
        ),
        (
            "idp",
            kind,
            logout_token(NOW_S, json!({})),
            "invalid_request",
        ),
        ("idp", kind, said(json!({"sub_id": {}})), "invalid_request"),
        ("idp", kind, said(json!({"jti": {}})), "invalid_request"),
        (
            "idp",
            kind,
            said(json!({"iss": "https://evil.test"})),
            "invalid_issuer",
        ),
        ("other", kind, revoked("e1"), "invalid_issuer"),
        ("nobody", kind, revoked("e1"), "invalid_issuer"),
        (
            "idp",
            kind,
            said(json!({"aud": "shop"})),
            "invalid_audience",
        ),
        ("idp", kind, headed(json!({"kid": "k3"})), "invalid_key"),
        ("idp", kind, headed(json!({"alg": "none"})), "invalid_key"),
        ("idp", kind, headed(json!({"kid": "k2"})), "invalid_key"),
    ] {
        let (status, answer) = tell_as(&authority, (provider, kind, ""), body.clone()).await;
        assert_eq!(
            (status, &answer["err"]),
            (400, &json!(word)),
            "{provider} {body:.60}"
        );
        assert!(answer["description"].as_str().unwrap().len() > 10);
    }
    assert_eq!(tell(&authority, "x".repeat(17 << 10)).await.0, 413);
    assert_eq!((authority.view().revision, authority.fences()), (before, 0));
}

async fn signals(
    authority: &Arc<Authority>,
    auth: &str,
    method: &str,
    body: Value,
) -> (u16, Value) {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let request = TestRequest::default()
        .method(method)
        .uri("/v1/apps/7/providers/idp/signals")
        .insert_header(("authorization", auth.to_owned()))
        .set_json(body);
    let (status, _, body) = ask_of(authority.clone(), AuthMode::Keys, request).await;
    (status, body)
}

#[actix_web::test]
async fn what_was_agreed_on_is_shown_by_whoever_sends_and_to_nobody() {
    let authority = authority();
    let (status, _) = signals(&authority, OWNER, "GET", json!({})).await;
    assert_eq!(status, 404);
    let bearer = "agreed-on-by-both";
    let (status, set) = signals(&authority, OWNER, "PUT", json!({ "bearer": bearer })).await;
    assert_eq!(
        (status, &set["signals"]["bearer"]),
        (200, &json!(true)),
        "{set}"
    );
    let (_, shown) = signals(&authority, OWNER, "GET", json!({})).await;
    assert!(!format!("{set}{shown}{:?}", authority.view().signals).contains(bearer));
    let kind = "application/secevent+jwt";
    for wrong in ["", "Bearer other", bearer, "bearer agreed-on-by-both"] {
        let (status, body) = tell_as(&authority, ("idp", kind, wrong), revoked("e1")).await;
        assert_eq!(
            (status, &body["err"]),
            (400, &json!("authentication_failed")),
            "{wrong}"
        );
    }
    let right = format!("Bearer {bearer}");
    assert_eq!(
        tell_as(&authority, ("idp", kind, &right), revoked("e1"))
            .await
            .0,
        202
    );
    // What is left out stays.
    let newer = json!({"device_compliance": "block-until-newer-token"});
    let (_, set) = signals(&authority, OWNER, "PUT", newer).await;
    assert_eq!(set["signals"]["bearer"], true);
    let fields = json!({"current_status": "not-compliant"});
    let device = event(NOW_S, DEVICE, fields, json!({"jti": "e2"}));
    assert_eq!(
        tell_as(&authority, ("idp", kind, &right), device).await.0,
        202
    );
    assert_eq!(authority.fences(), 2);
    assert_eq!(signals(&authority, OWNER, "DELETE", json!({})).await.0, 200);
    assert_eq!(
        tell(&authority, revoked("e3")).await.0,
        202,
        "nothing is agreed on"
    );
}

#[actix_web::test]
async fn only_who_may_change_the_app_says_how_signals_come() {
    let authority = authority();
    for method in ["GET", "PUT", "DELETE"] {
        assert_eq!(
            signals(&authority, CHAT, method, json!({})).await.0,
            403,
            "{method}"
        );
    }
    for bad in [
        json!({"bearer": "short"}),
        json!({"bearer": "with a blank in it"}),
        json!({"device_compliance": "block"}),
        json!({"assurance_level": ""}),
        json!({"audiences": [""]}),
        json!({"unknown": 1}),
    ] {
        assert_eq!(
            signals(&authority, OWNER, "PUT", bad.clone()).await.0,
            400,
            "{bad}"
        );
    }
}

#[actix_web::test]
async fn an_event_whose_key_may_be_new_is_to_be_told_again_until_somebody_has_looked() {
    let mut state = state();
    state.time_ms = NOW_S * 1_000;
    provide(&mut state, AppId(7), "chat", CarriedRights::Grants);
    let keys = state.provider(AppId(7), "idp").unwrap().keys.clone();
    let change = ProviderChange {
        source: Some(KeySource::KeySet("https://id.test/keys".into())),
        keys: Some(keys.into_iter().map(|one| one.key).collect()),
        ..ProviderChange::default()
    };
    let id = Text::from("idp");
    let change = Administered::Provider {
        id: id.clone(),
        change: Box::new(change),
    };
    run(&mut state, &administer(AppId(7), change));
    let told = async |state: &State, kid: &str| {
        let authority = Authority::fixed(state.clone(), NOW_S * 1_000);
        authority.take_writes(&[]);
        let said = json!({
            "iss": ISS, "aud": "chat", "iat": NOW_S, "jti": "e1", "events": {REVOKED: {}},
            "sub_id": {"format": "iss_sub", "iss": ISS, "sub": "ana"},
        });
        let body = event_with(json!({ "kid": kid }), said);
        let (status, body) = tell(&Arc::new(authority), body).await;
        (status, body["err"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(told(&state, "k3").await.0, 503);
    assert_eq!(told(&state, "k1").await.0, 202, "of a key that is known");
    let fetched = Administered::KeysFetched {
        id: id.clone(),
        fetched: Box::new(Fetched {
            source: KeySource::KeySet("https://id.test/keys".into()),
            after: 0,
            outcome: Err("late".into()),
        }),
    };
    run(&mut state, &administer(AppId(7), fetched));
    assert_eq!(told(&state, "k3").await, (400, "invalid_key".into()));
    let given = authority();
    let body = event_with(json!({"kid": "k3"}), json!({"iss": ISS, "aud": "chat"}));
    assert_eq!(tell(&given, body).await.0, 400, "its keys are not fetched");
}
