//! Looks up once more, in a newer view, what was not found in this one: nobody is refused for good on a view that may be
//! old.
//!
//! **Why one function and not `catch_up` in each dialect:** whoever called it could drop its error, and then told a
//! client for good that a key did not exist when in truth nobody had confirmed it. Clients give up over that.

use super::facade::Authority;
use crate::core::access::State;
use crate::core::error::Refusal;

/// What is told when a refusal could not be confirmed on a fresh view.
pub const UNCONFIRMED: Refusal = Refusal::Unavailable("the access view could not be confirmed");

impl Authority {
    /// What `look` finds in this node's view. Where it fails with something that a newer view may lift, it looks again
    /// in one that has everything acknowledged anywhere when the call began.
    ///
    /// # Errors
    /// Those of `look`; [`UNCONFIRMED`] when no majority confirms the view in time and it still finds nothing.
    pub async fn look<T, E: From<Refusal>>(
        &self,
        look: impl Fn(&State) -> Result<T, E>,
        may_be_lifted: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        match look(&self.view()) {
            Err(error) if may_be_lifted(&error) => {}
            settled => return settled,
        }
        let confirmed = self.catch_up().await.is_ok();
        look(&self.view()).map_err(|error| match confirmed || !may_be_lifted(&error) {
            true => error,
            false => UNCONFIRMED.into(),
        })
    }
}
