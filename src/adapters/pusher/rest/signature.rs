//! The signature of an HTTP request.

use super::fault::Fault;
use crate::adapters::pusher::query::Pair;
use crate::adapters::pusher::{auth, query};
use crate::core::authority::{ApiKey, Holder, Millis};
use crate::core::refusals::Rule;
use md5::{Digest, Md5};
use serde_json::Value;
use std::borrow::Cow;

/// How far a request's time may be from ours.
const WINDOW_S: u64 = 600;

/// The signed parts of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    /// The HTTP method in capitals.
    pub(super) method: &'a str,
    /// As it was received.
    pub(super) path: &'a str,
    /// Decoded, each name once.
    pub(super) query: &'a [Pair<'a>],
    /// All of it.
    pub(super) body: &'a [u8],
}

impl Signed<'_> {
    /// A query parameter.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        value(self.query, name)
    }
}

/// A query parameter.
pub(super) fn value<'q>(query: &'q [Pair<'_>], name: &str) -> Option<&'q str> {
    let pair = query.iter().find(|(known, _)| known == name);
    pair.map(|(_, value)| &**value)
}

/// Checks version, time, body and signature, in this order.
///
/// # Errors
/// 401 with what is wrong.
pub(super) fn verify(request: Signed<'_>, key: &ApiKey, now_ms: Millis) -> Result<Holder, Fault> {
    if request.value("auth_version") != Some("1.0") {
        return Err(Fault::unauthorized("Invalid auth_version: expected 1.0"));
    }
    check_time(request.value("auth_timestamp"), now_ms / 1_000)?;
    let digest = hex::encode(Md5::digest(request.body));
    match request.value("body_md5") {
        Some(given) if given == digest => {}
        None if request.body.is_empty() => {}
        Some(_) => {
            let text = "Invalid body_md5: it is not the body's MD5";
            return Err(Fault::unauthorized(text).because(Rule::WrongSecret));
        }
        None => return Err(Fault::unauthorized("Missing body_md5")),
    }
    let given = request
        .value("auth_signature")
        .ok_or_else(|| Fault::unauthorized("Missing auth_signature"))
        .map_err(|fault| fault.because(Rule::CredentialMissing))?;
    let parameters = parameters(request.query);
    let signs = |path: &str| {
        let parts = [request.method, "\n", path, "\n", &parameters];
        auth::holder(key, &parts, given)
    };
    // Some libraries sign a path with spaces as it was before they escaped it.
    let holder = signs(request.path);
    let holder = holder.or_else(|| query::decode(request.path).and_then(|path| signs(&path)));
    if let Some(holder) = holder {
        return Ok(holder);
    }
    let signed = format!("{}\n{}\n{parameters}", request.method, request.path);
    let quoted = Value::from(signed);
    let text = format!(
        "Invalid signature: you should have sent HmacSHA256Hex of {quoted} with your secret key",
    );
    Err(Fault::unauthorized(text).because(Rule::WrongSecret))
}

fn check_time(given: Option<&str>, now_s: u64) -> Result<(), Fault> {
    let given: u64 = given
        .and_then(|given| given.parse().ok())
        .ok_or_else(|| Fault::unauthorized("Missing or invalid auth_timestamp"))?;
    if given.abs_diff(now_s) > WINDOW_S {
        let text = format!(
            "Timestamp expired: Given timestamp ({given}) not within {WINDOW_S}s of server time ({now_s})"
        );
        return Err(Fault::unauthorized(text).because(Rule::ClockOff));
    }
    Ok(())
}

/// Everything but the signature itself: names in lower case, sorted, values un-escaped.
fn parameters(query: &[Pair<'_>]) -> String {
    let mut pairs: Vec<(Cow<'_, str>, &str)> = query
        .iter()
        .map(|(name, value)| (lower(name), &**value))
        .filter(|(name, _)| name != "auth_signature")
        .collect();
    pairs.sort();
    let length = pairs
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2);
    let mut text = String::with_capacity(length.sum());
    for (name, value) in &pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.extend([name, "=", value]);
    }
    text
}

/// In lower case, as nearly all names are.
fn lower(name: &str) -> Cow<'_, str> {
    let lowered = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    match name.bytes().all(lowered) {
        true => name.into(),
        false => name.to_lowercase().into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::pusher::fixture;

    const NOW_MS: u64 = 1_353_088_179_000;
    const BODY: &[u8] =
        b"{\"name\":\"foo\",\"channels\":[\"project-3\"],\"data\":\"{\\\"some\\\":\\\"data\\\"}\"}";
    const VECTOR: &str = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";

    fn check(method: &str, path: &str, query: &str, body: &[u8], now_ms: u64) -> Result<(), Fault> {
        let query = &*query::parse(query).unwrap();
        let request = Signed {
            method,
            path,
            query,
            body,
        };
        verify(request, &fixture::key(), now_ms).map(drop)
    }

    fn text(result: Result<(), Fault>) -> String {
        let fault = result.unwrap_err();
        assert_eq!(fault.status, 401);
        fault.text.into_owned()
    }

    fn signed(method: &str, path: &str, parameters: &str, sent: &str) -> String {
        let signature = fixture::sign(&format!("{method}\n{path}\n{parameters}"));
        format!("{sent}&auth_signature={signature}")
    }

    #[test]
    fn the_documented_request_verifies() {
        assert_eq!(
            check("POST", "/apps/3/events", VECTOR, BODY, NOW_MS),
            Ok(())
        );
        let shuffled: Vec<&str> = VECTOR.split('&').rev().collect();
        let shuffled = shuffled.join("&");
        assert_eq!(
            check("POST", "/apps/3/events", &shuffled, BODY, NOW_MS),
            Ok(())
        );
    }

    #[test]
    fn every_difference_is_refused() {
        let refused = |method, path, query: &str, body, now_ms| {
            text(check(method, path, query, body, now_ms))
        };
        assert!(
            refused("GET", "/apps/3/events", VECTOR, BODY, NOW_MS).starts_with("Invalid signature")
        );
        assert!(
            refused("POST", "/apps/4/events", VECTOR, BODY, NOW_MS)
                .starts_with("Invalid signature")
        );
        let more = format!("{VECTOR}&info=x");
        assert!(
            refused("POST", "/apps/3/events", &more, BODY, NOW_MS).starts_with("Invalid signature")
        );
        assert!(
            refused("POST", "/apps/3/events", VECTOR, b"{}", NOW_MS)
                .starts_with("Invalid body_md5")
        );
        let no_digest = VECTOR.replace("body_md5", "x");
        assert_eq!(
            refused("POST", "/apps/3/events", &no_digest, BODY, NOW_MS),
            "Missing body_md5"
        );
        let version = VECTOR.replace("1.0", "2.0");
        assert!(
            refused("POST", "/apps/3/events", &version, BODY, NOW_MS)
                .starts_with("Invalid auth_version")
        );
        let unsigned = VECTOR.replace("auth_signature", "signature");
        assert_eq!(
            refused("POST", "/apps/3/events", &unsigned, BODY, NOW_MS),
            "Missing auth_signature"
        );
    }

    #[test]
    fn requests_are_good_for_ten_minutes_either_way() {
        let at = |now_ms| check("POST", "/apps/3/events", VECTOR, BODY, now_ms);
        assert_eq!(at(NOW_MS + 600_000), Ok(()));
        assert_eq!(at(NOW_MS - 600_000), Ok(()));
        assert_eq!(
            text(at(NOW_MS + 601_000)),
            "Timestamp expired: Given timestamp (1353088179) not within 600s of server time (1353088780)"
        );
        assert!(text(at(NOW_MS - 601_000)).starts_with("Timestamp expired"));
        let never = VECTOR.replace("1353088179", "soon");
        let result = check("POST", "/apps/3/events", &never, BODY, NOW_MS);
        assert_eq!(text(result), "Missing or invalid auth_timestamp");
    }

    #[test]
    fn a_digest_of_nothing_is_accepted_on_get() {
        let parameters = "auth_key=k&auth_timestamp=1353088179&auth_version=1.0&body_md5=d41d8cd98f00b204e9800998ecf8427e";
        let query = signed("GET", "/apps/3/channels", parameters, parameters);
        assert_eq!(
            check("GET", "/apps/3/channels", &query, b"", NOW_MS),
            Ok(())
        );
    }

    #[test]
    fn values_are_signed_as_they_were_before_escaping() {
        let tail = "auth_key=k&auth_timestamp=1353088179&auth_version=1.0&";
        let plain = format!("{tail}filter_by_prefix=a b+c,d&info=ü");
        let sent = format!("{tail}filter_by_prefix=a%20b+c%2Cd&Info=%C3%BC");
        let query = signed("GET", "/apps/3/channels", &plain, &sent);
        assert_eq!(
            check("GET", "/apps/3/channels", &query, b"", NOW_MS),
            Ok(())
        );
    }

    #[test]
    fn paths_are_signed_escaped_or_not() {
        let tail = "auth_key=k&auth_timestamp=1353088179&auth_version=1.0";
        for path in ["/apps/3/users/a b/x", "/apps/3/users/a%20b/x"] {
            let query = signed("POST", path, tail, tail);
            assert_eq!(
                check("POST", "/apps/3/users/a%20b/x", &query, b"", NOW_MS),
                Ok(())
            );
        }
    }
}
