//! Once only: what a key's secret has signed is accepted at most once in the whole cluster.
//!
//! **Why what was signed and not what was sent:** the same signed text can be sent in many spellings (numbers, escapes,
//! doubled fields), and a table keyed by one of them lets the next one pass. So the only thing that can be used up is a
//! [`Signed`], and only a MAC that was verified makes one.
//! **Why a fresh request id for every call:** a retry under the same id is answered with the first one's success, and
//! that is exactly what a replay must not be.

use super::facade::Authority;
use super::holder::Holder;
use crate::core::access::{ApiKey, Command, Millis, ProposeError, Rejection, RequestId, Text};
use sha2::{Digest as _, Sha256};

/// A text that a key's secret has signed: known by its digest, so that nothing of how it arrived counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    holder: Holder,
    digest: [u8; 32],
}

impl Signed {
    /// What is asked, which is these parts one after the other, if `tag` is their HMAC-SHA256 under the key's secret.
    #[must_use]
    pub fn by_mac(key: &ApiKey, asked: &[&[u8]], tag: &[u8]) -> Option<Self> {
        let holder = Holder::by_mac(key, asked, tag)?;
        let mut digest = Sha256::new();
        for part in asked {
            digest.update(part);
        }
        Some(Self {
            holder,
            digest: digest.finalize().into(),
        })
    }

    /// The holder of the key that signed the request.
    #[must_use]
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// How it is written down as used.
    fn nonce(&self) -> Text {
        hex::encode(self.digest).into()
    }
}

/// Why what was signed is not accepted. In every case the request that carried it must be refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonceRefused {
    /// It was used before, through whichever node.
    #[error("it was used before")]
    Used,
    /// Its key or its time cannot be used.
    #[error("it cannot be used: {0}")]
    Unusable(Rejection),
    /// It is not known whether it was free; it may be used up now.
    #[error("it could not be checked: {0}")]
    Unchecked(ProposeError),
}

impl Authority {
    /// Uses up what was signed. `Ok` = it was free until now and nobody else gets this answer, on any node, before
    /// `expires_ms` (cluster time, at most a day ahead).
    ///
    /// # Errors
    /// See [`NonceRefused`].
    pub async fn use_once(&self, signed: &Signed, expires_ms: Millis) -> Result<(), NonceRefused> {
        let command = Command::UseNonce {
            app: signed.holder.app,
            key: signed.holder.id.clone(),
            nonce: signed.nonce(),
            expires_ms,
        };
        match self.change(RequestId(rand::random()), command).await {
            Ok(_) => Ok(()),
            Err(ProposeError::Rejected(Rejection::NonceUsed)) => Err(NonceRefused::Used),
            Err(ProposeError::Rejected(other)) => Err(NonceRefused::Unusable(other)),
            Err(other) => Err(NonceRefused::Unchecked(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{AppId, Capability, Secret};
    use super::*;
    use hmac::{Hmac, KeyInit as _, Mac as _};

    fn key(id: &str, secret: &str) -> ApiKey {
        ApiKey {
            id: id.into(),
            app: AppId(1),
            name: "k".into(),
            secret: Secret(secret.into()),
            capability: Capability::full(),
            enabled: true,
            expires_ms: None,
            revocable_tokens: false,
            created_ms: 0,
            revision: 1,
        }
    }

    fn tag(secret: &str, text: &str) -> Vec<u8> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }

    #[test]
    fn it_is_known_by_its_text_and_by_whom() {
        let key = key("k1", "s");
        let of = |parts: &[&str], text: &str| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            Signed::by_mac(&key, &parts, &tag("s", text))
        };
        let whole = of(&["a\nb\n"], "a\nb\n").unwrap();
        assert_eq!(of(&["a", "\n", "b\n"], "a\nb\n"), Some(whole.clone()));
        assert_ne!(of(&["a\nc\n"], "a\nc\n"), Some(whole.clone()));
        assert_eq!(of(&["a\nb\n"], "a\nc\n"), None, "another text's tag");
        let other = self::key("k2", "s");
        let other = Signed::by_mac(&other, &[b"a\nb\n"], &tag("s", "a\nb\n")).unwrap();
        assert_ne!(other, whole, "each key has its own");
        let again = of(&["a\nb", "\n"], "a\nb\n").unwrap();
        assert_eq!(
            again.nonce(),
            whole.nonce(),
            "it is written down as it is known"
        );
        assert_ne!(of(&["a\nc\n"], "a\nc\n").unwrap().nonce(), whole.nonce());
    }
}
