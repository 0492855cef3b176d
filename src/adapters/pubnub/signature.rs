//! Request signatures: every form that PubNub's clients send.
//!
//! **Why several forms are tried:** clients disagree about the canonical query and sign a POST publish as if it were a
//! GET or by the old scheme. Each form is tried with its own MAC, compared in constant time.
//! **Why the old scheme is for GET only:** it covers neither method nor body. A captured GET would be good as a DELETE
//! of the same path, and a captured POST for any body. One SDK still signs each of its GETs so.

use super::query::{self, Query};
use crate::core::authority::{ApiKey, Holder, Millis};
use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// How far a request's time may be from ours.
const WINDOW_S: u64 = 60;
const BASE64: GeneralPurpose = URL_SAFE_NO_PAD;

/// The signed parts of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    /// The HTTP method in capitals.
    pub(super) method: &'a str,
    /// As received, still escaped.
    pub(super) path: &'a str,
    /// All parameters of the query.
    pub(super) query: &'a Query<'a>,
    /// All of it; empty for methods without one.
    pub(super) body: &'a [u8],
    /// The subscribe key of the request's path.
    pub(super) subscribe_key: &'a str,
    /// The publish key of the request's path.
    pub(super) publish_key: &'a str,
}

/// Whether the request's time is within the window of ours.
pub(super) fn timely(query: &Query<'_>, now_ms: Millis) -> bool {
    query
        .number("timestamp")
        .is_some_and(|at| at.abs_diff(now_ms / 1_000) <= WINDOW_S)
}

/// What a signed request and its repetitions have in common, and no other: so that one that is sent again within the
/// signature's minute does nothing again. `part` = which of the things that it does.
pub(super) fn fingerprint(query: &Query<'_>, part: &str) -> [u8; 16] {
    let signature = query.get("signature").unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(b"pubnub\n");
    hash.update(signature.trim_end_matches('='));
    hash.update(b"\n");
    hash.update(part);
    let mut head = [0; 16];
    for (to, from) in head.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    head
}

/// The key that signed it, if any of these did, and whether all of the request is covered.
pub(super) fn signer<'k>(
    request: &Signed<'_>,
    given: &str,
    keys: impl Iterator<Item = &'k ApiKey>,
) -> Option<(Holder, bool)> {
    let (new, text) = match given.strip_prefix("v2.") {
        Some(rest) => (true, rest),
        None => (false, given),
    };
    let bytes = BASE64.decode(text.trim_end_matches('=')).ok()?;
    let messages = if new {
        new_forms(request)
    } else {
        old_forms(request)
    };
    keys.into_iter().find_map(|key| {
        let mut matched = None;
        for form in &messages {
            let holder = Holder::by_mac(key, &[&form.text], &bytes);
            matched = holder.map(|holder| (holder, form.covers)).or(matched);
        }
        matched
    })
}

/// A text that may have been signed.
struct Form {
    text: Vec<u8>,
    /// Method and body are in it, or cannot be others.
    covers: bool,
}

/// A publish whose body clients leave out of what they sign.
fn posts_publish(request: &Signed<'_>) -> bool {
    request.method == "POST" && request.path.starts_with("/publish/")
}

fn new_forms(request: &Signed<'_>) -> Vec<Form> {
    let mut heads = vec![(request.method, request.body, true)];
    if posts_publish(request) {
        heads.push(("GET", &[], false));
    }
    let mut forms = Vec::new();
    for query in canonical(request.query) {
        for (method, body, covers) in &heads {
            let text = format!(
                "{method}\n{}\n{}\n{query}\n",
                request.publish_key, request.path
            );
            forms.push(Form {
                text: [text.as_bytes(), body].concat(),
                covers: *covers,
            });
        }
    }
    forms
}

fn old_forms(request: &Signed<'_>) -> Vec<Form> {
    let get = request.method == "GET";
    if !get && !posts_publish(request) {
        return Vec::new();
    }
    let mut subjects = vec![request.path];
    let auth = request
        .path
        .strip_prefix("/v1/auth/")
        .or_else(|| request.path.strip_prefix("/v2/auth/"));
    subjects.extend(auth.and_then(|rest| rest.split('/').next()));
    let (subscribe, publish) = (request.subscribe_key, request.publish_key);
    let mut forms = Vec::new();
    for query in canonical(request.query) {
        for subject in &subjects {
            let text = format!("{subscribe}\n{publish}\n{subject}\n{query}");
            forms.push(Form {
                text: text.into_bytes(),
                covers: get,
            });
        }
    }
    forms
}

