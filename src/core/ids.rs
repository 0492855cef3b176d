//! Names of things: connections, channels, positions.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub use super::access::{AppId, NodeId, Text};

/// A client connection, unique in the cluster for ever. Random, so that it can stand in a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u64, pub u64);

impl ConnectionId {
    /// A new one. 31 random bits each side of the dot that Pusher prints; collisions within an app are
    /// refused by nobody, so the space is kept wide: 2^62.
    #[must_use]
    pub fn random() -> Self {
        use rand::Rng as _;
        let mut rng = rand::rng();
        Self(rng.random_range(1..1 << 31), rng.random_range(1..1 << 31))
    }
}

/// Which name space a channel-like thing lives in. All of them have one home, one backup, an order,
/// presence and history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Space {
    /// What every dialect calls a channel.
    Channel,
    /// All connections of one user: server-to-user messages.
    User,
    /// Who is online: a user's connections are the presence set, those who watch her are the subscribers.
    Status,
    /// What is repeated of all channels below a level (`a.*`).
    Wildcard,
    /// An app's lifecycle events that could not be brought where they belong. Nobody subscribes to it.
    DeadLetters,
}

/// A channel's full name. Names are compared byte by byte and never normalised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelKey {
    /// The app it is about.
    pub app: AppId,
    /// The name space.
    pub space: Space,
    /// The name of the channel within its space.
    pub name: Text,
}

impl ChannelKey {
    /// A channel of that name.
    #[must_use]
    pub fn channel(app: AppId, name: &str) -> Arc<Self> {
        Arc::new(Self {
            app,
            space: Space::Channel,
            name: name.into(),
        })
    }

    /// What is repeated of everything below a level; the name ends in `.*`.
    #[must_use]
    pub fn wildcard(app: AppId, name: &str) -> Arc<Self> {
        Arc::new(Self {
            app,
            space: Space::Wildcard,
            name: name.into(),
        })
    }

    /// Whether that user is online.
    #[must_use]
    pub fn status(app: AppId, user: &str) -> Arc<Self> {
        Arc::new(Self {
            app,
            space: Space::Status,
            name: user.into(),
        })
    }

    /// Where the lifecycle events of an app are kept that were given up: copied, moved and bounded like any channel.
    #[must_use]
    pub fn dead_letters(app: AppId) -> Arc<Self> {
        Arc::new(Self {
            app,
            space: Space::DeadLetters,
            name: "".into(),
        })
    }

    /// The inbox of that user.
    #[must_use]
    pub fn user(app: AppId, user: &str) -> Arc<Self> {
        Arc::new(Self {
            app,
            space: Space::User,
            name: user.into(),
        })
    }
}

/// Where in a channel's stream something stands. A different epoch is a different stream: positions of
/// two epochs cannot be compared, so a lost stream never looks like a resumed one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The epoch of the stream that it is in.
    pub epoch: u64,
    /// Counts publications in it, from 1. 0 = before the first.
    pub seq: u64,
}

/// Unix time in units of 100 ns, strictly increasing per home: 17 digits today.
pub type Timetoken = u64;
