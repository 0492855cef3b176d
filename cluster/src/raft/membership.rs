//! Who belongs to the consensus group: forming it, joining it, leaving it.
//!
//! A node id belongs to one disk for ever: the group's node records carry the disk, the applier keeps every
//! pair it has ever seen, and both ends of every connection check it. A node that lost its data can therefore
//! not come back under its old id and undo what it had acknowledged.
//!
//! At formation the disks are not known yet; the first leader learns them by connecting and writes them into
//! the group's node records. Until then (about a second) a swapped disk would not be noticed.
//!
//! **Must never know:** the access machine beyond the member commands.

use super::applier::Register;
use super::core::Core;
use super::engine::Peer;
use super::lock;
use super::rpc::{Answer, Ask, ChangeError, NotLeader};
use crate::access::{Command, MemberCommand, NodeId, Text};
use crate::handle::{FirstStart, JoinError, ProposeError, RequestId};
use crate::net::{Identity, Plane, Refusal, refusal};
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, RaftError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A learner becomes a voter when it is at most this many entries behind.
const CLOSE: u64 = 64;
/// Longest time for a learner to catch up.
const CATCH_UP: Duration = Duration::from_secs(60);
/// Longest time for one change.
const CHANGE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(100);
/// How long others leave formation to the node with the lowest id.
const DEFER: Duration = Duration::from_secs(3);

/// First start: forms or joins, and returns when this node is in the group.
pub(super) async fn begin(core: Arc<Core>) {
    if let Ok(true) = core.raft.is_initialized().await {
        return;
    }
    match core.config.first_start.clone() {
        FirstStart::Form(list) => form(&core, &list).await,
        FirstStart::Join(peers) => join(&core, &peers).await,
    }
}

