//! Beginning a new cluster with what one data folder knows, when the majority of the old one was lost for good.
//!
//! As a restore does with a backup: a new disk identity, another cluster id, one node that was always alone. What
//! the folder knows is its snapshot and its *whole* log. Which of the last entries had been acknowledged it cannot
//! tell; they are all applied, as they would be if this node had been elected, because an acknowledged revoke among
//! them must not be lost, while a change that was never acknowledged may always still happen.
//!
//! What it cannot have is what the lost nodes had acknowledged without it. So it counts as a backup of unknown age,
//! and everything that somebody may hold is void ([`access::restored`]).
//!
//! **Why offline:** as for a restore, it would have to undo what a running node has promised.

use super::applier::{Applied, Applier};
use super::folder::Known;
use super::log::{self, LogStore};
use super::view::View;
use super::{restore, start};
use crate::Versions;
use crate::access::{self, Millis, NodeId, Revision, State, Text};
use crate::store::{Store, StoreError, Swap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to recover from, and how.
#[derive(Clone, Debug)]
pub struct RecoverTarget {
    /// The data folder that is left. Nobody may be using it.
    pub data_dir: PathBuf,
    /// Where peers will reach its node, `host:port`; none = where they did.
    pub peer_addr: Option<Text>,
    /// The moment of the recovery; nothing issued up to it is honoured.
    pub now_ms: Millis,
    /// Leaves credentials from before standing, although some may have been revoked without this folder.
    pub accept_tokens: bool,
}

/// What a data folder knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderInfo {
    /// The node whose folder it is.
    pub node: NodeId,
    /// Id of its cluster.
    pub cluster: Text,
    /// Where its peers reach it.
    pub peer_addr: Text,
    /// Who was in the cluster, as it last heard.
    pub nodes: Vec<NodeId>,
    /// Term and index of its last log entry: of several folders, the one with the greatest knows most.
    pub last: (u64, u64),
    /// The last revision in it.
    pub revision: Revision,
    /// Cluster time of that.
    pub time_ms: Millis,
    /// Apps in it.
    pub apps: u64,
    /// Keys in it.
    pub keys: u64,
    /// Grants in it.
    pub grants: u64,
    /// Revocations in it.
    pub revocations: u64,
}

/// Why nothing was recovered. The folder is as it was.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RecoverError(String);

impl From<StoreError> for RecoverError {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// What a folder knows, without changing it. Blocks.
///
/// # Errors
/// When it is none, is damaged or in use.
pub fn examine_folder(dir: &Path) -> Result<FolderInfo, RecoverError> {
    read(dir).map(|(info, _)| info)
}

/// Makes the folder the one of a new cluster's first node; where the old one is kept. Blocks. Whenever it is cut
/// off, the folder is either the old one or the new one.
///
/// # Errors
/// As [`examine_folder`], and when it cannot be written.
pub fn recover_folder(target: &RecoverTarget) -> Result<(FolderInfo, PathBuf), RecoverError> {
    let dir = &target.data_dir;
    let (info, state) = read(dir)?;
    let peer_addr = target.peer_addr.clone().unwrap_or(info.peer_addr.clone());
    if peer_addr.is_empty() {
        let why = "the folder does not know where peers reach its node: name it with `--peer-addr`";
        return Err(RecoverError(why.into()));
    }
    let state = access::restored(state, target.now_ms, target.accept_tokens);
    let swap = Swap::begin(dir)?;
    let first = restore::First {
        node: info.node,
        data_dir: swap.staged(),
        peer_addr,
    };
    restore::fill(&first, &state)?;
    Ok((info, swap.commit()?))
}

fn read(dir: &Path) -> Result<(FolderInfo, State), RecoverError> {
    if !dir.is_dir() {
        let text = format!("{} is not the data folder of a node", dir.display());
        return Err(RecoverError(text));
    }
    // Opening it first finishes a recovery that was cut off; it makes a new one where there is none.
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none()) {
        return Err(RecoverError(format!("{} is empty", dir.display())));
    }
    let (store, thread) = Store::open(dir)?;
    let store = Arc::new(store);
    let found = know(&store);
    drop(store);
    let _ = thread.join();
    found
}

fn know(store: &Arc<Store>) -> Result<(FolderInfo, State), RecoverError> {
    let Some(node) = start::stored_node(store)? else {
        return Err(RecoverError(
            "no node has ever started on this folder".into(),
        ));
    };
    let shared = Arc::new(Applied::default());
    let view = Arc::new(View::new());
    let mut applier = Applier::open(Arc::clone(store), view, shared, u64::MAX)?;
    LogStore::new(Arc::clone(store)).check(applier.last_index())?;
    let mut last = applier.last_id();
    log::each(store, last.map_or(0, |last| last.index + 1), |entry| {
        last = Some(entry.log_id);
        applier
            .replay(entry)
            .map_err(|error| StoreError::Damaged(error.to_string()))
    })?;
    let known = Known::read(store, &applier)?;
    let state = applier.state().clone();
    if known.group.is_empty() {
        return Err(RecoverError(
            "the folder was never part of a cluster".into(),
        ));
    }
    if let Some(why) = Versions::OURS.refuses(state.version) {
        return Err(RecoverError(why.into()));
    }
    let own = known.group.get(&node).map(|peer| peer.addr.clone());
    let info = FolderInfo {
        node: NodeId(node),
        cluster: format!("{:032x}", applier.nodes().0.cluster).into(),
        peer_addr: own.unwrap_or_default(),
        nodes: known.group.keys().copied().map(NodeId).collect(),
        last: last.map_or((0, 0), |last| (last.leader_id.term, last.index)),
        revision: state.revision,
        time_ms: state.time_ms,
        apps: state.apps.len() as u64,
        keys: state.keys.len() as u64,
        grants: state.grants.len() as u64,
        revocations: state.revocations.len() as u64,
    };
    Ok((info, state))
}
