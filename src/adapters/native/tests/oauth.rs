//! OAuth's paths: whose a token is and what it may, and its end.

use super::*;
use crate::core::authority::Target;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const WARDEN: &str = "Bearer warden:0123456789abcdef";

async fn sent(
    authority: &Arc<Authority>,
    auth: &str,
    path: &str,
    form: &str,
) -> (u16, Option<String>, Value) {
    let request = TestRequest::post().uri(&format!("/oauth/{path}"));
    let request = request
        .insert_header(("content-type", "application/x-www-form-urlencoded"))
        .insert_header(("Authorization", auth))
        .set_payload(form.to_owned());
    ask_of(authority.clone(), AuthMode::Keys, request).await
}

fn authority(pending: &[u64]) -> Arc<Authority> {
    let authority = Authority::fixed(state(), 1000);
    authority.take_writes(pending);
    Arc::new(authority)
}

#[actix_web::test]
async fn a_token_that_is_good_is_described_and_any_other_is_not_active() {
    let authority = authority(&[]);
    let ask = async |form: &str| sent(&authority, OWNER, "introspect", form).await;
    let (status, revision, told) = ask("token=signed%3A7%3At1&token_type_hint=access_token").await;
    assert_eq!((status, revision.as_deref()), (200, Some("42")));
    assert_eq!(
        told,
        json!({"active": true, "token_type": "Bearer", "sub": "bearer", "username": "bearer", "jti": "t1"})
    );
    // One that is nothing but what is granted to its text.
    let (_, _, told) = ask("token=bearer").await;
    assert_eq!(told, json!({"active": true, "token_type": "Bearer"}));
    for nobody in [
        "token=signed%3A8%3At1",
        "token=stranger",
        "token=%7B%22a%22%3A1%7D",
        "token=",
    ] {
        let (status, _, told) = ask(nobody).await;
        assert_eq!((status, told), (200, json!({"active": false})), "{nobody}");
    }
}

#[actix_web::test]
async fn a_revoked_token_is_over_when_it_is_answered() {
    let all = authority(&[]);
    let post = async |path: &str, form: &str| sent(&all, OWNER, path, form).await;
    for (form, target) in [("token=signed%3A7%3At1", "t1"), ("token=bearer", "bearer")] {
        assert_eq!(post("introspect", form).await.2["active"], true, "{form}");
        let fences = all.fences();
        let (status, _, told) = post("revoke", form).await;
        assert_eq!((status, told, all.fences()), (200, Value::Null, fences + 1));
        let revoked = (AppId(7), Target::Token(target.into()));
        assert!(all.view().revocations.contains_key(&revoked));
        assert_eq!(post("introspect", form).await.2["active"], false, "{form}");
    }
    // Nobody's token is as good as revoked, and nothing is stored for it.
    let before = all.view().revision;
    for nobody in ["token=signed%3A8%3At1", "token=a+b"] {
        assert_eq!(post("revoke", nobody).await.0, 200, "{nobody}");
    }
    assert_eq!(all.view().revision, before);
    // One that will count is void before it does; and until then it is good for nothing, whatever its name was granted.
    let early = "token=signed%3A7%3Alater-t9";
    assert_eq!(post("introspect", early).await.2["active"], false);
    assert_eq!(post("revoke", early).await.0, 200);
    let revoked = (AppId(7), Target::Token("t9".into()));
    assert!(all.view().revocations.contains_key(&revoked));
    // Where somebody has not confirmed, it is to be asked again.
    let pending = authority(&[2]);
    let (status, _, told) = sent(&pending, OWNER, "revoke", "token=bearer").await;
    assert_eq!(
        (status, &told["error"]),
        (503, &json!("temporarily_unavailable"))
    );
}

#[actix_web::test]
async fn what_is_refused_is_said_in_the_words_of_oauth() {
    let authority = authority(&[]);
    for path in ["introspect", "revoke"] {
        for (auth, form, status, word) in [
            ("", "token=bearer", 401, "invalid_client"),
            ("Bearer owner:wrong", "token=bearer", 401, "invalid_client"),
            (CHAT, "token=bearer", 403, "access_denied"),
            (OWNER, "tokens=bearer", 400, "invalid_request"),
            (OWNER, "token=bearer&token=other", 400, "invalid_request"),
            (
                OWNER,
                "token=bearer&token_type_hint=a&token_type_hint=b",
                400,
                "invalid_request",
            ),
            (
                "",
                "token=bearer&client_id=owner&client_secret=wrong",
                401,
                "invalid_client",
            ),
            // A right somewhere is none on every token, and says nothing of whose one is.
            (WARDEN, "token=bearer", 403, "access_denied"),
            (WARDEN, "token=signed%3A8%3At1", 403, "access_denied"),
        ] {
            let (got, _, told) = sent(&authority, auth, path, form).await;
            assert_eq!(
                (got, &told["error"]),
                (status, &json!(word)),
                "{path} {form}"
            );
            assert!(told["error_description"].as_str().unwrap().contains(": "));
        }
    }
    // A token that nothing can name is good, and cannot be ended alone.
    let (_, _, told) = sent(&authority, OWNER, "introspect", "token=signed%3A7%3A").await;
    assert_eq!(told["active"], true);
    let (status, _, told) = sent(&authority, OWNER, "revoke", "token=signed%3A7%3A").await;
    assert_eq!(
        (status, &told["error"]),
        (400, &json!("unsupported_token_type"))
    );
    let long = format!("token={}", "a".repeat(300 << 10));
    assert_eq!(sent(&authority, OWNER, "revoke", &long).await.0, 413);
}

#[actix_web::test]
async fn a_client_shows_its_key_as_oauth_has_it() {
    let authority = authority(&[]);
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    for (auth, form) in [
        (basic("owner:0123456789abcdef"), ""),
        (basic("%6Fwner:0123456789%61bcdef"), ""),
        (
            String::new(),
            "&client_id=owner&client_secret=0123456789abcdef",
        ),
    ] {
        let form = format!("token=bearer{form}");
        let (status, _, told) = sent(&authority, &auth, "introspect", &form).await;
        assert_eq!(
            (status, &told["active"]),
            (200, &json!(true)),
            "{auth} {form}"
        );
    }
    for (auth, form) in [
        (basic("%6Fwner:0123456789%61bcdeg"), ""),
        (basic("owner&secret=x:0123456789%61bcdef"), ""),
        (String::new(), "&client_id=owner"),
        // Nobody has two.
        (
            basic("owner:wrong"),
            "&client_id=owner&client_secret=0123456789abcdef",
        ),
    ] {
        let form = format!("token=bearer{form}");
        let (status, _, _) = sent(&authority, &auth, "introspect", &form).await;
        assert_eq!(status, 401, "{auth} {form}");
    }
}
