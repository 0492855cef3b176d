//! Operations and capabilities: what a right says once no vendor's words are left in it.
//!
//! **Must never know:** how a dialect spells its rights. Capability JSON, bit masks, `rwp` letters and
//! channel signatures are parsed into this at the edge and never consulted again.

use super::{Pattern, Resource};
use serde::{Deserialize, Serialize};

/// A set of operations, one bit each. Bits are only appended: they are stored.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Operations(pub u64);

impl Operations {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Receive messages.
    pub const SUBSCRIBE: Self = Self(1);
    /// Send messages.
    pub const PUBLISH: Self = Self(1 << 1);
    /// Be a member of the presence set.
    pub const PRESENCE: Self = Self(1 << 2);
    /// See who is in the presence set.
    pub const PRESENCE_READ: Self = Self(1 << 3);
    /// Read past messages.
    pub const HISTORY: Self = Self(1 << 4);
    /// Change a channel group's members.
    pub const MANAGE: Self = Self(1 << 5);
    /// Delete past messages.
    pub const DELETE: Self = Self(1 << 6);
    /// Read a user's or channel's metadata.
    pub const GET: Self = Self(1 << 7);
    /// Change metadata.
    pub const UPDATE: Self = Self(1 << 8);
    /// Take part in a membership.
    pub const JOIN: Self = Self(1 << 9);
    /// Create a resource.
    pub const CREATE: Self = Self(1 << 10);
    /// Read a channel's status and occupancy; list channels.
    pub const METADATA: Self = Self(1 << 11);
    /// Read usage figures.
    pub const STATS: Self = Self(1 << 12);
    /// Make grants and issue tokens.
    pub const GRANT: Self = Self(1 << 13);
    /// Revoke, disconnect and block.
    pub const REVOKE: Self = Self(1 << 14);
    /// Change the app and its keys.
    pub const ADMIN: Self = Self(1 << 15);
    /// See and use others' connections: list, explain.
    pub const INSPECT: Self = Self(1 << 16);
    /// Everything a client may do on a channel.
    pub const CLIENT: Self = Self((1 << 13) - 1);
    /// Everything there is, including what is appended later.
    pub const ALL: Self = Self(u64::MAX);

    /// Names in the order of the bits, as `/v1` spells them.
    pub const NAMES: [(&'static str, Self); 17] = [
        ("subscribe", Self::SUBSCRIBE),
        ("publish", Self::PUBLISH),
        ("presence", Self::PRESENCE),
        ("presence-read", Self::PRESENCE_READ),
        ("history", Self::HISTORY),
        ("manage", Self::MANAGE),
        ("delete", Self::DELETE),
        ("get", Self::GET),
        ("update", Self::UPDATE),
        ("join", Self::JOIN),
        ("create", Self::CREATE),
        ("metadata", Self::METADATA),
        ("stats", Self::STATS),
        ("grant", Self::GRANT),
        ("revoke", Self::REVOKE),
        ("admin", Self::ADMIN),
        ("inspect", Self::INSPECT),
    ];

    /// The operation of that name; `"*"` is [`Self::ALL`].
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name == "*" {
            return Some(Self::ALL);
        }
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, bits)| *bits)
    }

    /// The names of the operations in this set; `["*"]` for all.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        if self == Self::ALL {
            return vec!["*"];
        }
        Self::NAMES
            .iter()
            .filter(|(_, bits)| self.contains(*bits))
            .map(|(name, _)| *name)
            .collect()
    }

    /// Whether every operation of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Operations in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Operations in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for Operations {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.or(other)
    }
}

/// One line of a capability: these operations on resources matching this pattern.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Right {
    /// Kind of resource.
    pub resource: Resource,
    /// Which names.
    pub pattern: Pattern,
    /// What may be done.
    pub operations: Operations,
}

/// What a credential carries: the union of its rights. Empty allows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// The lines, in no particular order; the effective right is their union.
    pub rights: Vec<Right>,
}

impl Capability {
    /// Every operation on every channel, group and user.
    #[must_use]
    pub fn full() -> Self {
        let rights = [Resource::Channel, Resource::Group, Resource::User].map(|resource| Right {
            resource,
            pattern: Pattern::All,
            operations: Operations::ALL,
        });
        Self {
            rights: rights.into(),
        }
    }

    /// These operations on exactly this channel.
    #[must_use]
    pub fn channel(name: &str, operations: Operations) -> Self {
        Self {
            rights: vec![Right {
                resource: Resource::Channel,
                pattern: Pattern::Exact(name.into()),
                operations,
            }],
        }
    }

    /// The operations allowed on `name`: the union over all matching rights.
    #[must_use]
    pub fn operations_on(&self, resource: Resource, name: &str) -> Operations {
        self.rights
            .iter()
            .filter(|right| right.resource == resource && right.pattern.matches(name))
            .fold(Operations::NONE, |all, right| all | right.operations)
    }
}
