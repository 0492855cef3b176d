//! When a majority was lost for good, offline: looking into a data folder, and beginning a new cluster with it.

use super::process::shell_word;
use gatecast_cluster::{
    FolderInfo, RecoverError, RecoverTarget, WallClock, examine_folder, recover_folder,
};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What a folder knows.
///
/// # Errors
/// See [`RecoverError`].
pub fn examine(data: &Path) -> Result<String, RecoverError> {
    examine_folder(data).map(|info| text(&info))
}

/// Makes the folder the one of a new cluster's first node; what to do next.
///
/// # Errors
/// See [`RecoverError`].
pub fn recover(
    data: PathBuf,
    peer_addr: Option<&str>,
    accept_tokens: bool,
) -> Result<String, RecoverError> {
    let target = RecoverTarget {
        data_dir: data,
        peer_addr: peer_addr.map(Into::into),
        now_ms: WallClock::default().now_ms(),
        accept_tokens,
    };
    let (info, former) = recover_folder(&target)?;
    let tokens = match accept_tokens {
        true => "tokens issued before are honoured, also those revoked without this folder",
        false => "no token issued before is honoured: clients have to get new ones",
    };
    let node = info.node;
    let data = shell_word(&target.data_dir.display().to_string());
    Ok(format!(
        "{}recovered in {data}; {tokens}\nwhat the lost nodes had acknowledged without this folder is gone: make blocks, deleted \
         grants and disabled keys of its last moments again\nthe former data is kept in {}: delete it when all is well\nstart \
         it with `gatecast serve --node {node} --data {data} …`, without --cluster and --join; then start the others on empty \
         folders with --join, and make them voters with `gatecast cluster promote`\n",
        text(&info),
        former.display()
    ))
}

fn text(info: &FolderInfo) -> String {
    let mut nodes = String::new();
    for node in &info.nodes {
        let _ = write!(nodes, " {node}");
    }
    let (term, index) = info.last;
    format!(
        "node {}\npeer_addr {}\ncluster {}\nnodes{nodes}\nlast_term {term}\nlast_index {index}\nrevision {}\ntime_ms {}\napps {}\nkeys {}\ngrants {}\nrevocations {}\n",
        info.node,
        info.peer_addr,
        info.cluster,
        info.revision,
        info.time_ms,
        info.apps,
        info.keys,
        info.grants,
        info.revocations,
    )
}
