//! Presence sets that a connection has entered apart from its subscriptions. Pure.
//!
//! **Why an entry can be somebody else's:** a trusted client enters many, each under her own name. What is taken from
//! one of them takes her entry, and leaves the connection to the others.

use super::io::{Output, ask};
use super::reached::Named;
use crate::core::authority::{AccessQuery, Operations, Pass, Proof, SpokenFor, Text};
use crate::core::ids::ChannelKey;
use std::sync::Arc;

/// A presence set entered apart from a subscription.
#[derive(Debug)]
pub(crate) struct PresenceEntry<A> {
    pub(super) key: Arc<ChannelKey>,
    pub(super) channel: A,
    pub(super) client: Text,
    pub(super) pass: Pass,
    pub(super) proof: Option<Box<Proof>>,
    /// Whom it enters, where it is not the principal's own user.
    pub(super) speaks_for: Option<Box<SpokenFor>>,
}

/// What an entry is made with.
#[derive(Debug)]
pub struct NewPresenceEntry<'a> {
    /// The channel whose presence set is entered.
    pub key: &'a Arc<ChannelKey>,
    /// The client id of the member.
    pub client: &'a Text,
    /// A proof for just this channel.
    pub proof: Option<Box<Proof>>,
    /// Whom it enters, where it is not the principal's own user.
    pub speaks_for: Option<Box<SpokenFor>>,
    /// What permits it.
    pub pass: Pass,
}

impl<A: Clone> PresenceEntry<A> {
    pub(super) fn ask(&self) -> AccessQuery<'_> {
        AccessQuery {
            speaks_for: self.speaks_for.as_deref(),
            ..ask(&self.key, Operations::PRESENCE, Operations::NONE)
        }
    }

    pub(super) fn leaving(&self) -> Output<A> {
        Output::LeavePresence(
            self.key.clone(),
            self.channel.clone(),
            self.pass.clone(),
            self.client.clone(),
        )
    }

    /// Whether it is this user's whom the connection is not.
    pub(super) fn is_for(&self, named: Named<'_>) -> bool {
        let other = self.speaks_for.as_ref();
        other.is_some_and(|other| named.user(&other.user))
    }
}
