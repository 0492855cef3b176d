//! What nodes ask of each other, one frozen vocabulary per version.
//!
//! Variants are only appended; a request that does not decode is answered by closing the connection.

use super::engine::Engine;
use crate::Versions;
use crate::access::Op;
use crate::access::{Millis, Reply, Revision, Text};
use crate::codec::{self, CodecError};
use crate::contract::NodeChange;
use crate::versions::NegotiatedVersion;
use openraft::error::InstallSnapshotError;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// A request. The sender's id comes from the connection, never from the request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum PeerRequest {
    /// Replication and heartbeat.
    Append(AppendEntriesRequest<Engine>),
    /// A request for a vote.
    Vote(VoteRequest<u64>),
    /// A chunk of a snapshot.
    Snapshot(InstallSnapshotRequest<Engine>),
    /// Operations for the leader.
    Propose {
        /// The operations, in the order in which they are applied.
        ops: Vec<Op>,
        /// How long the sender goes on waiting.
        wait_ms: u64,
    },
    /// An index that covers everything acknowledged so far. Also the sender's sign of life.
    ReadIndex,
    /// Answer when this revision is enforced.
    AwaitEnforced {
        /// The revision that is asked about.
        revision: Revision,
        /// How long to wait before saying no.
        wait_ms: u64,
    },
    /// Whether the sender may start an election (pre-vote).
    MayElect,
    /// Let a node follow, as a learner. It asks itself.
    AddNode {
        /// The number of the node.
        node: u64,
        /// Its peer address.
        addr: Text,
        /// Its disk; 0 = find out by connecting.
        disk: u128,
    },
    /// Remove a node from the group. [`PeerRequest::ChangeNodes`] says it since.
    RemoveNode {
        /// The number of the node.
        node: u64,
    },
    /// What the wall clock says there, and whether the node could lead.
    Vitals,
    /// From a leader that stands back: stand for election now.
    TakeOver,
    /// From the leader: how long ago one before it last asked for help.
    HelpedBefore {
        /// The Raft term of the leader.
        term: u64,
        /// The number of the node.
        node: u64,
    },
    /// How long ago a member's latest proof of freshness that does not cover a revision can have begun.
    LatestProof {
        /// The member whose proofs are asked about.
        node: u64,
        /// The revision that is asked about.
        revision: Revision,
    },
    /// Change who follows and who votes, as an operator wants it.
    ChangeNodes {
        /// The change that is asked for.
        change: NodeChange,
        /// Also where no majority of the voters that would be left answers.
        force: bool,
    },
    /// How far each node has got, for people.
    Progress,
}

/// What only the leader can answer, asked elsewhere: who is thought to lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NotLeader {
    pub(super) leader: Option<u64>,
}

/// What became of one forwarded operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ProposalOutcome {
    /// It was committed and applied.
    Committed {
        revision: Revision,
        time_ms: Millis,
        reply: Reply,
    },
    /// Certainly not proposed; try again.
    NotProposed,
    /// May or may not be applied; trying again under the same id is safe.
    Unknown,
}

/// Why the leader did not change the group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ChangeError {
    /// Ask another node.
    NotLeader(NotLeader),
    /// Trying again may help.
    NoQuorum(String),
    /// Trying again will not help.
    Refused(String),
    /// There is no such node.
    NotFound(String),
    /// It may have been changed.
    Unknown(String),
}

/// Answers, variant by variant as in [`PeerRequest`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum PeerResponse {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot(Result<InstallSnapshotResponse<u64>, InstallSnapshotError>),
    Proposed(Result<Vec<ProposalOutcome>, NotLeader>),
    ReadIndex(Result<Revision, NotLeader>),
    /// Enforced, and how many connections were closed here for it; or not in time.
    Enforced(Option<u64>),
    /// Yes: this node hears no leader either.
    MayElect(bool),
    Changed(Result<(), ChangeError>),
    /// The node cannot answer; the text is for the log.
    Failed(String),
    Vitals {
        wall_ms: Millis,
        can_lead: bool,
    },
    /// Whether the node stands for election.
    TakingOver(bool),
    /// Microseconds, rounded down; none if the node cannot say.
    HelpedBefore(Option<u64>),
    /// As [`Self::HelpedBefore`], of a member's latest proof.
    LatestProof(Option<u64>),
    /// Log indexes by node.
    Progress(Result<BTreeMap<u64, Revision>, NotLeader>),
}

/// In the version that is agreed on.
pub(super) fn encode<T: Serialize>(
    version: &NegotiatedVersion,
    message: &T,
) -> Result<Vec<u8>, CodecError> {
    let version = u8::try_from(version.written()).unwrap_or(u8::MAX);
    codec::encode(version, message, crate::net::MAX_BODY as u64)
}

/// In any version of ours: the sender may have heard sooner or later what is agreed on. So far all versions look
/// alike; one that does not gets a decoder of its own here.
pub(super) fn decode<T: DeserializeOwned>(ours: Versions, bytes: &[u8]) -> Result<T, CodecError> {
    let found = bytes.first().copied().ok_or(CodecError::Empty)?;
    if !ours.contains(found.into()) {
        let known = u8::try_from(ours.highest).unwrap_or(u8::MAX);
        return Err(CodecError::Version { found, known });
    }
    codec::decode(found, bytes, crate::net::MAX_BODY as u64)
}
