//! The member list, and what every member can read.
//!
//! **Why epochs:** news about a node's former start may arrive after it has come back; only news about the present
//! start counts.

use super::super::limits::{self, Limits};
use super::super::{Effect, Member, MemberCommand, MemberState, NodeId, Rejection, Reply, State};
use super::Result;

pub(super) fn set_version(state: &mut State, version: u16) -> Result {
    if version < state.version {
        return Err(Rejection::Invalid("versions only rise".into()));
    }
    let readable = state.members.values().map(|m| m.reads_version).min();
    match readable {
        Some(readable) if version > readable => Err(Rejection::Invalid(
            format!("a member reads versions up to {readable} only").into(),
        )),
        Some(_) | None => {
            state.version = version;
            Ok(Reply::Done)
        }
    }
}

pub(super) fn change(
    state: &mut State,
    command: &MemberCommand,
    effects: &mut Vec<Effect>,
) -> Result {
    match command {
        MemberCommand::Up {
            node,
            peer_addr,
            public_url,
            reads_version,
        } => {
            let started = Member {
                node: *node,
                epoch: 0,
                state: MemberState::Up,
                peer_addr: peer_addr.clone(),
                public_url: public_url.clone(),
                reads_version: *reads_version,
                revision: state.revision,
            };
            up(state, started, effects)
        }
        MemberCommand::Down { node, epoch } => {
            let member = member(state, *node)?;
            let stale = member.epoch != *epoch || member.state == MemberState::Down;
            Ok(turn(state, member, MemberState::Down, stale, effects))
        }
        MemberCommand::Drain { node } => {
            let member = member(state, *node)?;
            let stale = member.state != MemberState::Up;
            Ok(turn(state, member, MemberState::Draining, stale, effects))
        }
        MemberCommand::Remove { node } => {
            let member = member(state, *node)?;
            state.departed.insert(*node, member.epoch);
            state.members.remove(node);
            effects.push(Effect::MembersChanged);
            Ok(Reply::Done)
        }
    }
}

/// A node has started; the epoch is filled in here.
fn up(state: &mut State, started: Member, effects: &mut Vec<Effect>) -> Result {
    limits::name("peer address", &started.peer_addr, Limits::MAX_TEXT)?;
    limits::label("public URL", &started.public_url)?;
    if started.reads_version < state.version {
        return Err(Rejection::VersionNotEnabled(state.version));
    }
    let node = started.node;
    let known = state.members.get(&node).map(|member| member.epoch);
    if known.is_none() {
        limits::at_most("members", state.members.len() + 1, Limits::MEMBERS)?;
    }
    let former = known.or_else(|| state.departed.get(&node).copied());
    let epoch = former.unwrap_or(0).saturating_add(1);
    state.members.insert(node, Member { epoch, ..started });
    state.departed.remove(&node);
    effects.push(Effect::MembersChanged);
    Ok(Reply::MemberUp { epoch })
}

fn member(state: &State, node: NodeId) -> Result<Member> {
    let member = state.members.get(&node).ok_or(Rejection::NoSuchMember)?;
    Ok(member.clone())
}

fn turn(
    state: &mut State,
    member: Member,
    to: MemberState,
    stale: bool,
    effects: &mut Vec<Effect>,
) -> Reply {
    if stale {
        return Reply::Changed(0);
    }
    let revision = state.revision;
    state.members.insert(
        member.node,
        Member {
            state: to,
            revision,
            ..member
        },
    );
    effects.push(Effect::MembersChanged);
    Reply::Changed(1)
}
