//! The three parts of a signed token (RFC 7515, compact), taken apart and bounded. Nothing in them is believed yet.
//!
//! **Must never know:** keys, providers, what claims mean.
//! **Why no library:** the one that is here takes an algorithm from the header and asks for a key in its own form. Here the
//! header is read for three names; what it says of keys (`jwk`, `jku`, `x5u`, `x5c`) is never looked at.

use super::Refused;
use crate::core::authority::{Algorithm, Millis, Text};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// Longest token that is looked at.
pub(super) const MAX_BYTES: usize = 8 << 10;
/// Most audiences of one token.
const AUDIENCES: usize = 32;

/// What the header says. A name that stands there twice is an error.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    /// Whatever it is, we do not know it.
    #[serde(default)]
    crit: Option<Value>,
    /// Unencoded payloads (RFC 7797) are not taken.
    #[serde(default)]
    b64: Option<Value>,
}

/// A signed token, not verified.
#[derive(Debug)]
pub(super) struct Compact<'t> {
    /// What the signature is over.
    pub(super) signed: &'t [u8],
    pub(super) signature: Vec<u8>,
    pub(super) algorithm: Algorithm,
    pub(super) kid: String,
    /// In small letters, without `application/`.
    pub(super) kind: Option<String>,
    claims: Map<String, Value>,
}

/// Whether a text can only be meant as a provider's token: three parts, the first a header with an algorithm that
/// providers sign with. Whatever else it is, a dialect may have its own tokens of that shape.
#[must_use]
pub fn is_meant(text: &str) -> bool {
    if !text.starts_with("eyJ") || text.bytes().filter(|byte| *byte == b'.').count() != 2 {
        return false;
    }
    // A header has three short names; what is longer is refused as a token, and not taken for something else.
    let head = text.split('.').next().unwrap_or_default();
    if head.len() > MAX_BYTES {
        return false;
    }
    let header = part::<Value>(head);
    let algorithm = header
        .as_ref()
        .and_then(|header| header.get("alg")?.as_str());
    algorithm.is_some_and(|name| Algorithm::named(name).is_some())
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

impl<'t> Compact<'t> {
    /// Takes a token apart.
    pub(super) fn parse(text: &'t str) -> Result<Self, Refused> {
        if text.len() > MAX_BYTES {
            return Err(Refused::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Refused::Malformed)?;
        let (head, payload) = signed.split_once('.').ok_or(Refused::Malformed)?;
        let header: Header = part(head).ok_or(Refused::Malformed)?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(Refused::Critical);
        }
        let algorithm = Algorithm::named(&header.alg).ok_or(Refused::NoAlgorithm)?;
        let kid = header.kid.ok_or(Refused::Claim("kid"))?;
        let kind = header.typ.map(|typ| typ.to_ascii_lowercase());
        let signature = URL_SAFE_NO_PAD.decode(signature);
        Ok(Self {
            signed: signed.as_bytes(),
            signature: signature.map_err(|_| Refused::Malformed)?,
            algorithm,
            kid,
            kind: kind.map(|kind| kind.trim_start_matches("application/").to_owned()),
            claims: part(payload).ok_or(Refused::Malformed)?,
        })
    }

    /// How revocations name it: by what is signed. A signature may have other spellings that verify as well.
    pub(super) fn id(&self) -> Text {
        let digest = Sha256::digest(self.signed);
        format!("jwt:{}", URL_SAFE_NO_PAD.encode(digest)).into()
    }

    /// A claim by its name.
    pub(super) fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }

    /// A claim that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.claim(name).and_then(Value::as_str)
    }

    /// A claim that is a time in seconds, perhaps with a fraction. What is no time is an error, also where none is needed.
    pub(super) fn time(&self, name: &'static str) -> Result<Option<Millis>, Refused> {
        let Some(value) = self.claim(name) else {
            return Ok(None);
        };
        let seconds = value.as_f64().filter(|s| (0.0..1e11).contains(s));
        let seconds = seconds.ok_or(Refused::Claim(name))?;
        // In range by the filter above.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Some((seconds * 1000.0).round() as Millis))
    }

    /// For whom it says to be.
    pub(super) fn audiences(&self) -> Result<Vec<&str>, Refused> {
        let all: Vec<&str> = match self.claim("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) if several.len() <= AUDIENCES => several
                .iter()
                .map(Value::as_str)
                .collect::<Option<_>>()
                .ok_or(Refused::Claim("aud"))?,
            Some(_) | None => Vec::new(),
        };
        match all.is_empty() {
            true => Err(Refused::Claim("aud")),
            false => Ok(all),
        }
    }
}
