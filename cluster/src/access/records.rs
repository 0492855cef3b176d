//! What the machine stores. One struct per kind of record; every one carries the revision that wrote it.

use super::{AppId, Capability, Millis, Operations, Pattern, Resource, Revision, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A signing secret. `Debug` shows only that it is there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Secret(pub Text);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A node of the cluster. Never reused: a node that comes back with an empty disk gets a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A tenant of the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// The number of the app.
    pub id: AppId,
    /// A name for people; nothing is looked up by it.
    pub name: Text,
    /// A disabled app refuses everything.
    pub enabled: bool,
    /// The dialects that may be spoken to this app.
    pub protocols: Vec<EnabledProtocol>,
    /// What the app itself declares open.
    pub open: Vec<OpenRule>,
    /// Limits and switches, as data; names and meaning belong to the broker.
    pub settings: BTreeMap<Text, SettingValue>,
    /// Other names this app answers to, one name space per alias kind (`kind`, `name`); unique per cluster.
    pub aliases: Vec<(Text, Text)>,
    /// The revision of its last change.
    pub revision: Revision,
}

impl App {
    /// What anyone connected may do: the app's own rules, and the default of a protocol while it is the only one.
    pub fn opens(&self) -> impl Iterator<Item = &OpenRule> {
        let by_default: &[OpenRule] = match self.protocols.as_slice() {
            [only] => &only.default_open,
            [] | [_, _, ..] => &[],
        };
        self.open.iter().chain(by_default)
    }
}

/// A protocol that an app accepts, and what it leaves open by its own documentation.
///
/// The default applies only while this is the app's *only* protocol: in a mixed app nothing is open unless
/// the app says so, so that no protocol is a way around the rights of another's channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnabledProtocol {
    /// Opaque here: the broker's name for the dialect.
    pub name: Text,
    /// Open rules that hold while the app has no other protocol.
    pub default_open: Vec<OpenRule>,
}

/// Channels that anyone connected to the app may use in these ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRule {
    /// Which channels it is for.
    pub pattern: Pattern,
    /// The operations that are allowed.
    pub operations: Operations,
}

/// The value of an app setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SettingValue {
    /// A switch that is on or off.
    Bool(bool),
    /// A number; the setting's name says the unit.
    Int(u64),
    /// A text value.
    Text(Text),
}

/// An API key, held by an app server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id: unique per cluster, public.
    pub id: Text,
    /// The app it belongs to.
    pub app: AppId,
    /// A name for people; nothing is looked up by it.
    pub name: Text,
    /// The secret that signatures and tokens are made with.
    pub secret: Secret,
    /// What may be done with it, and the ceiling of everything issued under it.
    pub capability: Capability,
    /// A disabled key ends everything done under it, live.
    pub enabled: bool,
    /// End of a rotation overlap: the key works until then, cluster time.
    pub expires_ms: Option<Millis>,
    /// Whether tokens of this key may be revoked one by one.
    pub revocable_tokens: bool,
    /// When it was made: the oldest active key signs what the broker sends out.
    pub created_ms: Millis,
    /// The revision of its last change.
    pub revision: Revision,
}

/// Whom a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// Anyone connected to the app.
    Everyone,
    /// A verified user / client id.
    User(Text),
    /// A token string or auth key, whichever dialect presents it.
    Token(Text),
    /// Whoever this key vouches for: who showed its secret, or what was signed with it. Never more than the key
    /// itself may.
    Key(Text),
    /// Whoever is in this user group: as a member, through a group that is in it, or by the claim of a token.
    Group(Text),
}

/// Where a grant is stored. Exact names sort before wildcards, so that a check is one lookup plus one
/// short range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GrantKey {
    /// The app it is about.
    pub app: AppId,
    /// Who is blocked, or given the right.
    pub subject: Subject,
    /// On what kind of thing.
    pub resource: Resource,
    /// Which names the right is for.
    pub pattern: Pattern,
}

/// A stored right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What may be done.
    pub operations: Operations,
    /// Until when, cluster time; none = until deleted.
    pub expires_ms: Option<Millis>,
    /// Who made it. A grant never exceeds the key that made it: judged live, so that disabling, narrowing
    /// or deleting the key takes its grants along. A rotated key hands them to its successor.
    pub issuer: Issuer,
    /// When it was written.
    pub revision: Revision,
}

/// Who made a change: an app server's key, or an operator of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Issuer {
    /// The cluster's operator: not limited by any key.
    Operator,
    /// This key: the change may not exceed it.
    Key(Text),
}

/// A token that the broker issued and can look up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The app it is about.
    pub app: AppId,
    /// Key that issued it.
    pub key: Text,
    /// Identity it gives.
    pub user: Option<Text>,
    /// Target of a revocation by revocation key.
    pub revocation_key: Option<Text>,
    /// What it carries.
    pub capability: Capability,
    /// When it was issued, cluster time ms.
    pub issued_ms: Millis,
    /// When it ends.
    pub expires_ms: Option<Millis>,
    /// When it was written.
    pub revision: Revision,
}

/// What a revocation names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// One token, auth key or token string.
    Token(Text),
    /// Every credential of a user / client id.
    User(Text),
    /// Every credential carrying this revocation key.
    RevocationKey(Text),
    /// Every credential naming exactly this channel.
    Channel(Text),
    /// Everything issued under, or connected by, this key.
    Key(Text),
    /// Everything of the app.
    App,
    /// Every credential of whoever is in this user group by now. Stored, it stands for those that claim the group
    /// themselves: what members have is revoked by their names, so that nothing comes back when one is taken out.
    Group(Text),
}

/// A revocation: credentials of the target that came before it are void.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Credentials that state a time of issue are void when it is before this.
    pub issued_before_ms: Millis,
    /// When the revocation starts to bite (a margin for clients to renew), cluster time.
    pub applies_ms: Millis,
    /// When every credential it could reach has expired by itself; none = kept for ever.
    pub forget_ms: Option<Millis>,
    /// When it was written: credentials seen live before this revision are void.
    pub revision: Revision,
    /// What an earlier revocation of the same target already voids while this one's margin still runs:
    /// (issued before, seen before). A renewal margin never gives back what was taken.
    pub standing: Option<(Millis, Revision)>,
}

/// A user, token or key that may not use the app until the block ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Until when; none = until unblocked.
    pub until_ms: Option<Millis>,
    /// Why, in words for people.
    pub reason: Text,
    /// When it was written.
    pub revision: Revision,
}

/// A node as the whole cluster agrees on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node it is about.
    pub node: NodeId,
    /// Counts its starts, so that a returned node is not taken for its former self.
    pub epoch: u64,
    /// Whether it carries channels.
    pub state: MemberState,
    /// Where its peers reach it (`host:port`).
    pub peer_addr: Text,
    /// Where clients reach it (base URL), for people and drains.
    pub public_url: Text,
    /// Highest command version this node can read.
    pub reads_version: u16,
    /// The revision of its last change.
    pub revision: Revision,
}

/// Liveness of a member, as agreed in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MemberState {
    /// Serves clients; channels may live here.
    Up,
    /// Silent past its lease: its presence has left and its channels have moved.
    Down,
    /// Asked to leave: keeps its clients until they go, gets no new channels.
    Draining,
}
