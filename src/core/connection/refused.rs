//! What operators are told of a connection that is refused something: who it is, as far as anybody knows.
//!
//! **Why beside the connection's state:** that says what may be relied on. This says what somebody claimed, and is never
//! asked when anything is decided.

use super::accepted::AcceptedConnection;
use crate::core::authority::Principal;
use crate::core::ids::{AppId, Text};
use crate::core::refusals::Told;

/// A client, by what it says.
#[derive(Debug)]
pub(super) struct Stranger {
    /// The dialect it speaks, by the name that apps enable it under.
    pub(super) dialect: &'static str,
    pub(super) remote: Text,
    app: Option<AppId>,
    key: Option<Text>,
    /// Whom it wants to speak for and may not, while it is told so.
    pub(super) turned_down: Option<Box<Principal>>,
}

impl Stranger {
    /// By what it named when it came.
    pub(super) fn new(accepted: &AcceptedConnection) -> Self {
        let (app, key) = accepted.asked.clone();
        Self {
            dialect: accepted.dialect,
            remote: accepted.remote.clone(),
            app,
            key,
            turned_down: None,
        }
    }

    /// A refusal with what is known of who is refused.
    pub(super) fn told(&self, told: Told, principal: Option<&Principal>) -> Told {
        let principal = self.turned_down.as_deref().or(principal);
        let held = principal.and_then(|who| who.keys().next());
        told.app(principal.map(|who| who.app).or(self.app))
            .key(held.or(self.key.as_ref()).map(|key| &**key))
            .user(principal.and_then(|who| who.user.as_deref()))
    }
}
