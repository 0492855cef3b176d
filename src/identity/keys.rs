//! Key sets of providers (RFC 7517), as the plain bytes that the access machine keeps.
//!
//! **Why a weak or double key refuses the whole set:** half a set is another set. Keys that are not for signing, or of a kind
//! that is not known here, are left out, as the standard says.

use crate::core::authority::{Algorithm, KeyKind, PublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Most bytes of a set.
pub const MAX_BYTES: usize = 256 << 10;
/// Most keys of a set, those that are left out included.
const MAX_LISTED_KEYS: usize = 256;
/// Most keys that are kept.
const MAX_SIGNING_KEYS: usize = 32;
/// Sizes of an RSA key that are taken, bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// Why a set is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeys {
    /// It is too large.
    #[error("a key set has at most {MAX_BYTES} bytes and {MAX_SIGNING_KEYS} keys for signing")]
    TooLarge,
    /// It is no key set.
    #[error("this is no key set: an object with a list `keys`")]
    Malformed,
    /// A key cannot be used.
    #[error("key {0}: {1}")]
    Key(usize, &'static str),
}

#[derive(Debug, Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

/// A key. What is not read here is not looked at, certificates among it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Private parts: such a key was never meant to be shown.
    d: Option<serde_json::Value>,
    k: Option<serde_json::Value>,
}

/// The keys for signing of a set.
///
/// # Errors
/// See [`BadKeys`].
pub fn read(bytes: &[u8]) -> Result<Vec<PublicKey>, BadKeys> {
    if bytes.len() > MAX_BYTES {
        return Err(BadKeys::TooLarge);
    }
    let set: Set = serde_json::from_slice(bytes).map_err(|_| BadKeys::Malformed)?;
    if set.keys.len() > MAX_LISTED_KEYS {
        return Err(BadKeys::TooLarge);
    }
    let mut kept: Vec<PublicKey> = Vec::new();
    for (at, jwk) in set.keys.iter().enumerate() {
        let bad = |why| BadKeys::Key(at, why);
        let Some(key) = jwk.read().map_err(bad)? else {
            continue;
        };
        if kept.iter().any(|other| other.kid == key.kid) {
            return Err(bad("its kid is another key's as well"));
        }
        kept.push(key);
    }
    match kept.len() > MAX_SIGNING_KEYS {
        true => Err(BadKeys::TooLarge),
        false => Ok(kept),
    }
}

impl Jwk {
    /// The key, or nothing if it is not for us.
    fn read(&self) -> Result<Option<PublicKey>, &'static str> {
        if self.d.is_some() || self.k.is_some() {
            return Err("it is a secret: only public keys belong into a key set");
        }
        let verifies = |ops: &Vec<String>| ops.iter().any(|op| op == "verify");
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(verifies);
        let algorithm = self.alg.as_deref().map(Algorithm::named);
        if !signs || algorithm == Some(None) {
            return Ok(None);
        }
        let algorithm = algorithm.flatten();
        let curve = self.crv.as_deref();
        let (kind, bytes) = match (self.kty.as_str(), curve) {
            ("RSA", _) => (KeyKind::Rsa, self.rsa()?),
            ("EC", Some("P-256")) => (KeyKind::P256, self.point(32)?),
            ("EC", Some("P-384")) => (KeyKind::P384, self.point(48)?),
            ("OKP", Some("Ed25519")) => (KeyKind::Ed25519, number(&self.x, 32)?),
            _other => return Ok(None),
        };
        if algorithm.is_some_and(|only| !kind.signs(only)) {
            return Err("its alg is not of its kind");
        }
        let kid = self.kid.as_deref().filter(|kid| !kid.is_empty());
        Ok(Some(PublicKey {
            kid: kid.ok_or("it has no kid")?.into(),
            kind,
            algorithm,
            bytes,
        }))
    }

    fn point(&self, bytes: usize) -> Result<Vec<u8>, &'static str> {
        let (x, y) = (number(&self.x, bytes)?, number(&self.y, bytes)?);
        Ok([&[4], x.as_slice(), y.as_slice()].concat())
    }

    /// DER of an `RSAPublicKey`.
    fn rsa(&self) -> Result<Vec<u8>, &'static str> {
        let (n, e) = (unsigned(&self.n)?, unsigned(&self.e)?);
        let leading = n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !RSA_BITS.contains(&(n.len() * 8).saturating_sub(leading)) {
            return Err("an RSA key has 2048 to 8192 bits");
        }
        let odd = e.last().is_some_and(|byte| byte % 2 == 1);
        if !odd || e.len() > 4 || e == [1] {
            return Err("its exponent is none that is used");
        }
        let body = [integer(&n), integer(&e)].concat();
        Ok(der(0x30, &body))
    }
}

fn decoded(text: &Option<String>) -> Result<Vec<u8>, &'static str> {
    let text = text.as_deref().ok_or("a part of it is missing")?;
    let bytes = URL_SAFE_NO_PAD.decode(text);
    bytes.map_err(|_| "a part of it is not base64url")
}

fn number(text: &Option<String>, bytes: usize) -> Result<Vec<u8>, &'static str> {
    let number = decoded(text)?;
    match number.len() == bytes {
        true => Ok(number),
        false => Err("a part of it has another length"),
    }
}

/// Without zeros in front.
fn unsigned(text: &Option<String>) -> Result<Vec<u8>, &'static str> {
    let bytes = decoded(text)?;
    Ok(bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn integer(unsigned: &[u8]) -> Vec<u8> {
    let high = unsigned.first().is_none_or(|byte| byte & 0x80 != 0);
    let padded = match high {
        true => [&[0], unsigned].concat(),
        false => unsigned.to_vec(),
    };
    der(0x02, &padded)
}

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let short = u8::try_from(body.len())
        .ok()
        .filter(|length| *length < 0x80);
    let head = match short {
        Some(length) => vec![tag, length],
        // At most eight bytes.
        None => [&[tag, 0x80 | length.len() as u8], length.as_slice()].concat(),
    };
    [head.as_slice(), body].concat()
}
