//! Beginning a new cluster with the state of a backup: a data directory as if this one node had always been alone.
//!
//! The directory gets a new disk identity and with it the new cluster another id, so that no node of the former
//! cluster can join it or be joined. Other nodes are added as to any cluster.
//!
//! **Why offline:** a restore into something that runs would have to undo what that something has promised.

use super::applier::{self, Register};
use super::backup::{self, BackupError, BackupInfo};
use super::engine::{LogId, Membership, Peer, Vote};
use super::{log, start};
use crate::Versions;
use crate::access::{self, Millis, NodeId, Text};
use crate::store::{Store, StoreError};
use openraft::{CommittedLeaderId, SnapshotMeta};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Where and how to restore.
#[derive(Clone, Debug)]
pub struct RestoreTarget {
    /// The first node of the new cluster.
    pub node: NodeId,
    /// Its data directory; must be empty or missing.
    pub data_dir: PathBuf,
    /// Where its peers will reach it, `host:port`.
    pub peer_addr: Text,
    /// The moment of the restore; nothing issued up to it is honoured.
    pub now_ms: Millis,
    /// Leaves credentials from before the restore standing, although some may have been revoked since the backup.
    pub accept_tokens: bool,
}

/// Makes the data directory. Blocks.
///
/// # Errors
/// When the backup is not whole, or the directory is not empty or cannot be written.
pub fn restore_backup(file: &[u8], target: &RestoreTarget) -> Result<BackupInfo, BackupError> {
    let (info, state) = backup::read(file)?;
    let refuse = |text: String| Err(BackupError::Refused(text));
    let dir = target.data_dir.display();
    match std::fs::read_dir(&target.data_dir).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return refuse(format!("{dir} is not empty: a restore begins a new node")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return refuse(format!("{dir}: {error}")),
    }
    if target.node.0 == 0 {
        return refuse("node ids begin at 1".into());
    }
    let state = access::restored(state, target.now_ms, target.accept_tokens);
    let first = First {
        node: target.node,
        data_dir: target.data_dir.clone(),
        peer_addr: target.peer_addr.clone(),
    };
    fill(&first, &state).map_err(|error| BackupError::Refused(error.to_string()))?;
    Ok(info)
}

/// The first node of a new cluster.
pub(super) struct First {
    pub(super) node: NodeId,
    pub(super) data_dir: PathBuf,
    pub(super) peer_addr: Text,
}

/// Makes its data directory.
pub(super) fn fill(target: &First, state: &access::State) -> Result<(), StoreError> {
    let damaged = |error: crate::codec::CodecError| StoreError::Damaged(error.to_string());
    let (store, thread) = Store::open(&target.data_dir)?;
    let node = target.node.0;
    let identity = start::identity(&store, node, Versions::OURS)?;
    let last = LogId::new(CommittedLeaderId::new(1, node), state.revision);
    let peer = Peer {
        addr: target.peer_addr.clone(),
        disk: identity.disk,
    };
    let group =
        openraft::Membership::new(vec![BTreeSet::from([node])], BTreeMap::from([(node, peer)]));
    let mut register = Register::default();
    register.learn(&group);
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: Membership::new(Some(last), group),
        snapshot_id: format!("restored-{}", state.revision),
    };
    let bytes = applier::pack(&register, state).map_err(damaged)?;
    let about = applier::encode_meta(&meta).map_err(damaged)?;
    store.write_snapshot(&about, &bytes)?;
    log::begin_behind(&store, last, Vote::new(1, node))?;
    // At once, and not when the node has started: nodes of the former cluster may knock the moment it listens.
    start::keep_cluster(&store, register.cluster)?;
    let synced = store.sync_now();
    drop(store);
    let _ = thread.join();
    synced.map_err(|error| StoreError::Io {
        path: target.data_dir.clone(),
        text: error.to_string(),
    })
}
