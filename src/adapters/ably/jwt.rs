//! JWTs signed by a key's secret, and tokens embedded in others.
//!
//! **Must never know:** who presents one.
//! **Why no JWT library:** one algorithm, fixed by the key and never by the token; what remains is one MAC over
//! the bytes received, checked before a claim is read.

use super::codes::Fault;
use crate::core::authority::{ApiKey, Millis, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// What a verified JWT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) issued: Millis,
    pub(super) expires: Millis,
    /// As written; none = the key's.
    pub(super) capability: Option<String>,
    pub(super) client: Option<String>,
    pub(super) revocation_key: Option<String>,
}

/// A token found in another.
#[derive(Debug)]
pub(super) struct Embedded {
    pub(super) token: String,
    /// End of the outer one, if it states one.
    pub(super) outer_expires: Option<Millis>,
}

fn bad(text: &'static str) -> Fault {
    Fault::new(40144, 401, text)
}

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

/// Seconds, perhaps with a fraction, as milliseconds.
fn millis(value: Option<&Value>) -> Option<Millis> {
    let seconds = value?.as_f64().filter(|s| (0.0..1e11).contains(s))?;
    // In range by the filter above.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Some((seconds * 1000.0).round() as Millis)
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

/// The token that a JWT carries for others to pass on; its own signature means nothing then.
pub(super) fn embedded(jwt: &str) -> Option<Embedded> {
    let mut parts = jwt.split('.');
    let header = part(parts.next()?)?;
    let claims = parts.next().and_then(part);
    let inner = |value: &Value| text(value.get("x-ably-token"));
    let token = inner(&header).or_else(|| claims.as_ref().and_then(inner))?;
    let outer_expires = claims.and_then(|claims| millis(claims.get("exp")));
    Some(Embedded {
        token,
        outer_expires,
    })
}

/// Id of the key that is said to have signed it: (app, key).
pub(super) fn key_name(jwt: &str) -> Option<String> {
    text(part(jwt.split('.').next()?)?.get("kid"))
}

/// Verifies a JWT by the key it names.
///
/// # Errors
/// 40005 for what is no JWT, 40400 for a key nobody has, 40144 for anything wrong with it.
pub(super) fn verify<'s>(jwt: &str, state: &'s State) -> Result<(Claims, &'s ApiKey), Fault> {
    let malformed = || Fault::new(40005, 400, "Invalid credentials: not a token");
    let (signed, tag) = jwt.rsplit_once('.').ok_or_else(malformed)?;
    let (header, payload) = signed.split_once('.').ok_or_else(malformed)?;
    let header = part(header).ok_or_else(malformed)?;
    let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| malformed())?;
    if header.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(bad("The JWT is not signed by HS256"));
    }
    let lacks = |what: &'static str| Fault::new(40144, 400, what);
    let name = text(header.get("kid")).ok_or_else(|| lacks("The JWT has no kid"))?;
    let key = super::auth::key_of(state, &name)
        .ok_or_else(|| Fault::new(40400, 404, "The JWT's key does not exist"))?;
    let mac = Hmac::<Sha256>::new_from_slice(key.secret.0.as_bytes());
    let mut mac = mac.map_err(|_| bad("The JWT's signature is wrong"))?;
    mac.update(signed.as_bytes());
    mac.verify_slice(&tag)
        .map_err(|_| bad("The JWT's signature is wrong"))?;
    let payload = part(payload).ok_or_else(malformed)?;
    let claims = Claims {
        issued: millis(payload.get("iat")).ok_or_else(|| lacks("The JWT has no iat"))?,
        expires: millis(payload.get("exp")).ok_or_else(|| lacks("The JWT has no exp"))?,
        capability: match payload.get("x-ably-capability") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        },
        client: text(payload.get("x-ably-clientId")),
        revocation_key: text(payload.get("x-ably-revocation-key")),
    };
    Ok((claims, key))
}
