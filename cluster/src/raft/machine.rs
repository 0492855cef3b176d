//! The access machine as the engine drives it: batches of operations with request ids.
//!
//! STAND-IN: `Op`, `Batch`, `Outcome`, `apply_batch`, `fingerprint`, `next_expiry`, `snapshot` and `restore`
//! come from `crate::access` once they are there; this file then shrinks to the encoding of a batch.

use super::engine::Payload;
use crate::access::{
    AppId, Command, Effect, Grant, GrantEntry, GrantKey, Member, MemberCommand, MemberState,
    Millis, NodeId, Rejection, Reply, Revision, State,
};
use crate::codec::{self, CodecError};
use serde::{Deserialize, Serialize};

/// One command under its request id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Op {
    pub(crate) request: u128,
    pub(crate) command: Command,
}

/// What one log entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) time_ms: Millis,
    pub(crate) ops: Vec<Op>,
}

/// What one operation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) revision: Revision,
    pub(crate) reply: Reply,
    pub(crate) effects: Vec<Effect>,
}

/// Version of an encoded batch.
const BATCH: u8 = 1;
/// Largest encoded batch: one log record.
pub(crate) const MAX_BATCH: usize = 56 * 1024;
/// Largest encoded operation.
pub(crate) const MAX_OP: usize = 48 * 1024;

/// Encodes a batch for the log.
pub(crate) fn encode(batch: &Batch) -> Result<Payload, CodecError> {
    codec::encode(BATCH, batch, MAX_BATCH as u64).map(|bytes| Payload(bytes.into()))
}

/// Reads a batch from the log.
pub(crate) fn decode(payload: &Payload) -> Result<Batch, CodecError> {
    codec::decode(BATCH, &payload.0, MAX_BATCH as u64)
}

/// Whether a command takes rights away: such commands overtake others in the proposer's queue.
pub(crate) fn is_urgent(command: &Command) -> bool {
    match command {
        Command::Revoke { .. }
        | Command::Disconnect { .. }
        | Command::Block { .. }
        | Command::DeleteGrants { .. }
        | Command::DeleteKey { .. }
        | Command::DeleteApp { .. }
        | Command::Member(_) => true,
        Command::UpdateKey { change, .. } => {
            change.enabled == Some(false) || change.capability.is_some()
        }
        Command::UpdateApp { change, .. } => change.enabled == Some(false),
        Command::Tick
        | Command::SetClusterVersion(_)
        | Command::CreateApp(_)
        | Command::CreateKey(_)
        | Command::RotateKey { .. }
        | Command::SetGrants { .. }
        | Command::IssueToken { .. }
        | Command::Unblock { .. }
        | Command::UseNonce { .. } => false,
    }
}

pub(crate) fn apply_batch(state: &mut State, batch: &Batch, index: Revision) -> Vec<Outcome> {
    state.revision = index;
    state.time_ms = state.time_ms.max(batch.time_ms);
    batch
        .ops
        .iter()
        .map(|op| apply_op(state, op, index))
        .collect()
}

fn apply_op(state: &mut State, op: &Op, index: Revision) -> Outcome {
    let seen = (
        AppId(0),
        "request".into(),
        format!("{:032x}", op.request).into(),
    );
    if let Some(revision) = state.nonces.get(&seen).copied() {
        let reply = match &op.command {
            Command::Member(MemberCommand::Up { node, .. }) => Reply::MemberUp {
                epoch: state.members.get(node).map_or(0, |member| member.epoch),
            },
            _ => Reply::Done,
        };
        return Outcome {
            revision,
            reply,
            effects: Vec::new(),
        };
    }
    state.nonces.insert(seen, index);
    let (reply, effects) = match &op.command {
        Command::Member(member) => apply_member(state, member, index),
        Command::SetGrants {
            app,
            issuer,
            subject,
            entries,
            ..
        } => {
            for GrantEntry {
                resource,
                pattern,
                operations,
                ..
            } in entries
            {
                let key = GrantKey {
                    app: *app,
                    subject: subject.clone(),
                    resource: *resource,
                    pattern: pattern.clone(),
                };
                let grant = Grant {
                    operations: *operations,
                    expires_ms: None,
                    issuer: issuer.clone(),
                    revision: index,
                };
                state.grants.insert(key, grant);
            }
            (Reply::Done, vec![Effect::AppChanged(*app)])
        }
        Command::DeleteKey { key } => (Reply::Rejected(Rejection::Taken(key.clone())), Vec::new()),
        _ => (Reply::Done, Vec::new()),
    };
    Outcome {
        revision: index,
        reply,
        effects,
    }
}

