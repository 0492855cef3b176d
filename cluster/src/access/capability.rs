//! Operations and capabilities: what a right says once no vendor's words are left in it.
//!
//! Capability JSON, bit masks, `rwp` letters and channel signatures are parsed into this at the edge and never
//! consulted again.

use super::{Pattern, Resource, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A set of operations, one bit each. Bits are only appended: they are stored.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Operations(pub u64);

impl Operations {
    /// No operation at all.
    pub const NONE: Self = Self(0);
    /// Receive the messages of a channel.
    pub const SUBSCRIBE: Self = Self(1);
    /// Send messages to a channel.
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
    /// Change the metadata of a channel or user.
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
    // Kept word for word for the credentials that name them; nothing that is served asks for one.
    /// Annotate messages of a channel.
    pub const ANNOTATION_PUBLISH: Self = Self(1 << 17);
    /// Receive annotations of messages.
    pub const ANNOTATION_SUBSCRIBE: Self = Self(1 << 18);
    /// Delete anyone's message.
    pub const MESSAGE_DELETE_ANY: Self = Self(1 << 19);
    /// Delete an own message.
    pub const MESSAGE_DELETE_OWN: Self = Self(1 << 20);
    /// Change anyone's message.
    pub const MESSAGE_UPDATE_ANY: Self = Self(1 << 21);
    /// Change an own message.
    pub const MESSAGE_UPDATE_OWN: Self = Self(1 << 22);
    /// Change shared objects.
    pub const OBJECT_PUBLISH: Self = Self(1 << 23);
    /// Receive shared objects.
    pub const OBJECT_SUBSCRIBE: Self = Self(1 << 24);
    /// Set headers that are kept for servers.
    pub const PRIVILEGED_HEADERS: Self = Self(1 << 25);
    /// Manage everyone's push devices.
    pub const PUSH_ADMIN: Self = Self(1 << 26);
    /// Subscribe a device to push.
    pub const PUSH_SUBSCRIBE: Self = Self(1 << 27);
    /// Everything that is served to a client on a channel.
    pub const CLIENT: Self = Self((1 << 13) - 1);
    /// Everything there is, including what is appended later.
    pub const ALL: Self = Self(u64::MAX);

    /// Names in the order of the bits, as `/v1` spells them.
    pub const NAMES: [(&'static str, Self); 28] = [
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
        ("annotation-publish", Self::ANNOTATION_PUBLISH),
        ("annotation-subscribe", Self::ANNOTATION_SUBSCRIBE),
        ("message-delete-any", Self::MESSAGE_DELETE_ANY),
        ("message-delete-own", Self::MESSAGE_DELETE_OWN),
        ("message-update-any", Self::MESSAGE_UPDATE_ANY),
        ("message-update-own", Self::MESSAGE_UPDATE_OWN),
        ("object-publish", Self::OBJECT_PUBLISH),
        ("object-subscribe", Self::OBJECT_SUBSCRIBE),
        ("privileged-headers", Self::PRIVILEGED_HEADERS),
        ("push-admin", Self::PUSH_ADMIN),
        ("push-subscribe", Self::PUSH_SUBSCRIBE),
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

    /// Operations of this set that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
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
    /// Which names the right is for.
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

    /// The operations allowed on *every* name of `pattern`: the union over the rights that cover it.
    #[must_use]
    pub fn operations_over(&self, resource: Resource, pattern: &Pattern) -> Operations {
        self.rights
            .iter()
            .filter(|right| right.resource == resource && right.pattern.covers(pattern))
            .fold(Operations::NONE, |all, right| all | right.operations)
    }

    /// The first right that goes beyond `ceiling`, if there is one.
    #[must_use]
    pub fn beyond<'a>(&'a self, ceiling: &Self) -> Option<&'a Right> {
        self.rights.iter().find(|right| {
            !ceiling
                .operations_over(right.resource, &right.pattern)
                .contains(right.operations)
        })
    }

    /// What of this capability lies within `ceiling`: for each pair of rights the narrower pattern with
    /// the operations of both; sorted, one line per (resource, pattern). Empty if nothing does.
    #[must_use]
    #[allow(clippy::mutable_key_type)] // A pattern is ordered by its text; what is compiled beside it does not count.
    pub fn within(&self, ceiling: &Self) -> Self {
        let mut lines: BTreeMap<(Resource, &Pattern), Operations> = BTreeMap::new();
        for asked in &self.rights {
            for limit in &ceiling.rights {
                let operations = asked.operations.and(limit.operations);
                if asked.resource != limit.resource || operations.is_empty() {
                    continue;
                }
                let pattern = if limit.pattern.covers(&asked.pattern) {
                    &asked.pattern
                } else if asked.pattern.covers(&limit.pattern) {
                    &limit.pattern
                } else {
                    continue;
                };
                let line = lines.entry((asked.resource, pattern)).or_default();
                *line = *line | operations;
            }
        }
        let rights = lines
            .into_iter()
            .map(|((resource, pattern), operations)| Right {
                resource,
                pattern: pattern.clone(),
                operations,
            });
        Self {
            rights: rights.collect(),
        }
    }

    /// The channels that are named exactly, and the `:` patterns by their own text: what a revocation of a
    /// channel names. (`ns:*` is a name of no channel, so the two cannot be confused.)
    pub fn names_channels(&self) -> impl Iterator<Item = &Text> {
        self.rights.iter().filter_map(|right| match &right.pattern {
            Pattern::Exact(name) | Pattern::Segments(name)
                if right.resource == Resource::Channel =>
            {
                Some(name)
            }
            Pattern::Exact(_)
            | Pattern::All
            | Pattern::Prefix(_)
            | Pattern::Segments(_)
            | Pattern::Levels(_)
            | Pattern::Regex(_)
            | Pattern::Except(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn capability(lines: &[(&str, Operations)]) -> Capability {
        let rights = lines.iter().map(|(pattern, operations)| Right {
            resource: Resource::Channel,
            pattern: Pattern::parse(pattern).unwrap(),
            operations: *operations,
        });
        Capability {
            rights: rights.collect(),
        }
    }

    #[test]
    fn a_request_is_cut_to_its_ceiling_line_by_line() {
        let both = Operations::SUBSCRIBE | Operations::PUBLISH;
        let key = capability(&[("ns:*", both), ("other", Operations::HISTORY)]);
        let asked = capability(&[("ns:u1", Operations::SUBSCRIBE), ("*", Operations::ALL)]);
        assert_eq!(
            asked.within(&key),
            capability(&[
                ("ns:u1", Operations::SUBSCRIBE),
                ("other", Operations::HISTORY),
                ("ns:*", both),
            ])
            .within(&Capability::full()),
        );
        assert!(asked.beyond(&key).is_some());
        assert!(asked.within(&key).beyond(&key).is_none());
        assert_eq!(capability(&[("x", both)]).within(&key).rights, []);
    }

    #[test]
    fn names_and_bits_agree() {
        let some = Operations::HISTORY | Operations::MANAGE;
        assert_eq!(some.names(), ["history", "manage"]);
        assert_eq!(Operations::named("*"), Some(Operations::ALL));
        assert_eq!(Operations::named("fly"), None);
        for (at, (name, bits)) in Operations::NAMES.into_iter().enumerate() {
            assert_eq!(Operations::named(name), Some(bits));
            assert_eq!(bits, Operations(1 << at), "{name} is stored as this bit");
        }
    }
}
