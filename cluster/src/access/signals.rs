//! What an identity provider tells of its own accord (Shared Signals): how its events come, and what those of them mean here
//! that mean something only where the app says so.
//!
//! **Must never know:** how an event looks on a wire, or how one is fetched. **Why beside the provider and not in its record:** a
//! provider is judged at every decision, this at an event; and its secrets are not with what is shown of a provider.

use super::records::{Secret, Target};
use super::{AppId, Millis, Revision, State, Text};
use serde::{Deserialize, Serialize};

/// What a user's devices or log-ins that got worse mean for what was issued to her before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reaction {
    /// It means nothing.
    #[default]
    Ignore,
    /// It is void, until she has a newer token.
    NewerToken,
}

/// How events come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// The provider sends them (RFC 8935).
    Push {
        /// What it has to show beside its signature, where something was agreed on.
        bearer: Option<Secret>,
    },
    /// The node that leads asks for them (RFC 8936).
    Poll {
        /// Where it asks.
        endpoint: Text,
    },
}

/// A stream that was made at the provider, and how it is asked about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Its id there.
    pub id: Text,
    /// Where it is changed and taken away.
    pub configuration: Text,
    /// Where access tokens come from.
    pub token: Text,
    /// The client that asks.
    pub client: Text,
    /// The secret of that client.
    pub secret: Secret,
    /// The scope that is asked for, if one is.
    pub scope: Option<Text>,
    /// What a verification has to say that was asked for.
    pub state: Option<Text>,
}

/// How signals are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalsSpec {
    /// For whom events may be beside the provider's audiences.
    pub audiences: Vec<Text>,
    /// What it means that a device no longer does as it should.
    pub device_compliance: Reaction,
    /// What it means that a log-in counts for less.
    pub assurance_level: Reaction,
    /// How events come.
    pub delivery: Delivery,
    /// The stream, where it was made from here.
    pub stream: Option<Stream>,
}

/// How they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signals {
    /// As was asked for.
    pub spec: SignalsSpec,
    /// When the provider last proved that the stream works.
    pub verified_ms: Option<Millis>,
    /// When it last changed.
    pub revision: Revision,
}

/// An event that a provider has told of somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The app that it is about.
    pub app: AppId,
    /// Which provider it is.
    pub provider: Text,
    /// The event's own id: it is carried out once.
    pub id: Text,
    /// What was issued before this is meant.
    pub issued_before_ms: Millis,
    /// Whom, or which session, it is about.
    pub targets: Vec<Target>,
    /// What a verification says.
    pub verifies: Option<Text>,
}

impl State {
    /// How it stands with a provider's signals.
    #[must_use]
    pub fn signals_of(&self, app: AppId, provider: &str) -> Option<&Signals> {
        self.signals.get(&(app, Text::from(provider)))
    }
}
