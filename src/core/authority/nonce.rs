//! Single use: a nonce is accepted at most once in the whole cluster.
//!
//! **Must never know:** which dialect's request carried it.
//! **Why a fresh request id for every call:** a retry under the same id is answered with the first one's success,
//! and that is exactly what a replay must not be.

use super::{AppId, Authority, Command, Millis, ProposeError, Rejection, RequestId, Text};

/// Why a nonce was not accepted. In every case the request that carried it must be refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonceRefused {
    /// It was used before, through whichever node.
    #[error("the nonce was used before")]
    Used,
    /// It, its key or its time cannot be used.
    #[error("the nonce cannot be used: {0:?}")]
    Unusable(Rejection),
    /// It is not known whether it was free; it may be used up now.
    #[error("the nonce could not be checked: {0}")]
    Unchecked(ProposeError),
}

impl Authority {
    /// Uses up a nonce of this key. `Ok` = it was free until now and nobody else gets this answer, on any node,
    /// before `expires_ms` (cluster time, at most a day ahead).
    ///
    /// # Errors
    /// See [`NonceRefused`].
    pub async fn use_nonce(
        &self,
        app: AppId,
        key: &str,
        nonce: &str,
        expires_ms: Millis,
    ) -> Result<(), NonceRefused> {
        let (key, nonce): (Text, Text) = (key.into(), nonce.into());
        let command = Command::UseNonce {
            app,
            key,
            nonce,
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
