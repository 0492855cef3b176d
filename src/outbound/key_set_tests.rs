//! What is taken of a provider's server, and what is not: over real HTTP.
#![allow(clippy::unwrap_used)]

use super::fixture::{Site, answer, set};
use super::key_set::fetch;
use super::target::Clients;
use crate::core::authority::{
    Algorithm, AppId, CarriedRights, Claims, KeySource, Provider, PublicKey,
};
use std::time::Duration;

const ISS: &str = "https://id.test";

fn provider(source: KeySource) -> Provider {
    Provider {
        app: AppId(7),
        id: "idp".into(),
        enabled: true,
        iss: ISS.into(),
        audiences: vec!["chat".into()],
        algorithms: vec![Algorithm::EdDsa],
        keys: Vec::new(),
        source,
        claims: Claims {
            user: "sub".into(),
            session: "sid".into(),
            groups: None,
            rights: CarriedRights::Grants,
        },
        leeway_ms: 0,
        ceiling: "k".into(),
        revision: 1,
    }
}

async fn of(source: KeySource, private: bool) -> Result<Vec<PublicKey>, String> {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let clients = Clients::new("test", Duration::from_millis(500));
    fetch(&clients, &provider(source), private).await
}

fn answers(at: &str, base: &str) -> Option<Vec<u8>> {
    let ok = |body: &[u8]| answer("200 OK", "", body);
    let metadata = |issuer: &str| {
        ok(format!(r#"{{"issuer":"{issuer}","jwks_uri":"{base}/good"}}"#).as_bytes())
    };
    match at {
        "/good" => ok(&set(&["a", "b"])),
        "/redirect" => answer("302 Found", &format!("location: {base}/good\r\n"), b""),
        "/gone" => answer("404 Not Found", "", &set(&["a"])),
        "/slow" => None,
        // The head, a byte, and then the end.
        "/stuck" => {
            Some(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{".to_vec())
        }
        "/huge" => ok(&vec![b' '; (256 << 10) + 1]),
        "/unbounded" => {
            let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".as_slice();
            Some([head, &vec![b' '; 1 << 20]].concat())
        }
        "/many" => {
            let kids: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
            let kids: Vec<&str> = kids.iter().map(String::as_str).collect();
            ok(&set(&kids))
        }
        "/several" => {
            let kids: Vec<String> = (0..33).map(|n| n.to_string()).collect();
            let kids: Vec<&str> = kids.iter().map(String::as_str).collect();
            ok(&set(&kids))
        }
        "/broken" => ok(b"{\"keys\":[{\"kty\":"),
        "/page" => ok(b"<html>log in</html>"),
        "/empty" => ok(br#"{"keys":[]}"#),
        "/unknown" => ok(br#"{"keys":[{"kty":"OKP","crv":"Ed448","kid":"a","x":"AA"}]}"#),
        "/twice" => ok(&set(&["a", "a"])),
        "/issuer/.well-known/openid-configuration" => metadata(ISS),
        "/stranger/.well-known/openid-configuration" => metadata("https://evil.test"),
        "/inward/.well-known/openid-configuration" => {
            ok(format!(r#"{{"issuer":"{ISS}","jwks_uri":"file:///etc/passwd"}}"#).as_bytes())
        }
        _ => answer("500 Internal Server Error", "", b""),
    }
}

#[actix_web::test]
async fn a_key_set_is_taken_from_its_address_or_from_where_the_issuer_says() {
    let site = Site::serve(answers).await;
    let kids = |keys: Result<Vec<PublicKey>, String>| -> Vec<String> {
        let keys = keys.unwrap();
        keys.iter().map(|key| key.kid.to_string()).collect()
    };
    let at = |path: &str| format!("{}{path}", site.base).into();
    assert_eq!(
        kids(of(KeySource::KeySet(at("/good")), true).await),
        ["a", "b"]
    );
    for issuer in ["/issuer", "/issuer/"] {
        let found = of(KeySource::Discovery(at(issuer)), true).await;
        assert_eq!(kids(found), ["a", "b"], "{issuer}");
    }
    assert_eq!(site.asked(), 5);
}

#[actix_web::test]
async fn what_a_server_may_do_to_us_ends_as_a_failure_with_a_reason() {
    let site = Site::serve(answers).await;
    for (path, why) in [
        ("/redirect", "302"),
        ("/gone", "404"),
        ("/nothing", "500"),
        ("/slow", "timed out"),
        ("/stuck", "end of file"),
        ("/huge", "longer than 262144"),
        ("/unbounded", "longer than 262144"),
        ("/many", "longer than 262144"),
        ("/several", "32 keys"),
        ("/broken", "no key set"),
        ("/page", "no key set"),
        ("/empty", "no key for signing"),
        ("/unknown", "no key for signing"),
        ("/twice", "kid"),
    ] {
        let url = format!("{}{path}", site.base);
        let failed = of(KeySource::KeySet(url.into()), true).await.unwrap_err();
        assert!(failed.contains(why), "{path}: {failed}");
        assert!(!failed.contains(&site.base), "{path}: {failed}");
    }
    for (path, why) in [
        ("/stranger", "another issuer"),
        ("/inward", "https only"),
        ("/good", "500"),
    ] {
        let url = format!("{}{path}", site.base);
        let failed = of(KeySource::Discovery(url.into()), true)
            .await
            .unwrap_err();
        assert!(failed.contains(why), "{path}: {failed}");
    }
    assert_eq!(
        of(KeySource::Given, true).await,
        Err("its keys are given".into())
    );
}

#[actix_web::test]
async fn nothing_of_the_inside_is_asked_unless_an_operator_allows_it() {
    let site = Site::serve(answers).await;
    let port = site.base.rsplit_once(':').unwrap().1.to_owned();
    for host in [
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "localhost",
        "0x7f.1",
        "169.254.169.254",
        "10.0.0.1",
    ] {
        let url = format!("https://{host}:{port}/good");
        let failed = of(KeySource::KeySet(url.into()), false).await.unwrap_err();
        assert!(failed.contains("not public"), "{host}: {failed}");
    }
    let plain = of(
        KeySource::KeySet(format!("{}/good", site.base).into()),
        false,
    );
    assert!(plain.await.unwrap_err().contains("https only"));
    assert_eq!(site.asked(), 0);
}
