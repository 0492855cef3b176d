//! What travels through a channel.
//!
//! Data is opaque bytes with a content kind; transcoding between JSON and binary wire forms belongs to adapters.

use super::ids::{ConnectionId, NodeId, Position, Text, Timetoken};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the data bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentKind {
    /// Text in UTF-8.
    Text,
    /// UTF-8 JSON, already checked to be well-formed.
    Json,
    /// Bytes of any kind.
    Binary,
}

/// A message as its publisher hands it in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// For idempotency: the same id within 2 minutes is delivered once. `None` = every call is its own.
    pub id: Option<Text>,
    /// The name of the event.
    pub name: Text,
    /// The payload as it was published.
    pub data: Bytes,
    /// What the payload is.
    pub kind: ContentKind,
    /// Dialect-neutral side data for filters (JSON), if any.
    pub meta: Option<Bytes>,
    /// Client / user id of the publisher, verified.
    pub client: Option<Text>,
    /// Connection that published it, if one did.
    pub connection: Option<ConnectionId>,
    /// Connection that must not receive it (echo off, `socket_id`).
    pub except: Option<ConnectionId>,
    /// Whether history keeps it.
    pub store: bool,
    /// Whether it becomes the channel's last value for new subscribers (cache channels), and how long, ms.
    pub retain_ms: Option<u64>,
    /// A dialect's own small tag that only its encoder reads (message class, encoding, …).
    pub tag: Option<Text>,
}

impl Draft {
    /// A message that history keeps, with nothing beside its name and its data.
    #[must_use]
    pub fn new(name: Text, data: Bytes, kind: ContentKind) -> Self {
        Self {
            id: None,
            name,
            data,
            kind,
            meta: None,
            client: None,
            connection: None,
            except: None,
            store: true,
            retain_ms: None,
            tag: None,
        }
    }
}

/// A message with its place in the channel. Shared, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// What is published.
    pub draft: Box<Draft>,
    /// Where it stands.
    pub position: Position,
    /// When the home stamped it.
    pub timetoken: Timetoken,
}

/// Someone in a presence set. One entry per (client, connection).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The client id of the member.
    pub client: Text,
    /// On which connection.
    pub connection: ConnectionId,
    /// On which node.
    pub node: NodeId,
    /// What it says of itself (JSON or dialect data).
    pub data: Bytes,
    /// When it entered.
    pub since: Timetoken,
}

/// What happened in a presence set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PresenceAction {
    /// The member entered the set.
    Enter,
    /// Changed its data.
    Update,
    /// Left by itself.
    Leave,
    /// Its connection or node is gone.
    Timeout,
}

/// A change of a presence set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceChange {
    /// Whether the member entered, changed or left.
    pub action: PresenceAction,
    /// Who (with the data of this connection's entry).
    pub member: Member,
    /// Enter: the client's first connection here. Leave/Timeout: its last.
    pub client_transition: bool,
    /// Distinct clients afterwards.
    pub clients: u64,
    /// Where it stands among the channel's broadcasts.
    pub position: Position,
    /// The time of the change, as a timetoken.
    pub timetoken: Timetoken,
}

/// Anything a channel sends to its subscribers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Broadcast {
    /// A message that was published.
    Message(Arc<Publication>),
    /// A presence change.
    Presence(Arc<PresenceChange>),
    /// The number of subscriptions in the whole cluster (only for apps that want it).
    Count(u64),
}

/// How many there are, in the whole cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupancy {
    /// The number of subscriptions.
    pub subscribers: u64,
    /// Distinct clients in the presence set.
    pub clients: u64,
    /// Entries in the presence set (client and connection).
    pub members: u64,
}

/// What a publisher gets back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Where the message stands.
    pub position: Position,
    /// When it was stamped.
    pub timetoken: Timetoken,
    /// It had been published before (same id): nothing was delivered again.
    pub duplicate: bool,
}
