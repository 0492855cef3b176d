//! The words of the access plane: apps, keys, principals, rights, and what became of a change.
//!
//! **Must never know:** how anything is decided or changed; that is asked of [`authority`](super::authority).
//!
//! **Why apart from the authority:** names, limits and refusals are said in these words and lie below it.

pub use gatecast_cluster::access::{
    Administered, Administration, Affected, Algorithm, Answered, ApiKey, App, AppChange, AppId,
    AppSpec, Asked, Audit, AuditFault, AuditHash, AuditRecord, AuditRetention, AuditVerifier,
    Block, Capability, CarriedRights, ChannelFlag, Claims, Command, Cut, Decision, Delivery,
    Effect, EnabledProtocol, FETCH_AGAIN_MS, Fetched, Grant, GrantEntry, GrantKey, GrantMode,
    GroupChange, GroupMember, Issued, Issuer, KeyChange, KeyFetch, KeyKind, KeySource, KeySpec,
    Limits, MemberState, Millis, NodeId, OpenRule, Operations, Pattern, PatternError, PatternText,
    Principal, Proof, ProofStep, Provider, ProviderChange, ProviderKey, ProviderSpec, PublicKey,
    Question, Reaction, Reason, Rejection, Reply, Resource, Revision, Revocation, Right, Rule,
    Scope, Secret, SettingValue, ShownRecord, SignOut, Signal, Signals, SignalsSpec, SpokenFor,
    State, Stream, Subject, Target, Text, Token, UserGroup, UserGroupChange, UserGroupDeletion,
    Vouched, Voucher, proven_head, skip_of,
};
pub use gatecast_cluster::{
    BarrierMode, BarrierReport, ClusterStatus, Committed, EffectBatch, Freshness, ProposeError,
    ReadError, RequestId,
};