fn apply_member(
    state: &mut State,
    command: &MemberCommand,
    index: Revision,
) -> (Reply, Vec<Effect>) {
    let changed = vec![Effect::MembersChanged];
    match command {
        MemberCommand::Up {
            node,
            peer_addr,
            public_url,
            reads_version,
        } => {
            let epoch = state.members.get(node).map_or(1, |member| member.epoch + 1);
            state.members.insert(
                *node,
                Member {
                    node: *node,
                    epoch,
                    state: MemberState::Up,
                    peer_addr: peer_addr.clone(),
                    public_url: public_url.clone(),
                    reads_version: *reads_version,
                    revision: index,
                },
            );
            (Reply::MemberUp { epoch }, changed)
        }
        MemberCommand::Down { node, epoch } => match state.members.get(node).cloned() {
            Some(member) if member.epoch == *epoch => {
                let down = Member {
                    state: MemberState::Down,
                    revision: index,
                    ..member
                };
                state.members.insert(*node, down);
                (Reply::Done, changed)
            }
            _ => (Reply::Rejected(Rejection::NoSuchMember), Vec::new()),
        },
        MemberCommand::Drain { node } => match state.members.get(node).cloned() {
            Some(member) => {
                let draining = Member {
                    state: MemberState::Draining,
                    revision: index,
                    ..member
                };
                state.members.insert(*node, draining);
                (Reply::Done, changed)
            }
            None => (Reply::Rejected(Rejection::NoSuchMember), Vec::new()),
        },
        MemberCommand::Remove { node } => match state.members.remove(node) {
            Some(_) => (Reply::Done, changed),
            None => (Reply::Rejected(Rejection::NoSuchMember), Vec::new()),
        },
    }
}

/// When the next record expires.
pub(crate) fn next_expiry(_state: &State) -> Option<Millis> {
    None
}

/// A short digest of the state: equal on every node at the same revision.
pub(crate) fn fingerprint(state: &State) -> u64 {
    u64::from(crc32fast::hash(&snapshot(state)))
}

#[derive(Serialize, Deserialize)]
struct Frozen {
    revision: Revision,
    time_ms: Millis,
    members: Vec<(NodeId, Member)>,
    grants: Vec<(GrantKey, Grant)>,
    nonces: Vec<((AppId, crate::access::Text, crate::access::Text), Millis)>,
}

pub(crate) fn snapshot(state: &State) -> Vec<u8> {
    let frozen = Frozen {
        revision: state.revision,
        time_ms: state.time_ms,
        members: state.members.iter().map(|(k, v)| (*k, v.clone())).collect(),
        grants: state
            .grants
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        nonces: state.nonces.iter().map(|(k, v)| (k.clone(), *v)).collect(),
    };
    codec::encode(1, &frozen, u64::MAX).unwrap_or_default()
}

pub(crate) fn restore(bytes: &[u8]) -> Result<State, CodecError> {
    let frozen: Frozen = codec::decode(1, bytes, u64::MAX)?;
    Ok(State {
        revision: frozen.revision,
        time_ms: frozen.time_ms,
        members: frozen.members.into_iter().collect(),
        grants: frozen.grants.into_iter().collect(),
        nonces: frozen.nonces.into_iter().collect(),
        ..State::default()
    })
}