/// The query as it may have been signed: values escaped strictly, and values as they were received. Names are escaped
/// in both: one that held a `&` or a line end would swallow its neighbours, and the same text be another request.
fn canonical(query: &Query<'_>) -> Vec<String> {
    let mut pairs: Vec<_> = query
        .0
        .iter()
        .filter(|one| one.name != "signature")
        .collect();
    pairs.sort_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
    let mut texts = [String::new(), String::new()];
    for pair in pairs {
        let (name, strict) = (query::encode(&pair.name), query::encode(&pair.value));
        for (text, value) in texts.iter_mut().zip([strict.as_str(), pair.raw]) {
            let between = if text.is_empty() { "" } else { "&" };
            // Writing to a string cannot fail.
            let _ = write!(text, "{between}{name}={value}");
        }
    }
    let mut texts = Vec::from(texts);
    texts.dedup();
    texts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::pubnub::fixture;

    const SECRET: &str = "mySecretKey";

    fn signs(method: &str, path: &str, query: &str, body: &str, signature: &str) -> bool {
        let query = Query::parse(query).unwrap();
        let request = Signed {
            method,
            path,
            query: &query,
            body: body.as_bytes(),
            subscribe_key: "mySubscribeKey",
            publish_key: "myPublishKey",
        };
        let (wrong, right) = (fixture::key("k0", "another"), fixture::key("k1", SECRET));
        let found = signer(&request, signature, [&wrong, &right].into_iter());
        found.is_some_and(|(key, _)| &*key.id == "k1")
    }

    const GRANT: &str = "auth=key1%2Ckey2&channel=ch1%2Cch2&d=0&g=0&j=0&m=0&pnsdk=PubNub-JS-Nodejs%2FsuchJavascript&r=0&timestamp=1317427200&u=0&uuid=myUUID&w=0";
    const GRANT_SIGNATURE: &str = "v2.LEJCwKOBTApWy5jcdXPmtN1_N2aaJx0ZN3krPY6oLu8";
    const GRANT_PATH: &str = "/v2/auth/grant/sub-key/mySubscribeKey";

    #[test]
    fn the_sdks_own_vectors_verify() {
        assert!(signs("GET", GRANT_PATH, GRANT, "", GRANT_SIGNATURE));
        let body = r#"{"ttl":1440,"permissions":{"resources":{"channels":{},"groups":{},"uuids":{"user1":1},"users":{},"spaces":{}},"patterns":{"channels":{},"groups":{},"uuids":{".*":1},"users":{},"spaces":{}},"meta":{}}}"#;
        let query = "pnsdk=PubNub-JS-Nodejs%2FtestVersion&timestamp=1571360790&uuid=myUUID";
        let signature = "v2.A1ldFjcfAiD0rw7-kFKKwY5j0Mpq1R5u8JDeej7P3jo";
        let path = "/v3/pam/mySubscribeKey/grant";
        assert!(signs("POST", path, query, body, signature));
        assert!(!signs("POST", path, query, "{}", signature));
        let query = "pnsdk=X%2F1&timestamp=1317427200&uuid=myUUID";
        let path = "/publish/myPublishKey/mySubscribeKey/0/ch1/0";
        for padding in ["=", ""] {
            let signature = format!("yY1bgkRjBtn-v6KDW_edqyBTe-CBGyRobnO5WGvpkbo{padding}");
            assert!(signs("POST", path, query, "\"x\"", &signature));
        }
        let query = "auth=k1&channel=ch1&pnsdk=X%2F1&r=1&timestamp=1317427200&w=1";
        let signature = "j6aisTD1dROJ8Bii5YvfGxv3jx7qnMvCmWcIZcu6sdg=";
        let path = "/v1/auth/grant/sub-key/mySubscribeKey";
        assert!(signs("GET", path, query, "", signature));
        assert!(!signs("GET", "/v2/presence/x", query, "", signature));
    }

    #[test]
    fn order_and_bare_commas_do_not_matter_but_content_does() {
        let bare = GRANT.replace("%2Cch2", ",ch2");
        let (first, rest) = bare.split_once('&').unwrap();
        let shuffled = format!("{rest}&signature=x&{first}");
        assert!(signs("GET", GRANT_PATH, &shuffled, "", GRANT_SIGNATURE));
        let other = GRANT.replace("r=0", "r=1");
        assert!(!signs("GET", GRANT_PATH, &other, "", GRANT_SIGNATURE));
        assert!(!signs("POST", GRANT_PATH, GRANT, "", GRANT_SIGNATURE));
        for bad in ["", "v2.", "v2.!!", "v2.AAAA", "x"] {
            assert!(!signs("GET", GRANT_PATH, GRANT, "", bad), "{bad}");
        }
    }

    #[test]
    fn a_post_publish_may_be_signed_as_a_get_without_its_body() {
        let query = "timestamp=1&uuid=u";
        let path = "/publish/myPublishKey/mySubscribeKey/0/c/0";
        let text = format!("GET\nmyPublishKey\n{path}\n{query}\n");
        let signature = format!("v2.{}", fixture::mac(SECRET, &text));
        assert!(signs("POST", path, query, "{}", &signature));
        assert!(!signs("POST", "/publishes/x", query, "{}", &signature));
    }

    #[test]
    fn the_old_form_is_for_gets_and_for_a_posts_publish() {
        let query = "timestamp=1&uuid=u";
        let old = |path: &str| {
            fixture::mac(
                SECRET,
                &format!("mySubscribeKey\nmyPublishKey\n{path}\n{query}"),
            )
        };
        let history = "/v3/history/sub-key/mySubscribeKey/channel/c";
        assert!(signs("GET", history, query, "", &old(history)));
        assert!(
            !signs("DELETE", history, query, "", &old(history)),
            "a captured fetch erases nothing"
        );
        for path in [
            "/v3/pam/mySubscribeKey/grant",
            "/v1/auth/grant/sub-key/mySubscribeKey",
            "/signal/p/s/0/c/0",
        ] {
            assert!(!signs("POST", path, query, "{}", &old(path)), "{path}");
        }
        let grant = fixture::mac(
            SECRET,
            &format!("mySubscribeKey\nmyPublishKey\ngrant\n{query}"),
        );
        assert!(!signs(
            "POST",
            "/v2/auth/grant/sub-key/mySubscribeKey",
            query,
            "{}",
            &grant
        ));
    }

    #[test]
    fn a_signature_says_whether_the_body_is_in_it() {
        let query = "timestamp=1&uuid=u";
        let path = "/publish/myPublishKey/mySubscribeKey/0/c/0";
        let covers = |signed: &str, version: &str| {
            let query = Query::parse(query).unwrap();
            let request = Signed {
                method: "POST",
                path,
                query: &query,
                body: b"{}",
                subscribe_key: "mySubscribeKey",
                publish_key: "myPublishKey",
            };
            let signature = format!("{version}{}", fixture::mac(SECRET, signed));
            let key = fixture::key("k1", SECRET);
            signer(&request, &signature, [&key].into_iter()).map(|(_, covers)| covers)
        };
        let new =
            |method: &str, body: &str| format!("{method}\nmyPublishKey\n{path}\n{query}\n{body}");
        assert_eq!(covers(&new("POST", "{}"), "v2."), Some(true));
        assert_eq!(covers(&new("GET", ""), "v2."), Some(false));
        let old = format!("mySubscribeKey\nmyPublishKey\n{path}\n{query}");
        assert_eq!(covers(&old, ""), Some(false));
    }

    #[test]
    fn no_name_swallows_its_neighbours() {
        // The same text when names are not escaped: a grant for one auth key and channel becomes one for everybody.
        let text = "auth=k1&channel=ch1&r=1&timestamp=1&w=1";
        let path = "/v2/auth/grant/sub-key/mySubscribeKey";
        let signature = format!(
            "v2.{}",
            fixture::mac(SECRET, &format!("GET\nmyPublishKey\n{path}\n{text}\n"))
        );
        assert!(signs("GET", path, text, "", &signature));
        let other = text.replacen("auth=k1&channel=ch1", "auth%3Dk1%26channel=ch1", 1);
        assert!(!signs("GET", path, &other, "", &signature));
        let lines = format!("GET\nmyPublishKey\n{path}\na=1\nb=1\n");
        let signature = format!("v2.{}", fixture::mac(SECRET, &lines));
        assert!(
            !signs("GET", path, "a=1%0Ab=1", "", &signature)
                && !signs("GET", path, "a%0Ab=1", "", &signature)
        );
    }

    #[test]
    fn the_window_is_a_minute_to_either_side() {
        let now_ms = 1_317_427_200_000;
        let at = |seconds: u64| {
            let text = format!("timestamp={seconds}");
            timely(&Query::parse(&text).unwrap(), now_ms)
        };
        assert!(at(1_317_427_260) && at(1_317_427_140));
        assert!(!at(1_317_427_261) && !at(1_317_427_139));
        assert!(!timely(&Query::default(), now_ms));
    }
}
