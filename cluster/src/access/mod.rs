//! The access machine: who may do what on which channel, as one pure, replicated value.
//!
//! `apply(&mut State, &Command, Stamp) -> Outcome` is the only way to change it and [`decide()`] the only
//! way to ask it. Every node feeds it the same log and therefore holds the same state, byte for byte.
//!
//! **Must never know:** the consensus engine, the store, a clock, randomness, files, sockets, logging,
//! and any vendor's words. Ids and secrets are made by the proposer and ride in the command; the only
//! time is the leader's, in the [`Stamp`].
//!
//! **Why not check permissions against a database or a cache:** a cache may be stale without knowing it.
//! Here a check is a lookup in an immutable view whose revision is known, so that "is this revoked?" has
//! an answer with a log index in it.

mod apply;
mod audit;
mod capability;
mod checksum;
mod command;
mod decide;
mod effect;
mod expiry;
mod fingerprint;
mod key_fetch;
mod limits;
mod lookup;
mod pattern;
mod principal;
mod provider;
mod records;
mod rejection;
mod requests;
mod restored;
mod revocation;
mod signals;
mod snapshot;
mod state;
mod user_group;

pub use apply::{Applied, Batch, Op, Outcome, apply, apply_batch};
pub use audit::{
    Audit, AuditFault, AuditHash, AuditRecord, AuditRetention, AuditVerifier, ProofStep,
    ShownRecord, proven_head, skip_of, way_up,
};
pub use capability::{Capability, Operations, Right};
pub use command::{
    Administered, Administration, AppChange, AppSpec, Asked, ChannelFlag, Command, GrantEntry,
    GrantMode, GroupChange, KeyChange, KeySpec, MemberCommand, Rejection, Reply, SignOut,
};
pub use decide::{
    Decision, Question, Reason, Rule, allowed, check_revocation, check_spoken_for, decide,
    decide_until,
};
pub use effect::{Cut, Effect, Scope};
pub use expiry::next_expiry;
pub use fingerprint::fingerprint;
pub use key_fetch::{FETCH_AGAIN_MS, FETCH_EVERY_MS, Fetched, KeyFetch};
pub use limits::Limits;
pub use pattern::{Pattern, PatternError, PatternText};
pub use principal::{Issued, Principal, Proof, SpokenFor, Voucher};
pub use provider::{
    Algorithm, CarriedRights, Claims, KeyKind, KeySource, Provider, ProviderChange, ProviderKey,
    ProviderSpec, PublicKey, Vouched,
};
pub use records::{
    ApiKey, App, Block, EnabledProtocol, Grant, GrantKey, Issuer, Member, MemberState, NodeId,
    OpenRule, Revocation, Secret, SettingValue, Subject, Target, Token,
};
pub use requests::{Answered, Requests};
pub use restored::restored;
pub use signals::{Delivery, Reaction, Signal, Signals, SignalsSpec, Stream};
pub use snapshot::{SnapshotError, restore, snapshot};
pub use state::State;
pub use user_group::{
    Affected, GroupMember, MemberOf, UserGroup, UserGroupChange, UserGroupDeletion,
};

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Text shared between views without copying: names, ids, channel names. UTF-8, never normalised.
pub type Text = Arc<str>;

/// An application (tenant). Rendered in decimal on every wire; the Pusher SDKs insist on digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AppId(pub u64);

impl std::fmt::Display for AppId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A Raft log index at which something became true. Returned by every write and accepted by every
/// read as "at least this fresh".
pub type Revision = u64;

/// Milliseconds since the Unix epoch on the *cluster's* clock (the leader's stamp, carried forward by
/// each node's monotonic clock), never a node's own wall clock.
pub type Millis = u64;

/// Where in the log a command stands and what time the leader said it was. The machine's only clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Index of the log entry. All commands of one batch share it.
    pub index: Revision,
    /// Leader's time. [`apply()`] never lets it run backwards.
    pub time_ms: Millis,
}

/// What kind of named thing a right is about. Most are channels; channel groups and users are
/// separate name spaces with the same rules.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Resource {
    /// A channel, by its name.
    #[default]
    Channel,
    /// A replicated set of channels.
    Group,
    /// A user's own record (state, memberships).
    User,
}
