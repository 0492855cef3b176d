//! Who belongs to the consensus group: forming it, joining it, leaving it.
//!
//! A node id belongs to one disk for ever: the group's node records carry the disk, the applier keeps every
//! pair it has ever seen, and both ends of every connection check it. A node that lost its data can therefore
//! not come back under its old id and undo what it had acknowledged.
//!
//! At formation the disks are not known yet; the first leader learns them by connecting and writes them into
//! the group's node records. Until then (about a second) a swapped disk would not be noticed.

use super::applier::Register;
use super::changes;
use super::core::Core;
use super::engine::Peer;
use super::lock;
use super::rpc::{ChangeError, PeerRequest, PeerResponse};
use crate::access::{NodeId, Text};
use crate::contract::FirstStart;
use crate::net::{Identity, Plane, Refusal, refusal};
use openraft::ChangeMembers;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for the answer of a peer that was asked to let this node in.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long others leave formation to the node with the lowest id.
const SELF_ADD_DELAY: Duration = Duration::from_secs(3);

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
        if core.failure.borrow().is_none()
            && majority
            && (first || began.elapsed() > SELF_ADD_DELAY)
        {
            match core.raft.initialize(members.clone()).await {
                Ok(()) => tracing::info!(members = members.len(), "the cluster is formed"),
                Err(error) => tracing::debug!(%error, "forming was not needed"),
            }
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

async fn join(core: &Core, peers: &[Text]) {
    let ask = PeerRequest::AddNode {
        node: core.me,
        addr: core.config.peer_addr.clone(),
        disk: core.disk,
    };
    let mut asked = BTreeSet::new();
    loop {
        for addr in peers {
            if core.peers().contains_key(&core.me) {
                return;
            }
            // The id is not known, so the peer is asked over a connection of its own.
            match core.links.dial(addr, 0, Plane::Control).await {
                Ok((peer, _)) => {
                    core.join_attempts.note(addr, None);
                    asked.insert(peer.node);
                    match core.ask_at(peer.node, addr, &ask, JOIN_TIMEOUT).await {
                        Some(PeerResponse::Changed(Ok(()))) => {
                            tracing::info!(
                                "this node follows the cluster; it votes once it is promoted"
                            );
                            return;
                        }
                        Some(PeerResponse::Changed(Err(ChangeError::Refused(why)))) => {
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
                    core.join_attempts.note(addr, Some(&error));
                }
            }
        }
        tokio::time::sleep(RETRY_DELAY * 5).await;
    }
}

impl Core {
    async fn ask_at(
        &self,
        node: u64,
        addr: &str,
        ask: &PeerRequest,
        timeout: Duration,
    ) -> Option<PeerResponse> {
        let body = super::rpc::encode(&self.version, ask).ok()?;
        // The bulk lane: it waits for the connection to be made.
        let lane = crate::net::Lane::Bulk;
        let answer = self.links.ask(node, addr, lane, body, timeout).await.ok()?;
        super::rpc::decode(self.version.ours(), &answer).ok()
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
        core.ticks.next(RETRY_DELAY).await;
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
    if let Err(error) = changes::change(core, ChangeMembers::SetNodes(known), true).await {
        tracing::debug!(?error, "the disks of the members could not be written");
    }
}
