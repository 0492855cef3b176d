//! Identity providers over `/v1`: who may make one, what a token of one may do, and logging out.

use super::*;
use crate::core::authority::{Administered, CarriedRights, Provider, ProviderSpec, Target};
use crate::identity::fixture::{administer, hostile, logout_token, provide, run, token};

const NOW_S: u64 = 1_700_000_000;

fn authority(rights: CarriedRights) -> Arc<Authority> {
    let mut state = state();
    state.time_ms = NOW_S * 1_000;
    provide(&mut state, AppId(7), "chat", rights);
    let authority = Authority::fixed(state, NOW_S * 1_000);
    authority.take_writes(&[]);
    Arc::new(authority)
}

async fn log_out(authority: &Arc<Authority>, provider: &str, body: String) -> (u16, Value) {
    let uri = format!("/v1/apps/7/providers/{provider}/logout");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let request = TestRequest::post().uri(&uri).insert_header(form);
    let request = request.set_payload(body);
    let (status, _, body) = ask_of(authority.clone(), AuthMode::Keys, request).await;
    (status, body)
}

#[actix_web::test]
async fn a_logout_is_answered_when_nobody_serves_the_session_any_more() {
    let authority = authority(CarriedRights::Grants);
    let form = |token: String| format!("x=1&logout_token={token}");
    let (status, body) = log_out(&authority, "idp", form(logout_token(NOW_S, json!({})))).await;
    assert_eq!((status, authority.fences()), (200, 1), "{body}");
    let session = Target::RevocationKey("session:idp:s1".into());
    assert!(
        authority
            .view()
            .revocations
            .contains_key(&(AppId(7), session))
    );
    // What is granted to her stays hers.
    let user = logout_token(NOW_S, json!({"sid": {}}));
    assert_eq!(log_out(&authority, "idp", form(user)).await.0, 200);
    let view = authority.view();
    let ana = Target::User("ana".into());
    assert!(view.revocations.contains_key(&(AppId(7), ana)));
    assert!(
        view.grants_of(AppId(7), &Subject::User("ana".into()))
            .next()
            .is_some()
    );
    // Of two, each reader could take another one: neither is done, and that is said.
    let two = [
        form(logout_token(NOW_S, json!({"jti": "j3"}))),
        form(logout_token(NOW_S, json!({"jti": "j4"}))),
    ];
    let fences = authority.fences();
    let (status, _) = log_out(&authority, "idp", two.join("&")).await;
    assert_eq!((status, authority.fences()), (400, fences));
    // Where somebody has not confirmed, nobody knows.
    authority.take_writes(&[2]);
    let again = form(logout_token(NOW_S, json!({"jti": "j2"})));
    let (status, body) = log_out(&authority, "idp", again).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (504, &json!("outcome_unknown"))
    );
    assert!(body["error"]["operation"].is_string());
}

#[actix_web::test]
async fn a_logout_that_is_none_changes_nothing() {
    let authority = authority(CarriedRights::Grants);
    let before = authority.view().revision;
    let good = logout_token(NOW_S, json!({}));
    for (provider, body) in [
        ("idp", String::new()),
        ("idp", "logout_token=x".to_owned()),
        ("idp", format!("token={good}")),
        ("other", format!("logout_token={good}")),
        ("nobody", format!("logout_token={good}")),
        (
            "idp",
            format!("logout_token={}", token(NOW_S, json!({"jti": "j"}))),
        ),
        (
            "idp",
            format!(
                "logout_token={}",
                logout_token(NOW_S, json!({"nonce": "n"}))
            ),
        ),
    ] {
        let (status, answer) = log_out(&authority, provider, body.clone()).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("bad_value")),
            "{body}"
        );
    }
    let (status, _) = log_out(&authority, "idp", "x".repeat(17 << 10)).await;
    assert_eq!(status, 413);
    assert_eq!((authority.view().revision, authority.fences()), (before, 0));
}

