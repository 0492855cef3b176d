//! JWTs signed by a key's secret, and tokens embedded in others.
//!
//! **Why the library gets its one algorithm from here:** it comes with either a C library or an RSA with an open
//! advisory; keys know HS256 only, and with nothing else to call no token can name another.

use super::codes::Fault;
use super::key_name::key_of;
use crate::core::authority::{ApiKey, Millis, Signer, State, Text};
use crate::core::refusals::Rule;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind, Result as JwtResult};
use jsonwebtoken::signature::{Error as Mismatch, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What a verified JWT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claims {
    pub(super) issued: Millis,
    pub(super) expires: Millis,
    /// 0 = as soon as it is issued.
    pub(super) not_before: Millis,
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

/// The token that a JWT carries for others to pass on. Its own signature means nothing then and may be of any kind,
/// which is why no library reads it.
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
    jsonwebtoken::decode_header(jwt).ok()?.kid
}

/// Extensions that whoever reads the JWT has to understand (RFC 7515, 4.1.11). We know of none.
fn critical(jwt: &str) -> bool {
    let header = jwt.split('.').next().and_then(part);
    header.is_some_and(|header| header.get("crit").is_some())
}

/// Whether a text can only be meant as a JWT.
pub(super) fn is_one(text: &str) -> bool {
    text.split('.').count() == 3 && text.split('.').next().and_then(part).is_some()
}

/// How revocations name a JWT: by what is signed. Its MAC has other spellings that verify as well.
pub(super) fn id(jwt: &str) -> Text {
    let signed = jwt.rsplit_once('.').map_or(jwt, |(signed, _)| signed);
    format!("jwt:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(signed))).into()
}

/// The one algorithm there is.
struct Hs256(Hmac<Sha256>);

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, signed: &[u8], tag: &Vec<u8>) -> Result<(), Mismatch> {
        let mac = self.0.clone().chain_update(signed);
        mac.verify_slice(tag).map_err(Mismatch::from_source)
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> JwtResult<Box<dyn JwtVerifier>> {
    if *algorithm != Algorithm::HS256 {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    let mac = Hmac::new_from_slice(key.try_get_as_bytes()?);
    let mac = mac.map_err(|_| Error::from(ErrorKind::InvalidKeyFormat))?;
    Ok(Box::new(Hs256(mac)))
}

/// Nothing is signed here, and keys are never given as JWKs.
static HS256: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(Error::from(ErrorKind::InvalidAlgorithm)),
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Times are judged by the cluster's clock, and to the millisecond: not by the library.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

/// What the library found wrong, in the protocol's numbers.
fn fault(error: &Error) -> Fault {
    let kind = error.kind();
    if matches!(
        kind,
        ErrorKind::InvalidSignature | ErrorKind::InvalidKeyFormat
    ) {
        return bad("The JWT's signature is wrong");
    }
    // JSON of another shape: an algorithm that the library does not know either.
    let shape = matches!(kind, ErrorKind::Json(shape) if shape.is_data());
    match shape || matches!(kind, ErrorKind::InvalidAlgorithm) {
        true => bad("The JWT is not signed by HS256"),
        false => Fault::new(40005, 400, "Invalid credentials: not a token"),
    }
}

/// Verifies a JWT by the key it names.
///
/// # Errors
/// 40005 for what is no JWT, 40400 for a key nobody has, 40144 for anything wrong with it.
pub(super) fn verify<'s>(
    jwt: &str,
    state: &'s State,
) -> Result<(Claims, Signer, &'s ApiKey), Fault> {
    // Only the first call finds none installed.
    let _ = HS256.install_default();
    let header = jsonwebtoken::decode_header(jwt).map_err(|error| fault(&error))?;
    if header.alg != Algorithm::HS256 {
        return Err(fault(&ErrorKind::InvalidAlgorithm.into()));
    }
    if critical(jwt) {
        return Err(bad("The JWT asks for an extension that is not known"));
    }
    let lacks = |what: &'static str| Fault::new(40144, 400, what);
    let name = header.kid.ok_or_else(|| lacks("The JWT has no kid"))?;
    let key = key_of(state, &name)
        .ok_or_else(|| Fault::new(40400, 404, "The JWT's key does not exist"))
        .map_err(|fault| fault.because(Rule::UnknownKey))?;
    let secret = DecodingKey::from_secret(key.secret.0.as_bytes());
    let read = jsonwebtoken::decode::<Value>(jwt, &secret, &validation());
    let payload = read.map_err(|error| fault(&error))?.claims;
    let signer = signer(jwt, key).ok_or_else(|| bad("The JWT's signature is wrong"))?;
    let claims = Claims {
        issued: millis(payload.get("iat")).ok_or_else(|| lacks("The JWT has no iat"))?,
        expires: millis(payload.get("exp")).ok_or_else(|| lacks("The JWT has no exp"))?,
        not_before: match payload.get("nbf") {
            None | Some(Value::Null) => 0,
            given => millis(given).ok_or_else(|| bad("The JWT's nbf is no time"))?,
        },
        capability: match payload.get("x-ably-capability") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(other) => Some(other.to_string()),
        },
        client: text(payload.get("x-ably-clientId")),
        revocation_key: text(payload.get("x-ably-revocation-key")),
    };
    Ok((claims, signer, key))
}

/// Who signed it. The library has looked at the same MAC and keeps to itself whose it was.
fn signer(jwt: &str, key: &ApiKey) -> Option<Signer> {
    let (signed, tag) = jwt.rsplit_once('.')?;
    let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
    Signer::by_mac(key, &[signed.as_bytes()], &tag)
}
