//! Refusals: everything the core can say no with. An error answers a request; it never ends a connection
//! (that is [`super::close`]).
//!
//! **Must never know:** any dialect's numbers or texts: each adapter's `codes.rs` maps these exhaustively.

use super::access::Reason;
use super::ids::Text;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Access was denied, for this reason.
    #[error("access is denied")]
    Denied(Reason),
    /// A named limit would be exceeded.
    #[error("limit {limit} of {max} exceeded")]
    Limit {
        /// The limit's name as in the app's settings.
        limit: &'static str,
        /// The value of the limit.
        max: u64,
    },
    /// Too fast; try again after this many milliseconds.
    #[error("rate limit {limit}; retry after {retry_ms} ms")]
    Rate {
        /// The limit's name.
        limit: &'static str,
        /// When to try again.
        retry_ms: u64,
    },
    /// The subscription exists already.
    #[error("already subscribed")]
    AlreadySubscribed,
    /// There is no such subscription.
    #[error("not subscribed")]
    NotSubscribed,
    /// Malformed; the text says what.
    #[error("invalid: {0}")]
    Invalid(Text),
    /// The node or the channel's home cannot serve now; nothing was done; try again.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
    /// The time ran out after the request was handed over: it may or may not have happened.
    #[error("outcome unknown")]
    OutcomeUnknown,
}