#[actix_web::test]
async fn the_bearer_of_a_token_looks_at_channels_and_does_nothing_in_the_apps_name() {
    let authority = authority(CarriedRights::Ceiling);
    let bearer = async |method: &str, path: &str, token: &str| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = TestRequest::default().method(method).uri(path);
        let request = request.insert_header(("Authorization", format!("Bearer {token}")));
        let (status, _, body) = ask_of(authority.clone(), AuthMode::Keys, request).await;
        let code = body["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (status, code)
    };
    let good = token(NOW_S, json!({}));
    let (status, code) = bearer("GET", "/v1/apps/7/channels/hall", &good).await;
    assert_eq!((status, &*code), (403, "denied"));
    let (status, code) = bearer("GET", "/v1/apps/8/channels/chat-1", &good).await;
    assert_eq!((status, &*code), (403, "wrong_app"));
    for (method, path) in [
        ("GET", "/v1/apps"),
        ("GET", "/v1/apps/7"),
        ("PATCH", "/v1/apps/7"),
        ("GET", "/v1/apps/7/keys"),
        ("POST", "/v1/apps/7/grants"),
        ("POST", "/v1/apps/7/revoke"),
        ("GET", "/v1/apps/7/channels"),
        ("GET", "/v1/apps/7/connections"),
        ("POST", "/v1/apps/7/explain"),
        ("GET", "/v1/apps/7/providers"),
        ("GET", "/v1/operations/00000000000000000000000000000000"),
        ("GET", "/v1/cluster"),
    ] {
        let (status, code) = bearer(method, path, &good).await;
        assert_eq!((status, &*code), (403, "not_allowed"), "{method} {path}");
    }
    for (what, text, _) in hostile(NOW_S) {
        let (status, _) = bearer("GET", "/v1/apps/7/channels/chat-1", &text).await;
        assert_eq!(status, 401, "{what}");
    }
}

#[actix_web::test]
async fn a_token_for_several_apps_is_for_the_one_of_the_path() {
    let mut state = state();
    state.time_ms = NOW_S * 1_000;
    provide(&mut state, AppId(7), "chat", CarriedRights::Ceiling);
    let spec = ProviderSpec {
        audiences: vec!["shop".into()],
        ceiling: "other".into(),
        ..spec_of(state.provider(AppId(7), "idp").unwrap())
    };
    run(
        &mut state,
        &administer(AppId(8), Administered::NewProvider(Box::new(spec))),
    );
    let authority = Arc::new(Authority::fixed(state, NOW_S * 1_000));
    let both = token(NOW_S, json!({"aud": ["chat", "shop"]}));
    for (path, status) in [
        ("/v1/apps/7/channels/chat-1", 200),
        ("/v1/apps/8/channels/any", 200),
        ("/v1/apps/7/channels/hall", 403),
        ("/v1/apps/9/channels/any", 401),
    ] {
        let request = TestRequest::get().uri(path);
        let request = request.insert_header(("Authorization", format!("Bearer {both}")));
        let (got, _, body) = ask_of(authority.clone(), AuthMode::Keys, request).await;
        assert_eq!(got, status, "{path}: {body}");
    }
}

fn spec_of(provider: &Provider) -> ProviderSpec {
    ProviderSpec {
        id: provider.id.clone(),
        iss: provider.iss.clone(),
        audiences: provider.audiences.clone(),
        algorithms: provider.algorithms.clone(),
        keys: provider.keys.iter().map(|one| one.key.clone()).collect(),
        source: provider.source.clone(),
        claims: provider.claims.clone(),
        leeway_ms: provider.leeway_ms,
        ceiling: provider.ceiling.clone(),
    }
}

#[actix_web::test]
async fn who_makes_a_provider_hands_on_what_its_ceiling_may() {
    let body = |ceiling: &str| {
        json!({
            "id": "new", "issuer": "https://new.test", "audiences": ["a"], "ceiling": ceiling,
            "algorithms": ["EdDSA"], "claims": {"rights": "ceiling"},
            "keys": {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]},
        })
    };
    let make = async |auth: &str, ceiling: &str| {
        let authority = authority(CarriedRights::Grants);
        let request = TestRequest::post().uri("/v1/apps/7/providers");
        let request = request.insert_header(("Authorization", auth.to_owned()));
        let (status, _, answer) =
            ask_of(authority, AuthMode::Keys, request.set_json(body(ceiling))).await;
        (status, answer)
    };
    let (status, made) = make(OWNER, "chat").await;
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["provider"]["claims"]["rights"], "ceiling");
    assert_eq!(made["provider"]["keys"][0]["kid"], "k");
    let clerk = "Bearer clerk:0123456789abcdef";
    let (status, refused) = make(clerk, "chat").await;
    assert_eq!(
        (status, &refused["error"]["code"]),
        (403, &json!("not_allowed"))
    );
    assert_eq!(make(CHAT, "chat").await.0, 403);
    assert_eq!(make(OWNER, "other").await.0, 404, "a key of another app");
}
