//! What a provider tells by a token with an id of its own is one request, through whichever node and however often it comes.

use crate::core::authority::{AppId, Text};
use sha2::{Digest as _, Sha256};

/// The request that such a token is: the same for the same id of the same provider, and of the same kind.
pub(super) fn request(kind: &str, app: AppId, provider: &Text, id: &Text) -> u128 {
    let mut hash = Sha256::new();
    hash.update(format!("gatecast {kind}\n"));
    hash.update(app.0.to_be_bytes());
    for part in [provider, id] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let head = digest.iter().take(16);
    head.fold(0, |id, byte| id << 8 | u128::from(*byte))
}
