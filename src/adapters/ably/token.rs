//! Ably tokens as this broker mints them: `appId.payload.mac`, everything inside, signed by the issuing key.
//!
//! **Why not a stored token:** what a token may do is in it and its key is known everywhere, so every node can verify
//! it without a look-up or a commit; what ends it early is a revocation, and that is replicated.

use super::codes::Fault;
use crate::core::authority::{ApiKey, AppId, Holder, Millis, Signer, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Most bytes of a token of any kind.
pub(super) const MAX_BYTES: usize = 24 << 10;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// Its own id.
    #[serde(rename = "t")]
    pub(super) id: String,
    /// Id of the issuing key.
    #[serde(rename = "k")]
    pub(super) key: String,
    /// When it was issued, cluster time ms.
    #[serde(rename = "i")]
    pub(super) issued: Millis,
    /// When it ends, cluster time ms.
    #[serde(rename = "e")]
    pub(super) expires: Millis,
    /// The capability in its canonical form.
    #[serde(rename = "c")]
    pub(super) capability: String,
    /// The client id, or `*` for any.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<String>,
}

/// Apart from everything else that is signed with a key's secret.
const PURPOSE: &[u8] = b"gatecast ably token\n";

fn mac(key: &ApiKey, signed: &str) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.secret.0.as_bytes()).ok()?;
    mac.update(PURPOSE);
    mac.update(signed.as_bytes());
    Some(mac)
}

/// The token's text: only who has the key issues one.
pub(super) fn mint(key: &Holder, claims: &Claims) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).ok()?);
    let signed = format!("{}.{payload}", key.app);
    let tag = mac(key, &signed)?.finalize().into_bytes();
    let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    (text.len() <= MAX_BYTES).then_some(text)
}

/// Whether a text is meant to be a token of this kind; JWTs begin otherwise.
pub(super) fn is_ours(text: &str) -> bool {
    let app = text.split('.').next().unwrap_or_default();
    !app.is_empty() && app.bytes().all(|byte| byte.is_ascii_digit())
}

/// The name of the key that a token of ours says it is of, whether or not that signed it.
pub(super) fn names(text: &str) -> Option<String> {
    let (app, payload) = text.rsplit_once('.')?.0.split_once('.')?;
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    Some(format!("{app}.{}", claims.key))
}

/// Whether a text can only be meant as a token of ours: an app, what it says, and a MAC.
pub(super) fn is_one(text: &str) -> bool {
    let Some((signed, _)) = text.rsplit_once('.').filter(|_| is_ours(text)) else {
        return false;
    };
    let payload = signed.split_once('.').map(|(_, payload)| payload);
    let payload = payload.and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    payload.is_some_and(|payload| payload.starts_with(b"{"))
}

/// Reads a token and checks that its key signed it. Whether it still stands is asked elsewhere.
///
/// # Errors
/// 40005 for what is no token, 40143 for one that no key of ours has signed.
pub(super) fn verify<'s>(
    text: &str,
    state: &'s State,
) -> Result<(Claims, Signer, &'s ApiKey), Fault> {
    let malformed = || Fault::new(40005, 400, "Invalid credentials: not a token");
    let unknown = || Fault::new(40143, 401, "Token unrecognised");
    let (signed, tag) = text.rsplit_once('.').ok_or_else(malformed)?;
    let (app, payload) = signed.split_once('.').ok_or_else(malformed)?;
    let app = app.parse().map(AppId).map_err(|_| malformed())?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| malformed())?;
    let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| malformed())?;
    // The key's id has to be read before the signature can be checked; nothing else is looked at.
    let claims: Claims = serde_json::from_slice(&payload).map_err(|_| malformed())?;
    let key = state.key_of(app, &claims.key).ok_or_else(unknown)?;
    let signer = Signer::by_mac(key, &[PURPOSE, signed.as_bytes()], &tag);
    signer
        .map(|signer| (claims, signer, key))
        .ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::fixture;
    use super::*;

    fn claims() -> Claims {
        Claims {
            id: "t1".into(),
            key: fixture::KEY.into(),
            issued: 1,
            expires: 2,
            capability: "{}".into(),
            client: Some("bob".into()),
        }
    }

    #[test]
    fn a_token_reads_back_and_any_change_is_refused() {
        let state = fixture::state();
        let text = mint(&fixture::holder(), &claims()).unwrap();
        assert!(text.starts_with("3.") && is_ours(&text));
        assert_eq!(verify(&text, &state).unwrap().0, claims());
        for (at, _) in text.char_indices() {
            let mut other = text.clone().into_bytes();
            if let Some(byte) = other.get_mut(at) {
                *byte = if *byte == b'A' { b'B' } else { b'A' };
            }
            let other = String::from_utf8(other).unwrap();
            if other != text {
                let unchanged = verify(&other, &state).is_ok_and(|(read, ..)| read == claims());
                // The last letter of unpadded base64 may carry bits that mean nothing.
                assert!(!unchanged || at + 1 == text.len(), "{at}");
            }
        }
        assert_eq!(verify("3.x", &state).unwrap_err().code, 40005);
        let mut elsewhere = claims();
        elsewhere.key = "other".into();
        let text = mint(&fixture::holder(), &elsewhere).unwrap();
        assert_eq!(verify(&text, &state).unwrap_err().code, 40143);
    }
}
