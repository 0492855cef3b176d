//! Issues credentials that state when they were issued, at a time that no earlier revocation reaches.
//!
//! **Why wait and not write a later time down:** a revocation reaches what was issued in its own millisecond, so a
//! credential made then would be void from the start. One that said the next millisecond would stand, and slip past a
//! revocation that is made in what is left of this one.

use super::facade::Authority;
use crate::core::access::{Millis, Principal, Reason};
use crate::core::error::Refusal;
use std::time::Duration;

/// Tries, a millisecond apart: many more than a revocation of this millisecond can cost.
const MAX_TRIES: u32 = 20;

impl Authority {
    /// What `make` makes for a time of issue, with whom it speaks for: made now, or as soon as no revocation that
    /// this node knows of reaches it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] when it went on being revoked; what `make` fails with.
    pub async fn issue<T, E: From<Refusal>>(
        &self,
        mut make: impl FnMut(Millis) -> Result<(T, Principal), E>,
    ) -> Result<T, E> {
        for _ in 0..MAX_TRIES {
            let (made, principal) = make(self.now().cluster_ms)?;
            match self.objection(&principal) {
                Some(Reason::Revoked { .. }) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                // Anything else is told when it is used.
                Some(_) | None => return Ok(made),
            }
        }
        Err(Refusal::Unavailable("the credential was revoked while it was made").into())
    }
}
