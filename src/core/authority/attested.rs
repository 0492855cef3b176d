//! What an identity provider has signed, as a type: made by looking at a signature, and in no other way.
//!
//! **Must never know:** how a token looks on a wire.
//! **Why beside [`Holder`](super::holder) and not in it:** whoever shows a key's secret or a MAC has that key's word. A
//! provider has no key of ours: its word counts up to the key that is its ceiling, and only as long as the provider, its
//! own key, the algorithm, the audience and the ceiling stay what they were. All of that rides in the proof and is judged
//! at every decision.

use crate::core::access::{
    Algorithm, AppId, Capability, Issued, Millis, Principal, Proof, Provider, ProviderKey, State,
    Text, Vouched,
};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use std::sync::Arc;

/// How a text says that it is signed: nothing of it is believed before the provider's record agrees.
#[derive(Clone, Copy, Debug)]
pub struct SaidBy<'a> {
    /// Which of the provider's keys.
    pub kid: &'a str,
    /// How it is signed.
    pub algorithm: Algorithm,
    /// Which of the provider's audiences it is for.
    pub audience: &'a str,
}

/// Why nothing is attested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattested {
    /// The provider is switched off.
    Disabled,
    /// It has no key of that id.
    NoKey,
    /// It, or that key, does not sign so.
    Algorithm,
    /// It is not for any of the provider's audiences.
    Audience,
    /// The signature is not that key's.
    Signature,
}

/// A text that a provider has signed, for one of its audiences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attested {
    app: AppId,
    ceiling: Text,
    by: Arc<Vouched>,
}

/// What an attested text says of its bearer.
#[derive(Clone, Debug, PartialEq)]
pub struct Bearer {
    /// The user it names.
    pub user: Text,
    /// The session in which she signed in.
    pub session: Option<Text>,
    /// How the text itself is revoked.
    pub token: Text,
    /// Its time of issue.
    pub issued_ms: Millis,
    /// When it is over.
    pub expires_ms: Millis,
    /// The user groups that it says she is in.
    pub groups: Vec<Text>,
    /// What it may do by itself.
    pub capability: Capability,
}

impl Attested {
    /// By the signature of what was said.
    ///
    /// # Errors
    /// See [`Unattested`].
    pub fn by_signature(
        provider: &Provider,
        said: SaidBy<'_>,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<Self, Unattested> {
        if !provider.enabled {
            return Err(Unattested::Disabled);
        }
        let audiences = &provider.audiences;
        let audience = audiences.iter().find(|one| ***one == *said.audience);
        let audience = audience.ok_or(Unattested::Audience)?;
        let key = signed_by(provider, (said.kid, said.algorithm), signed, signature)?;
        Ok(Self {
            app: provider.app,
            ceiling: provider.ceiling.clone(),
            by: Arc::new(Vouched {
                provider: provider.id.clone(),
                kid: key.key.kid.clone(),
                since: key.since,
                algorithm: said.algorithm,
                audience: audience.clone(),
                groups: Arc::default(),
            }),
        })
    }

    /// The provider that signed.
    #[must_use]
    pub fn provider(&self) -> &Text {
        &self.by.provider
    }

    /// Whoever shows it, up to the ceiling.
    #[must_use]
    pub fn principal(&self, bearer: Bearer) -> Principal {
        let provider = &self.by.provider;
        let key = match &bearer.session {
            Some(session) => session_key(provider, session),
            None => sessionless_key(provider, &bearer.user),
        };
        let proof = Proof {
            key: self.ceiling.clone(),
            issued: Issued::At(bearer.issued_ms),
            expires_ms: Some(bearer.expires_ms),
            capability: bearer.capability,
            vouched: Some(self.vouched(bearer.groups)),
        };
        Principal {
            revocation_key: Some(key),
            user: Some(bearer.user),
            token: Some(bearer.token),
            ..Principal::proven(self.app, proof)
        }
    }
}

/// For as long as the provider vouches for the rest.
impl Attested {
    fn vouched(&self, mut groups: Vec<Text>) -> Arc<Vouched> {
        if groups.is_empty() {
            return self.by.clone();
        }
        groups.sort();
        groups.dedup();
        let groups = groups.into();
        let by = Vouched::clone(&self.by);
        Arc::new(Vouched { groups, ..by })
    }
}

/// The provider's key that a text is signed with. It says so of itself, and of nobody who shows it.
///
/// # Errors
/// See [`Unattested`]; for whom it is does not count.
pub fn signed_by<'p>(
    provider: &'p Provider,
    (kid, algorithm): (&str, Algorithm),
    signed: &[u8],
    signature: &[u8],
) -> Result<&'p ProviderKey, Unattested> {
    if !provider.enabled {
        return Err(Unattested::Disabled);
    }
    let key = provider.key(kid).ok_or(Unattested::NoKey)?;
    if !provider.signs(&key.key, algorithm) {
        return Err(Unattested::Algorithm);
    }
    let public = UnparsedPublicKey::new(check(algorithm), &key.key.bytes);
    let verified = public.verify(signed, signature);
    verified.map_err(|_| Unattested::Signature)?;
    Ok(key)
}

/// How a session of a provider is revoked: by a name that begins as no other provider's does.
#[must_use]
pub fn session_key(provider: &str, session: &str) -> Text {
    format!("session:{provider}:{session}").into()
}

/// How those tokens of a user are revoked that name no session: each may be of any of hers, so all of them end with each.
#[must_use]
pub fn sessionless_key(provider: &str, user: &str) -> Text {
    format!("sessionless:{provider}:{user}").into()
}

/// What a provider's token may do by itself where its rights are its ceiling's.
#[must_use]
pub fn whole_ceiling(state: &State, provider: &Provider) -> Capability {
    let key = state.key_of(provider.app, &provider.ceiling);
    key.map_or_else(Capability::default, |key| key.capability.clone())
}

fn check(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &ED25519,
    }
}
