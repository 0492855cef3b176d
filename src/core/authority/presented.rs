//! A text that somebody presents as a token: what it is in one dialect, and under which name the access plane knows it.
//!
//! **Must never know:** any dialect's encoding: each adapter reads its own.
//! **Why it is read at all:** a signed token is not stored, so that revoking its text would void nothing, and whoever
//! holds a leaked token has nothing but the text.

use crate::core::access::{AppId, Millis, Principal, State, Text};

/// What a text is to one dialect.
#[derive(Clone, Debug, PartialEq)]
pub enum Presented {
    /// Nothing that this dialect signs: a stored token or auth key, perhaps.
    Other,
    /// Of this dialect's shape, and nobody who counts here has signed it, or it is over.
    Foreign,
    /// A signed token that does not count now and may do so later (its time has not come, who signed it may not vouch at
    /// the moment): how revocations name it. Whoever ends it must not find it good afterwards.
    Unproven(Text),
    /// A token that a key of the app has signed: who bears it. Its `token` is how revocations name it.
    Signed(Box<Principal>),
}

/// One dialect's way to read such a text, for an app, at a time.
pub type ReadToken = fn(&State, AppId, &str, Millis) -> Presented;

impl Presented {
    /// The name by which a signed token can be revoked.
    #[must_use]
    pub fn id(&self) -> Option<Text> {
        match self {
            Self::Signed(bearer) => bearer.token.clone(),
            Self::Unproven(id) => Some(id.clone()),
            Self::Other | Self::Foreign => None,
        }
    }
}
