//! Who showed a key, as types: a [`Holder`] asks by itself, of a [`Signer`] somebody shows a signature.
//!
//! What is done in a key's name (issuing, revoking, granting, publishing with all of its rights) takes a [`Holder`];
//! what a credential carries, and whose word an identity is, takes a [`Signer`]. Both are made here only, by looking at
//! a secret or a MAC, so that "its key's name matches" does not compile where "its key was shown" is meant.
//!
//! **Why not one type for both:** whoever holds a token shows a MAC under the key as well, and is not the key.

use crate::core::access::{
    ApiKey, AppId, Capability, Grant, GrantKey, Issued, Issuer, Millis, Pattern, Principal, Proof,
    Revision, Right, State, Text,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Whoever asks has this key: its secret came along, or a MAC under it of just what is asked. Says nothing of whether
/// the key is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(ApiKey);

impl Holder {
    /// By the secret. The time it takes tells nothing of where the two differ, and for a key that nobody has as much is
    /// done as for one whose secret was not shown.
    #[must_use]
    pub fn by_secret<'k>(key: impl Into<Option<&'k ApiKey>>, shown: &[u8]) -> Option<Self> {
        let key = key.into();
        let secret = key.map_or(&b""[..], |key| key.secret.0.as_bytes());
        let same = same(secret, shown);
        key.filter(|_| same).map(|key| Self(key.clone()))
    }

    /// By the HMAC-SHA256 of what is asked, which is these parts one after the other.
    #[must_use]
    pub fn by_mac(key: &ApiKey, asked: &[&[u8]], tag: &[u8]) -> Option<Self> {
        is_mac(key.secret.0.as_bytes(), asked, tag).then(|| Self(key.clone()))
    }

    /// The key that was shown.
    #[must_use]
    pub fn key(&self) -> &ApiKey {
        &self.0
    }

    /// As the maker of a change.
    #[must_use]
    pub fn issuer(&self) -> Issuer {
        Issuer::Key(self.0.id.clone())
    }

    /// What it says counts as signed.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer::of(&self.0)
    }

    /// As one who asks, with everything that the key may do.
    #[must_use]
    pub fn principal(&self, seen: Revision) -> Principal {
        let capability = self.0.capability.clone();
        let proof = self.signer().proof(Issued::Seen(seen), None, capability);
        Principal::proven(self.0.app, proof)
    }
}

impl std::ops::Deref for Holder {
    type Target = ApiKey;
    fn deref(&self) -> &ApiKey {
        &self.0
    }
}

/// The key under which something was signed that somebody else may be showing: it vouches for what that says, and for
/// nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    app: AppId,
    key: Text,
}

impl Signer {
    fn of(key: &ApiKey) -> Self {
        Self {
            app: key.app,
            key: key.id.clone(),
        }
    }

    /// By the HMAC-SHA256 of what is said, which is these parts one after the other.
    #[must_use]
    pub fn by_mac(key: &ApiKey, said: &[&[u8]], tag: &[u8]) -> Option<Self> {
        is_mac(key.secret.0.as_bytes(), said, tag).then(|| Self::of(key))
    }

    /// The same under a secret that is derived from the key's for one `purpose`.
    #[must_use]
    pub fn by_derived_mac(
        key: &ApiKey,
        purpose: &[&[u8]],
        said: &[u8],
        tag: &[u8],
    ) -> Option<Self> {
        let derived = mac(key.secret.0.as_bytes(), purpose)?;
        let derived = derived.finalize().into_bytes();
        is_mac(&derived, &[said], tag).then(|| Self::of(key))
    }

    /// Who wrote a stored grant counts as its signer; none for an operator's.
    #[must_use]
    pub fn by_grant(state: &State, place: &GrantKey, grant: &Grant) -> Option<Self> {
        let Issuer::Key(issuer) = &grant.issuer else {
            return None;
        };
        let key = state.key_successors.get(issuer).unwrap_or(issuer).clone();
        Some(Self {
            app: place.app,
            key,
        })
    }

    /// The key's id.
    #[must_use]
    pub fn key(&self) -> &Text {
        &self.key
    }

    /// A right that was signed. It never exceeds the key: that is judged at every decision.
    #[must_use]
    pub fn proof(
        &self,
        issued: Issued,
        expires_ms: Option<Millis>,
        capability: Capability,
    ) -> Proof {
        Proof {
            key: self.key.clone(),
            issued,
            expires_ms,
            capability,
            vouched: None,
        }
    }

    /// A right to one thing, live now.
    #[must_use]
    pub fn right(&self, seen: Revision, right: Right) -> Proof {
        let rights = vec![right];
        self.proof(Issued::Seen(seen), None, Capability { rights })
    }

    /// Whoever shows it, with the right that it carries.
    #[must_use]
    pub fn principal(
        &self,
        issued: Issued,
        expires_ms: Option<Millis>,
        capability: Capability,
    ) -> Principal {
        Principal::proven(self.app, self.proof(issued, expires_ms, capability))
    }
}

/// What the broker itself does in an app's name, without anybody having asked: under the app's oldest live key that may.
#[must_use]
pub fn server_proof(state: &State, app: AppId, right: Right, now_ms: Millis) -> Option<Proof> {
    let Pattern::Exact(name) = &right.pattern else {
        return None;
    };
    let may = |key: &&ApiKey| {
        let has = key.capability.operations_on(right.resource, name);
        key.is_live(now_ms) && has.contains(right.operations)
    };
    let keys = state.keys_of(app).filter(may);
    let key = keys.min_by_key(|key| key.created_ms)?;
    Some(Signer::of(key).right(state.revision, right))
}

/// Equal, looked at by their digests: of one length, whatever theirs is.
fn same(one: &[u8], other: &[u8]) -> bool {
    #[cfg(test)]
    LOOKS.with(|looks| looks.set(looks.get() + 1));
    let (one, other) = (Sha256::digest(one), Sha256::digest(other));
    one.as_slice().ct_eq(other.as_slice()).into()
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}

fn is_mac(secret: &[u8], parts: &[&[u8]], tag: &[u8]) -> bool {
    mac(secret, parts).is_some_and(|mac| mac.verify_slice(tag).is_ok())
}

#[cfg(test)]
thread_local! {
    /// How often a secret was looked at.
    static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How often a secret was looked at by this thread, whether or not there was a key with one.
#[cfg(test)]
pub(crate) fn looks() -> u64 {
    LOOKS.with(std::cell::Cell::get)
}

/// For tests of what comes after a key was shown.
#[cfg(test)]
impl Signer {
    pub(crate) fn unchecked(app: AppId, key: &str) -> Self {
        let key = key.into();
        Self { app, key }
    }
}
