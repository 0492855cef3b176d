//! The state: persistent (structurally shared) ordered maps, so that a view costs one pointer and a
//! snapshot can be written while commands go on being applied.

use super::records::{
    ApiKey, App, Block, Grant, GrantKey, Member, NodeId, Revocation, Subject, Target, Token,
};
use super::{AppId, Millis, Revision, Text};
use imbl::OrdMap;

/// Everything the cluster has agreed on. Cloning is cheap; a clone is a frozen view.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Index of the last applied entry.
    pub revision: Revision,
    /// Time of the last stamp; never runs backwards.
    pub time_ms: Millis,
    /// Command versions agreed on.
    pub version: u16,
    /// Apps.
    pub apps: OrdMap<AppId, App>,
    /// Other names of apps: (kind, name).
    pub aliases: OrdMap<(Text, Text), AppId>,
    /// Keys by id.
    pub keys: OrdMap<Text, ApiKey>,
    /// Stored rights.
    pub grants: OrdMap<GrantKey, Grant>,
    /// Issued tokens.
    pub tokens: OrdMap<(AppId, Text), Token>,
    /// Revocations in force.
    pub revocations: OrdMap<(AppId, Target), Revocation>,
    /// Blocks in force.
    pub blocks: OrdMap<(AppId, Subject), Block>,
    /// Used nonces and when they may be forgotten.
    pub nonces: OrdMap<(AppId, Text, Text), Millis>,
    /// The member list.
    pub members: OrdMap<NodeId, Member>,
}

/// Bounds of what one record or command may hold; exceeding one is a rejection.
#[derive(Clone, Copy, Debug)]
pub struct Limits;

impl Limits {
    /// Longest text of any kind, in bytes.
    pub const MAX_TEXT: usize = 1024;
}