async fn form(core: &Core, list: &[(NodeId, Text)]) {
    let members: BTreeMap<u64, Peer> = list
        .iter()
        .map(|(node, addr)| {
            (
                node.0,
                Peer {
                    addr: addr.clone(),
                    disk: 0,
                },
            )
        })
        .collect();
    let peers = members
        .iter()
        .map(|(node, peer)| (*node, peer.addr.to_string()));
    let others: BTreeMap<u64, String> = peers.filter(|(node, _)| *node != core.me).collect();
    core.links.keep(&others);
    let began = Instant::now();
    let first = members.keys().next() == Some(&core.me);
    loop {
        if let Ok(true) = core.raft.is_initialized().await {
            return;
        }
        let reached = others
            .keys()
            .filter(|node| core.links.state(**node).connected)
            .count();
        let majority = (reached + 1) * 2 > members.len();
        if core.failure.borrow().is_none() && majority && (first || began.elapsed() > DEFER) {
            match core.raft.initialize(members.clone()).await {
                Ok(()) => tracing::info!(members = members.len(), "the cluster is formed"),
                Err(error) => tracing::debug!(%error, "forming was not needed"),
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn join(core: &Core, peers: &[Text]) {
    let ask = Ask::AddNode {
        node: core.me,
        addr: core.config.peer_addr.clone(),
        disk: core.disk,
    };
    let mut asked = BTreeSet::new();
    loop {
        for addr in peers {
            if core.voters().contains(&core.me) {
                return;
            }
            // The id is not known, so the peer is asked over a connection of its own.
            match core.links.dial(addr, 0, Plane::Control).await {
                Ok((peer, _)) => {
                    asked.insert(peer.node);
                    match core.ask_at(peer.node, addr, &ask, CATCH_UP).await {
                        Some(Answer::Changed(Ok(()))) => return,
                        Some(Answer::Changed(Err(ChangeError::Refused(why)))) => {
                            core.fail(format!("joining was refused: {why}"));
                            return;
                        }
                        answer => tracing::info!(?answer, "joining is tried again"),
                    }
                }
                Err(error) => {
                    if let Some(refusal) = refusal(&error).filter(|refusal| is_final(*refusal)) {
                        core.fail(format!("joining was refused: {}", refusal.text()));
                        return;
                    }
                    tracing::info!(%addr, %error, "a peer named for joining is not reachable")
                }
            }
        }
        tokio::time::sleep(RETRY * 5).await;
    }
}

impl Core {
    async fn ask_at(&self, node: u64, addr: &str, ask: &Ask, timeout: Duration) -> Option<Answer> {
        let body = super::rpc::encode(&self.spoken, ask).ok()?;
        // The bulk lane: it waits for the connection to be made.
        let lane = crate::net::Lane::Bulk;
        let answer = self.links.ask(node, addr, lane, body, timeout).await.ok()?;
        super::rpc::decode(self.spoken.ours(), &answer).ok()
    }
}

/// Judges whoever connects, or answers where we connected, by what the log says about its id.
pub(super) fn admits(
    register: &Register,
    group: &BTreeSet<u64>,
    peer: Identity,
) -> Result<(), Refusal> {
    match register.disks.get(&peer.node) {
        Some(known) if *known != peer.disk => Err(Refusal::OtherDisk),
        Some(_) if !group.contains(&peer.node) => Err(Refusal::Removed),
        Some(_) | None => Ok(()),
    }
}

/// Keeps the links to the group and, as the leader, learns the disks of its members.
pub(super) async fn follow(core: Arc<Core>) {
    loop {
        let peers = core.peers();
        if !peers.is_empty() {
            let others = peers
                .iter()
                .filter(|(node, _)| **node != core.me)
                .map(|(node, peer)| (*node, peer.addr.to_string()))
                .collect();
            core.links.keep(&others);
        }
        if let Some(refusal) = core
            .links
            .turned_away()
            .filter(|refusal| is_final(*refusal))
        {
            core.fail(refusal.text().to_owned());
        }
        if is_removed(&core) {
            core.fail(Refusal::Removed.text().to_owned());
        }
        if core.leads() && peers.values().any(|peer| peer.disk == 0) {
            learn_disks(&core, &peers).await;
        }
        core.beat.next(RETRY).await;
    }
}

/// Whether trying again cannot help.
fn is_final(refusal: Refusal) -> bool {
    match refusal {
        Refusal::OtherDisk
        | Refusal::OtherCluster
        | Refusal::Removed
        | Refusal::TooOld
        | Refusal::TooNew => true,
        Refusal::NotMe | Refusal::Full => false,
    }
}

/// Whether this node has applied its own removal.
fn is_removed(core: &Core) -> bool {
    let group = lock(&core.applied.group);
    !group.is_empty()
        && !group.contains(&core.me)
        && lock(&core.applied.register).disks.contains_key(&core.me)
}

async fn learn_disks(core: &Core, peers: &BTreeMap<u64, Peer>) {
    let Ok(_changing) = core.changing.try_lock() else {
        return;
    };
    let mut known = BTreeMap::new();
    for (node, peer) in peers.iter().filter(|(_, peer)| peer.disk == 0) {
        let disk = if *node == core.me {
            core.disk
        } else {
            match core.links.dial(&peer.addr, *node, Plane::Control).await {
                Ok((identity, _)) => identity.disk,
                Err(_) => continue,
            }
        };
        known.insert(
            *node,
            Peer {
                addr: peer.addr.clone(),
                disk,
            },
        );
    }
    // All at once at formation: the cluster's id comes from them. A member that never came up can be learned later.
    if known.is_empty() || (core.register().cluster == 0 && known.len() * 2 <= peers.len()) {
        return;
    }
    if let Err(error) = change(core, ChangeMembers::SetNodes(known), true).await {
        tracing::debug!(?error, "the disks of the members could not be written");
    }
}

async fn change(
    core: &Core,
    change: ChangeMembers<u64, Peer>,
    retain: bool,
) -> Result<(), ChangeError> {
    let changed = tokio::time::timeout(CHANGE, core.raft.change_membership(change, retain)).await;
    match changed {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => {
            Err(ChangeError::NotLeader(NotLeader {
                leader: to.leader_id,
            }))
        }
        Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
            Err(ChangeError::NoQuorum(error.to_string()))
        }
        Ok(Err(RaftError::Fatal(error))) => Err(ChangeError::NoQuorum(error.to_string())),
        Err(_) => Err(ChangeError::NoQuorum(
            "the change was not committed in time".into(),
        )),
    }
}

fn not_leader(core: &Core) -> ChangeError {
    ChangeError::NotLeader(NotLeader {
        leader: core.leader(),
    })
}

/// As the leader: a learner first, a voter once it has caught up. Doing it again is harmless.
pub(super) async fn add_as_leader(
    core: &Core,
    node: u64,
    addr: Text,
    disk: u128,
) -> Result<(), ChangeError> {
    if !core.leads() {
        return Err(not_leader(core));
    }
    let _changing = core.changing.lock().await;
    if core.register().disks.contains_key(&node) && !core.peers().contains_key(&node) {
        return Err(ChangeError::Refused(format!(
            "node id {node} was used before; ids are never used again"
        )));
    }
    let disk = if disk == 0 {
        dial_for_disk(core, node, &addr).await?
    } else {
        disk
    };
    let peers = core.peers();
    match (core.register().disks.get(&node), peers.contains_key(&node)) {
        (Some(known), true) if *known != disk => {
            return Err(ChangeError::Refused(format!(
                "node id {node} belongs to another data directory"
            )));
        }
        (None, true) => {
            return Err(ChangeError::NoQuorum(format!(
                "node {node} is being formed"
            )));
        }
        (Some(_), true) => {}
        (_, false) => {
            let learner = BTreeMap::from([(node, Peer { addr, disk })]);
            change(core, ChangeMembers::AddNodes(learner), true).await?;
        }
    }
    if core.voters().contains(&node) {
        return Ok(());
    }
    let end = Instant::now() + CATCH_UP;
    while !is_close(core, node) {
        if !core.leads() {
            return Err(not_leader(core));
        }
        if Instant::now() > end {
            return Err(ChangeError::NoQuorum(format!(
                "node {node} did not catch up in time"
            )));
        }
        tokio::time::sleep(RETRY / 4).await;
    }
    change(
        core,
        ChangeMembers::AddVoterIds(BTreeSet::from([node])),
        true,
    )
    .await
}

async fn dial_for_disk(core: &Core, node: u64, addr: &str) -> Result<u128, ChangeError> {
    match core.links.dial(addr, node, Plane::Control).await {
        Ok((identity, _)) => Ok(identity.disk),
        Err(error) => Err(ChangeError::NoQuorum(format!(
            "node {node} at {addr}: {error}"
        ))),
    }
}

fn is_close(core: &Core, node: u64) -> bool {
    let metrics = core.metrics();
    let matched = metrics
        .replication
        .as_ref()
        .and_then(|all| all.get(&node).copied().flatten());
    matched.is_some_and(|at| at.index + CLOSE >= metrics.last_log_index.unwrap_or(0))
}

/// As the leader: out of the group.
pub(super) async fn remove_as_leader(core: &Core, node: u64) -> Result<(), ChangeError> {
    if !core.leads() {
        return Err(not_leader(core));
    }
    let _changing = core.changing.lock().await;
    let voters = core.voters();
    if voters.contains(&node) {
        if voters.len() == 1 {
            return Err(ChangeError::Refused(
                "the last voter cannot be removed".into(),
            ));
        }
        change(
            core,
            ChangeMembers::RemoveVoters(BTreeSet::from([node])),
            false,
        )
        .await?;
    }
    if core.peers().contains_key(&node) {
        change(
            core,
            ChangeMembers::RemoveNodes(BTreeSet::from([node])),
            false,
        )
        .await?;
    }
    Ok(())
}

/// Finds the leader and has it change the group.
pub(crate) async fn add(core: &Core, node: NodeId, addr: Text) -> Result<(), JoinError> {
    let ask = || Ask::AddNode {
        node: node.0,
        addr: addr.clone(),
        disk: 0,
    };
    let local = || add_as_leader(core, node.0, addr.clone(), 0);
    through_leader(core, CATCH_UP, ask, local).await
}

/// Takes a node out of the group and then off the member list.
pub(crate) async fn remove(core: &Core, node: NodeId) -> Result<(), JoinError> {
    if node.0 == core.me {
        return Err(JoinError::Refused(
            "a node cannot remove itself; ask another one".into(),
        ));
    }
    let ask = || Ask::RemoveNode { node: node.0 };
    through_leader(core, CHANGE * 2, ask, || remove_as_leader(core, node.0)).await?;
    let gone = Command::Member(MemberCommand::Remove { node });
    match core.proposer.propose(RequestId(rand::random()), gone).await {
        Ok(_) | Err(ProposeError::Rejected(_)) => Ok(()),
        Err(error) => Err(JoinError::NoQuorum(error.to_string())),
    }
}

/// Marks a node as leaving: it keeps its clients until they have gone and gets no new channels.
pub(crate) async fn drain(core: &Core, node: NodeId) -> Result<(), JoinError> {
    let drain = Command::Member(MemberCommand::Drain { node });
    match core
        .proposer
        .propose(RequestId(rand::random()), drain)
        .await
    {
        Ok(_) => Ok(()),
        Err(ProposeError::Rejected(_)) => {
            Err(JoinError::Refused(format!("node {node} is not a member")))
        }
        Err(error) => Err(JoinError::NoQuorum(error.to_string())),
    }
}

async fn through_leader<F>(
    core: &Core,
    timeout: Duration,
    ask: impl Fn() -> Ask,
    local: impl Fn() -> F,
) -> Result<(), JoinError>
where
    F: Future<Output = Result<(), ChangeError>>,
{
    let end = Instant::now() + timeout;
    let mut last = "no leader".to_owned();
    while Instant::now() < end {
        let changed = match core.leader() {
            None => Err(ChangeError::NoQuorum("no leader".into())),
            Some(leader) if leader == core.me => Box::pin(local()).await,
            Some(leader) => match core.ask(leader, &ask(), timeout).await {
                Ok(Answer::Changed(changed)) => changed,
                Ok(_) => Err(ChangeError::NoQuorum("the leader could not answer".into())),
                Err(error) => Err(ChangeError::NoQuorum(error.to_string())),
            },
        };
        match changed {
            Ok(()) => return Ok(()),
            Err(ChangeError::Refused(why)) => return Err(JoinError::Refused(why)),
            Err(ChangeError::NoQuorum(why)) => last = why,
            Err(ChangeError::NotLeader(_)) => {}
        }
        tokio::time::sleep(RETRY).await;
    }
    Err(JoinError::NoQuorum(last))
}
